"""Features of real pictures, kept between measurements: real pictures stay the same while generators change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional

import torch
from jaxtyping import Float, UInt8
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gan3d_ns.data.cache import CACHE_VARIABLE, cache_root, publish_folder
from gan3d_ns.metrics.feature_networks import FeatureNetwork

FEATURES_FORMAT = 1
"""Part of the key; raise it when the same pictures would give other features."""
FILE, TENSOR, CHECKSUM = "features.safetensors", "features", "sha256"


class KnownFeatures(NamedTuple):
    """Features of some pictures."""

    features: Float[Tensor, "picture feature"]
    """In the order of the pictures."""
    sha256: str
    """Of the pictures' bytes and side."""


def cached_features(
    network: FeatureNetwork,
    pictures: Callable[[], Iterator[UInt8[Tensor, "part 3 side side"]]],
    report: Callable[[int], None] = lambda count: None,
) -> KnownFeatures:
    """The features of pictures, from the cache where the same network has seen the same pictures.

    The key is the hash of the pictures' bytes with that of the network's weights, and the sizes of the parts and the
    kind of the device, on which the last digits depend. A damaged entry is made anew. Where the cache cannot be
    written, the features are computed each time.

    Args:
        network: what to compute them with.
        pictures: gives the pictures in parts, as often as it is called.
        report: told how many pictures are done.
    """
    content, sizes, side = hashlib.sha256(), [], 0
    for part in pictures():
        content.update(part.numpy().tobytes())
        sizes.append(len(part))
        side = part.shape[-1]
    content.update(f"{side}".encode())
    sha256, shape = content.hexdigest(), (sum(sizes), network.dimension)
    parts = [
        FEATURES_FORMAT,
        sha256,
        network.name,
        network.sha256,
        network.side,
        network.resize_filter,
        sizes[0],
        network.device.type,
    ]
    folder = cache_root() / "features" / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    known = _read(folder, shape)
    if known is not None:
        report(shape[0])
        return KnownFeatures(known, sha256)

    computed, done = [], 0
    for part in pictures():
        computed.append(network(part))
        done += len(part)
        report(done)
    features = torch.cat(computed)
    try:
        publish_folder(folder, lambda partial: _write(partial, features), lambda built: _read(built, shape) is not None)
    except OSError as error:
        CONSOLE.print(
            f"[yellow]The features of the real pictures were not kept in {escape(str(folder))} ({escape(str(error))}); "
            f"the next measurement computes them again. {CACHE_VARIABLE} moves the cache.[/yellow]"
        )
    return KnownFeatures(features, sha256)


def _write(folder: Path, features: Float[Tensor, "picture feature"]) -> None:
    features = features.contiguous()
    save_file({TENSOR: features}, folder / FILE, metadata={CHECKSUM: _checksum(features)})


def _read(folder: Path, shape: tuple[int, int]) -> Optional[Float[Tensor, "picture feature"]]:
    """The features, or None where there are none or they are damaged."""
    try:
        with safe_open(folder / FILE, framework="pt") as stream:
            features = stream.get_tensor(TENSOR)
            whole = (stream.metadata() or {}).get(CHECKSUM) == _checksum(features)
    except (OSError, SafetensorError):
        return None
    return features if whole and tuple(features.shape) == shape else None


def _checksum(features: Float[Tensor, "picture feature"]) -> str:
    return hashlib.sha256(features.numpy().tobytes()).hexdigest()
