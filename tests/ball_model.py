"""A whole model, as viewer and exporters know it, around a field that is a formula."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Type

import torch
from analytic_field import BallField
from nerfstudio.data.scene_box import SceneBox

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
from gan3d_ns.fields.base_field import GenerativeField
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig
from gan3d_ns.models.gan_model import GanModel, GanModelConfig
from gan3d_ns.models.generator import Generator

RADIUS = 0.06
HARD, SOFT = 8000.0, 1000.0
"""Logits per world unit, where a pixel of 48 is 0.0045 world units wide."""


class StripedBall(BallField):
    """A ball around the origin whatever the latent, striped across; a tenth of its colour depends on the direction.

    With a veil, thin red matter that is no surface lies around it.
    """

    def __init__(self, slope: float, veil: bool = False) -> None:
        super().__init__(RADIUS, slope)
        self.veil = veil

    def condition(self, codes: Any) -> Any:
        return super().condition(torch.zeros_like(codes))

    def geometry_logits(self, positions, styles):
        logits = super().geometry_logits(positions, styles)
        in_veil = positions.norm(dim=-1) < RADIUS + 0.008
        return torch.where(in_veil & torch.tensor(self.veil), logits.clamp(min=-2.5), logits)

    def colours(self, positions, directions, styles):
        stripes = 0.5 + 0.4 * torch.sin(60.0 * positions)
        colours = 0.9 * stripes + 0.1 * (0.5 + 0.5 * directions)
        red = positions.new_tensor([1.0, 0.0, 0.0])
        return torch.where(positions.norm(dim=-1, keepdim=True) > RADIUS + 0.002, red, colours)


@dataclass
class BallModelConfig(GanModelConfig):
    _target: Type = dataclasses.field(default_factory=lambda: BallModel)
    kind: Literal["hard", "soft", "veiled"] = "hard"
    """soft: the surface is some pixels thick."""


class BallModel(GanModel):
    """All objects are the same ball."""

    config: BallModelConfig

    def build_generator(self) -> Generator:
        field: GenerativeField = StripedBall(SOFT if self.config.kind == "soft" else HARD, self.config.kind == "veiled")
        return Generator(field, self.build_sampler(), self.config.background)


def ball_model(
    preset: str = "procedural", config_type: Type[BallModelConfig] = BallModelConfig, **settings: Any
) -> BallModel:
    """The model with a published pose prior, before white, its surface well sampled."""
    config = config_type(
        pose_prior=POSE_PRIOR_PRESETS[preset],
        background="white",
        sampler=SurfaceWindowSamplerConfig(num_coarse_samples=24),
        **settings,
    )
    model = config.setup(scene_box=SceneBox(aabb=torch.tensor([[-0.12] * 3, [0.12] * 3])), num_train_data=1)
    for generator in (model.generator, model.generator_ema):
        generator.sampler.get_buffer("half_width").fill_(0.01)
    return model.eval()
