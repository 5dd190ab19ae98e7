"""Moving one object leaves the others and the background alone: exactly, ray by ray; nearly, in finished pictures."""

from __future__ import annotations

import pytest
import torch
from giraffe_model import giraffe_model, model_of_one_object

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.fields.composite_field import BOX_MARGIN
from gan3d_ns.fields.placement import in_box
from gan3d_ns.metrics.moved_objects import change_elsewhere, rays_through_box, reached
from gan3d_ns.model_components.giraffe_renderer import GiraffeRendererConfig
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.sampling import sample_positions
from gan3d_ns.model_components.scenes import ObjectEdit
from gan3d_ns.models.gan_model import GanModel


@pytest.fixture(scope="module")
def model() -> GanModel:
    return giraffe_model()


@pytest.mark.parametrize(
    "edit",
    [ObjectEdit(shift=(0.08, 0.0, 0.05)), ObjectEdit(turn_deg=45.0), ObjectEdit(size=1.3), ObjectEdit(present=False)],
)
def test_nothing_changes_elsewhere(model: GanModel, edit: ObjectEdit) -> None:
    found = change_elsewhere(model, LatentSelection(seed=2), edit)
    assert found.largest_of_rays == 0.0 and found.largest_beyond == 0.0
    assert found.mean_inside > 10 * found.mean > 0.0
    assert 0.5 < found.share_outside < 1.0


def test_a_change_of_everything_is_noticed(model: GanModel) -> None:
    """The measure sees changes elsewhere where there are some: with a background that follows the object."""
    field = model.generator_ema.field
    evaluate = field.evaluate

    def dependent(positions, styles, directions=None, noise=None):
        values, features = evaluate(positions, styles, directions, noise)
        return values, features + styles.translations[:, :1, :1]

    field.evaluate = dependent
    try:
        found = change_elsewhere(model, LatentSelection(seed=2), ObjectEdit(shift=(0.0, 0.0, 0.1)))
    finally:
        field.evaluate = evaluate
    assert found.largest_of_rays > 0.1 and found.largest_beyond > 0.0


def test_rays_through_a_box_are_those_with_a_point_in_it(model: GanModel) -> None:
    field, prior = model.generator_ema.field, model.pose_prior
    styles = model.styles_of(LatentSelection(seed=2))
    rays = prior.viewpoint_rays(Viewpoints(prior.mean_pose()[None]), 24)
    distances = torch.linspace(0.3, 1.7, 3000).expand(1, 24 * 24, -1)
    places = field.in_field(sample_positions(rays, distances).flatten(1, 2)) * field.config.coordinate_scale
    found = rays_through_box(field, styles, 0, rays)
    local = in_box(places, styles.translations[:, 0, None], styles.rotations[:, 0, None], styles.scales[:, 0, None])
    expected = (local.abs() <= BOX_MARGIN).all(dim=-1).reshape(1, 24 * 24, -1).any(dim=-1)
    assert 10 < expected.sum() < 200
    assert torch.equal(found, expected)


@pytest.mark.parametrize("doublings", [0, 1, 2])
def test_what_kernels_reach(doublings: int) -> None:
    """Against the renderer itself: exactly the pixels in reach change when one feature does."""
    torch.manual_seed(0)
    renderer = GiraffeRendererConfig(feature_dim=6, ray_side=8, resolution=8 << doublings, min_channels=6).setup()
    features = torch.randn(1, 6, 8, 8)
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 3, 4] = True
    # In high precision, so that tiny changes at the ends of the kernels are seen.
    renderer, features = renderer.double(), features.double()
    changed = torch.where(mask[:, None], features + 5.0, features)
    difference = (renderer(changed, None) - renderer(features, None)).abs().amax(dim=1) > 0
    assert torch.equal(reached(mask, doublings), difference)


def test_methods_with_one_object_are_refused() -> None:
    with pytest.raises(UserError, match="other shows a single object"):
        change_elsewhere(model_of_one_object(), LatentSelection(), ObjectEdit())
