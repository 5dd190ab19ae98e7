"""What a finished training has made, and the commands that continue from there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.metrics.geometry_health import GeometryHealth


def next_steps(
    config: GanTrainerConfig, panel: Path, health: GeometryHealth, best: Sequence[str] = ()
) -> tuple[str, ...]:
    """Lines for the console.

    Args:
        config: of the run.
        panel: the picture of its samples.
        health: of the objects in it.
        best: lines about the best checkpoint.
    """
    run = config.get_base_dir() / "config.yml"
    resume = f"ns-train {config.method_name} --load-dir {config.get_checkpoint_dir()}"
    if config.pictures is not None:
        resume += f" --data {config.pictures}"
    if config.preset != "auto":
        resume += f" --preset {config.preset}"
    return (
        f"Samples:      {panel}  (surface on {health.hit_rate:.0%} of the rays)",
        f"View it:      ns-viewer --load-config {run} --viewer.websocket-host 127.0.0.1",
        f"Take a mesh:  gan3d export mesh --load-config {run} --seeds 0 1 2",
        f"More samples: gan3d sample --load-config {run}",
        f"Measure it:   gan3d eval --load-config {run}",
        f"Train on:     {resume}   (and the other flags that you gave)",
        *best,
    )
