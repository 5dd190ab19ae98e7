"""The two phases: who gets gradients, and that splitting a batch changes nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from pipeline_steps import (
    BATCH,
    RESOLUTION,
    MakePipeline,
    PictureByPicture,
    gradients,
    plan_of,
    randomness,
    real_and_fakes,
    total,
)
from torch import Tensor

from gan3d_ns.model_components.sampling import points_at
from gan3d_ns.pipelines.batch_parts import part_weights, weighted


def test_the_discriminator_phase_leaves_the_generator_alone(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    real, fakes = real_and_fakes(pipeline)
    assert fakes.images.requires_grad, "the pictures are shared with the other phase"
    total(pipeline.discriminator_losses(plan_of(), real, fakes)).backward()
    assert not gradients(pipeline.model)
    assert any(gradient.abs().sum() > 0 for gradient in gradients(pipeline.discriminator))


def test_the_generator_phase_leaves_the_discriminator_alone(make_pipeline: MakePipeline) -> None:
    """A gradient would make nerfstudio's optimizers step the discriminator towards being fooled."""
    pipeline = make_pipeline()
    real, fakes = real_and_fakes(pipeline)
    total(pipeline.generator_losses(plan_of(), real, fakes)).backward()
    assert not gradients(pipeline.discriminator)
    assert not gradients(pipeline.model.generator_ema)
    assert any(gradient.abs().sum() > 0 for gradient in gradients(pipeline.model.generator))


def test_phases_follow_each_other_in_any_order(make_pipeline: MakePipeline) -> None:
    """The freeze of one phase is lifted by the next."""
    pipeline = make_pipeline()
    for _ in range(2):
        real, fakes = real_and_fakes(pipeline)
        total(pipeline.discriminator_losses(plan_of(), real, fakes)).backward()
        assert gradients(pipeline.discriminator)
        pipeline.zero_grad(set_to_none=True)
        total(pipeline.generator_losses(plan_of(), real, fakes)).backward()
        assert not gradients(pipeline.discriminator)
        pipeline.zero_grad(set_to_none=True)


