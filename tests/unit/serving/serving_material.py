"""A small machine (a hum, a tone that wanders from recording to recording, noise), and commands as a user types them."""

from __future__ import annotations

import numpy as np
import pytest

from dcase_asd.cli import main

RATE = 16000


def machine(seed: int, *, seconds: float = 4.0, rate: int = RATE, fault: bool = False) -> np.ndarray:
    rng = np.random.default_rng([seed, int(fault)])
    t = np.arange(int(seconds * rate)) / rate
    wave = 0.1 * np.sin(2 * np.pi * rng.uniform(98, 102) * t) + 0.05 * np.sin(2 * np.pi * rng.uniform(990, 1010) * t)
    wave += 0.02 * rng.normal(size=len(t))
    wave *= rng.uniform(0.9, 1.1)  # no machine is equally loud every day
    if fault:
        half = len(t) // 2  # a whine at 3 kHz in the second half only
        wave[half:] += 0.1 * np.sin(2 * np.pi * 3000 * t[half:])
    return wave.astype(np.float32)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error."""
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as done:
        code = int(done.code or 0)
    out, err = capsys.readouterr()
    return code, out, err
