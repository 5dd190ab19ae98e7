"""A hash-grid occupancy field: tables of features that all objects share, and networks that the latent modulates.

The table (Instant Neural Graphics Primitives, section 3) cannot hold one object when it must serve all of them: it
holds a basis of spatial functions, which the latent weighs and mixes. Geometry has a coarser table of its own, as in
the tri-plane field: it stays smooth where colour is sharp, and the surface search reads only this one.
"""

import itertools
from dataclasses import dataclass, field
from typing import Dict, List, Literal, Optional, Tuple, Type

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.field_components.hash_encoding import HashTable, HashTableConfig, choose_layout, growth_factor
from gan3d_ns.field_components.modulated import LatentMapping, ModulatedLinear
from gan3d_ns.field_components.start_shape import StartShape, StartShapeConfig
from gan3d_ns.fields.base_field import GenerativeField, Styles, tetrahedral_gradient

TABLE_GAIN = 10.0
"""Features of the coarsest level are this many times the table's numbers, which Adam moves by the learning rate in
each step: tables want a larger one than networks (1e-2 where networks take 1e-3). Finer levels have smaller gains, in
proportion to their cells: with one gain for all, the rarely touched numbers of fine levels moved as fast as those of
coarse ones, and pictures stayed noise."""
TABLE_SPREAD = 0.1
"""Half the range of a new table's numbers."""


@dataclass
class HashGridFieldConfig(InstantiateConfig):
    """Two hash tables, for geometry and colour, each read by a network whose weights follow from the latent."""

    _target: Type = field(default_factory=lambda: HashGridField)
    latent_dim: int = 64
    """Length of the latent vector; also the width of the mapping network."""
    geometry: HashTableConfig = field(
        default_factory=lambda: HashTableConfig(
            num_levels=3, base_resolution=8, finest_resolution=32, features_per_level=4
        )
    )
    """The table of the geometry. Coarser is smoother."""
    colour: HashTableConfig = field(default_factory=lambda: HashTableConfig(num_levels=5, features_per_level=4))
    """The table of the colour."""
    hidden_dim: int = 64
    """Width of the networks."""
    num_geometry_layers: int = 1
    """Hidden layers between the geometry table and the logit."""
    num_colour_layers: int = 2
    """Hidden layers between the colour table and the colour."""
    implementation: Literal["auto", "tcnn", "torch"] = "auto"
    """tcnn: tiny-cuda-nn, for GPUs. torch: nerfstudio's PyTorch tables. auto: tcnn where it works. A checkpoint keeps
    the layout of its tables; those of tcnn open without it."""
    exact_normals: bool = False
    """Differentiate the tables twice for the smoothness of normals, instead of taking differences."""


@dataclass(frozen=True)
class HashGridStyles(Styles):
    """The networks' weights for each latent, flat, and the shared tables written out as volumes (empty with tcnn)."""

    geometry_network: Float[Tensor, "batch numbers"]
    colour_network: Float[Tensor, "batch other_numbers"]
    geometry_volumes: Float[Tensor, "batch vertices features"]
    colour_volumes: Float[Tensor, "batch other_vertices other_features"]


class ModulatedNetwork(nn.Module):
    """A leaky-ReLU network whose every weight and bias follows from a code: computed once, flat, for each code.

    Inputs are multiplied by ``input_gains``.
    """

    input_gains: Float[Tensor, "features"]

    def __init__(self, input_gains: Float[Tensor, "features"], widths: List[int], code_dim: int) -> None:
        super().__init__()
        self.widths = [len(input_gains), *widths]
        self.register_buffer("input_gains", input_gains, persistent=False)
        pairs = list(itertools.pairwise(self.widths))
        self.layers = nn.ModuleList(
            ModulatedLinear(fan_in, fan_out, code_dim, demodulate=index < len(pairs) - 1)
            for index, (fan_in, fan_out) in enumerate(pairs)
        )

    def weights(self, codes: Float[Tensor, "layer batch code"]) -> Float[Tensor, "batch numbers"]:
        """All weights and biases for each code of each layer."""
        parts = [part for layer, code in zip(self.layers, codes, strict=True) for part in layer(code)]
        parts[0] = parts[0] * self.input_gains[:, None]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def forward(
        self, features: Float[Tensor, "batch points features"], weights: Float[Tensor, "batch numbers"]
    ) -> Float[Tensor, "batch points outputs"]:
        pairs = list(itertools.pairwise(self.widths))
        parts = iter(weights.split([size for fan_in, fan_out in pairs for size in (fan_in * fan_out, fan_out)], dim=1))
        for index, shape in enumerate(pairs):
            matrix, bias = next(parts).unflatten(1, shape), next(parts)[:, None]
            features = torch.baddbmm(bias, features, matrix)
            if index < len(pairs) - 1:
                features = F.leaky_relu(features, 0.2)
        return features