@pytest.mark.parametrize("method_name", ["gof-gan-tiny", "gof-gan-paper"])
def test_the_normals_term_shapes_the_geometry(method_name: str, make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(method_name, **{"pipeline.loss.normal_weight": 1.0})
    _, fakes = real_and_fakes(pipeline)
    assert fakes.render.hit.any()
    smoothness = pipeline.normal_smoothness(fakes)
    assert smoothness > 0
    field = pipeline.model.generator.field
    named = dict(field.named_parameters())
    points = points_at(fakes.rays, fakes.render.surface_depth)
    logits = field.geometry_logits(points, fakes.styles)
    reached = [
        torch.autograd.grad(value, list(named.values()), retain_graph=True, allow_unused=True)
        for value in (logits.square().sum(), smoothness)
    ]
    assert any(slope is not None for slope in reached[0])
    for (name, parameter), of_logits, of_term in zip(named.items(), *reached, strict=True):
        # Shifting all logits turns no normal: the bias of the last layer is left out.
        if of_logits is not None and parameter.shape != (1,):
            assert of_term is not None and torch.isfinite(of_term).all(), name
            assert of_term.abs().sum() > 0 or of_logits.abs().sum() == 0 or "bias" in name, name


def test_fewer_rays_estimate_the_same_normals_term(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    _, fakes = real_and_fakes(pipeline)

    def mean_term(fraction: float) -> torch.Tensor:
        """Over many draws of the neighbours: a single draw varies by half."""
        pipeline.config.loss.normal_ray_fraction = fraction
        draws = [pipeline.draw(BATCH, RESOLUTION, torch.Generator().manual_seed(seed)) for seed in range(60)]
        return torch.stack([pipeline.normal_smoothness(replace(fakes, draw=draw)) for draw in draws]).mean()

    with torch.no_grad():
        torch.testing.assert_close(mean_term(0.5), mean_term(1.0), rtol=0.25, atol=0.0)


def dense_normal_smoothness(pipeline: Any, fakes: Any) -> Tensor:
    """The term with the normals of all compared rays, those that miss masked afterwards."""
    from gan3d_ns.model_components import losses

    chosen = fakes.draw.compared_rays
    points = points_at(fakes.rays, fakes.render.surface_depth)[:, chosen]
    normals_at = pipeline.model.generator.field.normals
    first = normals_at(points, fakes.styles)
    second = normals_at(points + fakes.draw.neighbour_offsets, fakes.styles)
    return losses.normal_smoothness(first, second, fakes.render.hit[:, chosen])


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("method_name", ["gof-gan-tiny", "gof-gan-paper"])
def test_packed_normals_give_the_term_of_all_rays(
    method_name: str, fraction: float, make_pipeline: MakePipeline
) -> None:
    pipeline = make_pipeline(method_name, **{"pipeline.loss.normal_ray_fraction": fraction})
    _, fakes = real_and_fakes(pipeline)
    hits = fakes.render.hit.sum(dim=1)
    assert 0 < hits.min() < hits.max(), "rows of different lengths"
    parameters = list(pipeline.model.generator.parameters())
    packed, dense = pipeline.normal_smoothness(fakes), dense_normal_smoothness(pipeline, fakes)
    torch.testing.assert_close(packed, dense, rtol=1e-5, atol=0.0)
    slopes = [torch.autograd.grad(term, parameters, allow_unused=True, retain_graph=True) for term in (packed, dense)]
    for one, other in zip(*slopes, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()) + 1e-9)


def test_normals_are_asked_only_where_rays_hit(make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline()
    _, fakes = real_and_fakes(pipeline)
    asked: list[int] = []
    field = pipeline.model.generator.field
    normals = field.normals

    def noted(positions: Tensor, styles: Any) -> Tensor:
        asked.append(positions.shape[1])
        return normals(positions, styles)

    monkeypatch.setattr(field, "normals", noted)
    pipeline.normal_smoothness(fakes)
    assert asked == [2 * int(fakes.render.hit[:, fakes.draw.compared_rays].sum(dim=1).max())]
    missed = replace(fakes, render=replace(fakes.render, hit=torch.zeros_like(fakes.render.hit)))
    assert float(pipeline.normal_smoothness(missed)) == 0.0
    assert len(asked) == 1


@pytest.mark.parametrize(("batch", "splits", "sizes"), [(4, 1, [4]), (4, 2, [2, 2]), (5, 3, [1, 2, 2]), (2, 4, [1, 1])])
def test_parts_cover_the_batch_evenly(batch: int, splits: int, sizes: list[int]) -> None:
    parts = plan_of(batch_size=batch, batch_split=splits).parts()
    assert [part.stop - part.start for part in parts] == sizes
    assert [index for part in parts for index in range(batch)[part]] == list(range(batch))


@pytest.mark.parametrize(
    ("method_name", "changes"),
    [
        ("gof-gan-tiny", {}),
        ("gof-gan-tiny", {"pipeline.augmentation": "diffaug"}),
        ("gof-gan-tiny", {"pipeline.augmentation": "diffaug", "pipeline.loss.adversarial": "relativistic"}),
        ("gof-gan-paper", {}),
        ("gof-gan-paper", {"pipeline.loss.adversarial": "relativistic"}),
    ],
)
@pytest.mark.parametrize("splits", [2, 3])
def test_a_split_batch_gives_the_gradient_of_the_whole_one(
    splits: int, method_name: str, changes: dict[str, Any], make_pipeline: MakePipeline
) -> None:
    """Unequal parts, jittered windows and fine samples too: each picture has random numbers of its own."""
    settings = {"pipeline.loss.coverage_weight": 1.0, "pipeline.loss.normal_weight": 1.0, **changes}
    pipeline = make_pipeline(method_name, **settings)
    pipeline.discriminator = PictureByPicture()
    generator = pipeline.model.generator
    real = pipeline.datamanager.real_batch(0, BATCH, RESOLUTION, 0)

    def gradient(splits: int) -> tuple[dict[str, float], list[Tensor]]:
        pipeline.zero_grad(set_to_none=True)
        plan = plan_of(batch_split=splits)
        draw = pipeline.draw(BATCH, RESOLUTION, randomness())
        found = pipeline.search_parts(draw, plan)
        sums: dict[str, float] = {}
        weights: list[Any] = []
        for index, (part, search) in enumerate(zip(plan.parts(), found, strict=True)):
            fakes = pipeline.render(draw[part], search)
            weights = weights or part_weights(plan, [fakes] if splits == 1 else found, draw, Tensor.detach)
            terms = weighted(pipeline.generator_losses(plan, real[part], fakes), weights[index])
            total(terms).backward()
            sums = {name: sums.get(name, 0.0) + float(term.detach()) for name, term in terms.items()}
        return sums, copy.deepcopy(gradients(generator))

    (terms, slopes), (whole_terms, whole_slopes) = gradient(splits), gradient(1)
    assert {"g_normal", "g_opacity", "g_coverage", "g_pose"} <= whole_terms.keys()
    assert terms == pytest.approx(whole_terms, rel=1e-5)
    for one, other in zip(slopes, whole_slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * max(1.0, float(other.abs().max())))


def test_the_window_is_set_for_generator_and_average(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    pipeline.set_window(0.05)
    for generator in (pipeline.model.generator, pipeline.model.generator_ema):
        assert float(generator.sampler.half_width) == pytest.approx(0.05)


def test_pictures_are_in_range_and_repeatable(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    first, second = (pipeline.generate(BATCH, RESOLUTION, randomness()) for _ in range(2))
    assert first.images.shape == (BATCH, 3, RESOLUTION, RESOLUTION)
    assert first.images.min() >= -1.0 and first.images.max() <= 1.0 + 1e-5
    torch.testing.assert_close(first.images, second.images, rtol=0, atol=0)


def test_the_stock_training_call_is_refused(make_pipeline: MakePipeline) -> None:
    from gan3d_ns.errors import UserError

    with pytest.raises(UserError, match="GanTrainer"):
        make_pipeline().get_train_loss_dict(0)


def test_eval_loss_is_repeatable_and_changes_nothing(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    before = copy.deepcopy(pipeline.state_dict())
    first, second = (pipeline.get_eval_loss_dict(0)[1]["g_adversarial"] for _ in range(2))
    assert torch.isfinite(first) and torch.equal(first, second)
    torch.testing.assert_close(pipeline.state_dict(), before, rtol=0, atol=0)
