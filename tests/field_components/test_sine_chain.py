"""The blockwise chain of sine layers against the plain layers that torch differentiates."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gan3d_ns.field_components import sine_chain
from gan3d_ns.fields.film_siren_field import FilmSirenField, FilmSirenFieldConfig, FilmStyles

BATCH, POINTS = 2, 37


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uneven blocks: the points of an image do not fit into whole ones."""
    monkeypatch.setattr(sine_chain, "CPU_BLOCK_POINTS", 16)


def field_of(gain: float = 0.0) -> FilmSirenField:
    config = FilmSirenFieldConfig(latent_dim=6, hidden_dim=10, num_layers=3, sphere_prior_gain=gain)
    return FilmSirenField(config).double()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    positions = (torch.rand(BATCH, POINTS, 3, generator=generator, dtype=torch.float64) - 0.5) * 0.24
    directions = torch.nn.functional.normalize(torch.randn(positions.shape, generator=generator).double(), dim=-1)
    return positions, directions, torch.randn(BATCH, 6, generator=generator).double()


def graded(
    field: FilmSirenField, measure: Callable[[FilmSirenField, FilmStyles], Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """A value and its gradient in every parameter, zero where there is none."""
    value = measure(field, field.condition(field.mapping(inputs()[2])))
    parameters = list(field.parameters())
    slopes = torch.autograd.grad(value, parameters, allow_unused=True)
    filled = [
        torch.zeros_like(entry) if slope is None else slope for entry, slope in zip(parameters, slopes, strict=True)
    ]
    return value.detach(), filled


def of_geometry(field: FilmSirenField, styles: FilmStyles) -> Tensor:
    return field.geometry_logits(inputs()[0], styles).sin().sum()


def of_both(field: FilmSirenField, styles: FilmStyles) -> Tensor:
    logits, rgb = field(*inputs()[:2], styles)
    return (logits.sigmoid()[..., None] * rgb).square().sum()


def of_normals(field: FilmSirenField, styles: FilmStyles) -> Tensor:
    normals = field.normals(inputs()[0], styles)
    return (normals[:, 1:] - normals[:, :-1]).square().sum()


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("measure", [of_geometry, of_both, of_normals])
@pytest.mark.parametrize("gain", [0.0, 4.0])
def test_values_and_gradients_are_those_of_the_plain_layers(
    measure: Callable[[FilmSirenField, FilmStyles], Tensor], recompute: bool, gain: float
) -> None:
    field = field_of(gain)
    plain = copy.deepcopy(field)
    plain.config.blockwise, field.config.recompute = False, recompute
    ours, theirs = graded(field, measure), graded(plain, measure)
    assert sum(float(slope.abs().sum()) for slope in theirs[1]) > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_nothing_is_kept_where_no_gradient_is_recorded() -> None:
    field = field_of()
    positions, directions, latents = inputs()
    styles = field.condition(field.mapping(latents))
    graph = field(positions, directions, styles)
    with torch.no_grad():
        values = field(positions, directions, styles)
        logits, gradient = field.geometry_logits(positions, styles), field.logit_gradient(positions, styles)
    assert not any(value.requires_grad for value in (*values, logits, gradient))
    torch.testing.assert_close(values, tuple(entry.detach() for entry in graph), rtol=0, atol=1e-12)


def test_activations_are_not_even_kept_for_a_moment_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search asks for most points, with weights that want gradients."""
    field = field_of()
    positions, directions, latents = inputs()
    styles = field.condition(field.mapping(latents))

    def refuse(*_: object) -> None:
        raise AssertionError("all angles of a block were asked for")

    monkeypatch.setattr(sine_chain._Layers, "angles", refuse)
    with torch.no_grad():
        field.geometry_logits(positions, styles)
        field(positions, directions, styles)
    with pytest.raises(AssertionError, match="angles"):
        field.geometry_logits(positions, styles)


@pytest.mark.parametrize("which", ["positions", "directions"])
def test_inputs_that_want_a_gradient_get_it_any_number_of_times(which: str) -> None:
    field = field_of()
    positions, directions, latents = inputs()
    styles = field.condition(field.mapping(latents).detach())
    wanted = positions if which == "positions" else directions
    wanted.requires_grad_(True)
    (slope,) = torch.autograd.grad(field(positions, directions, styles)[1].sum(), wanted, create_graph=True)
    assert slope.abs().sum() > 0
    slope.square().sum().backward()
    assert wanted.grad is not None and wanted.grad.abs().sum() > 0


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    field = field_of()
    value = of_geometry(field, field.condition(field.mapping(inputs()[2])))
    weight = field.trunk[1].linear.weight
    (slope,) = torch.autograd.grad(value, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_the_backward_pass_keeps_a_third_of_the_plain_layers_or_nothing() -> None:
    """Bytes that the graph holds for each point: a sixth of these layers' is a layer's output."""
    field = field_of().float()
    latents = inputs()[2].float()
    positions, directions = (torch.rand(1, 4096, 3) for _ in range(2))

    def bytes_kept(blockwise: bool, recompute: bool) -> int:
        field.config.blockwise, field.config.recompute = blockwise, recompute
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        styles = field.condition(field.mapping(latents[:1]))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            outputs = field(positions, directions, styles)
        assert outputs[0].requires_grad
        return sum(kept.values())

    plain, kept, recomputed = bytes_kept(False, False), bytes_kept(True, False), bytes_kept(True, True)
    assert kept < 0.45 * plain
    assert recomputed < 0.15 * plain


@pytest.mark.parametrize("measure", [of_geometry, of_both, of_normals])
def test_autocast_changes_little_and_keeps_gradients_in_the_weights_precision(
    measure: Callable[[FilmSirenField, FilmStyles], Tensor],
) -> None:
    field = field_of().float()

    def single(field: FilmSirenField, styles: FilmStyles) -> Tensor:
        positions, directions = (entry.float() for entry in inputs()[:2])
        values = {
            of_geometry: lambda: field.geometry_logits(positions, styles),
            of_both: lambda: field(positions, directions, styles)[1],
            of_normals: lambda: field.logit_gradient(positions, styles),
        }[measure]()
        return values.float().square().mean()

    styles = field.condition(field.mapping(inputs()[2].float()))
    exact = torch.autograd.grad(single(field, styles), list(field.trunk.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        styles = field.condition(field.mapping(inputs()[2].float()))
        value = single(field, styles)
    rough = torch.autograd.grad(value, list(field.trunk.parameters()))
    for one, other in zip(exact, rough, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert (one - other).norm() < 0.25 * one.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("measure", [of_geometry, of_both, of_normals])
def test_a_gpu_gives_the_numbers_of_a_cpu(
    measure: Callable[[FilmSirenField, FilmStyles], Tensor], recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sine_chain, "GPU_BLOCK_POINTS", 32)
    field = field_of(gain=4.0)
    field.config.recompute = recompute
    expected = graded(field, measure)
    on_gpu = copy.deepcopy(field).cuda()
    with monkeypatch.context() as patch:
        cpu_inputs = inputs()
        patch.setitem(globals(), "inputs", lambda: tuple(entry.cuda() for entry in cpu_inputs))
        value, slopes = graded(on_gpu, measure)
    torch.testing.assert_close((value.cpu(), [slope.cpu() for slope in slopes]), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.gpu
def test_half_precision_of_a_gpu_trains_the_chain() -> None:
    field = field_of(gain=4.0).float().cuda()
    positions, directions, latents = (entry.float().cuda() for entry in inputs())
    exact = field(positions, directions, field.condition(field.mapping(latents)))
    with torch.autocast("cuda", dtype=torch.float16, cache_enabled=False):
        styles = field.condition(field.mapping(latents))
        rough = field(positions, directions, styles)
        value = sum(entry.square().mean() for entry in rough) + field.normals(positions, styles)[:, 0].square().sum()
    for one, other in zip(exact, rough, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02)
    value.backward()
    assert all(entry.grad is not None and entry.grad.isfinite().all() for entry in field.trunk.parameters())
