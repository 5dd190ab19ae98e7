"""Learned cameras: a small network that moves the cameras of a prior to where the pictures were taken (CAMPARI)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Dict, Literal, Optional, Type

import torch
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.cameras.camera_vectors import (
    VECTOR_LENGTHS,
    CameraRanges,
    Parametrisation,
    Range,
    entries,
    vectors_of_viewpoints,
    viewpoints_of_vectors,
)
from gan3d_ns.cameras.pose_prior import SMALLEST_NEAR, PosePrior, PosePriorConfig
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError

WIDEST_NORMAL_REACH_DEG = 60.0
"""Priors whose yaw goes further from its mean than this are mapped all around (`full`)."""
SUMMARY_VIEWPOINTS = 4096
FOV_SHARE, RADIUS_SHARE = 25.0 / 35.0, 1.0 / 3.0
"""Half ranges over the prior's value, as published: 35 +- 25 degrees, .75 +- .25."""


@dataclass
class CameraGeneratorConfig(InstantiateConfig):
    """A residual network on camera vectors: which quantities it may move, and how far."""

    _target: Type = field(default_factory=lambda: CameraGenerator)
    """target class to instantiate"""
    parametrisation: Literal["auto", "normal", "full"] = "auto"
    """How the network sees the yaw. normal: an angle within `yaw_range_deg` of the prior's mean (CAMPARI's faces).
    full: all around, by the nearest rotation of a 2x2 matrix (its cars and chairs). auto: by the reach of the prior."""
    learn_yaw: bool = True
    """Move the azimuth."""
    learn_elevation: bool = True
    """Move the elevation."""
    learn_fov: bool = False
    """Move the field of view, across and down each by itself, as CAMPARI does. Off, as the size of the objects can take
    its place."""
    learn_radius: bool = False
    """Move the distance, as CAMPARI does. Off, for the same reason."""
    yaw_range_deg: float = 90.0
    """Largest distance from the prior's mean that `normal` may give the yaw, in degrees."""
    elevation_range_deg: float = 90.0
    """Largest distance from the horizon, in degrees."""
    fov_range_deg: Optional[float] = None
    """Largest distance from the prior's field of view, in degrees. None: 5/7 of it, as published (35 +- 25)."""
    radius_range: Optional[float] = None
    """Largest distance from the prior's radius, in world units. None: a third of it, as published (.75 +- .25)."""
    hidden_dim: int = 64
    """Width of the network."""
    num_layers: int = 4
    """Hidden layers between the first and the last."""
    initial_std: float = 0.05
    """Standard deviation of the last layer's first weights: the network begins close to doing nothing."""
    speed: float = 1.0
    """What the network's output is multiplied by: above 1 the cameras move faster than the generator learns otherwise,
    as by a larger learning rate of their own. 1 as published."""

    def __post_init__(self) -> None:
        if self.hidden_dim < 1 or self.num_layers < 0:
            raise UserError(
                f"a camera network needs a width of 1 at least and no negative number of layers, got {self.hidden_dim} "
                f"and {self.num_layers}."
            )
        if not 0 < self.yaw_range_deg <= 180 or not 0 < self.elevation_range_deg <= 90:
            raise UserError(
                f"yaw_range_deg is {self.yaw_range_deg} and elevation_range_deg {self.elevation_range_deg}; they must "
                "be positive, at most 180 and 90."
            )
        if self.speed <= 0:
            raise UserError(f"speed is {self.speed}, but must be positive; 1 is as published.")


def yaw_reach_deg(prior: PosePriorConfig) -> float:
    """How far the yaws of a prior lie from their mean, in degrees: of the Gaussian ones three standard deviations."""
    if prior.distribution == "fixed":
        return 0.0
    return {"uniform": 1.0, "spherical": 1.0, "truncated-gaussian": 2.0}.get(prior.distribution, 3.0) * (
        prior.yaw_spread_deg
    )


