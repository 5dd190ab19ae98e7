"""VolumeGAN's path-length penalty through the whole generator: the recorded gradients and lengths of the release."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.path_length import PathLengthRegulariser
from gan3d_ns.model_components.ray_samplers import VolumeSamplerConfig
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.models.generator import Generator
from gan3d_ns.scripts.volumegan_weights import generator_sizes

VIEWS = [0, 2]
"""The recorded views with latents 0 and 1 at pose 0."""


@pytest.fixture
def generator(load_fixture) -> Generator:
    state = {
        name.removeprefix("weights/"): value for name, value in load_fixture("volumegan_generator_weights").items()
    }
    sizes = generator_sizes(state)
    assert sizes is not None
    field = sizes.feature_volume.setup(renderer_layers=sizes.neural_renderer.style_layers)
    renderer = sizes.neural_renderer.setup()
    for part in (field, renderer):
        part.load_authors_weights(state)
    return Generator(field, VolumeSamplerConfig().setup(geometry=Density()), "black", renderer)


def test_lengths_and_their_gradients_match_the_original(generator, load_fixture) -> None:
    camera, render, mapping, expected = (
        load_fixture(f"volumegan_{name}") for name in ("camera", "render", "mapping", "pathlength")
    )
    # The release's codes: the first for the volume and the first layer, the fifth for a layer that it does not have.
    codes = mapping["w"][:2, None].repeat(1, 10, 1).requires_grad_()
    layers = torch.cat((codes[:, :1], codes[:, :4], codes[:, 5:]), dim=1).transpose(0, 1)
    styles = generator.field.condition_layers(layers)
    prior = PosePrior(POSE_PRIOR_PRESETS["ffhq"])
    rays = generator.picture_rays(prior, Viewpoints(camera["yaw_pitch"][[0, 0]].flip(-1)), 32)
    distances = render["t"][VIEWS].flatten(1, 2)
    nothing = torch.zeros_like(distances[..., 0])
    output = generator.composite(styles, rays, distances, SurfaceHits(nothing, nothing > 0))
    assert output.features is not None
    features = output.features.unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    pictures = generator.neural_renderer.signed_pictures(features, styles.renderer_codes)  # pyright: ignore
    torch.testing.assert_close(pictures, render["image"][VIEWS], atol=1e-4, rtol=1e-4)

    along = (pictures * expected["noise"]).sum() / 32.0
    (gradient,) = torch.autograd.grad(along, codes, create_graph=True)
    torch.testing.assert_close(gradient, expected["code_grad"], atol=1e-3, rtol=1e-3)

    regulariser = PathLengthRegulariser()
    penalty = regulariser(pictures, codes, expected["noise"])
    torch.testing.assert_close(penalty, expected["penalty"].mean(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(regulariser.running_mean, expected["running_mean"], atol=1e-4, rtol=1e-3)
    penalty.backward()
    volume = generator.field.volume
    gradients = [entry.grad for entry in volume.convolutions.parameters()]
    assert all(entry is not None and entry.isfinite().all() for entry in gradients)
    assert sum(float(entry.abs().sum()) for entry in gradients if entry is not None) > 0
