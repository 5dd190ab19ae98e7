"""FID, KID, precision, recall and diversity of a generator's pictures, beside what real pictures get.

The protocol. A random permutation of the collection, by the seed, is cut in two: first the reference, then as many
pictures as are generated. Both the generated pictures and these others are compared with the reference, in the same
number: the second comparison is the floor, which a perfect generator would reach. Generated pictures show random
latents from random poses of the model's prior. All pictures are RGB bytes of one resolution before the network sees
them.
"""

from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.data.image_collection import ImageCollection
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.feature_cache import cached_features
from gan3d_ns.metrics.feature_distances import (
    KID_SUBSETS,
    diversity,
    frechet_distance,
    kernel_distance,
    kernel_subset_size,
    precision_recall,
)
from gan3d_ns.metrics.feature_networks import FeatureNetwork, open_features
from gan3d_ns.metrics.generated_views import draw_views, render_views
from gan3d_ns.metrics.records import NETWORK, NETWORK_HASH, Record, Value
from gan3d_ns.metrics.settings import MOST_NEEDED, NEIGHBOURS, PictureConfig
from gan3d_ns.models.gan_model import GanModel


class PictureSets(NamedTuple):
    """Features of the three sets that are compared."""

    reference: Float[Tensor, "real feature"]
    floor: Float[Tensor, "generated feature"]
    generated: Float[Tensor, "generated feature"]


def measure_pictures(
    model: GanModel,
    collection: ImageCollection,
    default_resolution: int,
    settings: PictureConfig,
    report: Callable[[float], None] = lambda done: None,
    network: Optional[FeatureNetwork] = None,
) -> List[Record]:
    """The records fid, kid, precision, recall and diversity of a model of any method.

    Args:
        model: whose pictures are measured.
        collection: the real pictures, stored at the resolution or above.
        default_resolution: where the settings name none.
        settings: counts, network, truncation, seed.
        report: told the fraction done.
        network: opened already; the settings' network is opened otherwise.

    Raises:
        UserError: too few pictures, a resolution above the collection's, no such network, or colours that are no
            numbers.
    """
    resolution = default_resolution if settings.resolution is None else settings.resolution
    _check_resolution(resolution, collection)
    num_real, num_generated = picture_counts(len(collection), settings)
    network = network or open_features(settings.features, settings.features_sha256, model.device)

    randomness = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(collection), generator=randomness)[: num_real + num_generated]
    total = len(order) + num_generated
    real = cached_features(
        network, lambda: real_bytes(collection, order, resolution, settings.batch), lambda n: report(n / total)
    )
    generated = []
    done = len(order)
    for images in generated_bytes(model, num_generated, resolution, settings):
        generated.append(network(images))
        done += len(images)
        report(done / total)
    sets = PictureSets(real.features[:num_real], real.features[num_real:], torch.cat(generated))

    protocol: Dict[str, Value] = {
        NETWORK: network.name,
        NETWORK_HASH: network.sha256,
        "features_side": network.side,
        "features_filter": network.resize_filter,
        "num_real": num_real,
        "num_generated": num_generated,
        "num_floor": num_generated,
        "resolution": resolution,
        "picture_filter": reduction_filter(collection.resolution, resolution),
        "generated_filter": "one ray for each pixel",
        "real_sha256": real.sha256,
        "mirrored": False,
        "truncation": settings.truncation,
        "weights": "raw" if settings.raw_weights else "average",
        "pose_prior": describe_prior(model.pose_prior.config),
        "seed": settings.seed,
        "batch": settings.batch,
    }
    return records_of(sets, protocol, settings.seed)


