"""How fast this package trains, renders and exports on the machine at hand, and beside the original GOF code.

    python -m benchmarks run --quick                              # does it work? minutes
    python -m benchmarks run                                      # training and growth tables
    python -m benchmarks run --run CONFIG_YML ...                 # also frames and meshes of trained runs
    python -m benchmarks distil --run CONFIG_YML                  # weights that stand for a trained gof-gan-paper
    python -m benchmarks run --peer-gof CHECKOUT --distilled outputs/distilled.pt
    python -m benchmarks report                                   # benchmarks/RESULTS.md from the measurements
    python -m benchmarks train --method pi-gan-tiny               # a training of 15 minutes of CPU time
    python -m benchmarks compare                                  # what `gan3d eval --table` found, on the same page

Run it from the top of the repository, on an idle machine; `--threads 2` uses two cores. Each table is printed and kept
in `outputs/benchmarks.json`; `--parts` chooses tables, and those measured again replace the old ones. The same commands
measure a GPU where there is one, in rows of their own.
"""
