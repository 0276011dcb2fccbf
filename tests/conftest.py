"""What every test starts from: paths of modules beside the tests, and generators of known state.

A test that leans on luck fails on somebody's machine. ``DCASE_ASD_TEST_SEED=7`` gives other numbers to whatever a test draws from
the global generators, ``--hypothesis-profile default`` other examples; both must pass, as must any ``PYTHONHASHSEED`` and folder.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

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

# the same examples in every run, however slow the machine
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
SEED = int(os.environ.get("DCASE_ASD_TEST_SEED", "0"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed the global generators before each test and its fixtures, so that neither order nor neighbours matter."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - the global generator is what a test may lean on unawares
    torch.manual_seed(SEED)
