"""The contract tests' segments, for unit tests of map detectors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "contracts"))

from material import meta, normal_segments
from material import normal_training as training

__all__ = ["meta", "normal_segments", "training"]
