"""Balls whose centres are their latents: a model of them, and a collection of them whose truth is a formula."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Type

import torch
from analytic_field import BallField
from ball_model import BallModel, BallModelConfig
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig
from gan3d_ns.data.true_collection import TrueMesh, TrueView
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig
from gan3d_ns.models.generator import Generator

RADIUS, SPREAD, SLOPE = 0.06, 0.015, 400.0
"""World units; the centres' standard deviation; logits per world unit."""


def turn(vectors: Tensor, angle: float) -> Tensor:
    """Vectors turned about +y, so that a camera at yaw becomes one at yaw + angle."""
    x, y, z = vectors.unbind(-1)
    sine, cosine = math.sin(angle), math.cos(angle)
    return torch.stack((cosine * x - sine * z, y, sine * x + cosine * z), dim=-1)


def colours_at(positions: Tensor) -> Tensor:
    """Paint that every place of the true world has."""
    return torch.sigmoid(40.0 * positions + positions.new_tensor([0.5, 0.0, -0.5]))


class MovingBalls(BallField):
    """A ball at SPREAD times the latent, in a world that is turned by an angle."""

    def __init__(self, radius: float, turned_by: float) -> None:
        super().__init__(radius, SLOPE)
        self.turned_by = turned_by

    def mapping(self, latents):
        return SPREAD * latents

    def geometry_logits(self, positions, styles):
        return super().geometry_logits(turn(positions, -self.turned_by), styles)

    def colours(self, positions, directions, styles):
        return colours_at(turn(positions, -self.turned_by))


@dataclass
class MovingBallConfig(BallModelConfig):
    _target: Type = dataclasses.field(default_factory=lambda: MovingBallModel)
    ball_radius: float = RADIUS
    turned_by: float = 0.0


class MovingBallModel(BallModel):
    config: MovingBallConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def build_generator(self) -> Generator:
        field = MovingBalls(self.config.ball_radius, self.config.turned_by)
        return Generator(field, self.build_sampler(), self.config.background)


def moving_balls(**settings: Any) -> MovingBallModel:
    """The model, before white, its surface well sampled and its pixels soft, so that pictures have a gradient."""
    config = MovingBallConfig(
        pose_prior=POSE_PRIOR_PRESETS["procedural"],
        background="white",
        sampler=SurfaceWindowSamplerConfig(num_coarse_samples=16, num_window_samples=16, num_fine_samples=8),
        **settings,
    )
    model: Any = config.setup(scene_box=SceneBox(aabb=torch.tensor([[-0.12] * 3, [0.12] * 3])), num_train_data=1)
    for generator in (model.generator, model.generator_ema):
        generator.sampler.get_buffer("half_width").fill_(0.03)
    return model.eval()


class BallTruth:
    """Balls at random places: geometry by the formula of the ray that meets a sphere, pictures by the model's renderer.

    Args:
        num: of pictures, each of another ball.
        radius: of the balls.
        largest: views have no more pixels a side than this.
    """

    folder = Path("balls")

    def __init__(self, num: int, radius: float = RADIUS, largest: int = 64, seed: int = 5) -> None:
        self.prior: PosePrior = PosePriorConfig(**_fields(POSE_PRIOR_PRESETS["procedural"])).setup()
        randomness = torch.Generator().manual_seed(seed)
        self.poses = self.prior.sample(num, randomness)
        self.centres = SPREAD * torch.randn(num, 3, generator=randomness)
        self.num_objects, self.radius, self.largest = num, radius, largest
        self.painter = moving_balls(ball_radius=radius).generator_ema

    def __len__(self) -> int:
        return self.num_objects

    def object_of(self, index: int) -> int:
        return index

    def pose(self, index: int) -> Tensor:
        return self.poses[index]

    def view(self, index: int, resolution: int, pose: Tensor | None = None) -> TrueView:
        resolution = min(resolution, self.largest)
        rays = self.prior.rays((self.poses[index] if pose is None else pose)[None], resolution)
        origins, directions = rays.origins[0], rays.directions[0]
        middle = ((self.centres[index] - origins) * directions).sum(dim=-1)
        clearance = (origins + middle[:, None] * directions - self.centres[index]).norm(dim=-1)
        mask = clearance < self.radius
        depth = middle - (self.radius**2 - clearance.square()).clamp(min=0.0).sqrt()
        points = origins + depth[:, None] * directions
        with torch.no_grad():
            rgb = self.painter.render(self.painter.field.condition(self.centres[index : index + 1]), rays).rgb[0]
        normals = torch.where(mask[:, None], (points - self.centres[index]) / self.radius, 0.0)
        depth = torch.where(mask, depth, self.prior.config.far)
        square = (resolution, resolution)
        return TrueView(rgb.T.unflatten(1, square), depth.view(square), mask.view(square), normals.unflatten(0, square))

    def mesh(self, number: int) -> TrueMesh:
        raise NotImplementedError


def _fields(config: PosePriorConfig) -> dict[str, Any]:
    return {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config)}
