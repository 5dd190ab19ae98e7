"""Which object of a family is meant: by seeds, by the way between two of them, by mixed layers, or from a file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional, Tuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_ns.errors import UserError, shown_path
from gan3d_ns.model_components.scenes import Scene

Space = Literal["codes", "latents"]
Curve = Literal["linear", "slerp"]

SEED_RANGE = 2**53
"""Whole numbers below this survive the way to a browser and back."""
FILE_KIND = "gan3d_ns latent, version 1"
SUFFIX = ".safetensors"
HEADER_START = 8
LARGEST_FILE = 64 << 20
"""Bytes; the largest latents of this package have some 100,000."""
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SMALLEST_ANGLE = 1e-4
"""Radians below which an arc is as good as a line."""
SHORTEST = 1e-12
SCENE_ENTRY = "scene"
"""Entry of a file's metadata that says what was done to its scene."""


def whole_seed(value: Any) -> int:
    """``value`` as a seed in [0, 2^53): larger and negative numbers wrap around, 0 for what is no number."""
    try:
        return int(value) % SEED_RANGE
    except (TypeError, ValueError, OverflowError):
        return 0


@dataclass(frozen=True, eq=False)
class SavedLatent:
    """An object that was kept: the code that each layer of its field takes, and where it came from."""

    codes: Float[Tensor, "layer code"]
    name: str = "latent"
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Method, checkpoint step, fingerprint of its weights, seed and truncation."""


@dataclass(frozen=True)
class LatentSelection:
    """One object of the family.

    Codes of the first object are interpolated to those of the second, and then layers may be taken from a third.
    Truncation pulls every seed's code towards the average; saved codes stay as they are.
    """

    seed: int = 0
    second_seed: int = 1
    interpolation: float = 0.0
    """0 is the first object, 1 the second."""
    truncation: float = 1.0
    appearance_seed: Optional[int] = None
    """Whose appearance both seeds wear, for methods whose latent separates it; None: each its own."""
    space: Space = "codes"
    """Where the way to the second object runs: between codes (styles), or between the latents before the mapping."""
    curve: Curve = "linear"
    """The form of that way; slerp keeps the length, of latents and of codes from the average code."""
    mixed_seed: Optional[int] = None
    """Whose code the mixed layers take."""
    mixed_layers: Tuple[int, ...] = ()
    """Indices into the field's ``style_layers``."""
    raw_weights: bool = False
    """Show the generator in training instead of its moving average."""
    saved: Optional[SavedLatent] = None
    """An object from a file, in place of the first seed."""
    second_saved: Optional[SavedLatent] = None
    """An object from a file, in place of the second seed."""
    scene: Optional[Scene] = None
    """What is done to the things of the scene, for methods that show several; None: what a saved latent says."""

    @property
    def used_scene(self) -> Optional[Scene]:
        """What is done to the things of the scene, if anything.

        Raises:
            UserError: a saved latent describes a scene that cannot be read.
        """
        if self.scene is None and self.saved is not None and SCENE_ENTRY in self.saved.metadata:
            return Scene.from_json(self.saved.metadata[SCENE_ENTRY])
        return self.scene

    @property
    def used_space(self) -> Space:
        """Where the way really runs: of saved objects only the codes are known."""
        return self.space if self.saved is None and self.second_saved is None else "codes"

    @property
    def name(self) -> str:
        """A name for files of the object: seed0003, or that of its latent's file, and what was done with it."""
        name = self.saved.name if self.saved is not None else f"seed{self.seed:04d}"
        if self.appearance_seed is not None:
            name += f"-worn{self.appearance_seed:04d}"
        if self.interpolation > 0.0:
            second = self.second_saved.name if self.second_saved is not None else f"{self.second_seed:04d}"
            name += f"-to{second}-{self.interpolation:.2f}"
        if self.mixed_seed is not None and self.mixed_layers:
            name += f"-mix{self.mixed_seed:04d}"
        return name if self.scene is None else name + self.scene.name


