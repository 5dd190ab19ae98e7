"""How far generated pictures are from real ones without any network: sliced Wasserstein distances of their descriptors.

After Karras et al., "Progressive Growing of GANs", 2018, section 5: small patches of the levels of a Laplacian pyramid,
so that each scale from details to layout is compared by itself. Whole pictures of a small size are compared beside
them, as patches do not know their place. Smaller and simpler than the published measure: box filters, few pictures.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Dict, List

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gan3d_ns.data.image_collection import ImageCollection
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.generated_views import draw_views, render_views
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import require_seed
from gan3d_ns.models.gan_model import GanModel

PATCH_SIDE = 7
COARSEST_SIDE = 16
"""Side of the last level of the pyramid and of the small whole pictures, in pixels."""
SMALLEST_SPREAD = 1e-3
"""Least standard deviation that descriptors are divided by: flat ones are not blown up."""
PICTURES_AT_ONCE = 32
SMALLEST_COUNT = 2

Descriptors = Dict[str, Float[Tensor, "descriptor channel value"]]
"""By name of the level: colour channels apart, as each is normalised by itself."""


@dataclass
class SlicedWassersteinConfig:
    """Sliced Wasserstein distance between generated and real pictures."""

    num_pictures: int = 256
    """Pictures on each side; fewer where the collection has fewer. Values of other numbers cannot be compared."""
    num_patches: int = 32
    """Patches of each picture and level."""
    num_directions: int = 128
    """Random lines that descriptors are projected on."""
    seed: int = 0
    """Of the latents, poses, patches and lines, and of which real pictures are taken."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if self.num_pictures < SMALLEST_COUNT or self.num_patches < 1 or self.num_directions < 1:
            raise UserError(
                f"a sliced Wasserstein distance of {self.num_pictures} pictures, {self.num_patches} patches and "
                f"{self.num_directions} directions cannot be taken; give 2 pictures and 1 of each other at least."
            )


def unit_directions(dim: int, count: int, randomness: torch.Generator) -> Float[Tensor, "dim direction"]:
    """Directions that are evenly spread over the sphere, as columns of length 1."""
    return functional.normalize(torch.randn(dim, count, generator=randomness), dim=0)


def sliced_wasserstein(
    first: Float[Tensor, "point dim"], second: Float[Tensor, "point dim"], directions: Float[Tensor, "dim direction"]
) -> float:
    """Mean over the directions of the Wasserstein-1 distance of the projected points.

    On a line it is the mean distance of the points in their order: a set shifted by v lies at the mean of
    abs(v . direction), and a set scaled about 0 by a factor s at abs(s - 1) times the mean size of its projections.
    """
    return float((_sorted_projections(first, directions) - _sorted_projections(second, directions)).abs().mean())


def laplacian_pyramid(pictures: Float[Tensor, "picture 3 side side"]) -> Dict[str, Float[Tensor, "picture 3 _ _"]]:
    """Bands by their side in pixels, fine to coarse: what a level has beyond the next one; the coarsest as it is.

    Added up from the coarsest on, each enlarged bilinearly, they give the pictures back.
    """
    bands, level = {}, pictures
    while level.shape[-1] >= 2 * COARSEST_SIDE:
        smaller = functional.avg_pool2d(level, 2)
        bands[f"patches_{level.shape[-1]}"] = level - enlarged(smaller, level.shape[-1])
        level = smaller
    return {**bands, f"patches_{level.shape[-1]}": level}


def enlarged(level: Float[Tensor, "picture 3 _ _"], side: int) -> Float[Tensor, "picture 3 {side} {side}"]:
    """Of that side, bilinearly: twice as large, and a pixel more where it was odd."""
    return functional.interpolate(level, size=(side, side), mode="bilinear", align_corners=False)


def random_patches(
    band: Float[Tensor, "picture 3 side side"], count: int, randomness: torch.Generator
) -> Float[Tensor, "patch 3 value"]:
    """``count`` square patches of every picture, from random places."""
    side = min(PATCH_SIDE, band.shape[-1])
    starts = torch.randint(band.shape[-1] - side + 1, (2, len(band), count), generator=randomness)
    offsets = torch.arange(side)
    rows = (starts[0, :, :, None] + offsets)[:, :, :, None]
    columns = (starts[1, :, :, None] + offsets)[:, :, None, :]
    pictures = torch.arange(len(band))[:, None, None, None]
    patches = band[pictures, :, rows, columns]  # picture, patch, row, column, channel
    return patches.flatten(0, 1).flatten(1, 2).transpose(1, 2)


