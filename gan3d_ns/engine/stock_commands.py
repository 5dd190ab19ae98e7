"""What nerfstudio's own exporters cannot do with a generator, as a sentence with the command that can."""

from __future__ import annotations

import traceback

from gan3d_ns.errors import explainers

EXPORTERS = "nerfstudio.scripts.exporter"
SPLATS, MARCHING_CUBES = "ExportGaussianSplat", "ExportMarchingCubesMesh"


def explain_stock_exporter(error: BaseException) -> str | None:
    """Which command of ours does what this exporter of nerfstudio's refused to do with a run of this package.

    `ns-export gaussian-splat` asserts that the model is Splatfacto; `ns-export marching-cubes` moves its points to CUDA
    by hand.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        exporter, pipeline = type(frame.f_locals.get("self")), type(frame.f_locals.get("pipeline"))
        if exporter.__module__ != EXPORTERS or not pipeline.__module__.startswith("gan3d_ns."):
            continue
        config = getattr(frame.f_locals["self"], "load_config", "CONFIG")
        if exporter.__name__ == SPLATS and isinstance(error, AssertionError):
            return (
                "ns-export gaussian-splat writes the Gaussians of a trained splatfacto, and a generator has none; make "
                f"them with `gan3d export splats --load-config {config}`."
            )
        if exporter.__name__ == MARCHING_CUBES and ("CUDA" in str(error) or "NVIDIA" in str(error)):
            return (
                "ns-export marching-cubes needs CUDA, which does not work here; `gan3d export mesh --load-config "
                f"{config}` needs no GPU."
            )
    return None


explainers.append(explain_stock_exporter)
