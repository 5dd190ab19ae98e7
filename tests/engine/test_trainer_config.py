"""The settings of runs that were saved by older versions."""

from __future__ import annotations

from pathlib import Path

from tiny_runs import METHOD, tiny_config

from gan3d_ns.engine.schedules import DensityNoiseConfig, PatchScheduleConfig


def test_settings_that_are_newer_than_a_run_keep_their_defaults(tmp_path: Path) -> None:
    config = tiny_config(METHOD, tmp_path)
    state = {name: value for name, value in vars(config).items() if name not in ("patches", "density_noise")}
    state["ema_decay"] = 0.123
    opened = object.__new__(type(config))
    opened.__setstate__(state)
    assert (opened.patches, opened.density_noise) == (PatchScheduleConfig(), DensityNoiseConfig())
    assert opened.ema_decay == 0.123 and opened.curriculum == config.curriculum