def descriptors(batches: Iterable[Float[Tensor, "_ 3 side side"]], settings: SlicedWassersteinConfig) -> Descriptors:
    """What is compared of pictures with colours in [0, 1], on the CPU.

    The n-th picture gives the same patches however the pictures are batched.
    """
    found: Dict[str, List[Tensor]] = {}
    number = 0
    for batch in batches:
        for picture in batch.cpu().split(1):
            randomness = torch.Generator().manual_seed((settings.seed << 20) + number)
            number += 1
            side = min(COARSEST_SIDE, picture.shape[-1])
            whole = functional.adaptive_avg_pool2d(picture, side)
            found.setdefault("pictures", []).append(whole.flatten(2))
            for name, band in laplacian_pyramid(picture).items():
                found.setdefault(name, []).append(random_patches(band, settings.num_patches, randomness))
    return {name: torch.cat(parts) for name, parts in found.items()}


class RealPictures:
    """Real pictures, ready to be compared with: their descriptors, projected and sorted.

    Descriptors are centred and divided by the standard deviation of the real ones, for each level and colour channel:
    each level counts alike, and differences of colour remain.

    Args:
        collection: the pictures; as many as the settings say, chosen by the seed.
        resolution: side that they are reduced to, in pixels.
        settings: counts and seed.
        floor: also compare them with as many others, where there are as many.
    """

    def __init__(
        self, collection: ImageCollection, resolution: int, settings: SlicedWassersteinConfig, floor: bool = True
    ) -> None:
        self.settings, self.resolution = settings, resolution
        self.count = min(settings.num_pictures, len(collection))
        order = torch.randperm(len(collection), generator=torch.Generator().manual_seed(settings.seed))

        def read(chosen: Tensor) -> Descriptors:
            parts = chosen.split(PICTURES_AT_ONCE)
            return descriptors((collection.batch(part, resolution) / 2.0 + 0.5 for part in parts), settings)

        real = read(order[: self.count])
        self.statistics = {
            name: (
                values.mean(dim=(0, 2), keepdim=True),
                values.std(dim=(0, 2), keepdim=True).clamp(min=SMALLEST_SPREAD),
            )
            for name, values in real.items()
        }
        randomness = torch.Generator().manual_seed(settings.seed)
        self.directions = {
            name: unit_directions(values[0].numel(), settings.num_directions, randomness)
            for name, values in real.items()
        }
        self.projections = self._project(real)
        others = order[self.count : 2 * self.count]
        self.floor = self._distances(read(others)) if floor and len(others) == self.count else None
        """Distances of as many other real pictures; None where these were not wanted or are too few."""

    def distances(self, pictures: Iterable[Float[Tensor, "_ 3 side side"]]) -> Dict[str, float]:
        """Sliced Wasserstein distances of as many pictures, by level; colours in [0, 1]."""
        return self._distances(descriptors(pictures, self.settings))

    def _distances(self, other: Descriptors) -> Dict[str, float]:
        projections = self._project(other)
        return {name: float((projections[name] - own).abs().mean()) for name, own in self.projections.items()}

    def _project(self, values: Descriptors) -> Dict[str, Float[Tensor, "descriptor direction"]]:
        projections = {}
        for name, (mean, spread) in self.statistics.items():
            projections[name] = _sorted_projections(((values[name] - mean) / spread).flatten(1), self.directions[name])
        return projections


def overall(distances: Dict[str, float]) -> float:
    """Mean of the distance of whole pictures and of the mean over the levels of their patches: layout and texture."""
    levels = [value for name, value in distances.items() if name != "pictures"]
    return (distances["pictures"] + sum(levels) / len(levels)) / 2.0


def measure_sliced_wasserstein(
    model: GanModel,
    real: RealPictures,
    truncation: float = 1.0,
    raw_weights: bool = False,
    report: Callable[[float], None] = lambda _: None,
) -> List[Record]:
    """Distances between random views of the model and the real pictures: ``swd`` as a whole, then each part of it.

    The same latents, poses, patches and lines are used for every model, so that differences between models are surer
    than the values themselves.
    """
    views = draw_views(model, real.count, real.settings.seed)

    def pictures() -> Iterable[Tensor]:
        for number, view in enumerate(render_views(model, views, real.resolution, truncation, raw_weights)):
            yield view.rgb
            report((number + 1) / len(views))

    found, floor = real.distances(pictures()), real.floor
    protocol = {
        **asdict(real.settings),
        "num_pictures": real.count,
        "resolution": real.resolution,
        "truncation": truncation,
        "weights": "raw" if raw_weights else "average",
        "poses": "prior",
    }
    values = {"swd": overall(found), **{f"swd_{name}": value for name, value in found.items()}}
    floors = {} if floor is None else {"swd": overall(floor), **{f"swd_{name}": value for name, value in floor.items()}}
    return [
        Record(
            metric=name,
            value=value,
            protocol=protocol,
            better="lower",
            floor=floors.get(name),
            floor_between="" if floor is None else f"{real.count} real and {real.count} other real pictures",
        )
        for name, value in values.items()
    ]


def _sorted_projections(
    points: Float[Tensor, "point dim"], directions: Float[Tensor, "dim direction"]
) -> Float[Tensor, "point direction"]:
    return (points @ directions).sort(dim=0).values
