"""The experiments stand in benchmarks/, which is not installed: the tests find them there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
