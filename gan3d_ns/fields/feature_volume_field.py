"""VolumeGAN's field: a feature volume says what is where, a network on it and on coordinates gives matter and features.

Two variants: the released code's modulated layers on encoded positions, and the paper's FiLM-SIREN layers on plain
ones, whose features depend on the view.
"""

import math
from dataclasses import dataclass, field
from typing import Dict, List, Literal, Optional, Tuple, Type

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.feature_volume import FeatureVolume, StyleOrder, sample_volume
from gan3d_ns.field_components.film_siren import FREQUENCY_SCALE, FREQUENCY_SHIFT, FilmSirenLayer
from gan3d_ns.field_components.frequency_encoding import encoded_dim, frequency_encoding
from gan3d_ns.field_components.modulated import EqualisedMapping, EqualisedModulatedLinear
from gan3d_ns.field_components.start_shape import StartShape, StartShapeConfig
from gan3d_ns.field_components.style_layers import EqualisedLinear
from gan3d_ns.fields.base_field import GenerativeField, Styles, tetrahedral_gradient

RELU_GAIN = math.sqrt(2.0)
SPREAD_OF_FILM = 0.25
"""Scale of the affine maps to raw frequencies and phases at the start, as of pi-GAN's mapping network."""


@dataclass
class FeatureVolumeFieldConfig(InstantiateConfig):
    """A volume drawn by 3D convolutions, and a few layers that read it."""

    _target: Type = field(default_factory=lambda: FeatureVolumeField)
    latent_dim: int = 512
    """Length of the latent vector."""
    mapping_dim: int = 512
    """Width of the mapping network."""
    mapping_layers: int = 8
    """Layers of the mapping network."""
    mapping_rate: float = 0.01
    """Factor of the mapping network's learning rate."""
    code_dim: int = 512
    """Length of the codes that style volume, layers and renderer."""
    use_volume: bool = True
    """Off: the network sees coordinates alone, which is what the paper compares the volume with."""
    volume_channels: Tuple[int, ...] = (256, 128, 64, 32)
    """Channels of the volume's stages at 4, 8, 16, ... voxels: as many entries as doublings plus one."""
    style_order: StyleOrder = "style-then-activate"
    """Adaptive instance norm before the activation, as released, or after it, as the paper draws it."""
    constant_std: float = 0.0
    """Spread of the volume's first constant around 1; 0 as released. More of it lets short trainings tell places
    apart from the start."""
    network: Literal["modulated", "film-siren"] = "modulated"
    """modulated: the layers of StyleGAN2 (released code). film-siren: sine layers that the code scales (paper)."""
    hidden_dim: int = 256
    """Width of the layers."""
    num_layers: int = 4
    """Layers before the heads."""
    feature_dim: Optional[int] = 512
    """Features of a point, for a neural renderer; None: colours."""
    position_octaves: int = 10
    """Octaves of the encoded position beside the volume's features; 0 joins the position itself, as the paper."""
    coordinate_scale: float = 1.0
    """Encoded units in one world unit."""
    use_view_directions: bool = False
    """Let features depend on the view, as in the paper; the released code does not."""
    box_low: Tuple[float, float, float] = (-0.1886, -0.1671, -0.1956)
    """Lower corner of the box that the volume fills, in world units; beyond, the volume's border goes on."""
    box_high: Tuple[float, float, float] = (0.1887, 0.1692, 0.1872)
    """Its upper corner."""
    num_truncated_layers: Optional[int] = None
    """How many styled layers truncation reaches: the volume's, the network's, then the renderer's. None: all."""
    rate: float = 1.0
    """Factor of the learning rates of the equalised layers; 1 as released, which wants long trainings."""
    start_shape: bool = False
    """Begin with the sphere (and backdrop) of `start_shape`, whose box the volume then fills; off as published."""

    def __post_init__(self) -> None:
        numbers = (self.latent_dim, self.mapping_dim, self.mapping_layers, self.code_dim, self.hidden_dim)
        if min(*numbers, self.num_layers, *self.volume_channels) < 1 or not self.volume_channels:
            raise UserError(
                f"a feature volume field needs at least 1 of everything, got {numbers} for latent, mapping and code, "
                f"{self.num_layers} layers and volume_channels {self.volume_channels}."
            )
        if any(low >= high for low, high in zip(self.box_low, self.box_high, strict=True)):
            raise UserError(f"the box from {self.box_low} to {self.box_high} is empty; raise box_high above box_low.")


@dataclass(frozen=True)
class FeatureVolumeStyles(Styles):
    """The volume, and the layers' weights and offsets with the codes folded in: once for each latent, not point."""

    volume: Float[Tensor, "batch channel depth height width"]
    """Features of voxels; no channels without a volume."""
    entry: Float[Tensor, "batch inputs hidden"]
    """Of the first layer, which sees the volume's features and the position."""
    matrices: Float[Tensor, "batch layer hidden hidden"]
    """Of the layers after it."""
    offsets: Float[Tensor, "batch layers hidden"]
    renderer_codes: Float[Tensor, "batch styled code"]
    """Codes of the neural renderer's layers, which the field passes on."""


