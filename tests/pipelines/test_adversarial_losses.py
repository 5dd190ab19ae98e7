"""What the discriminator is shown and asked: penalties, precision, top-k, pairs and augmentation."""

from __future__ import annotations

from collections.abc import Callable
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
from torch import Tensor, nn


@pytest.mark.parametrize("interval", [1, 4])
def test_penalties_are_multiplied_by_their_interval(interval: int, make_pipeline: MakePipeline) -> None:
    settings = {"r1_weight": 3.0, "r2_weight": 0.5, "penalty_interval": interval}
    pipeline = make_pipeline(**{f"pipeline.loss.{name}": value for name, value in settings.items()})
    real, fakes = real_and_fakes(pipeline)
    terms = pipeline.discriminator_losses(plan_of(), real, fakes)
    for name, images, weight in (("d_r1", real, 3.0), ("d_r2", fakes.images, 0.5)):
        images = images.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(pipeline.discriminator(images).score.sum(), images)
        expected = weight * interval * 0.5 * slope.square().sum(dim=(1, 2, 3)).mean()
        torch.testing.assert_close(terms[name].detach(), expected)
    without = pipeline.discriminator_losses(plan_of(penalise=False), real.detach(), fakes)
    assert not {"d_r1", "d_r2"} & without.keys()


