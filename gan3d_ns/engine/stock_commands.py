"""What nerfstudio's own exporters cannot do with a generator, as a sentence with the command that can."""

from __future__ import annotations

import traceback

import yaml

from gan3d_ns.errors import explainers, printable

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


def explain_stock_config(error: BaseException) -> str | None:
    """What a config.yml names that this version of the package does not have.

    nerfstudio's commands look names up while they read the file, and give up with a traceback.
    """
    if not isinstance(error, yaml.constructor.ConstructorError) or "gan3d_ns." not in str(error.problem):
        return None
    return (
        f"the config.yml names what this version of gan3d_ns does not have ({printable(str(error.problem))}); open the "
        "run with the version that wrote it."
    )


explainers.append(explain_stock_exporter)
explainers.append(explain_stock_config)
