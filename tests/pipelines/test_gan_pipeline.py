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
    from gan3d_ns.pipelines.gan_pipeline import StepPlan

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


@pytest.mark.parametrize("method_name", ["gof-gan-tiny", "gof-gan-paper"])
def test_the_normals_term_shapes_the_geometry(method_name: str, make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(method_name, **{"pipeline.loss.normal_weight": 1.0})
    _, fakes = real_and_fakes(pipeline)
    assert fakes.render.hit.any()
    smoothness = pipeline.normal_smoothness(fakes)
    assert smoothness > 0
    field = pipeline.model.generator.field
    named = dict(field.named_parameters())
    points = pipeline.model.surface_points(fakes.rays, fakes.render.surface_depth)
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
        draws = [pipeline.normal_smoothness(fakes, torch.Generator().manual_seed(seed)) for seed in range(60)]
        return torch.stack(draws).mean()

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


@pytest.mark.parametrize("parts", [2, 4])
def test_a_split_batch_gives_the_gradient_of_the_whole_one(parts: int, make_pipeline: MakePipeline) -> None:
    """For equal pictures; the normals term is left out, because its mean goes over the rays that hit."""
    pipeline = make_pipeline(**{"pipeline.loss.normal_weight": 0.0})
    pipeline.discriminator = PictureByPicture()
    model = pipeline.model
    latents = torch.randn(BATCH, model.generator.field.latent_dim)
    poses = model.pose_prior.sample(BATCH, randomness())
    real = pipeline.datamanager.real_batch(0, BATCH, RESOLUTION, 0)

    def fakes_of(part: slice) -> Any:
        from gan3d_ns.pipelines.gan_pipeline import Fakes

        rays = model.pose_prior.rays(poses[part], RESOLUTION)
        styles = model.generator.styles(latents[part])
        render = model.generator.render(styles, rays)
        images = render.rgb.unflatten(1, (RESOLUTION, RESOLUTION)).permute(0, 3, 1, 2) * 2.0 - 1.0
        return Fakes(images, poses[part], styles, rays, render)

    def gradient(splits: int) -> list[Tensor]:
        pipeline.zero_grad(set_to_none=True)
        size = BATCH // splits
        for index in range(splits):
            part = slice(index * size, (index + 1) * size)
            terms = pipeline.generator_losses(plan_of(), real[part], fakes_of(part), randomness())
            (total(terms) / splits).backward()
        return copy.deepcopy(gradients(model.generator))

    torch.testing.assert_close(gradient(parts), gradient(1), rtol=1e-4, atol=1e-7)


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
