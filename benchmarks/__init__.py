"""How fast this package trains, renders and exports on the machine at hand: `python -m benchmarks --help`."""
