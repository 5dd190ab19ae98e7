"""Weights that stand for a trained gof-gan-paper, where training one is out of reach.

The FiLM-SIREN field of the published size learns, by regression, the logits and colours of a trained run of this
package, over random latents (the run's latent is the first part of the student's; the rest of it does nothing) and
random points. Published models are sharper than short runs: the teacher's logits are multiplied by one factor, so that
at the half width of the final window, one falls from the surface to an opacity of 1 percent, and cut at +-8.

What the student is good for: its surfaces lie where a trained model's do, so that it costs what a trained model costs.
It is no substitute for one in pictures; how well it agrees with its teacher is printed and kept in the file.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict

from benchmarks.weights import save_start
from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gan3d_ns.fields.base_field import GenerativeField
    from gan3d_ns.models.generator import Generator

LOGIT_LIMIT = 8.0
SATURATED_LOGIT = math.log(0.99 / 0.01)
BALL_FRACTION = 0.25
"""Share of the points that lie anywhere in the seen ball instead of the box."""
CANDIDATES = 4
"""Points looked at for each that is learnt from; half of those learnt from are the nearest to surfaces."""
COLOUR_WEIGHT = 4.0
NUM_COMPARED = 8
COMPARED_SIDE = 32


@dataclass
class Distil:
    """Teach the field of gof-gan-paper to look like a trained run; the file serves `run --distilled`."""

    run: Path
    """config.yml of the trained run."""
    output: Path = Path("outputs/distilled.pt")
    """The file to write."""
    iterations: int = 2000
    """Regression steps; 2000 take about 10 minutes on one core."""
    latents: int = 8
    """Objects in a step."""
    points: int = 512
    """Points of each object in a step."""
    learning_rate: float = 3e-4
    """Adam's, at the start; it falls to a tenth along a cosine."""
    final_window: float = 0.03
    """Half width of the window of a fully trained model, in world units."""
    threads: int = 1
    """PyTorch's threads."""
    minutes: float = 30.0
    """Ends earlier when so much time has passed."""

    def main(self) -> None:
        """Trains the student and writes it with the numbers of its agreement.

        Raises:
            UserError: there is no such run, or it is one of an original-sized field already.
        """
        import torch

        from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig
        from gan3d_ns.scripts.runs import load_run

        torch.set_num_threads(self.threads)
        torch.set_flush_denormal(True)
        _, pipeline, step = load_run(self.run)
        model = pipeline.model
        teacher = model.shown_generator
        torch.manual_seed(0)
        student = FilmSirenFieldConfig().setup()
        if teacher.field.latent_dim > student.latent_dim:
            raise UserError(
                f"the run's latents have {teacher.field.latent_dim} numbers, more than the student's "
                f"{student.latent_dim}."
            )
        randomness = torch.Generator().manual_seed(0)
        sharpness = sharpening(teacher, model.seen_radius, self.final_window, randomness)
        print(f"teacher {self.run} at step {step}; its logits times {sharpness:.2f}", flush=True)
        optimizer = torch.optim.Adam(student.parameters(), lr=self.learning_rate, betas=(0.9, 0.99))
        start, done = time.monotonic(), 0
        for done in range(1, self.iterations + 1):
            spent = max(done / self.iterations, (time.monotonic() - start) / (60.0 * self.minutes))
            if spent > 1.0:
                break
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (0.55 + 0.45 * math.cos(math.pi * spent))
            loss, parts = self.loss(student, teacher, model.seen_radius, sharpness, randomness)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            if done % 50 == 0 or done == 1:
                print(f"{done}: {parts}, {time.monotonic() - start:.0f} s", flush=True)
            if done % 500 == 0:
                print(agreement(student, model), flush=True)
        facts = {
            **agreement(student, model),
            "iterations": done,
            "seconds": time.monotonic() - start,
            "teacher": f"{self.run.parent.parent.parent.name}/{self.run.parent.parent.name}, step {step}",
            "sharpness": sharpness,
        }
        save_start(self.output, student.state_dict(), facts)
        print(f"{self.output}: {facts}")

    def loss(
        self,
        student: "GenerativeField",
        teacher: "Generator",
        radius: float,
        sharpness: float,
        randomness: "torch.Generator",
    ) -> "tuple[Tensor, str]":
        """Smooth L1 of the logits, and squares of the colours inside matter, on fresh latents and points."""
        import torch
        from torch.nn.functional import smooth_l1_loss

        latents = torch.randn(self.latents, student.latent_dim, generator=randomness)
        directions = torch.nn.functional.normalize(
            torch.randn(self.latents, self.points, 3, generator=randomness), dim=-1
        )
        with torch.no_grad():
            styles = teacher.styles(latents[:, : teacher.field.latent_dim])
            points = seen_points(teacher.field, radius, (self.latents, CANDIDATES * self.points), randomness)
            distances = teacher.field.geometry_logits(points, styles).abs()
            near = distances.topk(self.points // 2, dim=1, largest=False).indices
            chosen = torch.cat((near, torch.arange(self.points - near.shape[1]).expand(self.latents, -1)), dim=1)
            points = points.gather(1, chosen[..., None].expand(-1, -1, 3))
            logits, colours = teacher.field(points, directions, styles)
            logits = (sharpness * logits).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        own_logits, own_colours = student(points, directions, student.condition(student.mapping(latents)))
        geometry = smooth_l1_loss(own_logits, logits)
        matter = (logits > -SATURATED_LOGIT)[..., None]
        colour = ((own_colours - colours).square() * matter).mean()
        return geometry + COLOUR_WEIGHT * colour, f"logits {geometry.item():.3f}, colours {colour.item():.4f}"


def seen_points(
    field: "GenerativeField", radius: float, shape: "tuple[int, int]", randomness: "torch.Generator"
) -> "Tensor":
    """Random world positions "batch point 3": most in the field's box, the rest in the ball that cameras see."""
    import torch

    sides = torch.tensor(field.half_sides or (radius / math.sqrt(3.0),) * 3)
    points = (2.0 * torch.rand(*shape, 3, generator=randomness) - 1.0) * sides
    directions = torch.nn.functional.normalize(torch.randn(*shape, 3, generator=randomness), dim=-1)
    ball = radius * torch.rand(*shape, 1, generator=randomness) ** (1.0 / 3.0) * directions
    return torch.where(torch.rand(*shape, 1, generator=randomness) < BALL_FRACTION, ball, points)


def sharpening(teacher: "Generator", radius: float, window: float, randomness: "torch.Generator") -> float:
    """Factor that brings the median slope of the teacher's logits at its surfaces to 99 percent at ``window``."""
    import torch

    styles = teacher.styles(torch.randn(8, teacher.field.latent_dim, generator=randomness))
    points = seen_points(teacher.field, radius, (8, 8192), randomness)
    with torch.no_grad():
        near = teacher.field.geometry_logits(points, styles).abs().topk(256, dim=1, largest=False).indices
        points = points.gather(1, near[..., None].expand(-1, -1, 3))
        slope = teacher.field.logit_gradient(points, styles).norm(dim=-1).median()
    return max(1.0, SATURATED_LOGIT / (float(slope) * window))


def agreement(student: "GenerativeField", model: Any) -> Dict[str, float]:
    """How the student's pictures and surfaces compare with the teacher's over fresh latents and poses of its prior.

    PSNR of composited pictures (the teacher with its own, soft logits), intersection over union of the rays that meet
    a surface, and median distance of the surfaces along rays that meet both, in world units.
    """
    import copy

    import torch

    from benchmarks.pictures import psnr
    from gan3d_ns.models.generator import Generator

    teacher = model.shown_generator
    sampler = copy.deepcopy(teacher.sampler)
    painted = Generator(student, sampler, teacher.background)
    randomness = torch.Generator().manual_seed(1)
    latents = torch.randn(NUM_COMPARED, student.latent_dim, generator=randomness)
    rays = model.pose_prior.rays(model.pose_prior.sample(NUM_COMPARED, randomness), COMPARED_SIDE)
    with torch.no_grad():
        ours = painted.render(painted.styles(latents), rays)
        theirs = teacher.render(teacher.styles(latents[:, : teacher.field.latent_dim]), rays)
    both = ours.hit & theirs.hit
    union = (ours.hit | theirs.hit).float().mean()
    apart = (ours.surface_depth - theirs.surface_depth).abs()[both]
    return {
        "psnr": psnr(ours.rgb, theirs.rgb),
        "hit_overlap": float(both.float().mean() / union) if union > 0 else 0.0,
        "surface_distance": float(apart.median()) if len(apart) > 0 else math.nan,
        "hit_rate": float(ours.hit.float().mean()),
    }
