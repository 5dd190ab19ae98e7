"""Reading the weights that published releases write, without running code from the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor

from gan3d_ns.engine.plain_files import NotPlain, load_plain, spoilt_tensors, unfit_tensors
from gan3d_ns.errors import UserError

ZIP_START, PICKLE_START = b"PK", b"\x80\x02"
"""First bytes of what torch.save writes: a zip archive, before torch 1.6 a pickle."""


class _Shadow:
    """Stands for a class while a pickled object of it is read: takes the attributes and has no behaviour."""


class _ShadowModule(_Shadow):
    """Stands for a network or one of its layers."""


def _shadow(path: str, base: type) -> type:
    """A class that the unpickler takes for the one at ``package.module.Name``."""
    module, _, name = path.rpartition(".")
    return type(name, (base,), {"__module__": module})


_ShadowAverage = _shadow("torch_ema.ema.ExponentialMovingAverage", _Shadow)


@dataclass(frozen=True)
class Release:
    """What messages say of a release's generator file, and how its state dict maps to a field of ours."""

    name: str
    """The method, as its authors call it."""
    file: str
    """Name of the file that holds the generator's state dict."""
    field: str
    """The release's name of the network."""
    sizes: Callable[[Mapping[str, Tensor]], InstantiateConfig | None]
    """The config of our field with the sizes of a state dict; None where the tensors that tell them are missing."""
    translate: Callable[[str], str]
    """Our parameter name for one of theirs; unknown names are returned as they are."""
    pickled_classes: tuple[str, ...] = ()
    """Where the file holds a pickled network, the classes in it; they are read without their code."""


def read_plain(path: Path, release: Release) -> Any:
    """What a file of torch.save holds, as long as that is tensors, numbers, containers and known objects, on the CPU.

    Raises:
        UserError: there is no such file, it is damaged, or it holds other objects, which run code when they are read.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the {release.file} of the {release.name} release.")
    try:
        with torch.serialization.safe_globals(
            [_ShadowAverage, *(_shadow(name, _ShadowModule) for name in release.pickled_classes)]
        ):
            return load_plain(path)
    except NotPlain as error:
        if not isinstance(error.__cause__, UnpicklingError):
            raise UserError(
                f"{path} cannot be read ({path.stat().st_size} bytes; {error}): it is cut off or not a file of "
                "torch.save; copy it again."
            ) from error
        with path.open("rb") as stream:
            start = stream.read(2)
        if start not in (ZIP_START, PICKLE_START):
            raise UserError(f"{path} is not a file of torch.save ({path.stat().st_size} bytes).") from error
        raise UserError(
            f"{path} holds a pickled Python object instead of plain tensors; reading it could run any code, so it is "
            "refused. Where you trust it, save its weights with the code that made it: "
            f"torch.save(torch.load('{release.file}').state_dict(), 'plain.pth')."
        ) from error


def module_state(module: _ShadowModule, prefix: str = "") -> dict[str, Tensor]:
    """The parameters of a pickled network under the names of its state dict, in that order."""
    attributes = vars(module)
    state = {
        prefix + name: value.detach() for name, value in attributes.get("_parameters", {}).items() if value is not None
    }
    for name, child in attributes.get("_modules", {}).items():
        if isinstance(child, _ShadowModule):
            state.update(module_state(child, f"{prefix}{name}."))
    return state


def fitting_state(state: Any, path: Path, release: Release) -> dict[str, Tensor]:
    """The generator's state dict, checked against the field that its shapes describe; also of a pickled network.

    Raises:
        UserError: it is no state dict, or not that of the release's field.
    """
    if isinstance(state, _ShadowModule):
        state = module_state(state)
    if not isinstance(state, Mapping) or unfit_tensors(state):
        kind = "a moving average" if isinstance(state, _ShadowAverage) else f"a {type(state).__name__}"
        raise UserError(f"{path} is {kind}, not the state dict of a {release.name} generator; give {release.file}.")
    try:
        sizes = release.sizes(state)
        own = dict(sizes.setup().named_parameters()) if sizes is not None else {}
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, UserError):
        own = {}  # tensors of other shapes than those of the release's networks
    found = {release.translate(str(name)): (str(name), value.shape) for name, value in state.items()}
    wrong = [name for key, (name, shape) in found.items() if key not in own or own[key].shape != shape]
    missing = [key for key in own if key not in found]
    if wrong or missing or not own:
        raise UserError(
            f"{path} is not the state dict of a {release.name} generator ({release.field}): {len(wrong)} of its "
            f"{len(found)} tensors do not fit and {len(missing)} are missing, such as "
            f"{', '.join((wrong + missing)[:4])}."
        )
    spoilt = spoilt_tensors(state) + [name for name, value in state.items() if not value.is_floating_point()]
    if spoilt:
        raise UserError(
            f"{path} is damaged: {len(spoilt)} of its tensors hold numbers that are not finite, or of another kind "
            f"(such as {spoilt[0]}); copy it again."
        )
    return dict(state)


def generator_state(path: Path, release: Release) -> dict[str, Tensor]:
    """The state dict in a file that holds nothing else (see `read_plain` and `fitting_state`)."""
    return fitting_state(read_plain(path, release), path, release)


def averaged_state(state: Mapping[str, Tensor], path: Path, release: Release) -> dict[str, Tensor]:
    """The moving averages of the parameters under their names.

    Args:
        state: the generator's state dict, whose order is that of the parameters.
        path: torch_ema's object as the releases of GOF and pi-GAN pickle it, or its state dict.
        release: whose file it is.

    Raises:
        UserError: it cannot be read, or belongs to other parameters.
    """
    average = read_plain(path, release)
    if isinstance(average, _ShadowAverage):
        average = vars(average)
    shadow = average.get("shadow_params") if isinstance(average, Mapping) else None
    shadow = shadow if isinstance(shadow, (list, tuple)) else []
    shapes = [getattr(entry, "shape", None) for entry in shadow]
    if shapes != [value.shape for value in state.values()] or spoilt_tensors(dict(enumerate(shadow))):
        raise UserError(
            f"{path} does not hold the moving averages of this generator (shadow_params of torch_ema, {len(state)} "
            "tensors in the order of its parameters)."
        )
    return dict(zip(state, shadow, strict=True))
