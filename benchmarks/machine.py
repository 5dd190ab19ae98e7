"""What ran the measurement: machine, versions, commit; and how much memory a process has used."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
RUSAGE_UNIT = 1024 if platform.system() == "Linux" else 1
PACKAGES = ("nerfstudio", "nerfacc", "tinycudann", "numpy")


def processor() -> str:
    """Name of the processor's model."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_version(name: str) -> str | None:
    """Installed version, None where the package is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> dict[str, Any]:
    """The checked-out commit, and whether tracked files differ from it; Nones outside a git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(
                ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def machine(threads: int, device: str) -> dict[str, Any]:
    """What a reader needs in order to judge the numbers."""
    import torch

    facts: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(total_memory_bytes() / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "device": device,
        "gpu": None,
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
        facts["gpu_memory_gb"] = round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1)
        facts["cuda"] = torch.version.cuda
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": facts,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: package_version(name) for name in PACKAGES},
        },
        "code": commit(),
    }


def total_memory_bytes() -> int:
    """Memory of the machine, 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def peak_memory_gb() -> float:
    """Largest memory of this process so far, in GB: of the GPU where it has used one, else resident; NaN on Windows.

    Linux hands a child its parent's peak in `ru_maxrss`; `VmHWM` counts this process alone.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e9
    resident = _status_bytes("VmHWM")
    if resident is None:
        try:
            import resource
        except ImportError:
            return math.nan
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RUSAGE_UNIT
    return resident / 1e9


def present_memory_gb() -> float:
    """Memory of this process now, in GB; its peak where the system does not tell."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.memory_allocated() / 1e9
    resident = _status_bytes("VmRSS")
    return peak_memory_gb() if resident is None else resident / 1e9


def _status_bytes(key: str) -> int | None:
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
