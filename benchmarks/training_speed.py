"""How fast the methods train here, beside a plain reference with the same networks in the same run.

    python benchmarks/training_speed.py                      # all methods, first stage of each curriculum
    python benchmarks/training_speed.py --methods gof-gan-tiny --resolutions 32 64 --rounds 9

The reference is what one writes first: pictures drawn anew for each phase, as many samples as the method composites
and searches with, spread evenly over the whole ray and all evaluated with colour and gradient, penalties at every
step; in full precision and without the smoothness terms. Method and reference take turns (A B A B ...), so that a
drifting machine is seen by both; medians are printed.
Each method runs in a process of its own, whose peak memory is read at the end (of the GPU, where there is one).
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Optional, Tuple

import torch
import tyro
from PIL import Image

from gan3d_ns.engine.gan_trainer import GanTrainer, step_randomness
from gan3d_ns.engine.schedules import CurriculumStage
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.model_components import losses
from gan3d_ns.model_components.ray_samplers import spread_evenly
from gan3d_ns.model_components.surface import SurfaceHits

RUSAGE_UNIT = 1024 if platform.system() == "Linux" else 1
METHODS = ("gof-gan-tiny", "gof-gan", "gof-gan-paper")


@dataclass
class Benchmark:
    """What is measured."""

    methods: Tuple[str, ...] = METHODS
    """Registered names."""
    resolutions: Tuple[int, ...] = ()
    """Sides of the pictures; empty: the first stage's of each method."""
    batch_size: Optional[int] = None
    """Pictures in a step; the default is the first stage's."""
    rounds: int = 5
    """Measured turns of method and reference each, after one warm-up turn."""
    steps: int = 4
    """Steps in a turn; a multiple of the penalty interval shows its mean cost."""
    output: Optional[Path] = None
    """Where to write the rows as JSON."""
    row: Optional[str] = None
    """Internal: one row, measured in this process."""


def build_trainer(method: str, resolution: Optional[int], batch_size: Optional[int], folder: Path) -> GanTrainer:
    """A trainer of the method on a handful of random pictures, without viewer and event writers."""
    from gan3d_ns.method_configs import gof

    config: GanTrainerConfig = getattr(gof, method.replace("-", "_")).config
    stage = config.curriculum[0]
    resolution = resolution or stage.resolution
    config.curriculum = (CurriculumStage(0, resolution, batch_size or stage.batch_size),)
    config.pipeline.discriminator = replace(config.pipeline.discriminator, resolution=max(64, resolution))
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(16):
        noise = torch.randint(0, 255, (resolution, resolution, 3), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(pictures / f"{index}.png")
    config.data = config.pipeline.datamanager.data = pictures
    config.output_dir, config.vis, config.hollow_check_step = folder, "tensorboard", 0
    config.set_timestamp()
    trainer = config.setup()
    trainer.setup()
    trainer.pipeline.train()
    return trainer


def reference_step(trainer: GanTrainer, step: int) -> None:
    """One step of the plain reference: the trainer's own networks, losses and optimizers around a naive rendering."""
    pipeline, config = trainer.pipeline, trainer.config
    plan = replace(trainer.plan(step), penalise=True)
    randomness = step_randomness(config.machine.seed, step, str(pipeline.device))
    real = pipeline.datamanager.real_batch(plan.position, plan.batch_size, plan.resolution, plan.seed)
    generator, sampler = pipeline.model.generator, config.pipeline.model.sampler
    num_samples = sampler.num_coarse_samples + sampler.num_window_samples + sampler.num_fine_samples

    def draw():
        latents = torch.randn(plan.batch_size, generator.field.latent_dim, generator=randomness, device=pipeline.device)
        poses = pipeline.model.pose_prior.sample(plan.batch_size, randomness, device=pipeline.device)
        rays = pipeline.model.pose_prior.rays(poses, plan.resolution)
        distances = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], num_samples)
        misses = SurfaceHits(distances[..., 0], torch.zeros_like(distances[..., 0], dtype=torch.bool))
        output = generator.composite(generator.styles(latents), rays, distances, misses)
        side = (plan.resolution, plan.resolution)
        return output.rgb.unflatten(1, side).permute(0, 3, 1, 2) * 2 - 1, poses, output

    trainer.optimizers.zero_grad_all()
    pipeline.discriminator.requires_grad_(True)
    with torch.no_grad():
        images, poses, _ = draw()
    real.requires_grad_(True)
    on_real, on_fake = pipeline.discriminator(real), pipeline.discriminator(images)
    loss = losses.non_saturating_discriminator_loss(on_real.score, on_fake.score)
    loss = loss + losses.pose_loss(on_fake.pose, poses) + losses.r1_penalty(on_real.score, real)
    trainer.descend({"d": loss}, ["discriminator"], step)
    pipeline.discriminator.requires_grad_(False)
    images, poses, output = draw()
    on_fake = pipeline.discriminator(images)
    loss = losses.non_saturating_generator_loss(on_fake.score) + losses.pose_loss(on_fake.pose, poses)
    loss = loss + losses.opacity_prior(output.geometry_values)
    trainer.descend({"g": loss}, ["generator", "mapping"], step)
    trainer.grad_scaler.update()


