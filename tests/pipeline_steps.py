"""Plans, pictures and gradients for the tests of a pipeline's two phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

RESOLUTION = 16
BATCH = 4

MakePipeline = Callable[..., Any]


def plan_of(**changes: Any) -> Any:
    from gan3d_ns.pipelines.step import StepPlan

    plan = StepPlan(
        resolution=RESOLUTION,
        batch_size=BATCH,
        position=0,
        seed=0,
        window_half_width=0.12,
        opacity_weight=0.1,
        geometry_release=1.0,
        top_k_fraction=1.0,
        fade=1.0,
        penalise=True,
    )
    return replace(plan, **changes)


def randomness() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def real_and_fakes(pipeline: Any) -> tuple[Tensor, Any]:
    real = pipeline.datamanager.real_batch(0, BATCH, RESOLUTION, 0)
    return real, pipeline.generate(BATCH, RESOLUTION, randomness())


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


class PictureByPicture(nn.Module):
    """A discriminator without a batch statistic, so that pictures do not know each other."""

    shared_batch: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(), nn.Flatten(), nn.LazyLinear(3))
        self.layer(torch.zeros(1, 3, RESOLUTION, RESOLUTION))
        self.shared_batch = None

    def forward(self, images: Tensor, fade: float = 1.0) -> Any:
        from gan3d_ns.discriminators.base import DiscriminatorOutput

        estimate = self.layer(images)
        return DiscriminatorOutput(score=estimate[:, 0], pose=estimate[:, 1:])
