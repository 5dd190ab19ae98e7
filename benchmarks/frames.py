"""Part: what a viewer's frame of a trained run costs, and how close the fast paths come to the dense one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.parts import Part, Request, skipped
from benchmarks.pictures import psnr
from benchmarks.tables import Column, bracketed, number, text
from benchmarks.turns import Contender, Running, SkippedError, ratio, take_turns
from gan3d_ns.errors import UserError

MODES = ("dense", "dense again", "prior grid", "surface only", "latent grid", "latent grid, surface only")
NUM_VIEWS = 3
GRID_LATENTS = 4
MANY_RAYS = 10**9
FRAME_SIDE = 256
QUICK_SIDE, QUICK_GRID, QUICK_LOOKS = 32, 16, 1


@dataclass(frozen=True)
class Frame(Contender):
    """Frames of one object of a run as the viewer asks for them: colour alone, styles at hand."""

    run: Path
    """config.yml of the run."""
    seed: int
    """Which object."""
    mode: str
    """One of ``MODES``."""
    side: int = FRAME_SIDE
    """Width and height in pixels."""
    grid_resolution: int | None = None
    """Cells of the grid on each axis; None: the run's own number."""
    grid_looks: int | None = None
    """Looks at the field that fill the prior grid; None: as many as its warm-up has."""

    @property
    def name(self) -> str:
        return self.mode

    @property
    def units(self) -> float:
        return NUM_VIEWS

    def prepare(self, device: str) -> Running:
        return _RunningFrame(self)


class _RunningFrame:
    """A model set to one way of rendering, and a few cameras of its prior."""

    def __init__(self, frame: Frame) -> None:
        import torch

        from gan3d_ns.scripts.runs import load_run

        torch.set_flush_denormal(True)
        torch.manual_seed(0)
        self.config, pipeline, self.run_step = load_run(frame.run)
        self.frame, self.model = frame, pipeline.model
        model = self.model
        model.latent.seed.value = frame.seed
        model.config.surface_only = "surface only" in frame.mode
        model.config.latent_grid.enabled = "latent grid" in frame.mode
        if frame.grid_resolution is not None:
            model.config.latent_grid = replace(model.config.latent_grid, resolution=frame.grid_resolution)
        model.prior_grid = None
        self.grid_seconds = 0.0
        self.grid_occupied: float | None = None
        if frame.mode == "prior grid":
            self.fill_prior_grid()
        poses = model.pose_prior.sample(NUM_VIEWS, torch.Generator().manual_seed(0))
        self.cameras = model.pose_prior.cameras(poses, frame.side).to(model.device)
        model.current_styles()
        if "latent grid" in frame.mode:
            start = time.perf_counter()
            grid = model.latent_grid()
            # A lattice serves once an object has been looked at for a while; here it is there already.
            model.shown_object().num_rays = MANY_RAYS
            self.grid_seconds = time.perf_counter() - start
            self.grid_occupied = float(grid.occupied_fraction)
        self.pictures: list[Any] = []

    def fill_prior_grid(self) -> None:
        """A prior grid as a training leaves it: the looks of its warm-up, over random latents."""
        import torch

        model, frame = self.model, self.frame
        config = replace(model.config.prior_grid, enabled=True)
        if frame.grid_resolution is not None:
            config = replace(config, resolution=frame.grid_resolution)
        if frame.grid_looks is not None:
            config = replace(config, warmup_steps=frame.grid_looks * config.update_interval)
        grid = config.setup(radius=model.seen_radius).to(model.device)
        generator, prior = model.shown_generator, model.config.pose_prior
        spacing = (prior.far - prior.near) / (generator.sampler.num_coarse_samples - 1)
        randomness = torch.Generator(device=model.device).manual_seed(0)
        start = time.perf_counter()
        while not grid.ready:
            shape = (GRID_LATENTS, generator.field.latent_dim)
            latents = torch.randn(shape, generator=randomness, device=model.device)
            with torch.no_grad():
                grid.update(generator.field, generator.geometry, generator.styles(latents), spacing, randomness)
        self.grid_seconds = time.perf_counter() - start
        self.grid_occupied = float(grid.occupied_fraction)
        model.prior_grid = grid

    def turn(self) -> None:
        from gan3d_ns.models import gan_model

        with ExitStack() as stack:
            # As in a render thread of the viewer that shows the colour.
            stack.enter_context(patch.object(gan_model, "wanted_outputs", lambda names: frozenset(("rgb",))))
            self.pictures = [
                self.model.get_outputs_for_camera(self.cameras[index : index + 1])["rgb"] for index in range(NUM_VIEWS)
            ]

    def facts(self) -> dict[str, Any]:
        import torch

        return {
            "picture": torch.stack(self.pictures).cpu().numpy(),
            "grid_seconds": self.grid_seconds or None,
            "grid_occupied": self.grid_occupied,
            "run": f"{self.config.method_name} on {self.config.experiment_name}, step {self.run_step}",
            "side": self.frame.side,
        }


