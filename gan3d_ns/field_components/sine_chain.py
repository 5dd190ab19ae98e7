"""A chain of sine layers with hand-written derivatives, evaluated in blocks that stay in a processor's cache.

One layer is u = h A + c, h' = sin(u), with a matrix for each latent: frequencies and phases are folded into A and c
(`FilmSirenLayer.folded`), outside, as ordinary differentiable operations. Automatic differentiation of the plain layers
keeps three tensors of a layer for each point; here at most one is kept (u, from which h' and its slope are cheap), and
none where they are computed again. The results are those of the plain layers up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_BLOCK_POINTS = 1024
"""Points of a block on a CPU: a layer's input and output at a width of 256 then fit into a second-level cache."""
GPU_BLOCK_POINTS = 1 << 17
"""Points of a block elsewhere, over all images: enough to fill a device, few enough to bound its memory."""

Block = tuple[slice, slice]


@dataclass(frozen=True)
class SineChain:
    """The layers of one batch of latents, and the linear head that reads geometry from the last of them."""

    matrices: list[Tensor]
    """A of each layer, "batch fan_in fan_out"."""
    offsets: list[Tensor]
    """c of each layer, "batch fan_out"."""
    head_weight: Float[Tensor, "hidden"]
    head_bias: Float[Tensor, "1"]


@dataclass(frozen=True)
class ColourLayer:
    """One more sine layer, which also sees the direction, and its linear head. Offset and bias as in `SineChain`."""

    feature_matrix: Float[Tensor, "batch hidden colour_hidden"]
    direction_matrix: Float[Tensor, "batch 3 colour_hidden"]
    offset: Float[Tensor, "batch colour_hidden"]
    head_matrix: Float[Tensor, "colour_hidden 3"]
    head_bias: Float[Tensor, "3"]


def chain_logits(
    chain: SineChain, positions: Float[Tensor, "batch points 3"], recompute: bool
) -> Float[Tensor, "batch points"]:
    """The geometry head's output at positions in the chain's units.

    Differentiable once, in weights and styles but not in the positions.

    Args:
        recompute: keep nothing for the backward pass but the positions, and compute the layers again there.
    """
    logits, _ = _Evaluation.apply(  # pyright: ignore[reportGeneralTypeIssues]
        positions, None, *_settings(positions, recompute), len(chain.matrices), *_flat(chain)
    )
    return logits


def chain_logits_and_colours(
    chain: SineChain,
    colour: ColourLayer,
    positions: Float[Tensor, "batch points 3"],
    directions: Float[Tensor, "batch points 3"],
    recompute: bool,
) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
    """As `chain_logits`, and the colour head's output before its activation."""
    directions = directions.to(positions.dtype)
    tail = (colour.feature_matrix, colour.direction_matrix, colour.offset, colour.head_matrix, colour.head_bias)
    return _Evaluation.apply(  # pyright: ignore[reportGeneralTypeIssues]
        positions, directions, *_settings(positions, recompute), len(chain.matrices), *_flat(chain), *tail
    )


def chain_gradient(
    chain: SineChain, positions: Float[Tensor, "batch points 3"], recompute: bool
) -> Float[Tensor, "batch points 3"]:
    """Gradient of the geometry head's output in the positions, by the chain rule backwards through the layers.

    Differentiable once, in weights and styles: what a term on the normals needs of a second derivative.
    """
    return _Gradient.apply(  # pyright: ignore[reportGeneralTypeIssues]
        positions, *_settings(positions, recompute), len(chain.matrices), *_flat(chain)
    )


def _flat(chain: SineChain) -> tuple[Tensor, ...]:
    return (*chain.matrices, *chain.offsets, chain.head_weight, chain.head_bias)


def _settings(positions: Tensor, recompute: bool) -> tuple[torch.dtype, bool]:
    """The precision of the layers after the first one, as autocast asks for, and whether activations are kept."""
    device_type = positions.device.type
    autocast = torch.is_autocast_enabled(device_type)
    # Asked here: inside a function of autograd gradients are always off, and its inputs want them even under no_grad.
    keep = torch.is_grad_enabled() and not recompute
    return (torch.get_autocast_dtype(device_type) if autocast else positions.dtype), keep