def picture_counts(num_collected: int, settings: PictureConfig) -> tuple[int, int]:
    """Numbers of reference pictures and of generated ones, for which there are as many others for the floor.

    Raises:
        UserError: the collection is too small.
    """
    if num_collected < 2 * MOST_NEEDED:
        raise UserError(
            f"{num_collected} pictures are too few for FID, KID, precision and recall: at least {2 * MOST_NEEDED} are "
            f"needed, {MOST_NEEDED} to compare with and {MOST_NEEDED} for the floor (some hundreds mean something)."
        )
    num_generated = min(settings.num_generated, num_collected // 2)
    num_real = num_generated if settings.num_real is None else settings.num_real
    if num_real + num_generated > num_collected:
        raise UserError(
            f"{num_real} real pictures and {num_generated} others for the floor are asked for, but the collection has "
            f"{num_collected}; ask for num_real {num_collected - num_generated} or less, or generate fewer."
        )
    return num_real, num_generated


def records_of(sets: PictureSets, protocol: Dict[str, Value], seed: int) -> List[Record]:
    """All measures of the generated features and of the floor's, against the reference."""
    reference = sets.reference
    between = "other real pictures, as many as generated, against the same reference"
    fid, floor_fid = (frechet_distance(features, reference) for features in (sets.generated, sets.floor))
    kid, floor_kid = (kernel_distance(features, reference, seed) for features in (sets.generated, sets.floor))
    shares, floor_shares = (precision_recall(features, reference) for features in (sets.generated, sets.floor))
    variety, floor_variety = (diversity(features, reference) for features in (sets.generated, sets.floor))
    count, dimension = min(len(sets.generated), len(reference)), reference.shape[1]
    subset = kernel_subset_size(len(sets.generated), len(reference))

    fid_protocol = {**protocol, "dimensions": dimension, "fewer_pictures_than_dimensions": count <= dimension}
    kid_protocol = {**protocol, "kid_subsets": KID_SUBSETS, "kid_subset_size": subset}
    neighbours = {**protocol, "neighbours": NEIGHBOURS}
    pairs = {**protocol, "distance": "mean Euclidean distance of features over that of the real pictures"}
    return [
        Record("fid", fid, fid_protocol, "lower", floor=floor_fid, floor_between=between),
        Record(
            "kid",
            kid.mean,
            kid_protocol,
            "lower",
            deviation=kid.deviation,
            deviation_over="subsets",
            floor=floor_kid.mean,
            floor_between=between,
        ),
        Record(
            "precision", shares.precision, neighbours, "higher", floor=floor_shares.precision, floor_between=between
        ),
        Record("recall", shares.recall, neighbours, "higher", floor=floor_shares.recall, floor_between=between),
        Record("diversity", variety, pairs, floor=floor_variety, floor_between=between),
    ]


def real_bytes(
    collection: ImageCollection, order: Int64[Tensor, "picture"], resolution: int, batch: int
) -> Iterator[UInt8[Tensor, "part 3 side side"]]:
    """The pictures of the collection in an order, reduced to a resolution, as bytes."""
    for indices in order.split(batch):
        yield ((collection.batch(indices, resolution) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def generated_bytes(
    model: GanModel, count: int, resolution: int, settings: PictureConfig
) -> Iterator[UInt8[Tensor, "part 3 side side"]]:
    """Random pictures of the model, as the bytes of a PNG file would be.

    Raises:
        UserError: the generator renders colours that are not numbers.
    """
    pictures = render_views(
        model, draw_views(model, count, settings.seed), resolution, settings.truncation, settings.raw_weights
    )
    part: List[Tensor] = []
    for number, rendered in enumerate(pictures, start=1):
        if not rendered.rgb.isfinite().all():
            raise UserError(
                "the generator renders colours that are not numbers: its weights have diverged; "
                "measure an earlier checkpoint."
            )
        part.append((rendered.rgb * 255.0).round().to(torch.uint8).cpu())
        if len(part) == settings.batch or number == count:
            yield torch.cat(part)
            part = []


def reduction_filter(stored: int, resolution: int) -> str:
    """How `ImageCollection.batch` brings pictures of one resolution to another."""
    if stored == resolution:
        return "none"
    return f"mean of blocks from {stored}" if stored % resolution == 0 else f"antialiased bilinear from {stored}"


def describe_prior(config: PosePriorConfig) -> str:
    """The law of the poses in short, in degrees and world units."""
    spread = f" +- {config.radius_spread:g}" if config.radius_spread else ""
    return (
        f"{config.distribution}, yaw {config.yaw_mean_deg:g} +- {config.yaw_spread_deg:.4g}, "
        f"elevation {config.elevation_mean_deg:.4g} +- {config.elevation_spread_deg:.4g}, fov {config.fov_deg:g}, "
        f"radius {config.radius:g}{spread}"
    )


def _check_resolution(resolution: int, collection: ImageCollection) -> None:
    if not 1 <= resolution <= collection.resolution:
        raise UserError(
            f"pictures of {resolution} pixels a side are asked for, but the real ones are stored at "
            f"{collection.resolution}; choose a resolution from 1 to {collection.resolution}."
        )
