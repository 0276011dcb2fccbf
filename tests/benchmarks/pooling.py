"""Aggregation of score maps to clip scores with power weights, against the loop one would write."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.scores.pooling import pool_map, pool_segments
from tests.benchmarks import Row, race

DESCRIPTION = "power-weighted pooling: 9,000 maps of 7 x 20 (1,000 clips) to segment and clip scores, against a numpy loop"

N_CLIPS, N_SEGMENTS, SHAPE = 1000, 9, (7, 20)


def run() -> list[Row]:
    """Time both.

    Raises
    ------
    AssertionError
        If they differ.
    """
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(N_CLIPS * N_SEGMENTS, *SHAPE)).astype(np.float32)
    power = rng.uniform(0.0, 1.0, (len(maps), SHAPE[1])).astype(np.float32)
    clip = np.repeat(np.arange(N_CLIPS), N_SEGMENTS)

    def ours() -> NDArray[np.float64]:
        return pool_segments(pool_map(maps, power), clip, method="power_weighted", weight=power.mean(axis=1, dtype=np.float64))

    np.testing.assert_allclose(ours(), _loop(maps, power, clip), rtol=1e-6, atol=1e-9)
    functions = {"ours": ours, "loop": lambda: _loop(maps, power, clip), "reading the maps once": maps.sum}
    return [
        race(functions, rounds=9).row(
            "times faster than a loop over clips and segments", "ours", "loop", target=">= 3", limit="reading the maps once"
        )
    ]


def _loop(maps: NDArray[np.float32], power: NDArray[np.float32], clip: NDArray[np.int64]) -> NDArray[np.float64]:
    found = []
    for number in range(clip.max() + 1):
        scores, weights = [], []
        for row in np.flatnonzero(clip == number):
            weight = power[row].astype(np.float64)
            scores.append(np.average(maps[row].astype(np.float64).mean(axis=0), weights=weight))
            weights.append(weight.mean())
        found.append(np.average(scores, weights=weights))
    return np.array(found)