class FramesPart(Part):
    """Dense frames against those with grids and with surface colours."""

    name = "frames"
    title = "A viewer's frame of a trained model"
    note = (
        "`python -m benchmarks run --parts frames --run CONFIG_YML`. Colour frames through the model's "
        "`get_outputs_for_camera`, of one object whose styles are at hand, from three poses of the prior. PSNR is"
        ' against the dense frames ("dense again": the same once more, which must be equal). A latent grid is '
        "made once for an object, a prior grid once for a training (here by the looks of its warm-up); the "
        "seconds for that are listed apart."
    )
    minutes = 5.0
    columns = (
        Column("run", text("run")),
        Column("object", text("seed")),
        Column("side", text("side")),
        Column("rendered", text("name")),
        Column("s/frame", bracketed("seconds", 3)),
        Column("processor s/frame", number("processor_seconds", 3)),
        Column("faster than dense", bracketed("ratio")),
        Column("faster, processor time", number("processor_ratio")),
        Column("PSNR to dense, dB", number("psnr", 1)),
        Column("making the grid, s", number("grid_seconds")),
        Column("grid occupied", number("grid_occupied")),
        Column("peak GB", number("peak_memory_gb")),
    )

    def wanted(self, request: Request) -> bool:
        return bool(request.runs)

    def rows(self, request: Request) -> Iterator[dict[str, Any]]:
        if not request.runs:
            raise UserError("the part frames needs --run CONFIG_YML, the config.yml of a trained run.")
        for run in opened(request.runs):
            for seed in request.seeds:
                for side in request.resolutions or (QUICK_SIDE if request.quick else FRAME_SIDE,):
                    frame = Frame(run, seed, "dense", side)
                    if request.quick:
                        frame = replace(frame, grid_resolution=QUICK_GRID, grid_looks=QUICK_LOOKS)
                    yield from compare([replace(frame, mode=mode) for mode in MODES], request)


def opened(runs: tuple[Path, ...]) -> list[Path]:
    """The runs' config.yml, read once before anything is measured; their folders serve as well.

    Raises:
        UserError: one of them is no run of this package.
    """
    from gan3d_ns.scripts.runs import read_run_config

    configs = [run / "config.yml" if run.is_dir() else run for run in runs]
    for config in configs:
        read_run_config(config)
    return configs


def compare(frames: list[Frame], request: Request) -> Iterator[dict[str, Any]]:
    """A row for each mode, with speed and PSNR relative to the first, the dense one."""
    import torch

    try:
        timings = take_turns(frames, request.turns)
    except SkippedError as error:
        yield skipped(f"{frames[0].run.parent.name}, object {frames[0].seed}", str(error))
        return
    pictures = [torch.from_numpy(timing.facts.pop("picture")) for timing in timings]
    for timing, picture in zip(timings, pictures, strict=True):
        quality = psnr(picture, pictures[0])
        row = {**timing.row(), **timing.facts, "seed": frames[0].seed}
        if timing is not timings[0]:
            row = {**row, **ratio(timings[0], timing), "psnr": quality if math.isfinite(quality) else "inf"}
        yield row
