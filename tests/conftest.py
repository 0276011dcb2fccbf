"""Paths that several tests need."""

from __future__ import annotations

import sys
from pathlib import Path

# small modules beside the tests, such as tests/unit/pipeline/toy_stages.py
sys.path[:0] = [
    str(p)
    for p in (
        Path(__file__).parent,
        *Path(__file__).parent.glob("unit/*"),
        Path(__file__).parent / "recipes",
        Path(__file__).parent / "faults",
    )
    if p.is_dir()
]
