"""Which object of a generator shows a given picture: its codes, found by gradient descent through the renderer.

Protocol. The camera of each picture is known; the weights are the generator's moving average and do not change.

1. Codes are measured in standard deviations around their mean, both over 4096 random latents, along each axis of the
   code space: offset 0 is the average object, and all axes may move alike.
2. The search starts at the mean or at the random latent, of some tens, whose picture is nearest on a coarse lattice of
   pixels, whichever is nearer: in a collection of several kinds the mean may lie far from all of them.
3. Adam lowers, for each picture by itself,

       mean (I - J)^2 + blurred_weight * mean (blur(I) - blur(J))^2 + pull * mean offset^2

   with the generator's picture I and the given one J, of which each step sees one of stride^2 interleaved lattices;
   blur averages squares of 4 by 4 pixels of the lattice. The learning rate falls to 0 along half a cosine.

The layers of the field may share one code (W of StyleGAN) or take one each (W+, Abdal et al., Image2StyleGAN, 2019,
section 3); methods without a mapping network are searched in their latents. All draws come from one seed, and nothing
is drawn in the renderer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, List, Optional

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.settings import InversionConfig
from gan3d_ns.model_components.neural_renderers import resized
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.generator import Generator

NUM_STATISTICS = 4096
"""Random latents whose codes give mean and spread."""
SMALLEST_SPREAD = 1e-6
"""Axes along which codes hardly differ stay movable by this much."""
CANDIDATE_SIDE = 12
"""Pixels a side, or fewer, of the lattice on which starts are compared."""
BLUR_SIDE = 4
"""Pixels of the lattice that a blurred pixel averages, along each side."""
NUM_TURNS = 12
"""Yaw offsets, evenly around, that the search for a run's offset tries."""
TURN_PICTURES = 8
"""Pictures that it looks at."""
TURN_STEPS = 10
"""Steps that each of these offsets is given."""
TURN_LEARNING_RATE = 0.02
"""Adam's for the yaw offset, in radians."""


@dataclass(frozen=True)
class CodeSpread:
    """How the codes of random latents are spread."""

    mean: Float[Tensor, "code"]
    deviation: Float[Tensor, "code"]

    def codes(self, offsets: Float[Tensor, "layer picture code"]) -> Float[Tensor, "layer picture code"]:
        """The codes at so many standard deviations from the mean."""
        return self.mean + offsets * self.deviation


@dataclass(frozen=True)
class Inverted:
    """The objects that a generator answers given pictures with."""

    codes: Float[Tensor, "layer picture code"]
    """Of every layer of the field."""
    errors: Float[Tensor, "picture"]
    """Mean absolute difference of each picture's colours, which lie in [0, 1]."""
    start_errors: Float[Tensor, "picture"]
    """The same where the search began."""
    yaw_offset_rad: float
    """What was added to the pictures' yaws."""


def code_spread(generator: Generator, seed: int) -> CodeSpread:
    """Mean and standard deviation of the codes, by random latents."""
    randomness = torch.Generator().manual_seed(seed)
    latents = torch.randn(NUM_STATISTICS, generator.field.latent_dim, generator=randomness)
    with torch.no_grad():
        codes = torch.cat([generator.codes(part.to(generator.mean_code)) for part in latents.split(512)])
    return CodeSpread(codes.mean(dim=0), codes.std(dim=0).clamp(min=SMALLEST_SPREAD))


def turned(poses: Float[Tensor, "picture 2"], yaw_offset: Float[Tensor, ""] | float) -> Float[Tensor, "picture 2"]:
    """The poses (pitch, yaw) with an angle added to the yaw, in radians."""
    return torch.stack((poses[:, 0], poses[:, 1] + yaw_offset), dim=-1)