def described(selection: LatentSelection, style_layers: Tuple[str, ...]) -> dict[str, str]:
    """What a selection is made of, in words for the files that are made with it.

    A saved latent brings its own seed, truncation, step and weights along, as "latent seed" and so on.
    """
    known = {"truncation": f"{selection.truncation:g}"}
    if selection.saved is None:
        known["seed"] = str(selection.seed)
    else:
        known["latent"] = selection.saved.name
        theirs = {key: value for key, value in selection.saved.metadata.items() if key not in ("method", SCENE_ENTRY)}
        known.update({f"latent {key}": value for key, value in theirs.items()})
        if selection.interpolation == 0.0 and not selection.mixed_layers:
            del known["truncation"]  # it is of seeds, and there are none
    if selection.appearance_seed is not None:
        known["appearance seed"] = str(selection.appearance_seed)
    if selection.interpolation > 0.0:
        second = selection.second_saved.name if selection.second_saved is not None else str(selection.second_seed)
        known["interpolation"] = f"{selection.interpolation:g} to {second}, {selection.curve} {selection.used_space}"
    if selection.mixed_seed is not None and selection.mixed_layers:
        names = [style_layers[index] for index in selection.mixed_layers if index < len(style_layers)]
        known["mixed"] = f"{', '.join(names)} of seed {selection.mixed_seed}"
    scene = selection.used_scene
    if scene is not None and scene != Scene():
        known[SCENE_ENTRY] = scene.to_json()
    return known


def slerp(
    first: Float[Tensor, "*batch dim"], second: Float[Tensor, "*batch dim"], amount: float
) -> Float[Tensor, "*batch dim"]:
    """The way along an arc around the origin; lengths are interpolated linearly, so that equal ones are kept."""
    lengths = [entry.norm(dim=-1, keepdim=True) for entry in (first, second)]
    units = [entry / length.clamp(min=SHORTEST) for entry, length in zip((first, second), lengths, strict=True)]
    # Exact at every angle, where the arc cosine loses half of the digits of small and large ones.
    apart, together = ((units[0] + sign * units[1]).norm(dim=-1, keepdim=True) for sign in (-1.0, 1.0))
    angle = 2.0 * torch.atan2(apart, together)
    sine = torch.sin(angle).clamp(min=SHORTEST)
    weights = [torch.sin((1.0 - amount) * angle) / sine, torch.sin(amount * angle) / sine]
    arc = (weights[0] * units[0] + weights[1] * units[1]) * torch.lerp(lengths[0], lengths[1], amount)
    # Between opposite vectors there is no shortest arc, and from or to the origin none at all.
    straight = (angle < SMALLEST_ANGLE) | (angle > math.pi - SMALLEST_ANGLE)
    straight = straight | (lengths[0] < SHORTEST) | (lengths[1] < SHORTEST)
    return torch.where(straight, torch.lerp(first, second, amount), arc)


def between(
    first: Float[Tensor, "*batch dim"], second: Float[Tensor, "*batch dim"], amount: float, curve: Curve
) -> Float[Tensor, "*batch dim"]:
    """A point on the way from the first to the second."""
    return torch.lerp(first, second, amount) if curve == "linear" else slerp(first, second, amount)


def fingerprint(module: nn.Module) -> str:
    """A short name of a module's weights: equal for equal weights."""
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def encode_latent(codes: Float[Tensor, "layer code"], metadata: Mapping[str, str]) -> bytes:
    """The content of a latent's file."""
    from safetensors.torch import save

    return save({"codes": codes.detach().float().cpu().contiguous()}, {**metadata, "kind": FILE_KIND})


def decode_latent(content: bytes, name: str) -> SavedLatent:
    """The latent in a file's content.

    Raises:
        UserError: it is not the content of a latent's file; ``name`` says which.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
        # The library reads metadata from files alone: the header's length comes first, and then the header.
        length = int.from_bytes(content[:HEADER_START], "little")
        metadata = json.loads(content[HEADER_START : HEADER_START + length]).get("__metadata__") or {}
    except (SafetensorError, ValueError, RecursionError, MemoryError, AttributeError) as error:
        raise UserError(
            f"{name} is not a latent: it cannot be read as safetensors. Save one in the viewer's Generator panel."
        ) from error
    codes = tensors.get("codes")
    fits = codes is not None and codes.dtype in FLOATS and codes.dim() == 2 and bool(codes.float().isfinite().all())
    if metadata.get("kind") != FILE_KIND or codes is None or not fits:
        raise UserError(
            f"{name} is a safetensors file but holds no latent of this package; save one in the viewer's Generator "
            "panel."
        )
    return SavedLatent(codes.float(), Path(name).stem, {key: entry for key, entry in metadata.items() if key != "kind"})


def read_latent(path: Path) -> SavedLatent:
    """The latent in a file.

    Raises:
        UserError: there is no such file, or it holds no latent.
    """
    path = Path(path)
    try:
        # A pipe or a device would block for ever, or never end.
        if path.exists() and not path.is_file():
            raise UserError(f"cannot read the latent {shown_path(path)}: it is no regular file.")
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the latent {shown_path(path)}: {reason}.") from error
    if len(content) > LARGEST_FILE:
        raise UserError(f"{shown_path(path)} is not a latent: it is larger than {LARGEST_FILE >> 20} MiB.")
    return decode_latent(content, str(path))