class CameraGenerator(nn.Module):
    """Maps the cameras of a prior to those of the pictures: vector + network(vector) (CAMPARI, section 3.2).

    It lives in the generator and learns with it, from nothing but the discriminator's gradient through the rays.
    ``released`` is a buffer that the training engine sets: before, cameras are the prior's.

    Args:
        config: what may move, and how far.
        prior: where cameras stand at first; it gives the centres of the ranges.
    """

    released: Float[Tensor, ""]
    learned: Float[Tensor, "entry"]

    def __init__(self, config: CameraGeneratorConfig, prior: PosePriorConfig) -> None:
        super().__init__()
        self.config, self.prior = config, prior
        self.parametrisation: Parametrisation = "normal"
        if config.parametrisation != "auto":
            self.parametrisation = config.parametrisation
        elif yaw_reach_deg(prior) > WIDEST_NORMAL_REACH_DEG:
            self.parametrisation = "full"
        self.ranges = camera_ranges(config, prior)
        length, hidden = VECTOR_LENGTHS[self.parametrisation], config.hidden_dim
        self.fc_in = nn.Linear(length, hidden)
        self.blocks = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(config.num_layers))
        self.fc_out = nn.Linear(hidden, length)
        nn.init.normal_(self.fc_out.weight, std=config.initial_std)
        nn.init.zeros_(self.fc_out.bias)
        self.register_buffer("released", torch.zeros(()))
        learned, where = torch.zeros(length), entries(self.parametrisation)
        for name, moves in self.moves.items():
            learned[where[name]] = float(moves)
        self.register_buffer("learned", learned, persistent=False)

    @property
    def moves(self) -> Dict[str, bool]:
        """Which quantities are learned."""
        config = self.config
        return {
            "yaw": config.learn_yaw,
            "elevation": config.learn_elevation,
            "fov": config.learn_fov,
            "radius": config.learn_radius,
        }

    def release(self, amount: float = 1.0) -> None:
        """Lets the network move the cameras (1), or not yet (0)."""
        self.released.fill_(amount)

    def residual(self, vectors: Float[Tensor, "view entry"]) -> Float[Tensor, "view entry"]:
        """The network: what is added to a camera's vector, before it is asked which entries may move."""
        hidden = self.fc_in(vectors)
        for layer in self.blocks:
            hidden = layer(torch.relu(hidden))
        return self.fc_out(torch.relu(hidden))

    def moved(self, vectors: Float[Tensor, "view entry"]) -> Float[Tensor, "view entry"]:
        """The vectors of the learned cameras, not yet kept in their ranges."""
        return vectors + self.released * self.config.speed * self.learned * self.residual(vectors)

    def forward(self, prior: Viewpoints) -> Viewpoints:
        """The learned camera of each of the prior's; these themselves before the release. Never in half precision.

        Quantities that are not learned stay what they are, to the last bit.
        """
        if float(self.released) == 0.0:
            return prior
        with torch.autocast(device_type=prior.poses.device.type, enabled=False):
            vectors = vectors_of_viewpoints(prior, self.parametrisation, self.ranges)
            learned = viewpoints_of_vectors(self.moved(vectors), self.parametrisation, self.ranges)
        poses = [learned.poses[:, 0], learned.poses[:, 1]]
        for index, moves in enumerate((self.config.learn_elevation, self.config.learn_yaw)):
            if not moves:
                poses[index] = prior.poses[:, index]
        return Viewpoints(
            torch.stack(poses, dim=-1),
            learned.radii if self.config.learn_radius else prior.radii,
            learned.tangents if self.config.learn_fov else prior.tangents,
        )

    def load_authors_weights(self, state: Mapping[str, Tensor]) -> None:
        """Loads the state dict of the released network `latent_cameras`, strictly.

        Raises:
            RuntimeError: names or shapes do not fit this network.
        """
        self.load_state_dict({**state, "released": self.released})

    @torch.no_grad()
    def sample(self, num: int, randomness: torch.Generator) -> Viewpoints:
        """Random learned cameras, on this network's device."""
        prior = PosePrior(self.prior).sample_viewpoints(num, randomness, self.released.device)
        return self(prior)

    def fitted(self, num: int = SUMMARY_VIEWPOINTS) -> PosePriorConfig:
        """A prior of the same family with the learned law's mean, spread, field of view and radius.

        For those who want to know where to look from: homes of viewers, sample panels, virtual views. Before the
        release it is the prior itself.
        """
        if float(self.released) == 0.0:
            return self.prior
        return fitted_prior(self.prior, self.sample(num, torch.Generator().manual_seed(0)).to("cpu"))


