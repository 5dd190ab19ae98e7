"""Flags that say where the cameras of a collection stand."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Dict, Literal, Optional

if TYPE_CHECKING:
    from gan3d_ns.cameras.pose_prior import PosePriorConfig


@dataclass
class CameraLaw:
    """Where the cameras stand; what is not given is as in the collection's preset (toy-cars, models: procedural)."""

    distribution: Optional[Literal["uniform", "gaussian", "truncated-gaussian", "hybrid", "spherical", "fixed"]] = None
    """uniform: mean +- spread. gaussian, truncated-gaussian (at 2 std): the spread is the standard deviation. hybrid:
    half of the pictures uniform over +-2 spread, half Gaussian. spherical: uniform by area. fixed: always the mean."""
    yaw_mean_deg: Optional[float] = None
    """Centre of the azimuth in degrees; 0 looks at the front."""
    yaw_spread_deg: Optional[float] = None
    """Half range or standard deviation of the azimuth, in degrees."""
    elevation_mean_deg: Optional[float] = None
    """Centre of the elevation above the horizon, in degrees."""
    elevation_spread_deg: Optional[float] = None
    """Half range or standard deviation of the elevation, in degrees."""
    fov_deg: Optional[float] = None
    """Field of view in degrees."""
    radius: Optional[float] = None
    """Distance from the origin, in world units."""
    near: Optional[float] = None
    """Distance along the ray where the space to be seen begins."""
    far: Optional[float] = None
    """Distance along the ray where it ends."""
    radius_spread: Optional[float] = None
    """Half range of the distance, in world units: radius +- spread, evenly. near and far are those of the most distant
    camera."""
    planar_depth: Optional[bool] = None
    """near and far are depths along the optical axis."""

    @property
    def given(self) -> Dict[str, Any]:
        """The flags that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def law(self, preset: str) -> "PosePriorConfig":
        """The preset with what was given.

        Raises:
            UserError: the numbers contradict each other.
        """
        from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior

        return PosePrior(replace(POSE_PRIOR_PRESETS[preset], **self.given)).config

    def training_flags(self, preset: str) -> Dict[str, Any]:
        """The flags of ns-train for cameras of the same law: what differs from the preset."""
        from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS

        differing = {
            name: value for name, value in self.given.items() if value != getattr(POSE_PRIOR_PRESETS[preset], name)
        }
        return {f"--pipeline.model.pose-prior.{name.replace('_', '-')}": value for name, value in differing.items()}
