"""Path-length regularisation (StyleGAN2, section 3.2): equal steps of a code shall change pictures by equal amounts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_ns.field_components.picture_randomness import Randomness, random_normals
from gan3d_ns.model_components.losses import full_precision

MEAN_DECAY = 0.01
"""Share of the newest lengths in the running mean (StyleGAN2; VolumeGAN, released code)."""


def path_lengths(
    pictures: Float[Tensor, "batch 3 row column"],
    codes: Float[Tensor, "batch layer code"],
    noise: Float[Tensor, "batch 3 row column"],
) -> Float[Tensor, "batch"]:
    """How far each picture moves along random directions for a unit step of its codes, in float32.

    |J^T y| with the Jacobian J of a picture by its codes and y = noise / sqrt(rows * columns): the root of the squared
    gradient's sum over a layer's code, averaged over the layers. Differentiable in the generator's weights.

    Args:
        pictures: made from the codes, in [-1, 1] as published; pictures in [0, 1] have half the lengths.
        codes: of each picture and style layer, with `requires_grad`, from which the pictures were computed.
        noise: standard normal numbers.
    """
    with full_precision(pictures):
        directions = noise.float() / math.sqrt(pictures.shape[-2] * pictures.shape[-1])
        along = (pictures.float() * directions).sum()
        (gradient,) = torch.autograd.grad(along, codes, create_graph=True)
        return gradient.float().square().sum(dim=2).mean(dim=1).sqrt()


class PathLengthRegulariser(nn.Module):
    """The squared distance of path lengths from their running mean.

    The mean is state and travels with the weights where the module belongs to a saved one.

    Args:
        decay: share of the newest lengths in the running mean.
    """

    running_mean: Float[Tensor, ""]

    def __init__(self, decay: float = MEAN_DECAY) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("running_mean", torch.zeros(()))

    def forward(
        self,
        pictures: Float[Tensor, "batch 3 row column"],
        codes: Float[Tensor, "batch layer code"],
        noise: Float[Tensor, "batch 3 row column"] | None = None,
        generator: Randomness | None = None,
        of: int | None = None,
        total: Callable[[Tensor], Tensor] = torch.Tensor.detach,
    ) -> Float[Tensor, ""]:
        """E (length - running mean)^2, after the mean has moved towards the lengths; it counts as a constant.

        Without a weight: VolumeGAN takes 2, on half a batch in every 4th step, there times 4. See `path_lengths`.

        Args:
            pictures: made from the codes, in [-1, 1].
            codes: with `requires_grad`.
            noise: standard normal numbers; None draws them.
            generator: source of the noise, on the pictures' device.
            of: how many pictures are measured in the whole step: the mean moves as far for all of them as it would at
                once. None: those that are measured now.
            total: sums numbers over the processes of a training.
        """
        if len(pictures) == 0:
            lengths = codes.new_zeros(0)
        else:
            if noise is None:
                noise = random_normals(pictures.shape, generator, pictures.device)
            lengths = path_lengths(pictures, codes, noise)
        seen = total(torch.stack((lengths.detach().sum(), lengths.new_tensor(float(len(lengths))))))
        weight = self.decay if of is None else self.decay * seen[1] / of
        self.running_mean += weight * (seen[0] / seen[1].clamp(min=1.0) - self.running_mean)
        # A copy: the buffer may move again before the gradients are computed.
        return (lengths - self.running_mean.clone()).square().sum() / max(1, len(lengths))