def test_penalties_reach_the_discriminator(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(**{"pipeline.loss.r2_weight": 1.0})
    terms = pipeline.discriminator_losses(plan_of(), *real_and_fakes(pipeline))
    for name in ("d_r1", "d_r2"):
        pipeline.zero_grad(set_to_none=True)
        terms[name].backward(retain_graph=True)
        assert any(gradient.abs().sum() > 0 for gradient in gradients(pipeline.discriminator)), name
        assert not gradients(pipeline.model), name


@pytest.mark.parametrize("method_name", ["gof-gan-tiny", "gof-gan-paper"])
def test_penalties_under_autocast_are_those_of_full_precision(method_name: str, make_pipeline: MakePipeline) -> None:
    """And so are their gradients; without a penalty the discriminator does work in half precision."""
    pipeline = make_pipeline(method_name, **{"pipeline.loss.r2_weight": 1.0})
    real, fakes = real_and_fakes(pipeline)
    parameters = list(pipeline.discriminator.parameters())

    def penalties(half: bool) -> tuple[list[Tensor], list[Tensor]]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            terms = pipeline.discriminator_losses(plan_of(), real.detach().clone(), fakes)
        values = [terms["d_r1"], terms["d_r2"]]
        slopes = torch.autograd.grad(total(terms), parameters, allow_unused=True)
        return [value.detach() for value in values], [slope for slope in slopes if slope is not None]

    torch.testing.assert_close(penalties(True), penalties(False), rtol=1e-6, atol=1e-9)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        assert pipeline.discriminator(real.detach()).score.dtype == torch.bfloat16


def test_rays_do_not_know_of_autocast(make_pipeline: MakePipeline) -> None:
    """Directions in half precision would be pixels apart."""
    pipeline = make_pipeline()
    draw = pipeline.draw(BATCH, RESOLUTION, randomness())
    exact = pipeline.rays(draw, pipeline.viewpoints(draw))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rays = pipeline.rays(draw, pipeline.viewpoints(draw))
    assert torch.equal(rays.directions, exact.directions)
    assert torch.equal(rays.origins, exact.origins)


def test_top_k_trains_on_the_best_pictures_only(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(**{"pipeline.loss.pose_weight": 0.0, "pipeline.loss.normal_weight": 0.0})
    pipeline.discriminator = PictureByPicture()
    real, fakes = real_and_fakes(pipeline)
    terms = pipeline.generator_losses(plan_of(top_k_fraction=0.5), real, fakes)
    (slope,) = torch.autograd.grad(terms["g_adversarial"], fakes.images)
    trained = slope.flatten(1).abs().sum(dim=1) > 0
    scores = pipeline.discriminator(fakes.images).score
    assert int(trained.sum()) == BATCH // 2
    assert scores[trained].min() >= scores[~trained].max()


def test_relativistic_losses_compare_pairs(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(**{"pipeline.loss.adversarial": "relativistic", "pipeline.loss.r2_weight": 1.0})
    real, fakes = real_and_fakes(pipeline)
    difference = (pipeline.discriminator(real).score - pipeline.discriminator(fakes.images).score).detach()
    discriminator = pipeline.discriminator_losses(plan_of(), real, fakes)
    generator = pipeline.generator_losses(plan_of(), real, fakes)
    softplus = nn.functional.softplus
    torch.testing.assert_close(discriminator["d_adversarial"].detach(), softplus(-difference).mean())
    torch.testing.assert_close(generator["g_adversarial"].detach(), softplus(difference).mean())
    total(generator).backward()
    assert not gradients(pipeline.discriminator)


def test_relativistic_losses_ignore_a_common_shift_of_the_scores(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(**{"pipeline.loss.adversarial": "relativistic"})
    real, fakes = real_and_fakes(pipeline)
    before = pipeline.generator_losses(plan_of(), real, fakes)["g_adversarial"]
    with torch.no_grad():
        pipeline.discriminator.head.bias[0] += 5.0
    after = pipeline.generator_losses(plan_of(), real, fakes)["g_adversarial"]
    torch.testing.assert_close(after, before)


def test_top_k_keeps_pairs_together(make_pipeline: MakePipeline) -> None:
    """The worst generated pictures are left out with the real ones that they were compared with."""
    pipeline = make_pipeline(**{"pipeline.loss.adversarial": "relativistic"})
    pipeline.discriminator = PictureByPicture()
    real, fakes = real_and_fakes(pipeline)
    term = pipeline.generator_losses(plan_of(top_k_fraction=0.5), real, fakes)["g_adversarial"]
    on_real, on_fake = (pipeline.discriminator(images).score.detach() for images in (real, fakes.images))
    best = on_fake.argsort(descending=True)[: BATCH // 2]
    torch.testing.assert_close(term.detach(), nn.functional.softplus(on_real - on_fake)[best].mean())
    assert not torch.equal(on_fake.sort().indices, (on_fake - on_real).sort().indices), "the test could not fail"
    (slope,) = torch.autograd.grad(term, fakes.images)
    assert torch.equal((slope.flatten(1).abs().sum(dim=1) > 0).nonzero()[:, 0], best.sort().values)


def shown_to(pipeline: Any, act: Callable[[], Any]) -> list[Tensor]:
    """What the discriminator is asked about while `act` runs, in order."""
    seen: list[Tensor] = []
    asked = pipeline.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    act()
    asked.remove()
    return seen


@pytest.mark.parametrize("adversarial", ["non-saturating", "relativistic"])
def test_whatever_the_discriminator_sees_is_augmented(adversarial: str, make_pipeline: MakePipeline) -> None:
    """Real and generated pictures, in both phases, each time anew."""
    from gan3d_ns.model_components.augmentation import Showing, diff_augment

    pipeline = make_pipeline(**{"pipeline.augmentation": "diffaug", "pipeline.loss.adversarial": adversarial})
    real, fakes = real_and_fakes(pipeline)
    expected = [
        diff_augment(images.detach(), fakes.draw.augmentation[:, showing])
        for images, showing in (
            (real, Showing.REAL_TO_DISCRIMINATOR),
            (fakes.images, Showing.FAKE_TO_DISCRIMINATOR),
            (fakes.images, Showing.FAKE_TO_GENERATOR),
            (real, Showing.REAL_TO_GENERATOR),
        )
    ]
    seen = shown_to(pipeline, lambda: pipeline.discriminator_losses(plan_of(), real, fakes))
    seen += shown_to(pipeline, lambda: pipeline.generator_losses(plan_of(), real.detach(), fakes))
    torch.testing.assert_close(seen, expected[: 4 if adversarial == "relativistic" else 3], rtol=0, atol=0)


def test_without_augmentation_nothing_changes(make_pipeline: MakePipeline) -> None:
    """Not even the random numbers of the other draws, so that older runs resume exactly."""
    plain, augmented = make_pipeline(), make_pipeline(**{"pipeline.augmentation": "diffaug"})
    real, fakes = real_and_fakes(plain)
    seen = shown_to(plain, lambda: plain.discriminator_losses(plan_of(), real, fakes))
    torch.testing.assert_close(seen, [real, fakes.images], rtol=0, atol=0)
    first, second = (pipeline.draw(BATCH, RESOLUTION, randomness()) for pipeline in (plain, augmented))
    assert torch.equal(first.latents, second.latents) and torch.equal(first.neighbour_offsets, second.neighbour_offsets)
    assert first.augmentation.numel() == 0


def test_penalties_are_slopes_at_the_augmented_pictures(make_pipeline: MakePipeline) -> None:
    from gan3d_ns.model_components.augmentation import Showing, diff_augment

    weights = {"pipeline.loss.r1_weight": 3.0, "pipeline.loss.r2_weight": 0.5, "pipeline.loss.penalty_interval": 4}
    pipeline = make_pipeline(**{"pipeline.augmentation": "diffaug"}, **weights)
    real, fakes = real_and_fakes(pipeline)
    terms = pipeline.discriminator_losses(plan_of(), real, fakes)
    assert not real.requires_grad, "the pictures of the next phase"
    for name, weight, images, showing in (
        ("d_r1", 12.0, real, Showing.REAL_TO_DISCRIMINATOR),
        ("d_r2", 2.0, fakes.images, Showing.FAKE_TO_DISCRIMINATOR),
    ):
        shown = diff_augment(images.detach(), fakes.draw.augmentation[:, showing]).requires_grad_(True)
        (slope,) = torch.autograd.grad(pipeline.discriminator(shown).score.sum(), shown)
        torch.testing.assert_close(terms[name].detach(), weight * 0.5 * slope.square().sum(dim=(1, 2, 3)).mean())


def test_the_generator_learns_through_the_augmentation(make_pipeline: MakePipeline) -> None:
    """What is cut out, or shifted out of the picture, is not asked for."""
    settings = {"pose_weight": 0.0, "normal_weight": 0.0}
    named = {f"pipeline.loss.{name}": value for name, value in settings.items()}
    pipeline = make_pipeline(**{"pipeline.augmentation": "diffaug"}, **named)
    real, fakes = real_and_fakes(pipeline)
    numbers = fakes.draw.augmentation.clone()
    numbers[...] = 0.5  # no change of colours, no shift, a hole in the middle
    fakes = replace(fakes, draw=replace(fakes.draw, augmentation=numbers))
    term = pipeline.generator_losses(plan_of(), real, fakes)["g_adversarial"]
    (slope,) = torch.autograd.grad(term, fakes.images)
    reached = slope.abs().sum(dim=1) > 0
    quarter = RESOLUTION // 4
    assert not reached[:, quarter:-quarter, quarter:-quarter].any()
    assert reached[:, :quarter].float().mean() > 0.5