class HashGridField(GenerativeField):
    """Table reads and position -> modulated network -> occupancy logit, and so for colour, which ignores the view.

    Each network sees the table's features and the point's position in the box. Its first layer scales every feature of
    every level by the latent, so that the shared table is a basis, not an object.
    """

    def __init__(self, config: HashGridFieldConfig, start_shape: Optional[StartShapeConfig] = None) -> None:
        super().__init__()
        self.config = config
        self.start_shape: StartShape = (start_shape or StartShapeConfig()).setup()
        self.half_sides = self.start_shape.config.box_half_sides
        self.latent_dim = self.code_dim = config.latent_dim
        self.mapping_network = LatentMapping(config.latent_dim)
        layout = choose_layout(config.implementation)
        self.geometry_table = HashTable(config.geometry, layout)
        self.colour_table = HashTable(config.colour, layout)
        for table in (self.geometry_table, self.colour_table):
            torch.nn.init.uniform_(table.parameter, -TABLE_SPREAD, TABLE_SPREAD)
        hidden = config.hidden_dim
        self.geometry_network = ModulatedNetwork(
            input_gains(self.geometry_table), [*[hidden] * config.num_geometry_layers, 1], config.latent_dim
        )
        self.colour_network = ModulatedNetwork(
            input_gains(self.colour_table), [*[hidden] * config.num_colour_layers, 3], config.latent_dim
        )

    def release_geometry(self, amount: float) -> None:
        self.start_shape.geometry_release.fill_(amount)

    def fit_to_checkpoint(self, state: Dict[str, Tensor]) -> Dict[str, Tensor]:
        self.geometry_table.fit_to(state, "geometry_table.")
        self.colour_table.fit_to(state, "colour_table.")
        return state

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        return self.mapping_network(latents)

    @property
    def style_layers(self) -> Tuple[str, ...]:
        """The layers of both networks."""
        geometry, colour = (len(network.layers) for network in (self.geometry_network, self.colour_network))
        return (
            *(f"geometry {index + 1}" for index in range(geometry)),
            *(f"colour {index + 1}" for index in range(colour)),
        )

    def condition(self, codes: Float[Tensor, "batch code"]) -> HashGridStyles:
        return self.condition_layers(codes.expand(len(self.style_layers), -1, -1))

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> HashGridStyles:
        count, batch = len(self.geometry_network.layers), codes.shape[1]
        volumes = (table.volumes().expand(batch, -1, -1) for table in (self.geometry_table, self.colour_table))
        geometry = self.geometry_network.weights(codes[:count])
        return HashGridStyles(geometry, self.colour_network.weights(codes[count:]), *volumes)

    def features(
        self,
        table: HashTable,
        volumes: Optional[Float[Tensor, "batch vertices features"]],
        positions: Float[Tensor, "batch points 3"],
    ) -> Float[Tensor, "batch points all_features"]:
        """The networks' input at world positions: from the volumes, or without them from the table itself."""
        in_box = self.start_shape.in_box(positions)
        points = (in_box * 0.5 + 0.5).flatten(0, 1)
        reads = table(points) if volumes is None else table.read(volumes[0], points)
        return torch.cat((reads.unflatten(0, in_box.shape[:2]), in_box), dim=-1)

    def logits_of(
        self, positions: Float[Tensor, "batch points 3"], styles: HashGridStyles, from_volumes: bool
    ) -> Float[Tensor, "batch points"]:
        """Occupancy logits; reads from the table itself can be differentiated twice."""
        volumes = styles.geometry_volumes if from_volumes else None
        features = self.features(self.geometry_table, volumes, positions)
        logits = self.geometry_network(features, styles.geometry_network).squeeze(-1)
        return self.start_shape(logits, positions)

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: HashGridStyles
    ) -> Float[Tensor, "batch points"]:
        return self.logits_of(positions, styles, from_volumes=True)

    def logit_gradient(
        self, positions: Float[Tensor, "batch points 3"], styles: HashGridStyles
    ) -> Float[Tensor, "batch points 3"]:
        """As the base class; while gradients are recorded, by differences over the corners of a tetrahedron.

        The exact gradient of a trilinear read jumps between cells, differences span neighbouring ones. With
        ``exact_normals`` the exact one is differentiated instead: in PyTorch, and in tiny-cuda-nn, whose grid encoding
        has that second backward pass, in half precision on most GPUs. At the start of a training on a CPU the two
        cost the same and left surfaces equally smooth; differences need no second backward pass of anything.
        """
        if not torch.is_grad_enabled():
            return super().logit_gradient(positions, styles)
        if not self.config.exact_normals:
            step = self.start_shape.smallest_half_side / self.config.geometry.finest_resolution
            return tetrahedral_gradient(lambda points: self.geometry_logits(points, styles), positions, step)
        positions = positions.detach().requires_grad_(True)
        logits = self.logits_of(positions, styles, from_volumes=False)
        return torch.autograd.grad(logits.sum(), positions, create_graph=True)[0]

    def forward(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: HashGridStyles,
    ) -> Tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        return self.geometry_logits(positions, styles), self.colours(positions, directions, styles)

    def colours(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: HashGridStyles,
    ) -> Float[Tensor, "batch points 3"]:
        features = self.features(self.colour_table, styles.colour_volumes, positions)
        return torch.sigmoid(self.colour_network(features, styles.colour_network))


def input_gains(table: HashTable) -> Float[Tensor, "features"]:
    """Of a table's features, in proportion to their cells, and 1 for each coordinate; the same for both layouts."""
    gains = TABLE_GAIN * growth_factor(table.config) ** -torch.arange(table.config.num_levels)
    features = gains.float().repeat_interleave(table.config.features_per_level)
    return torch.cat((features, torch.ones(3)))
