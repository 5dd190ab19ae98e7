"""Files of torch.save, read without running code from them and without filling the memory."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class NotPlain(Exception):
    """The file holds something else than tensors, numbers, words and containers; the message is the reason."""


def load_plain(path: Path) -> Any:
    """What the file holds, on the CPU.

    The pickle in it is read by torch's own reader of weights, which calls nothing but what makes tensors.

    Raises:
        NotPlain: for whatever is wrong; the reader's own error is its cause.
    """
    try:
        _refuse_packed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of quantized and sparse tensors, which are refused where they do not fit
            return torch.load(path, map_location="cpu", weights_only=True)
    except NotPlain:
        raise
    except Exception as error:
        # A hostile pickle lets the reader raise nearly anything: TypeError, KeyError, RecursionError, ...
        reason = str(error).splitlines()[0].partition(". ")[0] if str(error).strip() else type(error).__name__
        raise NotPlain(reason[:120]) from error


def _refuse_packed(path: Path) -> None:
    """torch.save packs nothing: an archive that holds more than its own size is made to fill the memory.

    Raises:
        NotPlain: it is such an archive, or a damaged one.
    """
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, UnicodeDecodeError) as error:
        raise NotPlain(str(error) or "a damaged archive") from error
    total = sum(entry.file_size for entry in entries)
    if total > path.stat().st_size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise NotPlain(f"{total} bytes are packed into it")


def unfit_tensors(state: Mapping[Any, Any]) -> list[str]:
    """Names of the entries that are no weights: no tensors, or such of a kind that networks do not have."""
    return [
        str(name)[:100]
        for name, value in state.items()
        if not isinstance(name, str)
        or not isinstance(value, Tensor)
        or value.layout != torch.strided
        or value.is_quantized
        or value.is_complex()
        or value.is_meta
    ]


def spoilt_tensors(state: Mapping[Any, Tensor]) -> list[Any]:
    """Names, or numbers, of the tensors that hold NaN or infinity."""
    return [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
