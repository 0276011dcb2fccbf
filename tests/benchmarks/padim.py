"""PaDiM: streaming moments and batched factors against one position after the other (``np.cov``, ``np.linalg.inv``, einsum)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from dcase_asd.detectors.base import Batch
from dcase_asd.detectors.padim import Config, Padim
from dcase_asd.features.segments import SegmentMeta
from tests.benchmarks import Row, alternate

DESCRIPTION = "PaDiM, 209 pictures of 28 x 28 positions, 100 channels: fit and score against a loop over positions"

N_TRAIN, N_TEST, SIDE, CHANNELS, ROUNDS = 209, 64, 28, 100, 2
_EPS = 0.01


def run() -> list[Row]:
    """Time fitting and scoring; maps that differ by more than 1e-4 are an error.

    Raises
    ------
    AssertionError
        If the maps differ.
    """
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(CHANNELS, CHANNELS)) / 10
    train, test = (
        np.einsum("nchw,cd->ndhw", rng.normal(size=(n, CHANNELS, SIDE, SIDE)), mixing, optimize=True).astype(np.float32)
        for n in (N_TRAIN, N_TEST)
    )
    detector = Padim(Config(n_channels=CHANNELS, eps=_EPS))
    detector.fit(lambda: _batches(train), seed=0)
    means, inverses = _fit_by_position(train)
    np.testing.assert_allclose(detector.score(test).map, _score_by_position(test, means, inverses), rtol=1e-4)
    seconds = alternate(
        {
            "our fit": lambda: detector.fit(lambda: _batches(train), seed=0),
            "peer fit": lambda: _fit_by_position(train),
            "our score": lambda: detector.score(test),
            "peer score": lambda: _score_by_position(test, means, inverses),
        },
        rounds=ROUNDS,
        clock=time.process_time,
    )
    return [
        Row(
            name=f"padim {what}: loop over positions / ours",
            ours_s=seconds[f"our {what}"],
            peer_s=seconds[f"peer {what}"],
            ratio=seconds[f"peer {what}"] / seconds[f"our {what}"],
            target=">= 1" if what == "fit" else "",
        )
        for what in ("fit", "score")
    ]


def _batches(x: np.ndarray) -> Iterator[Batch]:
    for first in range(0, len(x), 32):
        part = x[first : first + 32]
        text = np.array([""] * len(part), dtype=object)
        meta = SegmentMeta(text, text, text, text, np.zeros(len(part)))
        yield Batch(part, np.arange(first, first + len(part)), meta)


def _fit_by_position(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means, inverses = np.empty((SIDE, SIDE, CHANNELS)), np.empty((SIDE, SIDE, CHANNELS, CHANNELS))
    for i, j in np.ndindex(SIDE, SIDE):
        rows = x[:, :, i, j].astype(np.float64)
        means[i, j] = rows.mean(axis=0)
        inverses[i, j] = np.linalg.inv(np.cov(rows, rowvar=False) + _EPS * np.eye(CHANNELS))
    return means, inverses


def _score_by_position(x: np.ndarray, means: np.ndarray, inverses: np.ndarray) -> np.ndarray:
    result = np.empty((len(x), SIDE, SIDE))
    for i, j in np.ndindex(SIDE, SIDE):
        delta = x[:, :, i, j] - means[i, j]
        result[:, i, j] = np.sqrt(np.einsum("nd,nd->n", delta @ inverses[i, j], delta))
    return result
