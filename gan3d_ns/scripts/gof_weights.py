"""Reading the weights that the GOF release writes, without running code from the files.

`train.py` of the release saves `...generator.pth`, a state dict, and beside it `...ema.pth`, a pickled object of the
package torch_ema that holds the moving averages of the parameters in order; its scripts always render the averages.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig, translate_gof_name

EMA_SUFFIX, GENERATOR_SUFFIX = "ema.pth", "generator.pth"
ZIP_START, PICKLE_START = b"PK", b"\x80\x02"
"""First bytes of what torch.save writes: a zip archive, before torch 1.6 a pickle."""

# Stands for torch_ema's class while such a file is read: it takes the attributes and has no behaviour.
_ShadowFile = type("ExponentialMovingAverage", (), {"__module__": "torch_ema.ema"})


def read_plain(path: Path) -> Any:
    """What a file of torch.save holds, as long as that is tensors, numbers and containers, on the CPU.

    Raises:
        UserError: there is no such file, it is damaged, or it holds other objects, which run code when they are read.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the generator.pth of the GOF release.")
    known = getattr(torch.serialization, "safe_globals", lambda classes: nullcontext())
    try:
        with known([_ShadowFile]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        with path.open("rb") as stream:
            start = stream.read(2)
        if start not in (ZIP_START, PICKLE_START):
            raise UserError(f"{path} is not a file of torch.save ({path.stat().st_size} bytes).") from error
        raise UserError(
            f"{path} holds a pickled Python object instead of plain tensors; reading it could run any code, so it is "
            "refused. Where you trust it, save its weights with the code that made it: "
            "torch.save(torch.load('generator.pth').state_dict(), 'plain.pth')."
        ) from error
    except (RuntimeError, EOFError, BadZipFile, OSError) as error:
        raise UserError(
            f"{path} cannot be read ({path.stat().st_size} bytes): it is cut off; copy it again."
        ) from error


def gof_state(path: Path) -> dict[str, Tensor]:
    """The generator's state dict.

    Raises:
        UserError: it cannot be read, or is not that of GOF's field (SPATIALSIRENBASELINE).
    """
    state = read_plain(path)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        kind = "a moving average" if isinstance(state, _ShadowFile) else f"a {type(state).__name__}"
        raise UserError(f"{path} is {kind}, not the state dict of a GOF generator; give generator.pth.")
    sizes = field_sizes(state)
    own = dict(sizes.setup().named_parameters()) if sizes is not None else {}
    found = {translate_gof_name(name): (name, value.shape) for name, value in state.items()}
    wrong = [name for key, (name, shape) in found.items() if key not in own or own[key].shape != shape]
    missing = [key for key in own if key not in found]
    if wrong or missing or not own:
        raise UserError(
            f"{path} is not the state dict of a GOF generator (SPATIALSIRENBASELINE): {len(wrong)} of its {len(found)} "
            f"tensors do not fit and {len(missing)} are missing, such as {', '.join((wrong + missing)[:4])}."
        )
    return dict(state)


def field_sizes(state: Mapping[str, Tensor]) -> FilmSirenFieldConfig | None:
    """Sizes of the field, read off the tensors' shapes; None where the tensors that tell them are missing."""
    first, mapping = "siren.network.0.layer.weight", "siren.mapping_network.network.0.weight"
    if first not in state or mapping not in state or state[first].ndim != 2 or state[mapping].ndim != 2:
        return None
    num_layers = sum(name.startswith("siren.network.") and name.endswith(".layer.weight") for name in state)
    return FilmSirenFieldConfig(
        latent_dim=state[mapping].shape[1], hidden_dim=state[first].shape[0], num_layers=num_layers
    )


def averaged_state(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The moving averages of the parameters under their names.

    Args:
        state: the generator's state dict, whose order is that of the parameters.
        path: torch_ema's object as the release pickles it, or its state dict.

    Raises:
        UserError: it cannot be read, or belongs to other parameters.
    """
    average = read_plain(path)
    if isinstance(average, _ShadowFile):
        average = vars(average)
    shadow = average.get("shadow_params") if isinstance(average, Mapping) else None
    if not isinstance(shadow, (list, tuple)) or [entry.shape for entry in shadow] != [
        value.shape for value in state.values()
    ]:
        raise UserError(
            f"{path} does not hold the moving averages of this generator (shadow_params of torch_ema, {len(state)} "
            "tensors in the order of its parameters)."
        )
    return dict(zip(state, shadow, strict=True))
