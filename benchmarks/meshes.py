"""Part: meshes by MISE against meshes of the same lattice evaluated at every point."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.frames import opened
from benchmarks.parts import Part, Request, skipped
from benchmarks.tables import Column, bracketed, number, text
from benchmarks.turns import Contender, Running, SkippedError, Timing, ratio, take_turns
from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    import numpy as np

RESOLUTIONS = (128, 256)
QUICK_RESOLUTION = 64
TRUNCATION = 0.7
"""That of `gan3d export mesh`."""


@dataclass(frozen=True)
class Extraction(Contender):
    """The surface of one object of a run, without colours and exact normals."""

    run: Path
    """config.yml of the run."""
    seed: int
    """Which object."""
    resolution: int
    """Cells on each axis."""
    dense: bool
    """Evaluate every lattice point."""

    @property
    def name(self) -> str:
        return "dense" if self.dense else "MISE"

    def prepare(self, device: str) -> Running:
        return _RunningExtraction(self)


class _RunningExtraction:
    def __init__(self, extraction: Extraction) -> None:
        import torch

        from gan3d_ns.cameras.view_coverage import ViewCoverage
        from gan3d_ns.exporter.mesh import MeshExtractionConfig
        from gan3d_ns.exporter.seen_object import SeenObject
        from gan3d_ns.model_components.latents import LatentSelection
        from gan3d_ns.scripts.runs import load_run

        torch.set_flush_denormal(True)
        config, pipeline, step = load_run(extraction.run)
        model = pipeline.model
        level = model.shown_generator.geometry.level
        styles = model.styles_of(LatentSelection(seed=extraction.seed, truncation=TRUNCATION))
        coverage = ViewCoverage(model.pose_prior, device=model.device)
        self.surface = SeenObject(model.shown_generator, styles, coverage, level)
        self.settings = MeshExtractionConfig(resolution=extraction.resolution, level=level)
        if extraction.dense:
            self.settings.coarse_resolution = extraction.resolution
        self.run = f"{config.method_name} on {config.experiment_name}, step {step}"
        self.lattice_queries = 0

    def turn(self) -> None:
        from gan3d_ns.exporter.mesh import extract_mesh

        self.mesh = extract_mesh(self.settings, self.surface.logits, *self.surface.bounds(), progress=self.count)

    def count(self, done: int, asked: int) -> None:
        """Progress of the lattice alone: refining the vertices afterwards asks once for each."""
        self.lattice_queries = done

    def facts(self) -> dict[str, Any]:
        lower, upper = self.surface.bounds()
        resolution = self.mesh.statistics["resolution"]
        return {
            "vertices": self.mesh.vertices,
            "voxel": float(((upper - lower) / resolution).mean()),
            "queries": self.lattice_queries,
            "all_queries": self.mesh.statistics["queries"],
            "resolution": resolution,
            "faces": len(self.mesh.faces),
            "run": self.run,
        }


class MeshesPart(Part):
    """Queries, seconds and surfaces of MISE and of the dense lattice."""

    name = "meshes"
    title = "Meshes: MISE against the dense lattice"
    note = (
        "`python -m benchmarks run --parts meshes --run CONFIG_YML`. Objects at truncation 0.7 as `gan3d export "
        "mesh` makes them, without colours. Queries are lattice points asked of the field; moving the vertices "
        "onto the level asks once more for each vertex in both. Distances are those from each vertex of one mesh "
        "to the nearest of the other, both ways, in lattice steps."
    )
    minutes = 10.0
    columns = (
        Column("run", text("run")),
        Column("object", text("seed")),
        Column("cells", text("resolution")),
        Column("lattice", text("name")),
        Column("queries", text("queries")),
        Column("of the dense", number("query_fraction", 4)),
        Column("s", bracketed("seconds")),
        Column("faster", bracketed("ratio")),
        Column("largest distance, voxels", number("largest_distance", 4)),
        Column("mean distance, voxels", number("mean_distance", 5)),
        Column("faces", text("faces")),
        Column("peak GB", number("peak_memory_gb")),
    )

    def wanted(self, request: Request) -> bool:
        return bool(request.runs)

    def rows(self, request: Request) -> Iterator[dict[str, Any]]:
        if not request.runs:
            raise UserError("the part meshes needs --run CONFIG_YML, the config.yml of a trained run.")
        sizes = request.resolutions or ((QUICK_RESOLUTION,) if request.quick else RESOLUTIONS)
        for run in opened(request.runs):
            for seed in request.seeds:
                for resolution in sizes:
                    yield from self.pair(run, seed, resolution, request)

    def pair(self, run: Path, seed: int, resolution: int, request: Request) -> Iterator[dict[str, Any]]:
        """The dense row and that of MISE."""
        contenders = [Extraction(run, seed, resolution, dense=True), Extraction(run, seed, resolution, dense=False)]
        try:
            dense, sparse = take_turns(contenders, request.turns)
        except SkippedError as error:
            yield skipped(f"{run.parent.name}, object {seed}, {resolution} cells", str(error))
            return
        difference = surface_difference(dense, sparse)
        for timing in (dense, sparse):
            row = {**timing.row(), **timing.facts, "seed": seed}
            if timing is sparse:
                row.update(ratio(dense, sparse), **difference)
                row["query_fraction"] = sparse.facts["queries"] / dense.facts["queries"]
            yield row


def surface_difference(dense: Timing, sparse: Timing) -> dict[str, float]:
    """Largest and mean distance between the vertices of two meshes in voxels; takes the vertices out of the facts."""
    ours, theirs = sparse.facts.pop("vertices"), dense.facts.pop("vertices")
    return vertex_distances(ours, theirs, dense.facts["voxel"])


def vertex_distances(ours: np.ndarray, theirs: np.ndarray, voxel: float) -> dict[str, float]:
    """Distances of each vertex to the nearest of the other set, both ways, in units of ``voxel``."""
    import numpy as np
    from scipy.spatial import KDTree

    if len(ours) == 0 or len(theirs) == 0:
        return {"largest_distance": math.inf, "mean_distance": math.inf}
    apart = np.concatenate((KDTree(theirs).query(ours)[0], KDTree(ours).query(theirs)[0])) / voxel
    return {"largest_distance": float(apart.max()), "mean_distance": float(apart.mean())}
