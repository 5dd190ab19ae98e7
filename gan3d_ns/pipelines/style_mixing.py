"""Pictures whose texture follows another latent than their structure (StyleGAN, section 3.1), in training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan3d_ns.fields.base_field import Styles
from gan3d_ns.models.generator import Generator


@dataclass(frozen=True)
class StyleMixing:
    """The second latent of each picture, and where it takes over."""

    latents: Float[Tensor, "batch latent"]
    first_layers: Int[Tensor, "batch"]
    """The first of the field's ``style_layers`` that takes the second latent's code; their number where none does."""

    def __getitem__(self, part: slice) -> StyleMixing:
        return StyleMixing(self.latents[part], self.first_layers[part])


def draw_style_mixing(generator: Generator, count: int, probability: float, randomness: torch.Generator) -> StyleMixing:
    """Mixing of each picture with a probability, from a layer of the neural renderer on.

    The layer is uniform among the renderer's (VolumeGAN, released code): structure never mixes. Methods without such
    layers mix from any layer but the first.
    """
    layers, device = len(generator.field.style_layers), randomness.device
    renderer = generator.neural_renderer
    first = layers - len(renderer.style_layers) if renderer is not None and renderer.style_layers else min(1, layers)
    latents = torch.randn(count, generator.field.latent_dim, generator=randomness, device=device)
    # One more than the last layer where there is none to choose from: nothing is mixed then.
    from_layer = torch.randint(first, max(layers, first + 1), (count,), generator=randomness, device=device)
    mixed = torch.rand(count, generator=randomness, device=device) < probability
    return StyleMixing(latents, torch.where(mixed, from_layer, layers))


def mixed_codes(
    generator: Generator, latents: Float[Tensor, "batch latent"], mixing: StyleMixing | None
) -> Float[Tensor, "layer batch code"]:
    """The code that each layer of the field takes for each picture."""
    layers = len(generator.field.style_layers)
    codes = generator.codes(latents).expand(layers, -1, -1)
    if mixing is None:
        return codes
    taken = torch.arange(layers, device=codes.device)[:, None] >= mixing.first_layers
    return torch.where(taken[..., None], generator.codes(mixing.latents), codes)


def mixed_styles(generator: Generator, latents: Float[Tensor, "batch latent"], mixing: StyleMixing | None) -> Styles:
    """The styles of pictures, mixed or not."""
    if mixing is None:
        return generator.styles(latents)
    return generator.field.condition_layers(mixed_codes(generator, latents, mixing))
