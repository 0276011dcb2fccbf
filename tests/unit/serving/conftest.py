"""Recordings of a small machine on disk, and a scorer fitted to them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent))  # serving_material is no test module

from serving_material import RATE, machine

from dcase_asd.serving.scorer import Scorer


@pytest.fixture(scope="session")
def normals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("Pumpe é 1") / "läuft gut"
    folder.mkdir()
    for seed in range(12):
        soundfile.write(folder / f"aufnahme é {seed:02d}.wav", machine(seed), RATE, subtype="PCM_16")
    return folder


@pytest.fixture(scope="session")
def fitted(normals: Path) -> Scorer:
    """A scorer that tests must leave as it is."""
    return Scorer(false_alarms=0.1).fit(normals)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def one(name: str, wave: np.ndarray, *, rate: int = RATE, **options: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, rate, **options)
        return path

    return one
