"""Field weights that several contenders start from, in one scratch file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

RELEASE_PREFIXES = (
    ("mapping_network.layers.", "siren.mapping_network.network."),
    ("trunk.", "siren.network."),
    ("geometry_head.", "siren.final_layer."),
    ("colour_layer.", "siren.color_layer_sine."),
    ("colour_head.", "siren.color_layer_linear.0."),
)
"""Ours and the release's, the inverse of `gan3d_ns.fields.film_siren_field.translate_gof_name`."""


def release_name(name: str) -> str:
    """The original's name of a parameter of our FiLM-SIREN field."""
    for ours, theirs in RELEASE_PREFIXES:
        if name.startswith(ours):
            return theirs + name[len(ours) :].replace("linear.", "layer.")
    return name


def write_start(path: Path, distilled: Path | None = None) -> None:
    """Writes weights of the published FiLM-SIREN field under our names ("field") and the original's ("release").

    Args:
        path: the file to write.
        distilled: a file of `benchmarks.distil`; None: random weights of seed 0.
    """
    import torch

    from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig

    torch.manual_seed(0)
    field = FilmSirenFieldConfig().setup()
    if distilled is not None:
        field.load_state_dict(read_start(distilled)["field"], strict=False)
    save_start(path, field.state_dict(), {})


def save_start(path: Path, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes a field's weights under both names, and what is to be known about them."""
    import torch

    published = {name: tensor for name, tensor in state.items() if is_published(name)}
    release = {release_name(name): tensor for name, tensor in published.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"field": published, "release": release, "facts": dict(facts)}, path)


def is_published(name: str) -> bool:
    """Whether a tensor of our field is a weight of the release."""
    return any(name.startswith(ours) for ours, _ in RELEASE_PREFIXES)


def read_start(path: Path) -> dict[str, Any]:
    """What `write_start` or `benchmarks.distil` wrote.

    Raises:
        UserError: there is no such file, or it is another kind of file.
    """
    import torch

    if not path.is_file():
        raise UserError(f"there is no file {path}; make one with `python -m benchmarks distil`.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path} is not a file of `python -m benchmarks distil`: it cannot be read.") from error
    if not isinstance(state, dict) or "field" not in state:
        raise UserError(f"{path} is not a file of `python -m benchmarks distil`: it holds no field.")
    return state
