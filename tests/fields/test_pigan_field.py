"""The FiLM-SIREN field with pi-GAN's weights: the box-warped network of CelebA and the plain one of CARLA."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.fields.film_siren_field import FilmSirenField, FilmSirenFieldConfig

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
# TALLSIREN has no warp: of a box with the side 2, coordinates are world units.
BOX_SIDES = {"celeba": 0.24, "carla": 2.0}


@pytest.fixture(params=list(BOX_SIDES))
def collection(request) -> str:
    return request.param


@pytest.fixture
def field(collection, load_fixture) -> FilmSirenField:
    field = FilmSirenField(FilmSirenFieldConfig(latent_dim=16, hidden_dim=32, box_side=BOX_SIDES[collection]))
    weights = load_fixture(f"pigan_{collection}_generator_weights")
    field.load_authors_weights({name.removeprefix("weights/"): tensor for name, tensor in weights.items()})
    return field


def test_mapping_gives_the_original_raw_frequencies_and_phases(field, collection, load_fixture) -> None:
    mapping = load_fixture(f"pigan_{collection}_mapping")
    expected = torch.cat((mapping["frequencies_raw"], mapping["phases_raw"]), dim=-1)
    torch.testing.assert_close(field.mapping(mapping["z"]), expected, **TOLERANCE)


@pytest.mark.parametrize("blockwise", [True, False])
def test_densities_and_colours_match_the_original(field, collection, load_fixture, blockwise: bool) -> None:
    field.config.blockwise = blockwise
    mapping, expected = load_fixture(f"pigan_{collection}_mapping"), load_fixture(f"pigan_{collection}_field")
    styles = field.condition(field.mapping(mapping["z"]))
    positions = expected["points"].expand(4, -1, -1)
    density, rgb = field(positions, expected["dirs"].expand(4, -1, -1), styles)
    # Raw densities reach the hundreds here; the recorded ones carry the rounding of their size.
    scale = expected["density_raw"].abs().amax()
    torch.testing.assert_close(density / scale, expected["density_raw"] / scale, **TOLERANCE)
    torch.testing.assert_close(rgb, expected["rgb"], **TOLERANCE)
    geometry = field.geometry_logits(positions, styles)
    torch.testing.assert_close(geometry / scale, expected["density_raw"] / scale, **TOLERANCE)


def test_the_box_matters(load_fixture) -> None:
    """With the other collection's box the same weights give another object: the test above would see a wrong one."""
    weights, mapping = load_fixture("pigan_carla_generator_weights"), load_fixture("pigan_carla_mapping")
    expected = load_fixture("pigan_carla_field")
    field = FilmSirenField(FilmSirenFieldConfig(latent_dim=16, hidden_dim=32))
    field.load_authors_weights({name.removeprefix("weights/"): tensor for name, tensor in weights.items()})
    styles = field.condition(field.mapping(mapping["z"]))
    density = field.geometry_logits(expected["points"].expand(4, -1, -1), styles)
    assert (density - expected["density_raw"]).abs().mean() > 0.1 * expected["density_raw"].abs().mean()