class FilmAffineLayer(nn.Module):
    """A FiLM-SIREN layer whose frequencies and phases are affine in the code (VolumeGAN, equation 4)."""

    def __init__(self, in_features: int, out_features: int, code_dim: int, is_first: bool) -> None:
        super().__init__()
        self.sine = FilmSirenLayer(in_features, out_features, is_first)
        self.style = nn.Linear(code_dim, 2 * out_features)
        nn.init.normal_(self.style.weight, std=SPREAD_OF_FILM / math.sqrt(code_dim))
        nn.init.zeros_(self.style.bias)

    def forward(
        self, code: Float[Tensor, "batch code"]
    ) -> tuple[Float[Tensor, "batch in_features out_features"], Float[Tensor, "batch out_features"]]:
        """A and c with which the layer is sin(h A + c), for each code."""
        frequencies, phases = self.style(code).chunk(2, dim=1)
        return self.sine.folded(FREQUENCY_SCALE * frequencies + FREQUENCY_SHIFT, phases)


class FeatureVolumeField(GenerativeField):
    """(VolumeGAN, sections 3.1 and 3.2.) Volume feature and position -> styled layers -> geometry value, and features.

    The value is a density before its activation or, with GOF's sampler, an occupancy logit. World and field frames are
    the same: the release has pi-GAN's cameras.

    Args:
        config: sizes.
        start_shape: the first surface, where the config asks for one.
        renderer_layers: names of the neural renderer's styled layers, whose codes are passed on in the styles.
    """

    box: Float[Tensor, "2 3"]

    def __init__(
        self,
        config: FeatureVolumeFieldConfig,
        start_shape: Optional[StartShapeConfig] = None,
        renderer_layers: Tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.latent_dim, self.code_dim = config.latent_dim, config.code_dim
        self.feature_dim = config.feature_dim
        self.renderer_layers = renderer_layers if config.feature_dim else ()
        self.start_shape: Optional[StartShape] = None
        low, high = config.box_low, config.box_high
        if config.start_shape:
            self.start_shape = (start_shape or StartShapeConfig()).setup()
            x, y, z = self.half_sides = self.start_shape.config.box_half_sides  # pyright: ignore
            low, high = (-x, -y, -z), (x, y, z)
        self.register_buffer("box", torch.tensor((low, high)), persistent=False)

        self.mapping_network = EqualisedMapping(
            config.latent_dim, config.mapping_dim, config.code_dim, config.mapping_layers, config.mapping_rate
        )
        self.volume: Optional[FeatureVolume] = None
        if config.use_volume:
            self.volume = FeatureVolume(
                config.code_dim, config.volume_channels, config.style_order, config.constant_std
            )
            self.descriptor_dim = config.volume_channels[-1]
        inputs = self.descriptor_dim + encoded_dim(config.position_octaves)

        def layer(index: int) -> nn.Module:
            fan_in = inputs if index == 0 else config.hidden_dim
            if config.network == "film-siren":
                return FilmAffineLayer(fan_in, config.hidden_dim, config.code_dim, is_first=index == 0)
            return EqualisedModulatedLinear(fan_in, config.hidden_dim, config.code_dim, rate=config.rate)

        self.layers = nn.ModuleList(layer(index) for index in range(config.num_layers))
        self.geometry_head = EqualisedLinear(config.hidden_dim, 1, rate=config.rate)
        viewed = config.hidden_dim + (3 if config.use_view_directions else 0)
        self.feature_head = EqualisedLinear(viewed, config.feature_dim or 3, rate=config.rate)

    @property
    def expected_half_sides(self) -> Tuple[float, float, float]:
        """The box that the volume fills; the field goes on beyond."""
        if self.half_sides is not None:
            return self.half_sides
        x, y, z = self.box.abs().amax(dim=0).tolist()
        return x, y, z

    def release_geometry(self, amount: float) -> None:
        if self.start_shape is not None:
            self.start_shape.geometry_release.fill_(amount)

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        return self.mapping_network(latents)

    @property
    def style_layers(self) -> Tuple[str, ...]:
        """The volume, the layers of the network, and the neural renderer's.

        The release styles the volume with the first layer's code; here it has its own, so that structure and texture
        can be exchanged (paper, figure 5). Equal codes come to the same.
        """
        layers = (f"field {index + 1}" for index in range(self.config.num_layers))
        return ("volume", *layers, *self.renderer_layers)

    @property
    def appearance_layers(self) -> Tuple[int, ...]:
        """All but the volume: structure stays, texture changes (paper, figure 5). Without a volume, the last ones."""
        first = 1 if self.config.use_volume else 1 + self.config.num_layers // 2
        return tuple(range(first, len(self.style_layers)))

    @property
    def truncated_layers(self) -> Optional[int]:
        return self.config.num_truncated_layers

    def condition(self, codes: Float[Tensor, "batch code"]) -> FeatureVolumeStyles:
        return self.condition_layers(codes.expand(len(self.style_layers), -1, -1))

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> FeatureVolumeStyles:
        volume = codes.new_zeros(codes.shape[1], 0, 1, 1, 1) if self.volume is None else self.volume(codes[0])
        entry, *matrices = (layer(code) for layer, code in zip(self.layers, codes[1:], strict=False))
        hidden = self.config.hidden_dim
        later: List[Tensor] = [matrix for matrix, _ in matrices]
        return FeatureVolumeStyles(
            volume=volume,
            entry=entry[0],
            matrices=torch.stack(later, dim=1) if later else codes.new_zeros(codes.shape[1], 0, hidden, hidden),
            offsets=torch.stack([offset for _, offset in (entry, *matrices)], dim=1),
            renderer_codes=codes[1 + self.config.num_layers :].transpose(0, 1),
        )

    def in_box(self, positions: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """World positions in the volume's coordinates: the box spans [-1, 1]."""
        low, high = self.box.to(positions.dtype)
        return (positions - low) * (2.0 / (high - low)) - 1.0

    def descriptors(
        self, positions: Float[Tensor, "batch points 3"], styles: FeatureVolumeStyles
    ) -> Float[Tensor, "batch points channel"]:
        """The volume's features at world positions: the paper's coordinate descriptors."""
        if self.volume is None:
            return super().descriptors(positions, styles)
        return sample_volume(styles.volume, self.in_box(positions))

    def trunk_features(
        self, positions: Float[Tensor, "batch points 3"], styles: FeatureVolumeStyles
    ) -> Float[Tensor, "batch points hidden"]:
        """Features after the last layer, at world positions."""
        encoded = frequency_encoding(positions * self.config.coordinate_scale, self.config.position_octaves)
        features = torch.cat((self.descriptors(positions, styles), encoded), dim=-1)
        for index, offset in enumerate(styles.offsets.unbind(dim=1)):
            matrix = styles.entry if index == 0 else styles.matrices[:, index - 1]
            features = torch.baddbmm(offset[:, None], features, matrix)
            if self.config.network == "film-siren":
                features = torch.sin(features)
            else:
                features = F.leaky_relu(features, 0.2) * RELU_GAIN
        return features

    def values(
        self, features: Float[Tensor, "batch points hidden"], positions: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """The geometry of trunk features, with the start shape where there is one."""
        values = self.geometry_head(features).squeeze(-1)
        return values if self.start_shape is None else self.start_shape(values, positions)

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: FeatureVolumeStyles
    ) -> Float[Tensor, "batch points"]:
        return self.values(self.trunk_features(positions, styles), positions)

    def logit_gradient(
        self, positions: Float[Tensor, "batch points 3"], styles: FeatureVolumeStyles
    ) -> Float[Tensor, "batch points 3"]:
        """As the base class; while gradients are recorded, by differences over half a voxel, as the tri-plane field."""
        if self.volume is None or not torch.is_grad_enabled():
            return super().logit_gradient(positions, styles)
        low, high = self.box
        step = float((high - low).amin()) / (2.0 * self.volume.side)
        return tetrahedral_gradient(lambda points: self.geometry_logits(points, styles), positions, step)

    def forward(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: FeatureVolumeStyles,
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points channel"]]:
        features = self.trunk_features(positions, styles)
        seen = torch.cat((features, directions), dim=-1) if self.config.use_view_directions else features
        shown = self.feature_head(seen)
        return self.values(features, positions), shown if self.feature_dim else torch.sigmoid(shown)

    def load_authors_weights(self, state: Dict[str, Tensor]) -> None:
        """Loads what belongs to the field from a generator state dict of the release, strictly.

        Raises:
            RuntimeError: names or shapes do not fit this field.
        """
        own = {} if self.start_shape is None else {"start_shape.geometry_release": self.start_shape.geometry_release}
        named = {translate_volumegan_name(name): tensor for name, tensor in state.items()}
        # 1x1 convolutions are matrices here.
        fitting = {name: value[:, :, 0, 0] if value.ndim == 4 else value for name, value in named.items() if name}
        self.load_state_dict({**own, **fitting})


def translate_volumegan_name(name: str) -> Optional[str]:
    """Our parameter name for one of the release's generator; None for what is not the field's."""
    if name.startswith("synthesis.") or name == "w_avg":
        return None
    for theirs, ours in (
        ("mapping.dense", "mapping_network."),
        ("nerfmlp.fv.mapping_network.", "volume.style."),
        ("nerfmlp.fv.layer", "volume.convolutions."),
        ("nerfmlp.fv.const", "volume.constant"),
        ("nerfmlp.fg_mlps.", "layers."),
        ("nerfmlp.fg_density.", "geometry_head."),
        ("nerfmlp.fg_color.", "feature_head."),
    ):
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name
