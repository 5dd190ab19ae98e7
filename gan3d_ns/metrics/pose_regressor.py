"""A small network that reads the camera's pose from a picture, taught by a collection whose poses are known."""

import hashlib
import json
import uuid
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Callable, NamedTuple, Optional

import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan3d_ns.cameras.pose_prior import poses_to_positions
from gan3d_ns.data.cache import cache_root
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.data.image_files import list_image_files
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.settings import NORM_GROUPS, PoseRegressorConfig

REGRESSOR_VERSION = 1
"""Part of the cache's key; raise it when the same pictures would teach another network."""
FEWEST_PICTURES = 64
"""A collection with fewer teaches nothing."""
ELEVATION_WEIGHT = 4.0
"""Of the squared elevation error, in radians, beside that of (cos yaw, sin yaw): elevations vary less."""
LARGEST_SHIFT = 1
"""Pixels by which training pictures are moved: generated objects do not stand as exactly."""
LARGEST_NOISE = 0.06
"""Standard deviation of the noise in training pictures, of colours in [0, 1]: generated pictures are not as clean."""


class PoseErrors(NamedTuple):
    """How far estimated poses are from others, in degrees."""

    direction: Float[Tensor, "picture"]
    """Angle between the two viewing directions, 0 to 180."""
    yaw: Float[Tensor, "picture"]
    """Absolute difference of the yaws, 0 to 180."""
    elevation: Float[Tensor, "picture"]
    """Absolute difference of the elevations."""


def pose_errors(poses: Float[Tensor, "picture 2"], others: Float[Tensor, "picture 2"]) -> PoseErrors:
    """Differences between poses (pitch, yaw) in radians, whatever full turns there are between them."""
    first, second = poses_to_positions(poses.double()), poses_to_positions(others.double())
    # The arc cosine would lose small angles.
    sine, cosine = torch.linalg.cross(first, second).norm(dim=-1), (first * second).sum(dim=-1)
    difference = (poses - others).double()
    yaw = torch.atan2(difference[:, 1].sin(), difference[:, 1].cos())
    angles = (torch.atan2(sine, cosine), yaw.abs(), difference[:, 0].abs())
    return PoseErrors(*(torch.rad2deg(angle).float() for angle in angles))


class PoseRegressor(nn.Module):
    """Three strided convolutions and two linear layers. Works on pictures of one size.

    Args:
        resolution: side of the pictures in pixels, 8 or more.
        channels: of the first layer.
    """

    def __init__(self, resolution: int, channels: int) -> None:
        super().__init__()
        if resolution < 8:
            raise UserError(f"resolution is {resolution}; a pose cannot be read from fewer than 8 pixels a side.")
        widths = (3, channels, 2 * channels, 4 * channels)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(NORM_GROUPS, after), nn.SiLU()]
        side = resolution
        for _ in widths[1:]:
            side = -(-side // 2)
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, 128), nn.SiLU(), nn.Linear(128, 3)
        )

    def forward(self, pictures: Float[Tensor, "picture 3 side side"]) -> Float[Tensor, "picture 3"]:
        """(cos yaw, sin yaw), not of unit length where the network is unsure, and elevation in radians.

        The yaw here is 0 at the front and grows as in poses. Pictures are colours in [0, 1].
        """
        return self.layers(2.0 * pictures - 1.0)

    @torch.no_grad()
    def estimate(self, pictures: Float[Tensor, "picture 3 side side"]) -> Float[Tensor, "picture 2"]:
        """Poses (pitch, yaw) in radians: mean of the picture's and of its mirror image's, where the yaw is negative."""
        mirror = torch.tensor([1.0, -1.0, 1.0], device=pictures.device)
        cosine, sine, elevation = (self(pictures) + mirror * self(pictures.flip(-1))).unbind(-1)
        return torch.stack([torch.pi / 2 - elevation / 2, torch.pi / 2 + torch.atan2(sine, cosine)], dim=-1)


class TaughtRegressor(NamedTuple):
    """A network and what it can do."""

    network: PoseRegressor
    held_out: Float[Tensor, "picture 2"]
    """True poses of the pictures that it was not taught with."""
    estimated: Float[Tensor, "picture 2"]
    """Its estimates for them."""
    num_taught: int
    sha256: str
    """Of everything that it was made from."""

    @property
    def floor(self) -> PoseErrors:
        """Its own errors on real pictures: no generator can be measured better."""
        return pose_errors(self.held_out, self.estimated)


