"""Where the cameras of a collection may stand: a distribution of poses on a sphere around the object.

A pose is (pitch, yaw) in radians, GOF's angles: pitch is the polar angle from +y and yaw the azimuth, so that

    position = radius * (sin(pitch) cos(yaw), cos(pitch), sin(pitch) sin(yaw)).

(pi/2, pi/2) is the frontal view from +z. Configs and command lines speak degrees: yaw 0 is the front, elevation 0 the
horizon, up is positive. Every camera looks at the origin with +y up; camera frames are OpenGL's (right, up, backward).
"""

import math
from dataclasses import dataclass, field
from typing import Dict, Literal, Optional, Tuple, Type, Union

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError

POLE_MARGIN = 1e-5
"""Radians (and fraction of the sphere's area) that sampled poses keep from the poles, where "up" is undefined."""
SMALLEST_NEAR = 1e-3
"""World units that rays keep from their camera."""
FOV_LIMITS_DEG = (1.0, 170.0)
"""Smallest and largest field of view that is drawn."""
TRUNCATION = 2.0
"""Half width of the truncated Gaussian, in standard deviations."""

Distribution = Literal["uniform", "gaussian", "truncated-gaussian", "hybrid", "spherical", "fixed"]


@dataclass
class PosePriorConfig(InstantiateConfig):
    """Distribution of the camera poses of a collection, and the camera that they share."""

    _target: Type = field(default_factory=lambda: PosePrior)
    """target class to instantiate"""
    distribution: Distribution = "gaussian"
    """uniform: mean +- spread. gaussian, truncated-gaussian (at 2 std): the spread is the standard deviation. hybrid:
    each batch is uniform over +-2 spread or Gaussian, with equal chance. spherical: uniform by area on the sphere
    (see elevation_spread_deg). fixed: always the mean."""
    yaw_mean_deg: float = 0.0
    """Centre of the azimuth, in degrees; 0 looks at the front of the object."""
    yaw_spread_deg: float = 17.2
    """Half range (uniform, spherical) or standard deviation (the Gaussian ones) of the azimuth, in degrees."""
    elevation_mean_deg: float = 0.0
    """Centre of the elevation above the horizon, in degrees."""
    elevation_spread_deg: float = 8.9
    """Half range or standard deviation of the elevation, in degrees. With `spherical`, (90 - elevation) / 180 is the
    fraction of the sphere's area above the camera: mean 0 and spread 90 cover the sphere, mean 45 and spread 45 its
    upper half."""
    fov_deg: float = 12.0
    """Field of view between the centres of the first and the last pixel of a row, in degrees."""
    fov_std_deg: float = 0.0
    """Standard deviation of the fields of view of training cameras, drawn from a Gaussian around `fov_deg`, across and
    down each by itself, in degrees (CAMPARI)."""
    radius: float = 1.0
    """Distance of the cameras from the origin, in world units."""
    near: float = 0.88
    """Distance along the ray where the object's space begins. Must be positive and below far."""
    far: float = 1.12
    """Distance along the ray where the object's space ends."""
    radius_spread: float = 0.0
    """Half range of the cameras' distance, drawn evenly in training: radius +- spread. near and far are then those of
    the most distant camera and move with the others, so that the same space is seen (GRAF)."""
    planar_depth: bool = False
    """near and far are depths along the optical axis, as GRAF's, so that they lie further out on slanted rays."""

    @property
    def largest_radius(self) -> float:
        """Distance of the cameras that near and far belong to."""
        return self.radius + self.radius_spread

    @property
    def farthest(self) -> float:
        """Far of the most slanted ray."""
        return self.far * math.sqrt(1.0 + 2.0 * math.tan(math.radians(self.fov_deg) / 2.0) ** 2 * self.planar_depth)