def _blocks(positions: Tensor) -> Iterator[Block]:
    batch, num_points = positions.shape[:2]
    if positions.device.type == "cpu":
        images, step = 1, CPU_BLOCK_POINTS
    else:
        images, step = max(1, batch), max(1, GPU_BLOCK_POINTS // max(1, batch))
    for image in range(0, batch, images):
        for start in range(0, num_points, step):
            yield slice(image, image + images), slice(start, start + step)


class _Layers:
    """The tensors of a chain in the precision of the computation; the first layer, which sees coordinates, in full."""

    def __init__(self, weights: tuple[Tensor, ...], num_layers: int, dtype: torch.dtype) -> None:
        first, *others = weights[:num_layers]
        self.matrices = [first, *(matrix.to(dtype) for matrix in others)]
        offsets = weights[num_layers : 2 * num_layers]
        self.offsets = [offsets[0], *(offset.to(dtype) for offset in offsets[1:])]
        self.head_weight, self.head_bias = weights[2 * num_layers : 2 * num_layers + 2]
        self.dtype = dtype
        self.num_layers = num_layers

    def affine(self, index: int, images: slice, inputs: Tensor, out: Tensor | None = None) -> Tensor:
        """u = h A + c of a layer."""
        return torch.baddbmm(self.offsets[index][images, None], inputs, self.matrices[index][images], out=out)

    def room(self, positions: Tensor) -> list[Tensor]:
        """Room for u of every layer: one tensor each, as thousands of small ones would leave holes in the memory."""
        shape = positions.shape[:2]
        return [matrix.new_empty(*shape, matrix.shape[-1]) for matrix in self.matrices]

    def features(self, images: slice, positions: Tensor) -> Tensor:
        """sin(u) of the last layer, keeping nothing."""
        hidden = positions
        for index in range(self.num_layers):
            hidden = self.affine(index, images, hidden).sin_().to(self.dtype)
        return hidden

    def angles(self, images: slice, positions: Tensor, room: list[Tensor] | None = None) -> list[Tensor]:
        """u of every layer, in the given tensors of a block where there are any."""
        angles, hidden = [], positions
        for index in range(self.num_layers):
            angles.append(self.affine(index, images, hidden, None if room is None else room[index]))
            hidden = torch.sin(angles[-1]).to(self.dtype)
        return angles

    def logits(self, features: Tensor) -> Tensor:
        return features.to(self.head_weight.dtype) @ self.head_weight + self.head_bias

    def slopes(self, images: slice, angles: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """d logit / d sin(u) of every layer, and the gradient in the positions."""
        slopes = [self.head_weight.expand(angles[-1].shape)]
        for index in reversed(range(self.num_layers)):
            inward = (slopes[0] * torch.cos(angles[index])).to(self.matrices[index].dtype)
            slopes.insert(0, torch.bmm(inward, self.matrices[index][images].transpose(1, 2)))
        return slopes[1:], slopes[0]


def _accumulate(total: Tensor, images: slice, left: Tensor, right: Tensor) -> None:
    """total[images] += left^T right, in the precision of the total."""
    if left.dtype == right.dtype == total.dtype:
        total[images].baddbmm_(left.transpose(1, 2), right)
    else:
        total[images] += torch.bmm(left.transpose(1, 2).to(right.dtype), right)


class _Evaluation(torch.autograd.Function):
    """(positions, directions | None, precision, keep, number of layers, weights ...) -> logits, raw colours."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        positions: Tensor,
        directions: Tensor | None,
        dtype: torch.dtype,
        keep: bool,
        num_layers: int,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        keep = keep and any(ctx.needs_input_grad)
        layers = _Layers(weights, num_layers, dtype)
        tail = weights[2 * num_layers + 2 :]
        logits = positions.new_empty(positions.shape[:2])
        colours = None if directions is None else torch.empty_like(positions)
        kept = layers.room(positions) if keep else []
        if keep and directions is not None:
            kept.append(positions.new_empty(*positions.shape[:2], tail[1].shape[-1]))
        with torch.autocast(positions.device.type, enabled=False):
            for block in _blocks(positions):
                images = block[0]
                if keep:
                    angles = layers.angles(images, positions[block], [room[block] for room in kept])
                    features = torch.sin(angles[-1]).to(dtype)
                else:
                    features = layers.features(images, positions[block])
                logits[block] = layers.logits(features)
                if directions is not None and colours is not None:
                    angle = _colour_angle(tail, images, features, directions[block])
                    if keep:
                        kept[-1][block] = angle
                    colours[block] = torch.sin(angle).to(colours.dtype) @ tail[3] + tail[4]
        ctx.settings = (dtype, num_layers, len(kept))
        ctx.save_for_backward(positions, directions, *weights, *kept)
        return logits, colours

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, logit_slopes: Tensor, colour_slopes: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        dtype, num_layers, num_kept = ctx.settings
        positions, directions, *others = ctx.saved_tensors
        weights, kept = others[: len(others) - num_kept], others[len(others) - num_kept :]
        layers = _Layers(tuple(weights), num_layers, dtype)
        tail = weights[2 * num_layers + 2 :]
        totals = [torch.zeros_like(weight) for weight in weights]
        head_total, head_bias_total = totals[2 * num_layers : 2 * num_layers + 2]
        with torch.autocast(positions.device.type, enabled=False):
            for block in _blocks(positions):
                images = block[0]
                if kept:
                    angles = [room[block] for room in kept[:num_layers]]
                else:
                    angles = layers.angles(images, positions[block])
                features = torch.sin(angles[-1]).to(dtype)
                slope = logit_slopes[block]
                head_total += (slope.flatten() @ features.flatten(0, 1).to(slope.dtype)).to(head_total.dtype)
                head_bias_total += slope.sum()
                inward = slope[..., None] * layers.head_weight
                if directions is not None and colour_slopes is not None:
                    angle = kept[-1][block] if kept else _colour_angle(tail, images, features, directions[block])
                    inward += _colour_backward(
                        tail, totals[2 * num_layers + 2 :], block, features, directions, angle, colour_slopes[block]
                    )
                for index in reversed(range(num_layers)):
                    inward = (inward * torch.cos(angles[index])).to(layers.matrices[index].dtype)
                    below = torch.sin(angles[index - 1]).to(dtype) if index else positions[block]
                    _accumulate(totals[index], images, below, inward)
                    totals[num_layers + index][images] += inward.sum(dim=1)
                    if index:
                        inward = torch.bmm(inward, layers.matrices[index][images].transpose(1, 2))
        return (None, None, None, None, None, *totals)


def _colour_angle(tail: Any, images: slice, features: Tensor, directions: Tensor) -> Tensor:
    angle = torch.baddbmm(tail[2][images, None], directions, tail[1][images])
    return torch.bmm(features, tail[0][images].to(features.dtype)).to(angle.dtype) + angle


def _colour_backward(
    tail: Any,
    totals: list[Tensor],
    block: Block,
    features: Tensor,
    directions: Tensor,
    angle: Tensor,
    slopes: Tensor,
) -> Tensor:
    """Slope of the features; adds the weights' slopes to the totals."""
    images, dtype = block[0], features.dtype
    totals[3] += torch.sin(angle).flatten(0, 1).T @ slopes.flatten(0, 1).to(angle.dtype)
    totals[4] += slopes.sum(dim=(0, 1))
    inward = (slopes.to(angle.dtype) @ tail[3].T) * torch.cos(angle)
    _accumulate(totals[1], images, directions[block], inward)
    totals[2][images] += inward.sum(dim=1)
    _accumulate(totals[0], images, features, inward.to(dtype))
    return torch.bmm(inward.to(dtype), tail[0][images].to(dtype).transpose(1, 2)).to(angle.dtype)


class _Gradient(torch.autograd.Function):
    """(positions, precision, keep, number of layers, weights ...) -> d logit / d positions."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, positions: Tensor, dtype: torch.dtype, keep: bool, num_layers: int, *weights: Tensor
    ) -> Tensor:
        keep = keep and any(ctx.needs_input_grad)
        layers = _Layers(weights, num_layers, dtype)
        gradients = torch.empty_like(positions)
        kept = layers.room(positions) + layers.room(positions)[:-1] if keep else []
        with torch.autocast(positions.device.type, enabled=False):
            for block in _blocks(positions):
                room = [entry[block] for entry in kept]
                angles = layers.angles(block[0], positions[block], room or None)
                slopes, gradients[block] = layers.slopes(block[0], angles)
                for entry, slope in zip(room[num_layers:], slopes, strict=False):
                    entry.copy_(slope)
        ctx.settings = (dtype, num_layers, len(kept))
        ctx.save_for_backward(positions, *weights, *kept)
        return gradients

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient_slopes: Tensor
    ) -> tuple[Tensor | None, ...]:
        """With v_l = d logit / d sin(u_l), the gradient is v_0, where v_{l-1} = (v_l cos u_l) A_l^T.

        Going up, q_l = d loss / d v_l; each layer leaves a slope -q A v sin(u) at its angle, which goes down again.
        """
        dtype, num_layers, num_kept = ctx.settings
        positions, *others = ctx.saved_tensors
        weights, kept = others[: len(others) - num_kept], others[len(others) - num_kept :]
        layers = _Layers(tuple(weights), num_layers, dtype)
        totals = [torch.zeros_like(weight) for weight in weights]
        with torch.autocast(positions.device.type, enabled=False):
            for block in _blocks(positions):
                images = block[0]
                if kept:
                    room = [entry[block] for entry in kept]
                    angles, slopes = room[:num_layers], room[num_layers:]
                    slopes.append(layers.head_weight.expand(angles[-1].shape))
                else:
                    angles = layers.angles(images, positions[block])
                    slopes, _ = layers.slopes(images, angles)
                sines, cosines = [torch.sin(angle) for angle in angles], [torch.cos(angle) for angle in angles]
                upward, at_angles = gradient_slopes[block], []
                for index, matrix in enumerate(layers.matrices):
                    upward = upward.to(matrix.dtype)
                    _accumulate(totals[index], images, upward, (slopes[index] * cosines[index]).to(matrix.dtype))
                    upward = torch.bmm(upward, matrix[images])
                    at_angles.append(-upward * slopes[index] * sines[index])
                    upward = upward * cosines[index]
                totals[2 * num_layers] += upward.sum(dim=(0, 1))
                inward = at_angles[-1]
                for index in reversed(range(num_layers)):
                    inward = inward.to(layers.matrices[index].dtype)
                    below = sines[index - 1].to(dtype) if index else positions[block]
                    _accumulate(totals[index], images, below, inward)
                    totals[num_layers + index][images] += inward.sum(dim=1)
                    if index:
                        downward = torch.bmm(inward, layers.matrices[index][images].transpose(1, 2))
                        inward = at_angles[index - 1] + downward * cosines[index - 1]
        return (None, None, None, None, *totals)
