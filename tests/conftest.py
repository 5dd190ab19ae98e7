"""What all tests share: seeded randomness, few threads, arrays recorded from the published implementations."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# No window, no GPU surprises, no telemetry from the libraries around nerfstudio.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"

# The tensors of the tests are small: more threads cost more than they give.
torch.set_num_threads(min(2, torch.get_num_threads()))

# Random input of the files test_*_laws.py: the same examples in every run, and with `--hypothesis-profile thorough`
# others, and many more. No example is remembered on disk, and slow machines are no failure.
FORGETFUL = {
    "deadline": None,
    "database": None,
    "phases": (Phase.explicit, Phase.generate, Phase.shrink),
    "suppress_health_check": (HealthCheck.too_slow, HealthCheck.filter_too_much),
}
settings.register_profile("quick", derandomize=True, max_examples=100, **FORGETFUL)
settings.register_profile("thorough", max_examples=1000, **FORGETFUL)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Give each test the same global randomness, whatever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries below read the global state)


def read_fixture(name: str) -> dict[str, Tensor]:
    """Return the arrays of `tests/fixtures/<name>.npz` as float32 tensors under their own keys."""
    path = FIXTURES / f"{name}.npz"
    if not path.is_file():
        have = ", ".join(sorted(file.stem for file in FIXTURES.glob("*.npz"))) or "none"
        raise FileNotFoundError(f"no fixture {name!r} in {FIXTURES}; there are: {have}")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.array(arrays[key], dtype=np.float32)) for key in arrays.files}


@pytest.fixture(scope="session")
def load_fixture() -> Callable[[str], dict[str, Tensor]]:
    """A function from a fixture's name to its tensors; each call gives fresh tensors."""
    return read_fixture


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares expensive fixtures where pytest-xdist spreads the tests; skip `gpu` without CUDA."""
    for item in items:
        # One run of a method serves a whole folder, everything else is shared within files at most.
        values = getattr(item, "callspec", None)
        run = values.params.get("trained") if values is not None else None
        item.add_marker(pytest.mark.xdist_group(run or item.nodeid.partition("::")[0]))
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture
def gof_field():
    """The small FiLM-SIREN field of the recorded numbers, with the original's weights."""
    from gan3d_ns.fields.film_siren_field import FilmSirenField, FilmSirenFieldConfig

    field = FilmSirenField(FilmSirenFieldConfig(latent_dim=16, hidden_dim=32))
    weights = read_fixture("gof_generator_weights")
    field.load_authors_weights({name.removeprefix("weights/"): tensor for name, tensor in weights.items()})
    return field
