"""The `gan3d` command itself: help is quick and complete, and every command is reachable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gan3d_ns.scripts.main import main


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom gan3d_ns.scripts.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'nerfstudio', 'numpy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert all(word in result.stdout for word in ("export", "sample", "video", "import"))


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["export", "mesh"], ["--load-config", "--seeds", "--truncation", "--format", "--largest-component"]),
        (
            ["export", "splats"],
            ["--load-config", "--seeds", "--latents", "--num-splats", "--refine-steps", "--preview"],
        ),
        (["export", "pointcloud"], ["--load-config", "--seeds", "--latents", "--num-points"]),
        (["sample"], ["--load-config", "--num", "--yaws", "--yaw-deg", "--grid", "--latents", "--what", "--output"]),
        (["video"], ["--load-config", "--seeds", "--latents", "--camera", "--interpolate", "--curve", "--fov-deg"]),
        (["import", "gof"], ["--preset", "--output", "--ema"]),
    ],
)
def test_flags_have_no_prefix(arguments: list[str], flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--help"])
    printed = capsys.readouterr().out
    assert all(flag in printed for flag in flags)


def test_a_command_runs(tiny_run: Path, tmp_path: Path) -> None:
    flags = ["--num", "1", "--yaws", "1", "--resolution", "8", "--output", str(tmp_path / "one.png")]
    main(["sample", "--load-config", str(tiny_run), *flags])
    main(["export", "mesh", "--load-config", str(tiny_run), "--resolution", "8", "--output-dir", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "mesh_seed0000.glb"}
