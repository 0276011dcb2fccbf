from __future__ import annotations

import numpy as np
import pytest

from dcase_asd.errors import FormatError
from dcase_asd.extractors.level import Config, Level


def test_level_of_known_sounds() -> None:
    t = np.arange(16000) / 16000
    sine = np.sin(2 * np.pi * 100 * t).astype(np.float32)
    x = np.stack([sine, 0.1 * sine, 0.1 * sine + np.float32(0.5), np.zeros_like(sine)])
    vector, at = Level(Config()).embed(x)
    assert at is None
    # a full-scale sine has -3.01 dB; an offset is no sound
    np.testing.assert_allclose(vector[:, 0], [-3.0103, -23.0103, -23.0103, -200.0], atol=1e-3)


def test_wrong_segments() -> None:
    with pytest.raises(FormatError, match="waveform segments"):
        Level(Config()).embed(np.zeros((2, 3, 4)))
    with pytest.raises(FormatError, match="not finite"):
        Level(Config()).embed(np.full((1, 10), np.nan))
