"""`forward_geonetwork`, which ns-export's marching cubes reads, is a distance to first order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

LARGEST_BALL = 0.25
"""World units that all balls of these runs keep within."""
NEAR_SURFACE = 0.004
"""World units; a thirtieth of the box."""


@pytest.fixture(scope="module")
def ball() -> Any:
    """A model whose logit is 6 (0.8 - |x| / 0.1): of the field the start shape alone is left."""
    from gan3d_ns.field_components.start_shape import StartShapeConfig
    from gan3d_ns.fields.tri_plane_field import TriPlaneFieldConfig
    from gan3d_ns.models.gan_model import GanModelConfig

    shape = StartShapeConfig(
        box_half_sides=(0.1, 0.1, 0.1), sphere_prior_gain=6.0, sphere_prior_radius=0.8, envelope_radius=5.0
    )
    field = TriPlaneFieldConfig(latent_dim=8, generator_channels=(8, 8), geometry_side=8)
    scene_box = SceneBox(aabb=torch.tensor([[-0.12] * 3, [0.12] * 3]))
    config = GanModelConfig(field="tri-plane", tri_plane=field, start_shape=shape)
    model = config.setup(scene_box=scene_box, num_train_data=1)
    model.generator_ema.field.release_geometry(0.0)
    return model


def test_exact_for_a_ball(ball: Any) -> None:
    """The logit of the ball is linear along its radius, so its first-order distance is the distance."""
    points = 0.06 * torch.randn(200, 3)
    expected = points.norm(dim=-1, keepdim=True) - 0.08
    torch.testing.assert_close(ball.field.forward_geonetwork(points).detach(), expected, atol=1e-5, rtol=1e-4)


def logits_at(pipeline: Any, points: Tensor) -> Tensor:
    model = pipeline.model
    logits = model.shown_generator.field.geometry_logits(points[None], model.current_styles())[0]
    return (logits - model.shown_generator.geometry.level).detach()


def distance_at(pipeline: Any, points: Tensor) -> Tensor:
    return pipeline.model.field.forward_geonetwork(points).detach()


def brute_force_distances(pipeline: Any, points: Tensor, directions: Tensor) -> Tensor:
    """Distance along +-direction to the nearest change of sign of the logit; infinite where it is not near."""
    steps = 100
    offsets = torch.linspace(0.0, 1.01 * NEAR_SURFACE, steps)
    sign = logits_at(pipeline, points).sign()
    best = torch.full((len(points),), torch.inf)
    for direction in (directions, -directions):
        moved = points[:, None] + offsets[:, None] * direction[:, None]
        changed = logits_at(pipeline, moved.flatten(0, 1)).reshape(len(points), steps).sign() != sign[:, None]
        first = torch.where(changed.any(dim=1), offsets[changed.float().argmax(dim=1)], torch.inf)
        best = torch.minimum(best, first)
    return best


@pytest.fixture
def near_surface(pipeline: Any) -> tuple[Tensor, Tensor]:
    """Points of the box near the surface, and their distances from it along the logit's gradient, by brute force."""
    model, generator = pipeline.model, torch.Generator().manual_seed(0)
    low, high = pipeline.datamanager.train_dataset.scene_box.aabb.clamp(-LARGEST_BALL, LARGEST_BALL)
    points = low + (high - low) * torch.rand(3000, 3, generator=generator)
    gradient = model.shown_generator.field.logit_gradient(points[None], model.current_styles())[0].detach()
    distances = brute_force_distances(pipeline, points, torch.nn.functional.normalize(gradient, dim=-1))
    near = distances < NEAR_SURFACE
    return points[near], distances[near]


def test_negative_in_matter(pipeline: Any, near_surface: tuple[Tensor, Tensor]) -> None:
    points, _ = near_surface
    distances = distance_at(pipeline, points)
    assert distances.shape == (len(points), 1)
    inside = logits_at(pipeline, points) > 0
    assert inside.any() and not inside.all()
    assert torch.equal(distances[:, 0] < 0, inside)


def test_magnitude_is_the_distance_along_the_gradient(pipeline: Any, near_surface: tuple[Tensor, Tensor]) -> None:
    points, expected = near_surface
    assert len(points) > 30
    error = (distance_at(pipeline, points)[:, 0].abs() - expected).abs()
    assert error.median() < 0.1 * NEAR_SURFACE
    assert (error < 0.3 * NEAR_SURFACE).float().mean() > 0.9


def test_works_where_no_gradients_are_recorded(pipeline: Any) -> None:
    """The exporter calls it under `torch.no_grad`."""
    points = torch.tensor([[0.0, 0.0, 0.0], [0.01, 0.02, 0.09], [0.0, 0.1, 0.0]])
    with torch.no_grad():
        assert torch.isfinite(pipeline.model.field.forward_geonetwork(points)).all()
