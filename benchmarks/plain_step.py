"""The D+G step that one writes first, around the same networks, losses and optimizers.

Pictures drawn anew for each phase, as many samples as the method composites and searches with, spread evenly over the
whole ray and all evaluated with colour and gradient, penalties at every step; in full precision and without the
smoothness terms.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan3d_ns.engine.gan_trainer import GanTrainer


def plain_step(trainer: GanTrainer, step: int) -> None:
    """One such step of the trainer's networks."""
    import torch

    from gan3d_ns.engine.adversarial_step import step_randomness
    from gan3d_ns.model_components import losses
    from gan3d_ns.model_components.ray_samplers import spread_evenly
    from gan3d_ns.model_components.surface import SurfaceHits
    from gan3d_ns.pipelines.step import shown_as

    pipeline, config = trainer.pipeline, trainer.config
    plan = replace(trainer.plan(step), penalise=True)
    randomness = step_randomness(config.machine.seed, step, str(pipeline.device))
    real = pipeline.datamanager.real_batch(plan.position, plan.batch_size, plan.resolution, plan.seed)
    generator, sampler = pipeline.model.generator, config.pipeline.model.sampler
    num_samples = sampler.num_coarse_samples + sampler.num_window_samples + sampler.num_fine_samples

    def draw() -> tuple[Any, Any, Any]:
        latents = torch.randn(plan.batch_size, generator.field.latent_dim, generator=randomness, device=pipeline.device)
        poses = pipeline.model.pose_prior.sample(plan.batch_size, randomness, device=pipeline.device)
        rays = pipeline.model.pose_prior.rays(poses, plan.resolution)
        assert rays.nears is not None and rays.fars is not None
        distances = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], num_samples)
        misses = SurfaceHits(distances[..., 0], torch.zeros_like(distances[..., 0], dtype=torch.bool))
        styles = generator.styles(latents)
        output = generator.composite(styles, rays, distances, misses)
        return shown_as(generator.pictures(output, styles)), poses, output

    phases = trainer.adversarial_step(step)
    trainer.optimizers.zero_grad_all()
    pipeline.discriminator.requires_grad_(True)
    with torch.no_grad():
        images, poses, _ = draw()
    real.requires_grad_(True)
    on_real, on_fake = pipeline.discriminator(real), pipeline.discriminator(images)
    loss = losses.non_saturating_discriminator_loss(on_real.score, on_fake.score)
    assert on_fake.pose is not None
    loss = loss + losses.pose_loss(on_fake.pose, poses) + losses.r1_penalty(on_real.score, real)
    phases.descend({"d": loss}, ["discriminator"])
    pipeline.discriminator.requires_grad_(False)
    images, poses, output = draw()
    on_fake = pipeline.discriminator(images)
    assert on_fake.pose is not None
    loss = losses.non_saturating_generator_loss(on_fake.score) + losses.pose_loss(on_fake.pose, poses)
    loss = loss + losses.opacity_prior(output.geometry_values)
    phases.descend({"g": loss}, ["generator", "mapping"])
    trainer.grad_scaler.update()
