"""Losses of generators and discriminators, as functions of scores, poses, logits and normals.

No function knows a weight: the configs of the methods do. Scores are logits of "real", one for each image.
"""

from __future__ import annotations

import math
from typing import Optional

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

OPACITY_MARGIN = 0.1
"""Keeps the logarithms of the opacity prior finite (GOF, released code)."""
TOP_K_TOLERANCE = 1e-6
"""Subtracted before the count is rounded up, so that 0.6 of 5 images are 3 in spite of binary fractions."""


def non_saturating_generator_loss(score_fake: Float[Tensor, "batch"]) -> Float[Tensor, ""]:
    """E softplus(-D(fake)) (Goodfellow et al. 2014; GOF, released code, train.py)."""
    return functional.softplus(-score_fake).mean()


def non_saturating_discriminator_loss(
    score_real: Float[Tensor, "batch_real"], score_fake: Float[Tensor, "batch_fake"]
) -> Float[Tensor, ""]:
    """E softplus(D(fake)) + E softplus(-D(real)) (Goodfellow et al. 2014; GOF, released code, train.py)."""
    return functional.softplus(score_fake).mean() + functional.softplus(-score_real).mean()


def relativistic_generator_loss(
    score_fake: Float[Tensor, "batch"], score_real: Float[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """E softplus(D(real) - D(fake)), images paired by index (R3GAN, Huang et al. 2024)."""
    return functional.softplus(score_real - score_fake).mean()


def relativistic_discriminator_loss(
    score_fake: Float[Tensor, "batch"], score_real: Float[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """E softplus(D(fake) - D(real)), images paired by index (R3GAN, Huang et al. 2024)."""
    return functional.softplus(score_fake - score_real).mean()


def r1_penalty(scores: Float[Tensor, "batch"], images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, ""]:
    """Half the mean squared gradient of the scores: 1/2 E |dD/dx|^2 (Mescheder et al. 2018, equation 9).

    On real images it is R1, on generated ones R2. The result is differentiable in the discriminator's weights and in
    float32. Under autocast compute the scores inside `full_precision(images)`, or the gradients in between are halves.

    Args:
        scores: the discriminator's scores of the images.
        images: the images with `requires_grad`, from which the scores were computed.
    """
    with full_precision(images):
        (gradient,) = torch.autograd.grad(scores.float().sum(), images, create_graph=True)
        return 0.5 * gradient.float().square().sum(dim=(1, 2, 3)).mean()


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the tensor's device: penalties overflow in half precision."""
    return torch.autocast(tensor.device.type, enabled=False)


def top_k_indices(scores: Float[Tensor, "batch"], fraction: float) -> Int[Tensor, "kept"]:
    """Where the highest ceil(fraction * batch) scores stand, at least one (Sinha et al. 2020; GOF, released code).

    The worst pictures of a batch stay without influence on the generator. Where a loss compares generated pictures with
    real ones, the partners of those that are kept are kept.
    """
    count = math.ceil(fraction * scores.shape[0] - TOP_K_TOLERANCE)
    return torch.topk(scores.detach(), max(1, min(count, scores.shape[0]))).indices


def pose_loss(
    estimate: Float[Tensor, "batch 2"], poses: Float[Tensor, "batch 2"], periodic: bool = False
) -> Float[Tensor, ""]:
    """Mean squared error of (pitch, yaw) in radians over images and both angles (GOF, released code, train.py).

    Args:
        estimate: the discriminator's estimate.
        poses: the true poses.
        periodic: measure the yaw around the circle, for priors that go all around; False as published.
    """
    difference = estimate - poses
    if periodic:
        yaw = torch.remainder(difference[:, 1] + math.pi, 2 * math.pi) - math.pi
        difference = torch.stack([difference[:, 0], yaw], dim=1)
    return difference.square().mean()


def opacity_prior(logits: Float[Tensor, "*sample"]) -> Float[Tensor, ""]:
    """Mean of log(0.1 + o) + log(1.1 - o) - log(0.1) - log(1.1) for the occupancies o = sigmoid(logit).

    It is 0 for occupancies of 0 and 1 and about 1.186 at one half, so that minimising it decides each point. This is
    the formula of GOF; the released code applies it to the red channel by mistake. In float32.
    """
    with full_precision(logits):
        occupancy = torch.sigmoid(logits.float())
        zero = math.log(OPACITY_MARGIN) + math.log(1.0 + OPACITY_MARGIN)
        terms = torch.log(OPACITY_MARGIN + occupancy) + torch.log(1.0 + OPACITY_MARGIN - occupancy)
        return terms.mean() - zero


def normal_smoothness(
    normals: Float[Tensor, "*ray 3"], neighbour_normals: Float[Tensor, "*ray 3"], hit: Bool[Tensor, "*ray"]
) -> Float[Tensor, ""]:
    """Mean over hit rays and components of (n(x) - n(x + h u))^2; 0 where no ray hits. In float32.

    This is the formula of GOF; the released code compares a normal's x with its y by mistake.

    Args:
        normals: unit normals at surface points.
        neighbour_normals: unit normals at their neighbours, see `neighbour_points`.
        hit: which rays have a surface point; the other normals may hold anything.
    """
    with full_precision(normals):
        difference = torch.where(hit[..., None], normals.float() - neighbour_normals.float(), 0.0)
        return difference.square().sum() / (3 * hit.sum().clamp(min=1))


def neighbour_points(
    points: Float[Tensor, "*ray 3"], distance: float, generator: Optional[torch.Generator] = None
) -> Float[Tensor, "*ray 3"]:
    """Points at the distance h from the given ones: x + h u / |u|, u uniform in a cube (GOF, released code).

    Args:
        points: world points.
        distance: h in world units.
        generator: source of the randomness, on the points' device.
    """
    offsets = torch.rand(points.shape, dtype=points.dtype, device=points.device, generator=generator) - 0.5
    return points + distance * functional.normalize(offsets, dim=-1)
