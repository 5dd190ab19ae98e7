"""A training needs no float64 of its device: Apple's (`--machine.device-type mps`) have none."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import make_tiny_run
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ON_THE_CPU = {"fitted_prior"}
"""Functions that are given tensors of the CPU, whatever device trains."""


class DoublesSeen(TorchDispatchMode):
    """Notes where this package makes float64 tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(result)):
            ours = [frame for frame in traceback.extract_stack() if "gan3d_ns" in Path(frame.filename).parts]
            if not ON_THE_CPU.intersection(frame.name for frame in ours):
                self.places.update(f"{Path(frame.filename).name}:{frame.lineno}" for frame in ours[-1:])
        return result


@pytest.mark.parametrize("method", ["gof-gan-tiny", "giraffe-tiny", "campari-tiny", "volumegan-tiny"])
def test_training_makes_no_double(method: str, tmp_path: Path) -> None:
    with DoublesSeen() as seen:
        make_tiny_run(method, tmp_path)
    assert not seen.places