def real_pictures(truth: TrueCollection, resolution: int) -> Float[Tensor, "picture 3 side side"]:
    """The collection's pictures in [0, 1], as a training at this resolution sees them.

    Raises:
        UserError: pictures are smaller, missing or unreadable.
    """
    smallest = smallest_side(truth.folder)
    if smallest is not None and smallest < resolution:
        raise UserError(
            f"{truth.folder} holds pictures of {smallest} pixels, but poses are to be read from pictures of "
            f"{resolution}; lower the resolution."
        )
    collection = ImageCollectionConfig().setup(source=truth.folder, resolution=resolution)
    if len(collection) != len(truth):
        raise UserError(
            f"{truth.folder} should hold {len(truth)} pictures, but {len(collection)} are readable; make it again."
        )
    return collection.images.float() / 255.0


def smallest_side(folder: Path) -> Optional[int]:
    """The shortest side of all readable pictures in a folder, in pixels; None where there are none.

    Image collections would enlarge them without a word.
    """
    sides: list[int] = []
    for file in list_image_files(folder):
        try:
            with Image.open(file) as picture:
                sides += picture.size
        except (OSError, ValueError):
            continue
    return min(sides, default=None)


def pose_regressor(
    truth: TrueCollection,
    resolution: int,
    config: PoseRegressorConfig,
    report: Callable[[float], None] = lambda _: None,
) -> TaughtRegressor:
    """The network for a collection's pictures at a resolution, taught now unless the cache has it.

    Raises:
        UserError: the collection is too small.
    """
    if len(truth) < FEWEST_PICTURES:
        raise UserError(
            f"{truth.folder} holds {len(truth)} pictures; poses can be learnt from {FEWEST_PICTURES} or more."
        )
    pictures = real_pictures(truth, resolution)
    poses = torch.stack([truth.pose(index) for index in range(len(truth))])
    digest = hashlib.sha256(json.dumps({**asdict(config), "version": REGRESSOR_VERSION}).encode())
    digest.update((255.0 * pictures).round().byte().numpy().tobytes())
    digest.update(poses.numpy().tobytes())
    order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(config.seed))
    num_held_out = max(1, round(config.held_out * len(poses)))
    held_out, taught = order[:num_held_out], order[num_held_out:]
    network = PoseRegressor(resolution, config.channels)
    path = cache_root() / "pose_regressors" / f"{digest.hexdigest()}.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError):
        network = teach(pictures[taught], poses[taught], config, report)
        keep(network, path)
    network.eval()
    report(1.0)
    estimated = torch.cat([network.estimate(part) for part in pictures[held_out].split(256)])
    return TaughtRegressor(network, poses[held_out], estimated, len(taught), digest.hexdigest())


def teach(
    pictures: Float[Tensor, "picture 3 side side"],
    poses: Float[Tensor, "picture 2"],
    config: PoseRegressorConfig,
    report: Callable[[float], None] = lambda _: None,
) -> PoseRegressor:
    """A network that has learnt poses from pictures, some of them mirrored, recoloured, moved and noisy.

    The loss is the squared error of (cos yaw, sin yaw) plus that of the elevation. The same arguments give the same
    network.
    """
    randomness = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = PoseRegressor(pictures.shape[-1], config.channels)
    yaw = poses[:, 1] - torch.pi / 2
    targets = torch.stack([yaw.cos(), yaw.sin(), torch.pi / 2 - poses[:, 0]], dim=-1)
    weights = torch.tensor([1.0, 1.0, ELEVATION_WEIGHT])
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.1
    )
    for step in range(config.steps):
        chosen = torch.randint(len(pictures), (config.batch,), generator=randomness)
        shown, wanted = varied(pictures[chosen], targets[chosen], randomness)
        loss = ((network(shown) - wanted).square() * weights).sum(dim=-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            report(step / config.steps)
    return network


def varied(
    pictures: Float[Tensor, "picture 3 side side"], targets: Float[Tensor, "picture 3"], randomness: torch.Generator
) -> tuple[Float[Tensor, "picture 3 side side"], Float[Tensor, "picture 3"]]:
    """Pictures as a generator might have painted them: half are mirrored, with their yaw, all are somewhat spoilt."""
    mirrored = torch.rand(len(pictures), generator=randomness) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
    targets = torch.where(mirrored[:, None], targets * torch.tensor([1.0, -1.0, 1.0]), targets)
    channels = torch.rand(len(pictures), 3, generator=randomness).argsort(dim=1)
    pictures = pictures.gather(1, channels[:, :, None, None].expand_as(pictures))
    down, right = torch.randint(-LARGEST_SHIFT, LARGEST_SHIFT + 1, (2,), generator=randomness).tolist()
    pictures = pictures.roll((down, right), dims=(2, 3))
    noise = LARGEST_NOISE * torch.rand(len(pictures), 1, 1, 1, generator=randomness)
    return pictures + noise * torch.randn(pictures.shape, generator=randomness), targets


def keep(network: PoseRegressor, path: Path) -> None:
    """Write the weights, whole or not at all; a cache that cannot be written is done without."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, partial)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
