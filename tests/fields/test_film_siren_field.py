"""The FiLM-SIREN field against the numbers of the original GOF release."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.fields.film_siren_field import FilmSirenField, FilmSirenFieldConfig

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture
def field(gof_field) -> FilmSirenField:
    return gof_field


def test_mapping_gives_the_original_raw_frequencies_and_phases(field, load_fixture) -> None:
    mapping = load_fixture("gof_mapping")
    codes = field.mapping(mapping["z"])
    expected = torch.cat((mapping["frequencies_raw"], mapping["phases_raw"]), dim=-1)
    torch.testing.assert_close(codes, expected, **TOLERANCE)


def test_logits_colours_and_normals_match_the_original(field, load_fixture) -> None:
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_field")
    styles = field.condition(field.mapping(mapping["z"]))
    positions = expected["points"].expand(4, -1, -1)
    directions = expected["dirs"].expand(4, -1, -1)
    logits, rgb = field(positions, directions, styles)
    torch.testing.assert_close(logits, expected["logit"], **TOLERANCE)
    torch.testing.assert_close(rgb, expected["rgb"], **TOLERANCE)
    torch.testing.assert_close(field.geometry_logits(positions, styles), expected["logit"], **TOLERANCE)
    torch.testing.assert_close(field.normals(positions, styles), expected["normal"], **TOLERANCE)
    # A gradient's small components carry the rounding of its large ones: the recorded ones are 5e-5 of its length away
    # from double precision themselves.
    gradient, recorded = field.logit_gradient(positions, styles), expected["logit_grad_world"]
    assert ((gradient - recorded).norm(dim=-1) < 1e-4 * recorded.norm(dim=-1)).all()


def test_locked_views_ignore_the_direction(field, load_fixture) -> None:
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_field")
    field.config.lock_view_dependence = True
    styles = field.condition(field.mapping(mapping["z"]))
    _, rgb = field(expected["points"].expand(4, -1, -1), expected["dirs"].expand(4, -1, -1), styles)
    torch.testing.assert_close(rgb, expected["rgb_locked_view"], **TOLERANCE)


def test_authors_weights_of_another_size_are_refused(load_fixture) -> None:
    state = {name.removeprefix("weights/"): tensor for name, tensor in load_fixture("gof_generator_weights").items()}
    field = FilmSirenField(FilmSirenFieldConfig(latent_dim=16, hidden_dim=16))
    with pytest.raises(RuntimeError, match="size mismatch"):
        field.load_authors_weights(state)


def test_full_size_has_the_parameter_count_of_the_release() -> None:
    field = FilmSirenField(FilmSirenFieldConfig())
    assert sum(parameter.numel() for parameter in field.parameters()) == 1_910_788
    assert sum(parameter.numel() for parameter in field.mapping_network.parameters()) == 1_381_632


def test_sphere_prior_moves_the_logit_by_the_sphere() -> None:
    config = FilmSirenFieldConfig(latent_dim=8, hidden_dim=8, num_layers=2)
    field = FilmSirenField(config)
    styles = field.condition(field.mapping(torch.randn(1, 8)))
    positions = torch.randn(1, 32, 3) * 0.1
    plain = field.geometry_logits(positions, styles)
    config.sphere_prior_gain = 6.0
    difference = field.geometry_logits(positions, styles) - plain
    torch.testing.assert_close(difference, 6.0 * (0.8 - positions.norm(dim=-1) / 0.12))
