"""Sines and cosines of a point's coordinates, with which a network of ReLUs can show detail (NeRF, section 5.1)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def encoded_dim(num_octaves: int, dim: int = 3) -> int:
    """Length of what :func:`frequency_encoding` gives for vectors of length ``dim``."""
    return dim * (1 + 2 * num_octaves)


def frequency_encoding(points: Float[Tensor, "*batch dim"], num_octaves: int) -> Float[Tensor, "*batch encoded"]:
    """gamma(p) = [p, sin(p), cos(p), sin(2 p), cos(2 p), ..., sin(2^(L-1) p), cos(2^(L-1) p)] for L octaves.

    As in GRAF's released code: with p itself and without the factor pi of NeRF's equation 4. 0 octaves leave p alone.
    """
    if num_octaves == 0:
        return points
    frequencies = 2.0 ** torch.arange(num_octaves, device=points.device, dtype=points.dtype)
    angles = points[..., None, :] * frequencies[:, None]
    waves = torch.stack((angles.sin(), angles.cos()), dim=-2)
    return torch.cat((points, waves.flatten(-3)), dim=-1)


def wave_encoding(points: Float[Tensor, "*batch dim"], num_octaves: int) -> Float[Tensor, "*batch encoded"]:
    """gamma(p) = [sin(pi p), cos(pi p), ..., sin(2^(L-1) pi p), cos(2^(L-1) pi p)] for L octaves (NeRF, equation 4).

    Without p itself: of length 2 L dim.
    """
    frequencies = torch.pi * 2.0 ** torch.arange(num_octaves, device=points.device, dtype=points.dtype)
    angles = points[..., None, :] * frequencies[:, None]
    return torch.stack((angles.sin(), angles.cos()), dim=-2).flatten(-3)
