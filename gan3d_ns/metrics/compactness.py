"""How thin surfaces are: the weighted variance of the depth along rays (GOF, released code, cal_weighted_var)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import RELEASED_SAMPLES, RELEASED_TRUNCATION, CompactnessConfig
from gan3d_ns.model_components.compositing import compositing_weights, depth_variance
from gan3d_ns.model_components.sampling import sample_positions, spread_evenly
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.generator import Generator

OPAQUE = 0.99
"""Only rays with more accumulated opacity count: the others have no surface to speak of."""
SCALE = 1e4
"""Variances are reported in 1e-4 squared world units."""


@dataclass(frozen=True)
class Spread:
    """Depth variance of some pictures, by one way of sampling their rays."""

    variance: float
    """Mean over the opaque rays of a picture, then over pictures, in 1e-4 squared world units; NaN without any."""
    counted: float
    """Share of the rays that were opaque."""
    deviation: float | None = None
    """Standard deviation over the pictures; None for fewer than two."""


@dataclass(frozen=True)
class Compactness:
    """How diffuse the surfaces of a generator are; smaller is sharper."""

    published: Spread
    """By uniform samples. Of occupancies what lies before the surface is taken away, as in the released code."""
    untouched: Spread
    """By the same samples with nothing taken away: haze in front of surfaces counts. Of densities the same."""
    own: Spread
    """By the samples that the method composites in its pictures."""


def uniform_weights(
    generator: Generator, styles: Styles, rays: RayBundle, num_samples: int = RELEASED_SAMPLES
) -> tuple[Float[Tensor, "batch ray sample"], Float[Tensor, "batch ray sample"], Float[Tensor, "batch ray sample"]]:
    """Distances of uniform samples from near to far, their weights, and the weights with the way to the surface free.

    The way is free up to half a sample's spacing before the surface that the generator's own search finds; where it
    finds none, or the geometry is a density, the two weights are the same.
    """

    def geometry_at(positions: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        return generator.field.geometry_logits(positions, styles)

    assert rays.nears is not None and rays.fars is not None
    distances = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], num_samples)
    values = geometry_at(sample_positions(rays, distances).flatten(1, 2)).unflatten(1, distances.shape[1:])
    alphas = generator.geometry.alphas(values, distances)
    freed = alphas
    if generator.geometry.kind == "occupancy":
        hits = generator.sampler.search(rays, geometry_at)[-1]
        spacing = distances[..., 1:2] - distances[..., :1]
        before = hits.hit[..., None] & (distances < hits.depth[..., None] - 0.5 * spacing)
        freed = alphas.masked_fill(before, 0.0)
    return distances, compositing_weights(alphas), compositing_weights(freed)


def measure_compactness(
    model: GanModel, settings: CompactnessConfig, report: Callable[[float], None] = lambda done: None
) -> list[Record]:
    """The depth variance of the averaged generator by three samplings, and the shares of rays that count."""
    measured = compactness(
        model.generator_ema,
        model.pose_prior,
        range(settings.seed, settings.seed + settings.num_objects),
        truncation=settings.truncation,
        resolution=settings.resolution,
        num_samples=settings.num_samples,
        report=report,
    )
    protocol = {
        "objects": settings.num_objects,
        "resolution": settings.resolution,
        "truncation": settings.truncation,
        "uniform samples": settings.num_samples,
        "seed": settings.seed,
        "weights": "average",
        "rays counted": f"accumulated opacity > {OPAQUE}",
    }
    unit = f"{1.0 / SCALE:g} squared world units"
    records = []
    for name, spread in (
        ("depth_variance", measured.published),
        ("depth_variance_untouched", measured.untouched),
        ("depth_variance_own_samples", measured.own),
    ):
        records.append(
            Record(
                name,
                spread.variance,
                protocol,
                better="lower",
                unit=unit,
                deviation=spread.deviation,
                deviation_over="objects",
            )
        )
    for name, spread in (("opaque_rays", measured.published), ("opaque_rays_own_samples", measured.own)):
        records.append(Record(name, spread.counted, protocol))
    return records


@torch.no_grad()
def compactness(
    generator: Generator,
    pose_prior: PosePrior,
    seeds: Sequence[int],
    *,
    truncation: float = RELEASED_TRUNCATION,
    resolution: int = 64,
    num_samples: int = RELEASED_SAMPLES,
    rays_per_chunk: int = 4096,
    report: Callable[[float], None] = lambda done: None,
) -> Compactness:
    """The mean depth variance of one picture for each seed, from a random pose of the prior.

    Args:
        generator: of any method.
        pose_prior: where its pictures are taken from, and from where to where rays are sampled.
        seeds: each gives a latent and a pose.
        truncation: of the latents' codes.
        resolution: side of the pictures in pixels.
        num_samples: uniform samples of each ray.
        rays_per_chunk: bounds the memory.
        report: told the fraction that is done.
    """
    device = generator.mean_code.device
    pictures: list[list[Tensor]] = [[], [], []]
    for index, seed in enumerate(seeds):
        report(index / len(seeds))
        randomness = torch.Generator().manual_seed(seed)
        latents = torch.randn(1, generator.field.latent_dim, generator=randomness).to(device)
        styles = generator.styles(latents, truncation)
        all_rays = pose_prior.rays(pose_prior.sample(1, randomness).to(device), resolution)
        chunks: list[list[Tensor]] = [[], [], []]
        for start in range(0, resolution**2, rays_per_chunk):
            rays = all_rays[:, start : start + rays_per_chunk]
            distances, untouched, published = uniform_weights(generator, styles, rays, num_samples)
            render = generator.render(styles, rays)
            samplings = ((published, distances), (untouched, distances), (render.weights, render.distances))
            for kept, (weights, where) in zip(chunks, samplings, strict=True):
                variance = depth_variance(weights, where)
                kept.append(torch.where(weights.sum(dim=-1) > OPAQUE, variance, torch.nan)[0])
        for picture, kept in zip(pictures, chunks, strict=True):
            picture.append(torch.cat(kept))
    return Compactness(*(spread_of(torch.stack(variances)) for variances in pictures))


def spread_of(variances: Float[Tensor, "picture ray"]) -> Spread:
    """The mean over the rays of each picture, then over the pictures; rays that are NaN do not count."""
    counted = float(variances.isfinite().float().mean())
    means = variances.nanmean(dim=1)
    means = means[means.isfinite()]
    deviation = SCALE * float(means.std()) if len(means) > 1 else None
    return Spread(SCALE * float(means.mean()) if len(means) else math.nan, counted, deviation)