def camera_ranges(config: CameraGeneratorConfig, prior: PosePriorConfig) -> CameraRanges:
    """The ranges around a prior's centre.

    Raises:
        UserError: a range that lets the field of view or the radius become negative or too large.
    """
    fov = (
        FOV_SHARE * min(prior.fov_deg, 180.0 - prior.fov_deg) if config.fov_range_deg is None else config.fov_range_deg
    )
    radius = RADIUS_SHARE * prior.radius if config.radius_range is None else config.radius_range
    if not 0 <= fov < min(prior.fov_deg, 180.0 - prior.fov_deg):
        raise UserError(
            f"fov_range_deg is {fov}, but the prior's field of view of {prior.fov_deg} degrees must stay between 0 and "
            "180; lower it."
        )
    if not 0 <= radius < prior.radius:
        raise UserError(f"radius_range is {radius}; set it to 0 or more, below the prior's radius of {prior.radius}.")
    return CameraRanges(
        fov_deg=Range(prior.fov_deg, fov),
        yaw_deg=Range(prior.yaw_mean_deg, config.yaw_range_deg),
        elevation_deg=Range(0.0, config.elevation_range_deg),
        radius=Range(prior.radius, radius),
    )


SPREAD_OF_STD = {
    "uniform": math.sqrt(3.0),
    "spherical": math.sqrt(3.0),
    "gaussian": 1.0,
    "truncated-gaussian": 1.0 / 0.8796,
    "hybrid": math.sqrt(6.0 / 7.0),
    "fixed": 1.0,
}
"""What a prior calls its spread, over the standard deviation of what it draws."""

WIDEST_RADIUS_SHARE = 0.9
"""A prior's cameras stand on one side of the origin: its spread of radii over their mean is smaller than 1."""
EVEN_ALL_AROUND = 0.1
"""Length of the mean of unit vectors below which directions have no middle."""


def circular_mean_std_deg(angles: Float[Tensor, "view"]) -> tuple[float, float]:
    """Mean direction and standard deviation around it of angles in radians, in degrees."""
    angles = angles.double()
    mean = torch.atan2(angles.sin().mean(), angles.cos().mean())
    around = torch.remainder(angles - mean + math.pi, 2.0 * math.pi) - math.pi
    return math.degrees(float(mean)), math.degrees(float(around.square().mean().sqrt()))


def fitted_prior(prior: PosePriorConfig, viewpoints: Viewpoints) -> PosePriorConfig:
    """The prior of the same family whose moments are those of some cameras; of the fixed prior, a Gaussian one.

    Yaws all around, which have no middle, keep the prior's. Near and far keep their distance from the farthest camera,
    as long as near stays in front of all cameras.
    """
    pitch, yaw = viewpoints.poses.double().unbind(-1)
    family = "gaussian" if prior.distribution == "fixed" else prior.distribution
    scale = SPREAD_OF_STD[family]
    yaw_mean, yaw_std = circular_mean_std_deg(yaw - math.pi / 2)
    yaw_spread = min(180.0, scale * yaw_std)
    if math.hypot(float(yaw.cos().mean()), float(yaw.sin().mean())) < EVEN_ALL_AROUND:
        yaw_mean, yaw_spread = prior.yaw_mean_deg, 180.0
    above = torch.rad2deg(pitch) if family != "spherical" else 90.0 * (1.0 - pitch.cos())
    mean, spread = 90.0 - float(above.mean()), scale * float(above.std(correction=0))
    mean = min(max(mean, -90.0), 90.0)  # single precision may go beyond the pole
    if family in ("uniform", "spherical"):
        spread = min(spread, 90.0 - abs(mean))
    changed = replace(
        prior,
        distribution=family,
        yaw_mean_deg=yaw_mean,
        yaw_spread_deg=yaw_spread,
        elevation_mean_deg=mean,
        elevation_spread_deg=max(0.0, spread),
    )
    if viewpoints.tangents is not None:
        fovs = torch.rad2deg(2.0 * torch.atan(viewpoints.tangents.double()))
        changed.fov_deg, changed.fov_std_deg = float(fovs.mean()), float(fovs.std(dim=0, correction=0).mean())
    if viewpoints.radii is not None:
        radii = viewpoints.radii.double()
        changed.radius = float(radii.mean())
        spread = math.sqrt(3.0) * float(radii.std(correction=0))
        changed.radius_spread = min(spread, WIDEST_RADIUS_SHARE * changed.radius)
        further = changed.largest_radius - prior.largest_radius
        # A prior's near is at least twice its spread of radii.
        changed.near = max(prior.near + further, 2.0 * changed.radius_spread, SMALLEST_NEAR)
        changed.far = max(prior.far + further, changed.near + SMALLEST_NEAR)
    return changed
