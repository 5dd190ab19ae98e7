"""A whole model whose pictures a neural renderer finishes, both of them formulas."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Type

import torch
from ball_model import HARD, BallModel, BallModelConfig, StripedBall, ball_model

from gan3d_ns.model_components.neural_renderers import NeuralRenderer
from gan3d_ns.models.generator import Generator

FEATURES, RAY_SIDE, RESOLUTION = 5, 8, 32


class FeatureBall(StripedBall):
    """The striped ball, its colours as logits among other features."""

    feature_dim = FEATURES

    def colours(self, positions, directions, styles):
        colours = super().colours(positions, directions, styles)
        return torch.cat((torch.logit(colours.clamp(0.01, 0.99)), positions[..., :2]), dim=-1)


class Painter(NeuralRenderer):
    """Each feature becomes a block of pixels, tinted by the one to its right."""

    def forward(self, features, styles, jitter=None):
        beside = torch.cat((features[..., 1:], features[..., -1:]), dim=-1)
        times = 2 ** int(self.doublings)
        blocks = (0.9 * features + 0.1 * beside)[:, :3].repeat_interleave(times, dim=-1)
        return torch.sigmoid(blocks.repeat_interleave(times, dim=-2))

    def ray_colours(self, features, styles):
        return torch.sigmoid(features[..., :3])


@dataclass
class FeatureModelConfig(BallModelConfig):
    _target: Type = dataclasses.field(default_factory=lambda: FeatureModel)
    aligned: bool = True


class FeatureModel(BallModel):
    """All objects are the same ball, painted by blocks."""

    config: FeatureModelConfig

    def build_generator(self) -> Generator:
        renderer = Painter(FEATURES, RAY_SIDE, RESOLUTION, self.config.aligned)
        return Generator(FeatureBall(HARD), self.build_sampler(), "black", renderer)


def feature_model(**settings: Any) -> BallModel:
    """See `ball_model`."""
    return ball_model(config_type=FeatureModelConfig, **settings)
