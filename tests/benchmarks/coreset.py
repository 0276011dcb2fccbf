"""Coreset of PatchCore: the blocked traversal against the loop that reads all points for every pick.

The peer keeps squared lengths and does one matrix-vector product per pick, which is faster than the loops of public code (they
recompute differences or lengths every time), so the ratio is a lower bound for those. Both pick from the same start;
sets that differ by more than 1 % (near ties in single precision) are an error.
"""

from __future__ import annotations

import time

import numpy as np

from dcase_asd.detectors._shared.coreset import farthest_first
from tests.benchmarks import Row, alternate

DESCRIPTION = "farthest-first coreset, 40 000 patches of 128 dimensions, 2 000 picks: blocked against one pick at a time"

N_POINTS, DIM, N_PICKS, ROUNDS = 40_000, 128, 2_000, 2


def run() -> list[Row]:
    """Time both and compare their picks.

    Raises
    ------
    AssertionError
        If the sets differ by more than 1 %.
    """
    x = _patches()
    ours, theirs = farthest_first(x, N_PICKS).index, _one_at_a_time(x)
    shared = len(set(ours.tolist()) & set(theirs))
    assert shared >= 0.99 * N_PICKS, f"{shared} of {N_PICKS} picks agree"
    seconds = alternate(
        {"ours": lambda: farthest_first(x, N_PICKS), "peer": lambda: _one_at_a_time(x)},
        rounds=ROUNDS,
        clock=time.process_time,
    )
    ratio = seconds["peer"] / seconds["ours"]
    return [
        Row(name="coreset: blocked / one at a time", ours_s=seconds["ours"], peer_s=seconds["peer"], ratio=ratio, target=">= 5")
    ]


def _patches() -> np.ndarray:
    rng = np.random.default_rng(0)
    # patch features lie near a surface of few dimensions, with a decaying spectrum
    latent = rng.normal(size=(N_POINTS, DIM)) * (np.arange(1, DIM + 1) ** -0.7)
    return np.maximum(latent @ rng.normal(size=(DIM, DIM)) / 4 + 0.5, 0.0).astype(np.float32)


def _one_at_a_time(points: np.ndarray) -> list[int]:
    x = points - points.mean(axis=0)
    squared = np.einsum("nd,nd->n", x, x)
    distance = np.full(len(x), np.inf, dtype=np.float32)
    picks = [0]
    while True:
        new = squared - 2.0 * (x @ x[picks[-1]])
        new += squared[picks[-1]]
        np.minimum(distance, new, out=distance)
        if len(picks) == N_PICKS:
            return picks
        picks.append(int(distance.argmax()))