class Search:
    """Some pictures of one resolution from known poses, and a generator that is to show them."""

    def __init__(
        self,
        model: GanModel,
        pictures: Float[Tensor, "picture 3 side side"],
        poses: Float[Tensor, "picture 2"],
        settings: InversionConfig,
        seed: int,
    ) -> None:
        self.generator: Generator = model.generator_ema
        self.prior = model.pose_prior
        self.settings = settings
        renderer = self.generator.neural_renderer
        if renderer is not None:
            # Its pictures come as a whole and in one size only.
            pictures = resized(pictures, renderer.side, renderer.side)
        self.side = pictures.shape[-1]
        self.poses = poses.to(model.device)
        self.targets = pictures.to(model.device).permute(0, 2, 3, 1)
        randomness, latent_dim = torch.Generator().manual_seed(seed), self.generator.field.latent_dim
        self.latents = torch.randn(settings.num_candidates, latent_dim, generator=randomness).to(model.device)
        self.stride = min(settings.stride, self.side)
        self.starts = torch.randperm(self.stride**2, generator=randomness).tolist()
        self.spread = code_spread(self.generator, seed)
        self.num_layers = len(self.generator.field.style_layers)
        self.rays_at_once = model.config.eval_num_rays_per_chunk

    def lattice(self, start: int, step: int) -> Tensor:
        """Numbers of the pixels of rows and columns that begin at (start // step, start % step) and go on by step."""
        rows = torch.arange(start // step, self.side, step, device=self.poses.device)
        columns = torch.arange(start % step, self.side, step, device=self.poses.device)
        return rows[:, None] * self.side + columns

    def rays_at(self, pixels: Tensor, yaw_offset: Float[Tensor, ""] | float) -> RayBundle:
        """Rays of every picture through the pixels of a lattice, of shape (picture, pixel)."""
        return self.prior.rays(turned(self.poses, yaw_offset), self.side)[:, pixels.flatten()]

    def targets_at(self, pixels: Tensor) -> Float[Tensor, "picture pixel 3"]:
        """Given colours there."""
        return self.targets.flatten(1, 2)[:, pixels.flatten()]

    def colours(self, styles: Any, rays: RayBundle) -> Float[Tensor, "object ray 3"]:
        """What the generator shows, some rays at once."""
        chunk = max(1, self.rays_at_once // rays.shape[0])
        parts = [
            self.generator.render(styles, rays[:, start : start + chunk]).rgb
            for start in range(0, rays.shape[1], chunk)
        ]
        return torch.cat(parts, dim=1)

    def differences(
        self,
        codes: Float[Tensor, "layer picture code"],
        pixels: Tensor,
        yaw_offset: Float[Tensor, ""] | float,
    ) -> Float[Tensor, "picture row column 3"]:
        """Generated minus given colours at a lattice of pixels."""
        styles = self.generator.field.condition_layers(codes)
        if self.generator.neural_renderer is None:
            rgb = self.colours(styles, self.rays_at(pixels, yaw_offset))
        else:
            rgb = self.finished_colours(styles, pixels, yaw_offset)
        return (rgb - self.targets_at(pixels)).unflatten(1, pixels.shape)

    def finished_colours(
        self, styles: Any, pixels: Tensor, yaw_offset: Float[Tensor, ""] | float
    ) -> Float[Tensor, "picture pixel 3"]:
        """The same by a neural renderer: one object for each picture, pictures as a whole."""
        viewpoints = Viewpoints(turned(self.poses, yaw_offset))
        output = self.generator.render(styles, self.generator.picture_rays(self.prior, viewpoints, self.side))
        pictures = self.generator.pictures(output, styles).flatten(2).transpose(1, 2)
        return pictures[:, pixels.flatten()]

    def every_layer(self, offsets: Float[Tensor, "free picture code"]) -> Float[Tensor, "layer picture code"]:
        """Codes of the offsets, which belong to one layer each or to all."""
        return self.spread.codes(offsets).expand(self.num_layers, -1, -1)

    @torch.no_grad()
    def errors(
        self, offsets: Float[Tensor, "free picture code"], yaw_offset: float, step: int = 1
    ) -> Float[Tensor, "picture"]:
        """Mean absolute difference of each picture, over every so many pixels along each side."""
        return self.differences(self.every_layer(offsets), self.lattice(0, step), yaw_offset).abs().mean(dim=(1, 2, 3))

    @torch.no_grad()
    def start(self, yaw_offset: float) -> Float[Tensor, "1 picture code"]:
        """The offsets of the mean, or of the random latent whose picture is nearest."""
        num_pictures, step = len(self.poses), max(1, self.side // CANDIDATE_SIDE)
        best = torch.zeros(1, num_pictures, len(self.spread.mean), device=self.poses.device)
        if len(self.latents) == 0:
            return best
        codes = self.generator.codes(self.latents)
        candidates = (codes - self.spread.mean) / self.spread.deviation
        styles, pixels = self.generator.field.condition(codes), self.lattice(0, step)
        rays = self.rays_at(pixels, yaw_offset).reshape((1, -1))
        smallest = self.errors(best, yaw_offset, step)
        for index, candidate in enumerate(candidates):
            # One object for all pictures: their rays in one row.
            if self.generator.neural_renderer is None:
                rgb = self.colours(styles[index : index + 1], rays).reshape(num_pictures, -1, 3)
            else:
                same = torch.full((num_pictures,), index, device=codes.device)
                rgb = self.finished_colours(styles[same], pixels, yaw_offset)
            errors = (rgb - self.targets_at(pixels)).abs().mean(dim=(1, 2))
            best = torch.where((errors < smallest)[:, None], candidate.expand_as(best), best)
            smallest = torch.minimum(errors, smallest)
        return best

    def loss(
        self, offsets: Float[Tensor, "free picture code"], pixels: Tensor, yaw_offset: Float[Tensor, ""] | float
    ) -> Float[Tensor, ""]:
        """The sum over the pictures of what is lowered."""
        difference = self.differences(self.every_layer(offsets), pixels, yaw_offset).permute(0, 3, 1, 2)
        blurred = F.avg_pool2d(difference, min(BLUR_SIDE, *pixels.shape), ceil_mode=True)
        each = difference.square().mean(dim=(1, 2, 3))
        each = each + self.settings.blurred_weight * blurred.square().mean(dim=(1, 2, 3))
        return (each + self.settings.pull * offsets.square().mean(dim=(0, 2))).sum()

    def descend(
        self,
        offsets: Float[Tensor, "free picture code"],
        yaw_offset: float,
        num_steps: int,
        learn_yaw: bool = False,
        report: Callable[[float], None] = lambda done: None,
    ) -> tuple[Float[Tensor, "free picture code"], float]:
        """Offsets, and a yaw offset that they all share, after some steps of Adam; no weight gets a gradient."""
        settings = self.settings
        offsets = offsets.clone().requires_grad_(True)
        yaw = torch.tensor(yaw_offset, device=offsets.device).requires_grad_(learn_yaw)
        groups = [{"params": [offsets], "lr": settings.learning_rate, "whole": settings.learning_rate}]
        if learn_yaw:
            groups.append({"params": [yaw], "lr": TURN_LEARNING_RATE, "whole": TURN_LEARNING_RATE})
        variables = [group["params"][0] for group in groups]
        adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
        for step in range(num_steps):
            for group in adam.param_groups:
                group["lr"] = group["whole"] * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
            with torch.enable_grad():
                pixels = self.lattice(self.starts[step % len(self.starts)], self.stride)
                loss = self.loss(offsets, pixels, yaw)
                gradients = torch.autograd.grad(loss, variables)
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.grad = gradient
            adam.step()
            report((step + 1) / num_steps)
        return offsets.detach(), float(yaw.detach())


def check_pictures(pictures: Float[Tensor, "picture 3 row column"], poses: Float[Tensor, "pose 2"]) -> None:
    """Refuses what cannot be searched for.

    Raises:
        UserError: no pictures, pictures that are not square, or another number of poses.
    """
    count, _, rows, columns = pictures.shape
    if count == 0 or count != len(poses):
        raise UserError(f"there are {count} pictures and {len(poses)} poses to invert; give one pose for each picture.")
    if rows != columns or rows < 2:
        raise UserError(
            f"the pictures to invert have {rows} x {columns} pixels; they must be square, 2 or more a side."
        )


def invert(
    model: GanModel,
    pictures: Float[Tensor, "picture 3 row column"],
    poses: Float[Tensor, "pose 2"],
    settings: Optional[InversionConfig] = None,
    yaw_offset_rad: Optional[float] = 0.0,
    seed: int = 0,
    report: Callable[[float], None] = lambda done: None,
) -> Inverted:
    """The objects that show the pictures best, by the protocol above; the same seed finds the same ones.

    Args:
        model: of any method; its averaged weights are used and stay as they are.
        pictures: colours in [0, 1], row 0 on top.
        poses: true (pitch, yaw) of each picture in radians.
        settings: of the search.
        yaw_offset_rad: the model's yaw minus the true one; None: :func:`search_yaw_offset` finds it, which takes about
            as long as the inversion.
        seed: of all draws.
        report: told the fraction that is done.

    Raises:
        UserError: the pictures cannot be searched for.
    """
    check_pictures(pictures, poses)
    settings = settings or InversionConfig()
    if yaw_offset_rad is None:
        yaw_offset_rad = search_yaw_offset(model, pictures, poses, settings, seed, lambda done: report(0.5 * done))
        first = 0.5
    else:
        first = 0.0
    parts: List[Inverted] = []
    count, at_once = len(pictures), settings.pictures_at_once
    for begin in range(0, count, at_once):
        part = slice(begin, begin + at_once)
        search = Search(model, pictures[part], poses[part], settings, seed)
        share, done = len(search.poses) / count, begin / count

        def told(fraction: float, share: float = share, done: float = done) -> None:
            report(first + (1.0 - first) * (done + share * fraction))

        start = search.start(yaw_offset_rad)
        free = start.repeat(search.num_layers if settings.each_layer else 1, 1, 1)
        offsets, _ = search.descend(free, yaw_offset_rad, settings.num_steps, report=told)
        parts.append(
            Inverted(
                codes=search.every_layer(offsets).contiguous(),
                errors=search.errors(offsets, yaw_offset_rad),
                start_errors=search.errors(start, yaw_offset_rad),
                yaw_offset_rad=yaw_offset_rad,
            )
        )
    return Inverted(
        codes=torch.cat([part.codes for part in parts], dim=1),
        errors=torch.cat([part.errors for part in parts]),
        start_errors=torch.cat([part.start_errors for part in parts]),
        yaw_offset_rad=yaw_offset_rad,
    )


def search_yaw_offset(
    model: GanModel,
    pictures: Float[Tensor, "picture 3 side side"],
    poses: Float[Tensor, "picture 2"],
    settings: Optional[InversionConfig] = None,
    seed: int = 0,
    report: Callable[[float], None] = lambda done: None,
) -> float:
    """The model's yaw minus the true one, in radians in (-pi, pi], by the pictures' error: crude, but asks no network.

    A few steps with one code for all layers from each of 12 offsets; the one with the smallest error then goes on, and
    the offset with it, for a third of the steps of an inversion. A generator that sees its objects from all
    around may have learnt them turned by any angle.
    """
    check_pictures(pictures, poses)
    settings = settings or InversionConfig()
    search = Search(model, pictures[:TURN_PICTURES], poses[:TURN_PICTURES], settings, seed)
    found = []
    for turn in range(NUM_TURNS):
        offset = 2.0 * math.pi * turn / NUM_TURNS
        offsets, _ = search.descend(search.start(offset), offset, min(TURN_STEPS, settings.num_steps))
        found.append((float(search.errors(offsets, offset).mean()), offset, offsets))
        report(0.7 * (turn + 1) / NUM_TURNS)
    _, offset, offsets = min(found, key=lambda entry: entry[0])
    _, offset = search.descend(offsets, offset, max(1, settings.num_steps // 3), learn_yaw=True)
    report(1.0)
    return math.atan2(math.sin(offset), math.cos(offset))
