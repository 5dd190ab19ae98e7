"""The weights that the GIRAFFE release writes.

`train.py` of the release saves a dictionary whose entry "model" holds the state dicts of generator, discriminator and
the generator's moving average under the prefixes "generator.", "discriminator." and "generator_test.". A generator has
the networks `decoder` (of objects), `background_generator` and `neural_renderer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.fields.composite_field import CompositeFieldConfig, translate_giraffe_name
from gan3d_ns.fields.giraffe_decoder import GiraffeDecoderConfig
from gan3d_ns.model_components.giraffe_renderer import GiraffeRendererConfig, load_giraffe_renderer
from gan3d_ns.scripts.weight_files import Release, fitting_state, read_plain

MODEL_ENTRY, GENERATOR_PREFIX, AVERAGE_PREFIX = "model", "generator.", "generator_test."
RENDERER_PREFIX, PLACES_PREFIX = "neural_renderer.", "bounding_box_generator."
PUBLISHED_SKIPS = (4,)
RAY_SIDE = 16


def decoder_sizes(state: Mapping[str, Tensor], prefix: str, published: GiraffeDecoderConfig) -> GiraffeDecoderConfig:
    """Sizes of one decoder, read off the tensors' shapes.

    Raises:
        KeyError: it has no such layers.
    """
    hidden, position = state[f"{prefix}fc_in.weight"].shape
    view = state.get(f"{prefix}fc_view.weight")
    layers = [name for name in state if name.startswith(f"{prefix}blocks.") and name.endswith(".weight")]
    return GiraffeDecoderConfig(
        shape_dim=state[f"{prefix}fc_z.weight"].shape[1],
        appearance_dim=state[f"{prefix}fc_z_view.weight"].shape[1],
        hidden_dim=hidden,
        num_layers=1 + len(layers),
        skip_layers=PUBLISHED_SKIPS if f"{prefix}fc_z_skips.0.weight" in state else (),
        input_scale=published.input_scale,
        position_octaves=position // 6,
        direction_octaves=0 if view is None else view.shape[1] // 6,
    )


def field_sizes(state: Mapping[str, Tensor]) -> CompositeFieldConfig | None:
    """Sizes of the decoders; None where the tensors are of no such networks."""
    published = CompositeFieldConfig()
    try:
        return CompositeFieldConfig(
            objects=decoder_sizes(state, "decoder.", published.objects),
            background=decoder_sizes(state, "background_generator.", published.background),
            feature_dim=state["decoder.feat_out.weight"].shape[0],
        )
    except (KeyError, IndexError, ValueError, UserError):
        return None


GIRAFFE_RELEASE = Release("GIRAFFE", "model.pt", "decoder, background_generator", field_sizes, translate_giraffe_name)


class GiraffeWeights(NamedTuple):
    """A generator's state dict in its parts, under the release's names; the renderer's without their prefix."""

    field: dict[str, Tensor]
    renderer: dict[str, Tensor]

    @property
    def renderer_sizes(self) -> GiraffeRendererConfig:
        """Sizes of the renderer, read off the shapes."""
        widths = [value.shape[0] for name, value in self.renderer.items() if _is_layer(name)]
        features = self.renderer["conv_rgb.0.weight"].shape[1]
        return GiraffeRendererConfig(
            feature_dim=features,
            ray_side=RAY_SIDE,
            resolution=RAY_SIDE << len(widths),
            min_channels=min(widths, default=features),
            aligned=False,
        )


def _is_layer(name: str) -> bool:
    return name.startswith("conv_layers.") and name.endswith(".weight")


def generator_parts(state: Any, path: Path) -> GiraffeWeights:
    """A generator's state dict in its parts, checked.

    Raises:
        UserError: it is no state dict of GIRAFFE's generator.
    """
    field, renderer = state, {}
    if isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values()):
        named = {str(name).removeprefix("module."): value for name, value in state.items()}
        renderer = {
            name.removeprefix(RENDERER_PREFIX): value
            for name, value in named.items()
            if name.startswith(RENDERER_PREFIX)
        }
        field = {name: value for name, value in named.items() if not name.startswith((RENDERER_PREFIX, PLACES_PREFIX))}
    weights = GiraffeWeights(fitting_state(field, path, GIRAFFE_RELEASE), renderer)
    try:
        with torch.device("meta"):
            fresh = weights.renderer_sizes.setup()
        load_giraffe_renderer(fresh, {name: value.to("meta") for name, value in renderer.items()})
    except (KeyError, IndexError, RuntimeError, UserError) as error:
        raise UserError(
            f"{path} has no neural renderer of GIRAFFE ({RENDERER_PREFIX}conv_layers, conv_rgb): "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    return weights


def giraffe_states(path: Path) -> tuple[GiraffeWeights, GiraffeWeights | None]:
    """The generator's parts and those of its moving average, None where the file has none; a lone generator will do.

    Raises:
        UserError: the file cannot be read, or is not of GIRAFFE's generator.
    """
    content: Any = read_plain(path, GIRAFFE_RELEASE)
    if isinstance(content, Mapping) and isinstance(content.get(MODEL_ENTRY), Mapping):
        content = content[MODEL_ENTRY]
    if not isinstance(content, Mapping) or not any(str(name).startswith(GENERATOR_PREFIX) for name in content):
        return generator_parts(content, path), None

    def part(prefix: str) -> dict[str, Any]:
        named = {str(name): value for name, value in content.items()}
        return {name[len(prefix) :]: value for name, value in named.items() if name.startswith(prefix)}

    plain, average = generator_parts(part(GENERATOR_PREFIX), path), part(AVERAGE_PREFIX)
    return plain, generator_parts(average, path) if average else None