def poses_from_degrees(
    yaw_deg: Float[Tensor, "*batch"], elevation_deg: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 2"]:
    """Poses (pitch, yaw) in radians of yaw (0 = front) and elevation (0 = horizon, up positive) in degrees."""
    return torch.stack([math.pi / 2 - torch.deg2rad(elevation_deg), math.pi / 2 + torch.deg2rad(yaw_deg)], dim=-1)


def poses_to_positions(poses: Float[Tensor, "*batch 2"], radius: float = 1.0) -> Float[Tensor, "*batch 3"]:
    """Camera positions in the world: radius (sin p cos y, cos p, sin p sin y) (GOF, released code)."""
    pitch, yaw = poses.unbind(-1)
    return radius * torch.stack([pitch.sin() * yaw.cos(), pitch.cos(), pitch.sin() * yaw.sin()], dim=-1)


def poses_to_camera_to_world(poses: Float[Tensor, "*batch 2"], radius: float = 1.0) -> Float[Tensor, "*batch 3 4"]:
    """Camera-to-world matrices, columns (right, up, backward, position), of cameras that look at the origin.

    The closed form of `look_at_origin`, without its division: it stays exact and differentiable up to the poles.
    """
    pitch, yaw = poses.unbind(-1)
    zero = torch.zeros_like(pitch)
    right = torch.stack([yaw.sin(), zero, -yaw.cos()], dim=-1)
    up = torch.stack([-pitch.cos() * yaw.cos(), pitch.sin(), -pitch.cos() * yaw.sin()], dim=-1)
    backward = poses_to_positions(poses)
    return torch.stack([right, up, backward, radius * backward], dim=-1)


def look_at_origin(positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 4"]:
    """Camera-to-world matrices, columns (right, up, backward, position), of cameras at any positions off the y axis."""
    backward = torch.nn.functional.normalize(positions, dim=-1)
    world_up = torch.tensor([0.0, 1.0, 0.0], dtype=positions.dtype, device=positions.device).expand_as(positions)
    right = torch.nn.functional.normalize(torch.linalg.cross(world_up, backward), dim=-1)
    up = torch.linalg.cross(backward, right)
    return torch.stack([right, up, backward, positions], dim=-1)


class PosePrior:
    """Samples poses and turns poses into cameras and rays.

    Args:
        config: the distribution and the shared camera.

    Raises:
        UserError: where the numbers contradict each other; the message says which one to change.
    """

    config: PosePriorConfig

    def __init__(self, config: PosePriorConfig) -> None:
        _validate(config)
        self.config = config

    def mean_pose(self, device: Union[torch.device, str] = "cpu") -> Float[Tensor, "2"]:
        """Centre of the distribution, (pitch, yaw) in radians; for `spherical` the centre by area."""
        pitch = math.radians(90.0 - self.config.elevation_mean_deg)
        if self.config.distribution == "spherical":
            pitch = math.acos(1.0 - 2.0 * pitch / math.pi)
        return torch.tensor([pitch, math.radians(90.0 + self.config.yaw_mean_deg)], device=device)

    def sample(
        self, num: int, generator: Optional[torch.Generator] = None, device: Union[torch.device, str] = "cpu"
    ) -> Float[Tensor, "num 2"]:
        """Poses (pitch, yaw) in radians drawn from the distribution (GOF, released code, volumetric_rendering.py).

        Args:
            num: how many.
            generator: source of the randomness; draws happen on its device, so a seed means the same on every device.
            device: where the result lives.
        """
        config = self.config
        draw_device = generator.device if generator is not None else torch.device(device)
        mean = torch.tensor([90.0 - config.elevation_mean_deg, 90.0 + config.yaw_mean_deg], device=draw_device)
        spread = torch.tensor([config.elevation_spread_deg, config.yaw_spread_deg], device=draw_device)
        mean, spread = torch.deg2rad(mean), torch.deg2rad(spread)

        def uniform() -> Tensor:
            return 2.0 * torch.rand(num, 2, generator=generator, device=draw_device) - 1.0

        def gaussian() -> Tensor:
            return torch.randn(num, 2, generator=generator, device=draw_device)

        if config.distribution == "fixed":
            poses = mean.expand(num, 2).clone()
        elif config.distribution == "gaussian":
            poses = mean + spread * gaussian()
        elif config.distribution == "truncated-gaussian":
            # The inverse of the truncated distribution function. The released code redraws four times instead, which
            # lets one draw in 230,000 through; the law is otherwise the same.
            truncated = math.sqrt(2.0) * torch.erfinv(math.erf(TRUNCATION / math.sqrt(2.0)) * uniform())
            poses = mean + spread * truncated.clamp(-TRUNCATION, TRUNCATION)
        elif config.distribution == "hybrid":
            coin = torch.rand((), generator=generator, device=draw_device)
            poses = mean + spread * (2.0 * uniform() if coin < 0.5 else gaussian())
        else:
            poses = mean + spread * uniform()
            if config.distribution == "spherical":
                area = (poses[:, :1] / math.pi).clamp(POLE_MARGIN, 1.0 - POLE_MARGIN)
                poses = torch.cat([torch.arccos(1.0 - 2.0 * area), poses[:, 1:]], dim=1)
        pitch = poses[:, :1].clamp(POLE_MARGIN, math.pi - POLE_MARGIN)
        return torch.cat([pitch, poses[:, 1:]], dim=1).to(device)

    def sample_radii(
        self, num: int, generator: Optional[torch.Generator] = None, device: Union[torch.device, str] = "cpu"
    ) -> Optional[Float[Tensor, "num"]]:
        """Camera distances in world units, drawn evenly within radius +- spread; None where all are the same."""
        if self.config.radius_spread == 0:
            return None
        draw_device = generator.device if generator is not None else torch.device(device)
        uniforms = 2.0 * torch.rand(num, generator=generator, device=draw_device) - 1.0
        return (self.config.radius + self.config.radius_spread * uniforms).to(device)

    def sample_viewpoints(
        self, num: int, generator: Optional[torch.Generator] = None, device: Union[torch.device, str] = "cpu"
    ) -> Viewpoints:
        """Random cameras: :meth:`sample`, then :meth:`sample_radii`, then :meth:`sample_tangents`."""
        poses, radii = self.sample(num, generator, device), self.sample_radii(num, generator, device)
        return Viewpoints(poses, radii, self.sample_tangents(num, generator, device))

    def sample_tangents(
        self, num: int, generator: Optional[torch.Generator] = None, device: Union[torch.device, str] = "cpu"
    ) -> Optional[Float[Tensor, "num 2"]]:
        """Tangents of half the fields of view, to the right and down; None where all are the same."""
        if self.config.fov_std_deg == 0:
            return None
        draw_device = generator.device if generator is not None else torch.device(device)
        fovs = self.config.fov_deg + self.config.fov_std_deg * torch.randn(
            num, 2, generator=generator, device=draw_device
        )
        return torch.tan(0.5 * torch.deg2rad(fovs.clamp(*FOV_LIMITS_DEG))).to(device)

    def camera_to_world(self, poses: Float[Tensor, "num 2"]) -> Float[Tensor, "num 3 4"]:
        """Camera-to-world matrices, columns (right, up, backward, position), at this prior's radius."""
        return poses_to_camera_to_world(poses, self.config.radius)

    def cameras(self, poses: Float[Tensor, "num 2"], resolution: int) -> Cameras:
        """Cameras of nerfstudio whose rays are those of `rays`: the pixel grid includes the borders of the view."""
        _validate_resolution(resolution)
        focal = (resolution - 1) / 2 / math.tan(math.radians(self.config.fov_deg) / 2)
        return Cameras(
            camera_to_worlds=self.camera_to_world(poses),
            fx=focal,
            fy=focal,
            cx=resolution / 2,
            cy=resolution / 2,
            width=resolution,
            height=resolution,
            camera_type=CameraType.PERSPECTIVE,
        )

    def rays(self, poses: Float[Tensor, "num 2"], resolution: int) -> RayBundle:
        """One ray for each pixel, as a bundle of shape (num, resolution**2), row by row from the top left.

        Equal to `cameras(...).generate_rays(...)`, without the cost of a Cameras object. Directions have unit length;
        pixel_area, nears and fars are filled. Gradients reach the poses.
        """
        return self.viewpoint_rays(Viewpoints(poses), resolution)

    def viewpoint_rays(self, viewpoints: Viewpoints, resolution: int) -> RayBundle:
        """As :meth:`rays`, for cameras that may differ in distance and field of view. Gradients reach all of these."""
        _validate_resolution(resolution)
        half = (resolution - 1) / 2
        # A row and a column more than the picture has, for differences between neighbours.
        offsets = (torch.arange(resolution + 1, device=viewpoints.poses.device, dtype=torch.float32) - half) / half
        right, down = torch.meshgrid(offsets, offsets, indexing="xy")
        grid = self._directions(viewpoints, torch.stack((right, down), dim=-1)[None]).to(viewpoints.poses.dtype)
        # Rotations keep lengths, so the pixel areas are those in the camera frame, for every pose.
        inner = grid[:, :-1, :-1]
        pixel_area = (grid[:, :-1, 1:] - inner).norm(dim=-1) * (grid[:, 1:, :-1] - inner).norm(dim=-1)
        return self._bundle(viewpoints, inner.flatten(1, 2), pixel_area.flatten(1, 2)[..., None])

    def rays_at(self, poses: Float[Tensor, "num 2"], coordinates: Float[Tensor, "num ray 2"]) -> RayBundle:
        """See :meth:`viewpoint_rays_at`."""
        return self.viewpoint_rays_at(Viewpoints(poses), coordinates)

    def viewpoint_rays_at(self, viewpoints: Viewpoints, coordinates: Float[Tensor, "views ray 2"]) -> RayBundle:
        """Rays through given points of each frame, which spans [-1, 1] to the right and down, borders as in `rays`.

        The pixel area is each ray's equal share of the rectangle that they span. The points may be one list for all.
        """
        local = self._directions(viewpoints, coordinates).to(viewpoints.poses.dtype)
        # What is spanned in tangents, on the plane at distance 1.
        reach = coordinates.amax(dim=1) - coordinates.amin(dim=1)
        spread = (reach * self._tangents(viewpoints)).prod(dim=-1) / coordinates.shape[1]
        return self._bundle(viewpoints, local, spread[:, None, None].expand(-1, coordinates.shape[1], 1))

    def _tangents(self, viewpoints: Viewpoints) -> Float[Tensor, "views 2"]:
        """Tangents of half the field of view, to the right and down, of each camera or once for all."""
        if viewpoints.tangents is not None:
            return viewpoints.tangents
        half = math.tan(math.radians(self.config.fov_deg) / 2)
        return torch.full((1, 2), half, device=viewpoints.poses.device)

    def _directions(
        self, viewpoints: Viewpoints, coordinates: Float[Tensor, "lists *point 2"]
    ) -> Float[Tensor, "views *point 3"]:
        """Unit directions in the camera frame through points of the frame, one list for all cameras or one for each."""
        tangents = self._tangents(viewpoints)
        right, down = (coordinates * tangents.unflatten(1, (*[1] * (coordinates.dim() - 2), 2))).unbind(-1)
        return torch.nn.functional.normalize(torch.stack([right, -down, -torch.ones_like(right)], dim=-1), dim=-1)

    def _bundle(
        self,
        viewpoints: Viewpoints,
        local: Float[Tensor, "views ray 3"],
        pixel_area: Float[Tensor, "areas ray 1"],
    ) -> RayBundle:
        """Rays in the world for unit directions in the camera frame, of one view for all poses or of one for each."""
        config, poses, radii = self.config, viewpoints.poses, viewpoints.radii
        camera_to_world = self.camera_to_world(poses)
        if radii is None:
            radii = torch.full_like(poses[:, 0], config.radius)
        directions = local @ camera_to_world[:, :, :3].transpose(1, 2)
        positions = radii[:, None] * camera_to_world[:, :, 2]
        origins = positions[:, None].expand_as(directions)
        ones = torch.ones_like(directions[..., :1])
        # Sample distances are not what a camera is learnt by.
        closer = (config.largest_radius - radii.detach())[:, None, None]
        stretch = 1.0 / -local.detach()[..., 2:] if config.planar_depth else ones
        return RayBundle(
            origins=origins,
            directions=directions,
            pixel_area=pixel_area.expand_as(ones),
            nears=(config.near - closer).clamp(min=SMALLEST_NEAR) * stretch * ones,
            fars=(config.far - closer).clamp(min=2.0 * SMALLEST_NEAR) * stretch * ones,
        )


def _graf_prior(
    yaw_spread_deg: float, area: Tuple[float, float], fov_deg: float, radius_spread: float = 0.0
) -> PosePriorConfig:
    first, last = area
    return PosePriorConfig(
        distribution="spherical",
        yaw_spread_deg=yaw_spread_deg,
        elevation_mean_deg=90.0 - 90.0 * (first + last),
        elevation_spread_deg=90.0 * (last - first),
        fov_deg=fov_deg,
        near=0.75,
        far=1.25,
        radius_spread=radius_spread,
        planar_depth=True,
    )


POSE_PRIOR_PRESETS: Dict[str, PosePriorConfig] = {
    # GOF, released code, curriculums.py: BFM.
    "bfm": PosePriorConfig(
        distribution="gaussian", yaw_spread_deg=math.degrees(0.3), elevation_spread_deg=math.degrees(0.155)
    ),
    # GOF and pi-GAN, released code, curriculums.py: CelebA.
    "celeba": PosePriorConfig(
        distribution="gaussian", yaw_spread_deg=math.degrees(0.3), elevation_spread_deg=math.degrees(0.155)
    ),
    # VolumeGAN, released code, volumegan_ffhq_config.py.
    "ffhq": PosePriorConfig(
        distribution="gaussian",
        yaw_spread_deg=math.degrees(0.3),
        elevation_spread_deg=math.degrees(0.155),
        near=0.8,
        far=1.2,
    ),
    # GOF and pi-GAN, released code, curriculums.py: Cats.
    "cats": PosePriorConfig(
        distribution="uniform",
        yaw_spread_deg=math.degrees(0.5),
        elevation_spread_deg=math.degrees(0.4),
        near=0.8,
        far=1.2,
    ),
    # pi-GAN, released code, curriculums.py: CARLA. Polar mean and spread are both (pi / 4) (85 / 90), that is 42.5
    # degrees of area fraction: polar angles from 0 to arccos(1 - 85 / 90), about 86.8 degrees.
    "carla": PosePriorConfig(
        distribution="spherical",
        yaw_spread_deg=180.0,
        elevation_mean_deg=47.5,
        elevation_spread_deg=42.5,
        fov_deg=30.0,
        near=0.7,
        far=1.3,
    ),
    # GRAF, released code, configs/*.yaml, with the radius 10 as our 1. Its v ~ U(a, b) with the polar angle
    # arccos(1 - 2 v) is our fraction of the sphere's area, its azimuths centred at our front.
    "graf-carla": _graf_prior(yaw_spread_deg=180.0, area=(0.0, 0.456422), fov_deg=30.0),
    "graf-celeba": _graf_prior(yaw_spread_deg=45.0, area=(0.328990, 0.456422), fov_deg=10.0, radius_spread=0.05),
    "graf-cats": _graf_prior(yaw_spread_deg=35.0, area=(0.328990, 0.456422), fov_deg=10.0),
    "graf-cub": _graf_prior(yaw_spread_deg=180.0, area=(0.25, 0.543578), fov_deg=30.0, radius_spread=0.1),
    # The built-in procedural collection: all around, from just above the horizon to high above.
    "procedural": PosePriorConfig(
        distribution="uniform", yaw_spread_deg=180.0, elevation_mean_deg=30.0, elevation_spread_deg=25.0
    ),
    # The built-in collection of scenes: objects move, cameras hardly; the range holds the objects and the plane around.
    "scenes": PosePriorConfig(
        distribution="uniform",
        yaw_spread_deg=15.0,
        elevation_mean_deg=30.0,
        elevation_spread_deg=4.0,
        fov_deg=37.0,
        near=0.5,
        far=1.9,
    ),
}
"""Published pose laws by name of the collection; each entry says where its numbers come from."""


def _validate(config: PosePriorConfig) -> None:
    for name, value in vars(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}; give a finite number.")
    if config.near <= 0:
        raise UserError(f"near is {config.near}, but must be positive; a published value is 0.88.")
    if config.far <= config.near:
        raise UserError(
            f"far is {config.far} and near is {config.near}; set far above near, for example 1.12 and 0.88."
        )
    if not 0 <= config.radius_spread <= config.near / 2:
        raise UserError(
            f"radius_spread is {config.radius_spread} and near {config.near}; set it to 0 or more, at most near / 2."
        )
    if config.radius <= 0:
        raise UserError(f"radius is {config.radius}, but must be positive; the convention is 1.0.")
    if config.radius_spread >= config.radius:
        raise UserError(
            f"radius_spread is {config.radius_spread} and radius {config.radius}; set it below the radius, so that no "
            "camera stands beyond the origin."
        )
    if not 0 < config.fov_deg < 180:
        raise UserError(f"fov_deg is {config.fov_deg}, but must lie between 0 and 180 degrees; GOF uses 12.")
    if config.fov_std_deg < 0:
        raise UserError(f"fov_std_deg is {config.fov_std_deg}; set it to 0 (all the same) or more.")
    if config.yaw_spread_deg < 0 or config.elevation_spread_deg < 0:
        raise UserError(
            f"the spreads are {config.yaw_spread_deg} (yaw) and {config.elevation_spread_deg} (elevation) degrees; "
            "set them to 0 or more."
        )
    if not -90 <= config.elevation_mean_deg <= 90:
        raise UserError(f"elevation_mean_deg is {config.elevation_mean_deg}, but must lie between -90 and 90.")
    reach = abs(config.elevation_mean_deg) + config.elevation_spread_deg
    if config.distribution == "uniform" and reach > 90:
        raise UserError(
            f"elevation {config.elevation_mean_deg} +- {config.elevation_spread_deg} degrees goes beyond the pole; "
            f"lower elevation_spread_deg to {90 - abs(config.elevation_mean_deg)} or less, or use `spherical`."
        )


def _validate_resolution(resolution: int) -> None:
    if resolution < 2:
        raise UserError(f"resolution is {resolution}; a view needs at least 2 pixels a side.")
