"""The two phases: who gets gradients, what is penalised, and that splitting a batch changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_runs import tiny_config
from torch import Tensor, nn

from gan3d_ns.model_components.sampling import points_at

RESOLUTION = 16
BATCH = 4

MakePipeline = Callable[..., Any]


@pytest.fixture(scope="module")
def make_pipeline(tmp_path_factory: pytest.TempPathFactory) -> MakePipeline:
    """A function from a method and dotted settings to its pipeline, with pictures loaded."""
    folder = tmp_path_factory.mktemp("pipelines")

    def make(method_name: str = "gof-gan-tiny", **settings: Any) -> Any:
        # Without a start shape the first surface may be anywhere.
        start = {"pipeline.model.film_siren.sphere_prior_gain": 6.0}
        config = tiny_config(method_name, folder, **start, **settings)
        config.pipeline.datamanager.data = config.data
        torch.manual_seed(0)
        pipeline = config.pipeline.setup(device="cpu")
        pipeline.datamanager.load_collection(RESOLUTION)
        return pipeline

    return make


def plan_of(**changes: Any) -> Any:
    from gan3d_ns.pipelines.step import StepPlan

    plan = StepPlan(
        resolution=RESOLUTION,
        batch_size=BATCH,
        position=0,
        seed=0,
        window_half_width=0.12,
        opacity_weight=0.1,
        geometry_release=1.0,
        top_k_fraction=1.0,
        fade=1.0,
        penalise=True,
    )
    return replace(plan, **changes)


def randomness() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def real_and_fakes(pipeline: Any) -> tuple[Tensor, Any]:
    real = pipeline.datamanager.real_batch(0, BATCH, RESOLUTION, 0)
    return real, pipeline.generate(BATCH, RESOLUTION, randomness())


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


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
    exact = pipeline.rays(draw)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rays = pipeline.rays(draw)
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


class PictureByPicture(nn.Module):
    """A discriminator without a batch statistic, so that pictures do not know each other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(), nn.Flatten(), nn.LazyLinear(3))
        self.layer(torch.zeros(1, 3, RESOLUTION, RESOLUTION))

    def forward(self, images: Tensor, fade: float = 1.0) -> Any:
        from gan3d_ns.discriminators.base import DiscriminatorOutput

        estimate = self.layer(images)
        return DiscriminatorOutput(score=estimate[:, 0], pose=estimate[:, 1:])


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
    """Unequal parts and jittered windows too; without fine samples a batch draws the same numbers in parts."""
    settings = {"pipeline.loss.coverage_weight": 1.0, "pipeline.loss.normal_weight": 1.0, **changes}
    pipeline = make_pipeline(method_name, **settings, **{"pipeline.model.sampler.num_fine_samples": 0})
    pipeline.discriminator = PictureByPicture()
    generator = pipeline.model.generator
    real = pipeline.datamanager.real_batch(0, BATCH, RESOLUTION, 0)

    def gradient(splits: int) -> tuple[dict[str, float], list[Tensor]]:
        pipeline.zero_grad(set_to_none=True)
        plan, drawn = plan_of(batch_split=splits), randomness()
        draw = pipeline.draw(BATCH, RESOLUTION, drawn)
        found = pipeline.search_parts(draw, plan, drawn)
        sums: dict[str, float] = {}
        for part, search in zip(plan.parts(), found, strict=True):
            fakes = pipeline.render(draw[part], drawn, search)
            terms = pipeline.generator_losses(plan, real[part], fakes)
            terms = pipeline.scaled_to_batch(terms, part, draw, found)
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


@pytest.mark.parametrize(
    ("method_name", "settings"),
    [("gof-gan-paper", {}), ("gof-gan-tiny", {"pipeline.model.tri_plane.decoder_dim": 12})],
    ids=["another method", "another size"],
)
def test_a_checkpoint_of_another_method_or_size_is_refused(
    method_name: str, settings: dict[str, Any], make_pipeline: MakePipeline
) -> None:
    from gan3d_ns.errors import UserError

    pipeline, other = make_pipeline(), make_pipeline(method_name, **settings)
    before = copy.deepcopy(pipeline.state_dict())
    with pytest.raises(UserError, match="the checkpoint does not fit this method") as refusal:
        pipeline.load_pipeline(other.state_dict(), 3)
    assert "\n" not in str(refusal.value)
    torch.testing.assert_close(pipeline.state_dict(), before, rtol=0, atol=0)


def test_its_own_checkpoint_is_taken_whole(make_pipeline: MakePipeline) -> None:
    pipeline, other = make_pipeline(), make_pipeline()
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.add_(1.0)
    pipeline.load_pipeline(other.state_dict(), 3)
    torch.testing.assert_close(pipeline.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(("saved", "built"), [("tcnn", "torch"), ("torch", "tcnn")])
def test_a_checkpoint_of_the_other_hash_layout_opens(
    saved: str, built: str, make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run trained with tiny-cuda-nn opens on a machine without it, and goes on with the optimizers made before."""
    from gan3d_ns.field_components import hash_encoding

    monkeypatch.setattr(hash_encoding, "tcnn_works", lambda: False)
    source, pipeline = (
        make_pipeline(**{"pipeline.model.field": "hash", "pipeline.model.hash_grid.implementation": layout})
        for layout in (saved, built)
    )
    groups = pipeline.get_param_groups()
    pipeline.load_pipeline(source.state_dict(), 3)
    torch.testing.assert_close(pipeline.state_dict(), source.state_dict(), rtol=0, atol=0)
    for name, parameters in pipeline.get_param_groups().items():
        assert [id(parameter) for parameter in parameters] == [id(parameter) for parameter in groups[name]]
    for name in ("generator", "generator_ema"):
        tables = (getattr(pipeline.model, name).field.geometry_table, getattr(source.model, name).field.geometry_table)
        assert tables[0].layout == saved
        points = torch.rand(50, 3)
        torch.testing.assert_close(tables[0](points), tables[1](points))


def test_a_checkpoint_from_before_the_shared_start_shape_opens(make_pipeline: MakePipeline) -> None:
    pipeline, other = make_pipeline(), make_pipeline()
    other.release_geometry(0.25)
    old = {
        name.replace("start_shape.geometry_release", "geometry_release"): x for name, x in other.state_dict().items()
    }
    assert set(old) != set(other.state_dict())
    pipeline.load_pipeline(old, 3)
    torch.testing.assert_close(pipeline.state_dict(), other.state_dict(), rtol=0, atol=0)
