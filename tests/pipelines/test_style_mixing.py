"""Style mixing and the path-length penalty of a training with a styled neural renderer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pipeline_steps import BATCH, RESOLUTION, gradients, plan_of, randomness, real_and_fakes

from gan3d_ns.errors import UserError
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig
from gan3d_ns.pipelines.path_length import path_length_penalty
from gan3d_ns.pipelines.step import Purpose
from gan3d_ns.pipelines.style_mixing import draw_style_mixing, mixed_codes, mixed_styles

MIXING, PATHS = "pipeline.loss.style_mixing", "pipeline.loss.path_length_weight"


@pytest.fixture(scope="module")
def pipeline(make_pipeline):
    return make_pipeline("volumegan-tiny", **{MIXING: 0.9, PATHS: 2.0})


def test_only_layers_of_the_renderer_are_mixed(pipeline) -> None:
    generator = pipeline.model.generator
    layers, renderers = len(generator.field.style_layers), len(generator.neural_renderer.style_layers)
    mixing = draw_style_mixing(generator, 2000, 0.9, randomness())
    assert mixing.first_layers.min() == layers - renderers
    assert mixing.first_layers.max() == layers
    share = (mixing.first_layers < layers).float().mean()
    assert abs(share - 0.9) < 0.03
    # Each of the renderer's layers is the first as often as the others.
    counts = torch.bincount(mixing.first_layers)[layers - renderers : layers].float()
    assert (counts / counts.sum() - 1 / renderers).abs().max() < 0.05


def test_layers_take_the_code_of_their_latent(pipeline) -> None:
    generator = pipeline.model.generator
    layers = len(generator.field.style_layers)
    latents = torch.randn(3, generator.field.latent_dim)
    mixing = draw_style_mixing(generator, 3, 1.0, randomness())
    codes = mixed_codes(generator, latents, mixing)
    first, second = generator.codes(latents), generator.codes(mixing.latents)
    for picture, start in enumerate(mixing.first_layers.tolist()):
        assert torch.equal(codes[:start, picture], first[picture].expand(start, -1))
        assert torch.equal(codes[start:, picture], second[picture].expand(layers - start, -1))
    styles, plain = mixed_styles(generator, latents, mixing), generator.styles(latents)
    torch.testing.assert_close(styles.volume, plain.volume)
    torch.testing.assert_close(styles.entry, plain.entry)
    assert (styles.renderer_codes - plain.renderer_codes).abs().max() > 1e-3


def test_parts_of_a_draw_keep_their_mixing(pipeline) -> None:
    draw = pipeline.draw(BATCH, RESOLUTION, randomness())
    part = draw[1:3]
    assert torch.equal(part.mixing.latents, draw.mixing.latents[1:3])
    assert torch.equal(part.mixing.first_layers, draw.mixing.first_layers[1:3])


def test_the_rest_of_a_draw_does_not_depend_on_mixing(make_pipeline, pipeline) -> None:
    plain = make_pipeline("volumegan-tiny", **{MIXING: 0.0})
    first, second = (entry.draw(BATCH, RESOLUTION, randomness()) for entry in (plain, pipeline))
    assert first.mixing is None
    assert torch.equal(first.latents, second.latents)
    assert torch.equal(first.viewpoints.poses, second.viewpoints.poses)


def test_the_path_length_penalty_reaches_all_that_a_code_passes_through(pipeline) -> None:
    generator, regulariser = pipeline.model.generator, pipeline.path_length
    _, fakes = real_and_fakes(pipeline)
    before = regulariser.running_mean.clone()
    penalty = path_length_penalty(generator, fakes, regulariser)
    assert penalty > 0
    assert regulariser.running_mean != before
    regulariser.running_mean.copy_(before)
    assert torch.equal(path_length_penalty(generator, fakes, regulariser), penalty), "the draw decides its noise"
    generator.zero_grad()
    penalty.backward()
    for part in (generator.field.volume, generator.field.mapping_network, generator.field.layers):
        assert sum(float(gradient.abs().sum()) for gradient in gradients(part)) > 0
    assert sum(float(gradient.abs().sum()) for gradient in gradients(generator.neural_renderer)) > 0


def test_the_generators_loss_has_the_penalty_at_its_steps_alone(pipeline, make_pipeline) -> None:
    real, fakes = real_and_fakes(pipeline)
    assert "g_path" in pipeline.generator_losses(plan_of(measure_paths=True), real, fakes)
    assert "g_path" not in pipeline.generator_losses(plan_of(measure_paths=False), real, fakes)
    plain = make_pipeline("volumegan-tiny", **{PATHS: 0.0})
    real, fakes = real_and_fakes(plain)
    assert "g_path" not in plain.generator_losses(plan_of(measure_paths=True), real, fakes)


def test_learned_cameras_take_no_part_in_the_penalty(make_pipeline) -> None:
    """Reads of the volume have no second derivative with respect to where the rays go."""
    pipeline = make_pipeline("volumegan-tiny", **{PATHS: 2.0, "pipeline.model.camera_law": "learned"})
    pipeline.release_cameras(1.0)
    generator = pipeline.model.generator
    _, fakes = real_and_fakes(pipeline)
    assert fakes.rays.directions.requires_grad
    path_length_penalty(generator, fakes, pipeline.path_length).backward()
    assert not gradients(generator.camera_generator)
    assert any(bool(gradient.any()) for gradient in gradients(generator.field.volume))


def test_a_batch_in_parts_moves_the_running_mean_as_far_as_in_one(pipeline) -> None:
    regulariser = pipeline.path_length

    def moved(parts: int) -> float:
        regulariser.running_mean.zero_()
        plan = plan_of(measure_paths=True, batch_split=parts)
        for part in plan.parts():
            draw = pipeline.draw(BATCH, RESOLUTION, randomness())[part]
            pipeline.generator_losses(plan, draw.latents.new_zeros(len(draw), 3, 16, 16), pipeline.render(draw))
        return float(regulariser.running_mean)

    # The second part starts from a mean that has already moved by half a hundredth.
    assert moved(2) == pytest.approx(moved(1), rel=0.01)
    assert moved(4) == pytest.approx(moved(1), rel=0.01), "half of the parts have no picture to measure"


def test_pictures_have_random_numbers_of_their_own(pipeline) -> None:
    """Each is the same picture whatever stands beside it, but no two share their numbers."""
    draw = pipeline.draw(BATCH, RESOLUTION, randomness())
    whole = pipeline.render(draw)
    alone = [pipeline.render(draw[index : index + 1]) for index in range(BATCH)]
    torch.testing.assert_close(torch.cat([fakes.images for fakes in alone]), whole.images, rtol=1e-4, atol=1e-5)
    same = pipeline.render(replace(draw, seeds=draw.seeds[::-1])).images
    assert (same - whole.images).abs().amax(dim=(1, 2, 3)).min() > 1e-4
    assert len(set(draw.seeds)) == BATCH
    noise = [draw.randomness(purpose).fill(torch.zeros(BATCH, 5), "normal_") for purpose in Purpose]
    assert len({tuple(row.tolist()) for rows in noise for row in rows}) == BATCH * len(Purpose)


def test_the_running_mean_travels_with_the_weights(pipeline, make_pipeline) -> None:
    pipeline.path_length.running_mean.fill_(0.25)
    state = pipeline.state_dict()
    same = make_pipeline("volumegan-tiny", **{MIXING: 0.9, PATHS: 2.0})
    same.load_pipeline(state, 3)
    assert float(same.path_length.running_mean) == 0.25
    # The penalty may be switched off in mid-run, and on again.
    without = make_pipeline("volumegan-tiny", **{PATHS: 0.0})
    without.load_pipeline(state, 3)
    same.path_length.running_mean.zero_()
    same.load_pipeline(without.state_dict(), 3)
    assert float(same.path_length.running_mean) == 0.0


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="probability"):
        GanLossConfig(style_mixing=1.5)
    with pytest.raises(UserError, match="path_length_interval"):
        GanLossConfig(path_length_interval=0)
