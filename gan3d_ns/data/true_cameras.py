"""The cameras of a collection that this package makes: the law that they are drawn from, and each picture's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig
from gan3d_ns.errors import UserError

ROUNDING = 1e-6
"""World units by which near and far may cut what they have to hold."""


@dataclasses.dataclass(frozen=True)
class TrueCameras:
    """Where the cameras of a collection stood."""

    prior: PosePrior
    """The law that they were drawn from."""
    poses: Float[Tensor, "image 2"]
    """(pitch, yaw) in radians."""
    radii: Float[Tensor, "image"] | None = None
    """Distances from the origin in world units; None: all at the law's radius."""

    def prior_of(self, index: int) -> PosePrior:
        """The law with the distance of one picture's camera as its radius; its near and far go with it."""
        if self.radii is None:
            return self.prior
        config, radius = self.prior.config, float(self.radii[index])
        closer = config.largest_radius - radius
        return PosePrior(
            dataclasses.replace(
                config, radius=radius, radius_spread=0.0, near=config.near - closer, far=config.far - closer
            )
        )

    def seen_from(self, index: int, pose: Float[Tensor, "2"] | None = None) -> tuple[PosePrior, Float[Tensor, "2"]]:
        """What renderers ask for: one picture's own camera, or another pose at the law's radius."""
        return (self.prior_of(index), self.poses[index]) if pose is None else (self.prior, pose)

    def camera(self, index: int, resolution: int) -> Cameras:
        """One picture's camera, as nerfstudio Cameras of shape (1,)."""
        return self.prior_of(index).cameras(self.poses[index : index + 1], resolution)

    def arrays(self) -> dict[str, Any]:
        """What `read_cameras` reads."""
        arrays: dict[str, Any] = {"poses": self.poses.numpy(), "camera_law": json.dumps(law_numbers(self.prior.config))}
        return arrays if self.radii is None else {**arrays, "radii": self.radii.numpy()}

    def about(self) -> dict[str, Any]:
        """The law, for people: the name of its preset, or None, and its numbers."""
        numbers = law_numbers(self.prior.config)
        names = [name for name, preset in POSE_PRIOR_PRESETS.items() if law_numbers(preset) == numbers]
        # The built-in collections' own names come last among the presets.
        return {"pose_prior": names[-1] if names else None, "cameras": numbers}


class PictureTruth:
    """What collections have in common whose every picture shows an object, or a scene, of its own."""

    folder: Path
    cameras: TrueCameras
    seeds: list[int]
    """One object's seed for each picture."""
    resolution: int
    """Side of the pictures in pixels."""

    @property
    def prior(self) -> PosePrior:
        """The law of the cameras."""
        return self.cameras.prior

    @property
    def poses(self) -> Float[Tensor, "image 2"]:
        """(pitch, yaw) in radians."""
        return self.cameras.poses

    @property
    def num_objects(self) -> int:
        """One for each picture."""
        return len(self.seeds)

    def __len__(self) -> int:
        return len(self.seeds)

    def object_of(self, index: int) -> int:
        """Picture and object have the same number."""
        return index

    def index_of(self, picture: Path) -> int:
        """Number of a picture of this folder."""
        return int(picture.stem)

    def pose(self, index: int) -> Float[Tensor, "2"]:
        """True (pitch, yaw) in radians."""
        return self.poses[index]

    def camera(self, index: int, resolution: int | None = None) -> Cameras:
        """True camera, as nerfstudio Cameras of shape (1,)."""
        return self.cameras.camera(index, resolution or self.resolution)


def draw_cameras(law: PosePriorConfig, num_images: int, seed: int, reach: float) -> TrueCameras:
    """Return cameras drawn from a law; the same for the same arguments.

    Args:
        law: the distribution.
        num_images: how many.
        seed: of the randomness.
        reach: distance from the origin, in world units, within which all that is to be seen lies.

    Raises:
        UserError: the law is none, or near and far cut off what lies within reach.
    """
    prior = PosePrior(law)
    nearest, farthest = law.largest_radius - reach, law.largest_radius + reach
    if law.near > nearest + ROUNDING or law.far < farthest - ROUNDING:
        raise UserError(
            f"near {law.near} and far {law.far} cut off what is to be seen from a distance of {law.largest_radius:g}, "
            f"which lies between {nearest:.3f} and {farthest:.3f}; widen --cameras.near and --cameras.far."
        )
    generator = torch.Generator().manual_seed(seed)
    if law.distribution == "hybrid":
        # Uniform or Gaussian batch by batch: a collection has pictures of both.
        poses = torch.cat([prior.sample(1, generator) for _ in range(num_images)])
    else:
        poses = prior.sample(num_images, generator)
    return TrueCameras(prior, poses, prior.sample_radii(num_images, generator))


def read_cameras(truth: Mapping[str, Any], preset: str) -> TrueCameras:
    """Return the cameras in a truth file; `preset` names the law of files that do not tell theirs.

    Raises:
        KeyError: the file has no poses.
        ValueError: its law is none.
    """
    config = POSE_PRIOR_PRESETS[preset]
    if "camera_law" in truth:
        try:
            config = PosePriorConfig(**json.loads(str(truth["camera_law"])))
            prior = PosePrior(config)
        except (TypeError, AttributeError, RecursionError, UserError) as error:
            raise ValueError(f"its camera law: {error}") from error
    else:
        prior = PosePrior(config)
    radii = torch.from_numpy(np.asarray(truth["radii"])) if "radii" in truth else None
    poses = torch.from_numpy(np.asarray(truth["poses"]))
    for numbers, shape in ((poses, (len(poses), 2)), (radii, (len(poses),))):
        if numbers is None:
            continue
        if tuple(numbers.shape) != shape or not numbers.is_floating_point() or not bool(numbers.isfinite().all()):
            raise ValueError(f"its cameras are {tuple(numbers.shape)} {numbers.dtype}, or not finite")
    return TrueCameras(prior, poses, radii)


def law_numbers(config: PosePriorConfig) -> dict[str, Any]:
    """The law as plain values, which `PosePriorConfig(**numbers)` takes."""
    return {one.name: getattr(config, one.name) for one in dataclasses.fields(PosePriorConfig) if one.name != "_target"}
