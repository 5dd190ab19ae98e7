"""Laws of the hash-grid field: one table, many objects, gradients of either kind, and checkpoints of either layout."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor

from gan3d_ns.field_components import hash_encoding
from gan3d_ns.field_components.hash_encoding import HashTableConfig
from gan3d_ns.fields.hash_grid_field import HashGridField, HashGridFieldConfig, HashGridStyles

GEOMETRY = HashTableConfig(
    num_levels=2, base_resolution=4, finest_resolution=8, features_per_level=2, log2_table_size=9
)
COLOUR = HashTableConfig(num_levels=3, base_resolution=4, finest_resolution=16, features_per_level=2, log2_table_size=9)


@pytest.fixture(autouse=True)
def without_tiny_cuda_nn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the tests for GPUs meet the real one, wherever the others run."""
    if not request.node.get_closest_marker("gpu"):
        monkeypatch.setattr(hash_encoding, "tcnn_works", lambda: False)


def make_field(
    exact_normals: bool = False, implementation: Literal["auto", "tcnn", "torch"] = "torch"
) -> HashGridField:
    config = HashGridFieldConfig(
        latent_dim=8,
        geometry=GEOMETRY,
        colour=COLOUR,
        hidden_dim=16,
        exact_normals=exact_normals,
        implementation=implementation,
    )
    return HashGridField(config)


@pytest.fixture
def field() -> HashGridField:
    return make_field()


def some_points(batch: int, count: int = 100) -> Tensor:
    return (torch.rand(batch, count, 3) - 0.5) * 0.2


def styles_of(field: HashGridField, batch: int = 2) -> HashGridStyles:
    return field.condition(field.mapping(torch.randn(batch, 8)))


def test_geometry_alone_equals_geometry_with_colour(field: HashGridField) -> None:
    styles, positions = styles_of(field), some_points(2)
    logits, rgb = field(positions, torch.randn(2, 100, 3), styles)
    torch.testing.assert_close(field.geometry_logits(positions, styles), logits)
    assert ((rgb > 0) & (rgb < 1)).all()


def test_rows_are_independent_objects(field: HashGridField) -> None:
    styles, positions = styles_of(field, 3), some_points(1).expand(3, -1, -1)
    logits, rgb = field(positions, positions, styles)
    assert len(styles) == 3
    for row in range(3):
        alone = field(positions[row : row + 1], positions[:1], styles[row : row + 1])
        torch.testing.assert_close(alone[0], logits[row : row + 1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone[1], rgb[row : row + 1], atol=1e-5, rtol=1e-5)
    chosen = styles[torch.tensor([2, 0])]
    torch.testing.assert_close(field.geometry_logits(positions[:2], chosen), logits[[2, 0]], atol=1e-5, rtol=1e-5)
    assert (rgb[0] - rgb[1]).abs().mean() > 1e-3, "two latents must be two objects"


def test_a_shared_table_can_hold_different_objects(field: HashGridField) -> None:
    """Two latents learn two solids that have no symmetry in common, by the networks and the one table."""
    latents, positions = torch.randn(2, 8), some_points(2, 1000)
    wanted = torch.stack((positions[0, :, 0] > 0.01, (positions[1, :, 1] + positions[1, :, 2]).abs() < 0.05)).float()
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    loss = torch.tensor(torch.inf)
    for _ in range(60):
        styles = field.condition(field.mapping(latents))
        logits = field.geometry_network(
            field.features(field.geometry_table, styles.geometry_volumes, positions),
            styles.geometry_network,
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[..., 0], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.15, "chance is 0.6 to 0.7"


def by_differences(field: HashGridField, positions: Tensor, styles: HashGridStyles, step: float) -> Tensor:
    """Central differences of the logit in double precision."""
    gradient = []
    for axis in range(3):
        offset = torch.zeros(3, dtype=positions.dtype)
        offset[axis] = step
        upper, lower = (field.geometry_logits(positions + sign * offset, styles) for sign in (1, -1))
        gradient.append((upper - lower) / (2 * step))
    return torch.stack(gradient, dim=-1)


@pytest.mark.parametrize("recorded", [False, True], ids=["for display", "for training"])
def test_exact_gradients_are_those_of_the_logit(recorded: bool) -> None:
    field = make_field(exact_normals=True).double()
    styles = field.condition(field.mapping(torch.randn(2, 8, dtype=torch.float64)))
    positions = some_points(2, 200).double()
    with torch.set_grad_enabled(recorded):
        gradient = field.logit_gradient(positions, styles)
    expected = by_differences(field, positions, styles, 1e-7)
    close = (gradient - expected).norm(dim=-1) < 1e-3 * (1.0 + expected.norm(dim=-1))
    assert close.double().mean() > 0.99, "all but points beside a kink"
    assert gradient.requires_grad == recorded


@pytest.mark.parametrize("exact", [False, True], ids=["differences", "exact"])
def test_normals_train_table_and_networks(exact: bool) -> None:
    field = make_field(exact_normals=exact)
    styles = styles_of(field)
    field.normals(some_points(2), styles).square()[..., 0].sum().backward()
    for parameter in (field.geometry_table.parameter, *field.geometry_network.layers.parameters()):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    assert field.geometry_table.parameter.grad.abs().sum() > 0  # pyright: ignore[reportOptionalMemberAccess]


def test_differences_point_as_exact_normals_do(field: HashGridField) -> None:
    exact = copy.deepcopy(field)
    exact.config = copy.deepcopy(field.config)
    exact.config.exact_normals = True
    styles, positions = styles_of(field), some_points(2, 400)
    alignment = (field.normals(positions, styles) * exact.normals(positions, styles)).sum(dim=-1)
    assert alignment.mean() > 0.95


@pytest.mark.parametrize(("saved", "built"), [("tcnn", "torch"), ("torch", "tcnn")])
def test_a_checkpoint_opens_in_its_own_layout(saved: Literal["tcnn", "torch"], built: Literal["tcnn", "torch"]) -> None:
    """A run trained with tiny-cuda-nn opens where there is none, and the reverse."""
    source, target = make_field(implementation=saved), make_field(implementation=built)
    state = source.state_dict()
    assert set(state) != set(target.state_dict())
    target.fit_to_checkpoint(state)
    assert {name: tensor.shape for name, tensor in target.state_dict().items()} == {
        name: tensor.shape for name, tensor in state.items()
    }
    target.load_state_dict(state)
    positions, latents = some_points(2), torch.randn(2, 8)
    outputs = [one(positions, positions, one.condition(one.mapping(latents))) for one in (source, target)]
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
def test_tiny_cuda_nn_and_pytorch_show_the_same_object() -> None:
    pytest.importorskip("tinycudann")
    native = make_field(implementation="tcnn").cuda()
    assert native.geometry_table.native
    twin = make_field(implementation="torch")
    twin.load_state_dict({name: tensor.cpu() for name, tensor in native.state_dict().items()})
    positions, latents = some_points(2), torch.randn(2, 8)
    shown = native(positions.cuda(), positions.cuda(), native.condition(native.mapping(latents.cuda())))
    expected = twin(positions, positions, twin.condition(twin.mapping(latents)))
    for found, wanted in zip(shown, expected, strict=True):
        torch.testing.assert_close(found.cpu(), wanted, atol=1e-2, rtol=1e-2)