def peak_memory_mb() -> float:
    """Of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RUSAGE_UNIT / 1e6


def measure(method: str, resolution: Optional[int], batch_size: Optional[int], rounds: int, steps: int) -> dict:
    """Medians over the rounds, and the ratio turn by turn."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(method, resolution, batch_size, Path(folder))
        stage = trainer.config.curriculum[0]
        before = peak_memory_mb()

        def turn(run) -> float:
            start = time.perf_counter()
            for step in range(steps):
                run(step)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return (time.perf_counter() - start) / steps

        method_seconds, reference_seconds = [], []
        for index in range(rounds + 1):
            seconds = turn(trainer.train_iteration), peak_memory_mb(), turn(lambda step: reference_step(trainer, step))
            if index == 0:
                method_peak = seconds[1]
                continue
            method_seconds.append(seconds[0])
            reference_seconds.append(seconds[2])
    ratios = [slow / fast for slow, fast in zip(reference_seconds, method_seconds, strict=True)]
    median = statistics.median(method_seconds)
    return {
        "method": method,
        "resolution": stage.resolution,
        "batch": stage.batch_size,
        "steps_per_second": 1.0 / median,
        "images_per_second": stage.batch_size / median,
        "reference_steps_per_second": 1.0 / statistics.median(reference_seconds),
        "speedup": statistics.median(ratios),
        "speedup_range": [min(ratios), max(ratios)],
        "peak_memory_mb": method_peak,
        "memory_before_mb": before,
    }


def main(benchmark: Benchmark) -> None:
    """Runs each row in a process of its own and prints the table."""
    if benchmark.row is not None:
        method, resolution, batch = json.loads(benchmark.row)
        print(json.dumps(measure(method, resolution, batch, benchmark.rounds, benchmark.steps)))
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{device}; torch {torch.__version__}; Python {platform.python_version()}; medians of {benchmark.rounds} turns"
    )
    print("| method | side | batch | D+G steps/s | images/s | reference steps/s | speed-up (range) | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for method in benchmark.methods:
        for resolution in benchmark.resolutions or (None,):
            arguments = ["--rounds", str(benchmark.rounds), "--steps", str(benchmark.steps)]
            request = json.dumps([method, resolution, benchmark.batch_size])
            command = [sys.executable, __file__, "--row", request, *arguments]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                print(f"| {method} | failed: {result.stderr.strip().splitlines()[-1]} |")
                continue
            row = json.loads(result.stdout.strip().splitlines()[-1])
            rows.append(row)
            low, high = row["speedup_range"]
            print(
                f"| {row['method']} | {row['resolution']} | {row['batch']} | {row['steps_per_second']:.2f} | "
                f"{row['images_per_second']:.1f} | {row['reference_steps_per_second']:.2f} | "
                f"{row['speedup']:.1f} ({low:.1f}-{high:.1f}) | {row['peak_memory_mb']:.0f} |",
                flush=True,
            )
    if benchmark.output is not None:
        benchmark.output.write_text(
            json.dumps({"device": device, "benchmark": asdict(benchmark), "rows": rows}, default=str)
        )


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
