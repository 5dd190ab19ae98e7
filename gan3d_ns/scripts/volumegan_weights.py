"""The weights that the VolumeGAN release writes.

Its checkpoints are dictionaries of torch.save. Under "models" stand the state dicts of "generator",
"generator_smooth" (the moving average, which the release renders) and "discriminator".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.frequency_encoding import encoded_dim
from gan3d_ns.fields.feature_volume_field import FeatureVolumeFieldConfig, translate_volumegan_name
from gan3d_ns.model_components.style_renderer import StyleRendererConfig, translate_synthesis_name
from gan3d_ns.scripts.weight_files import Release, fitting_state, read_plain

PLAIN_ENTRY, AVERAGE_ENTRY = "generator", "generator_smooth"
FIRST_SIDE = "synthesis.layer1.noise"
"""The stored noise of the first layer: its side is twice that of the feature image."""
TELLING = (
    "mapping.dense0.weight",
    "nerfmlp.fv.layer0.weight",
    "nerfmlp.fv.mapping_network.weight",
    "nerfmlp.fg_mlps.0.weight",
    "nerfmlp.fg_color.weight",
    "synthesis.layer1.weight",
    FIRST_SIDE,
)
"""Tensors whose shapes tell the sizes."""


@dataclass
class GeneratorSizes(InstantiateConfig):
    """Field and neural renderer of a release."""

    _target: Any = field(default_factory=lambda: generator_parts)
    feature_volume: FeatureVolumeFieldConfig = field(default_factory=FeatureVolumeFieldConfig)
    """The field."""
    neural_renderer: StyleRendererConfig = field(default_factory=StyleRendererConfig)
    """The network that finishes its pictures."""


def generator_parts(sizes: GeneratorSizes) -> nn.ModuleDict:
    """A field and a neural renderer of these sizes."""
    return nn.ModuleDict({"field": sizes.feature_volume.setup(), "renderer": sizes.neural_renderer.setup()})


def count_of(state: Mapping[str, Tensor], start: str) -> int:
    """How many layers there are whose names begin like this, numbered from 0 or 1."""
    rest = (name.removeprefix(start).split(".")[0] for name in state if name.startswith(start))
    return len({number for number in rest if number.isdigit() and (number != "0" or start != "synthesis.output")})


def generator_sizes(state: Mapping[str, Tensor]) -> GeneratorSizes | None:
    """Sizes of field and renderer, read off the tensors' shapes; None where these are of no such generator."""
    if not state.keys() >= set(TELLING) or state[FIRST_SIDE].ndim != 4:
        return None
    mapping_dim, latent_dim = state["mapping.dense0.weight"].shape[:2]
    code_dim = state["nerfmlp.fv.mapping_network.weight"].shape[1]
    stages = count_of(state, "nerfmlp.fv.layer")
    channels = tuple(state[f"nerfmlp.fv.layer{index}.weight"].shape[0] for index in range(stages))
    feature_dim, hidden_dim = state["nerfmlp.fg_color.weight"].shape[:2]
    encoded = state["nerfmlp.fg_mlps.0.weight"].shape[1] - channels[-1]
    octaves = (encoded - 3) // 6
    if encoded != encoded_dim(octaves):
        return None
    doublings = count_of(state, "synthesis.output")
    side = state[FIRST_SIDE].shape[-1]
    widths = [state[f"synthesis.layer{2 * index + 1}.weight"].shape[0] for index in range(doublings)]
    return GeneratorSizes(
        feature_volume=FeatureVolumeFieldConfig(
            latent_dim=latent_dim,
            mapping_dim=mapping_dim,
            mapping_layers=count_of(state, "mapping.dense"),
            code_dim=code_dim,
            volume_channels=channels,
            hidden_dim=hidden_dim,
            num_layers=count_of(state, "nerfmlp.fg_mlps."),
            feature_dim=feature_dim,
            position_octaves=octaves,
        ),
        neural_renderer=StyleRendererConfig(
            feature_dim=feature_dim,
            code_dim=code_dim,
            ray_side=side // 2,
            resolution=side * 2 ** (doublings - 1),
            # The last stage's width is never cut at the largest, unless all are.
            channels_times_side=side * 2 ** (doublings - 1) * widths[-1],
            max_channels=widths[0],
            base_rgb="layer" if "synthesis.output0.weight" in state else "features",
            aligned=False,
            faded_borders=True,
        ),
    )


def translate(name: str) -> str:
    """Our parameter name for one of the release's generator; unknown names are returned as they are."""
    renderers = translate_synthesis_name(name)
    fields = translate_volumegan_name(name)
    return f"renderer.{renderers}" if renderers else f"field.{fields}" if fields else name


VOLUMEGAN_RELEASE = Release("VolumeGAN", "volumegan_ffhq256.pth", "VolumeGANGenerator", generator_sizes, translate)


def checked_state(state: Any, path: Path) -> dict[str, Tensor]:
    """The generator's state dict, whose parameters fit the sizes that they tell; its buffers are kept.

    Raises:
        UserError: it is no state dict, or not of the release's generator.
    """
    if not isinstance(state, Mapping):
        return fitting_state(state, path, VOLUMEGAN_RELEASE)
    plain = {str(name).removeprefix("module."): value for name, value in state.items()}
    sizes = generator_sizes(plain) if all(isinstance(value, Tensor) for value in plain.values()) else None
    buffers = {"w_avg", "synthesis.lod", "synthesis.filter"}
    # 1x1 convolutions are matrices here.
    parameters = {
        name: value[:, :, 0, 0] if isinstance(value, Tensor) and value.shape[2:] == (1, 1) else value
        for name, value in plain.items()
        if name not in buffers and not name.endswith((".noise", ".filter"))
    }
    release = Release(
        VOLUMEGAN_RELEASE.name, VOLUMEGAN_RELEASE.file, VOLUMEGAN_RELEASE.field, lambda _: sizes, translate
    )
    fitting_state(parameters, path, release)
    return plain


def volumegan_states(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """The generator's state dict and its moving average, None where the file has none; a lone state dict will do.

    Raises:
        UserError: the file cannot be read, or is not of VolumeGAN's generator.
    """
    content: Any = read_plain(path, VOLUMEGAN_RELEASE)
    if not isinstance(content, Mapping) or not isinstance(content.get("models"), Mapping):
        return checked_state(content, path), None
    models = content["models"]
    average = models.get(AVERAGE_ENTRY)
    plain = models.get(PLAIN_ENTRY, average)
    if plain is None:
        raise UserError(
            f"{path} holds the models {', '.join(map(str, models)) or 'none'}, but no {PLAIN_ENTRY} or "
            f"{AVERAGE_ENTRY}; give {VOLUMEGAN_RELEASE.file}."
        )
    return checked_state(plain, path), None if average is None else checked_state(average, path)
