"""PaDiM: moments, Cholesky whitening and one matrix product, against a loop over positions as public code has it.

The peer collects the batches and chooses channels; then, one position after the other, ``np.cov`` and ``np.linalg.inv``. It
scores by ``scipy.spatial.distance.mahalanobis``, one picture and position after the other (xiahaifeng1995/PaDiM, open-iad; they
invert every position again at every test, which is left out here). Scoring is timed on some positions and scaled up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dcase_asd.detectors.base import Batch
from dcase_asd.detectors.padim import Config, Padim
from dcase_asd.features.segments import SegmentMeta
from tests.benchmarks import Row, alternate

DESCRIPTION = "PaDiM on ResNet-18's 56 x 56 positions, 100 channels, 209 pictures, 64 scored: against a loop over positions"

N_TRAIN, N_TEST, SIDE, CHANNELS, ROUNDS = 209, 64, 56, 100, 3
_EPS = 0.01
#: Positions that the scoring loop is timed on, evenly spread; all cost the same.
_TIMED = 56 * 4


def run() -> list[Row]:
    """Time fitting and scoring; distances that differ by more than 1e-4 are an error.

    Raises
    ------
    AssertionError
        If the distances differ.
    """
    train, test = (_maps(n, seed) for seed, n in enumerate((N_TRAIN, N_TEST)))
    detector = Padim(Config(n_channels=CHANNELS, eps=_EPS))
    detector.fit(lambda: _batches(train), seed=0)
    means, inverses = _fit_by_position(train)
    places = np.arange(0, SIDE * SIDE, SIDE * SIDE // _TIMED)
    found = detector.score(test).map.reshape(N_TEST, -1)[:, places]
    np.testing.assert_allclose(found, _score_by_position(test, means, inverses, places), rtol=1e-4)
    seconds = alternate(
        {
            "our fit": lambda: detector.fit(lambda: _batches(train), seed=0),
            "peer fit": lambda: _fit_by_position(train),
            "our score": lambda: detector.score(test),
            "peer score": lambda: _score_by_position(test, means, inverses, places),
        },
        rounds=ROUNDS,
    )
    seconds["peer score"] *= SIDE * SIDE / len(places)
    names = {"fit": "padim fit: np.cov and inv by position / ours", "score": "padim score: scipy by picture and position / ours"}
    return [
        Row(
            name=names[what],
            ours_s=seconds[f"our {what}"],
            peer_s=seconds[f"peer {what}"],
            ratio=seconds[f"peer {what}"] / seconds[f"our {what}"],
            target=target,
        )
        for what, target in (("fit", ">= 5"), ("score", ">= 20"))
    ]


def _maps(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = (np.random.default_rng(9).normal(size=(CHANNELS, CHANNELS)) / 10).astype(np.float32)
    latent = rng.standard_normal((n, SIDE, SIDE, CHANNELS), dtype=np.float32)
    return np.ascontiguousarray((latent @ mixing).transpose(0, 3, 1, 2))


def _batches(x: np.ndarray) -> Iterator[Batch]:
    for first in range(0, len(x), 32):
        part = x[first : first + 32]
        text = np.array([""] * len(part), dtype=object)
        meta = SegmentMeta(text, text, text, text, np.zeros(len(part)))
        yield Batch(part, np.arange(first, first + len(part)), meta)


def _fit_by_position(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    collected = np.concatenate([batch.x for batch in _batches(x)])[:, np.arange(CHANNELS)].reshape(len(x), CHANNELS, -1)
    means, inverses = collected.mean(axis=0), np.empty((CHANNELS, CHANNELS, SIDE * SIDE))
    for place in range(SIDE * SIDE):
        covariance = np.cov(collected[:, :, place], rowvar=False) + _EPS * np.eye(CHANNELS)
        inverses[:, :, place] = np.linalg.inv(covariance)
    return means, inverses


def _score_by_position(x: np.ndarray, means: np.ndarray, inverses: np.ndarray, places: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import mahalanobis

    flat = x.reshape(len(x), CHANNELS, -1)
    result = np.empty((len(x), len(places)))
    for column, place in enumerate(places):
        mean, inverse = means[:, place], inverses[:, :, place]
        result[:, column] = [mahalanobis(one[:, place], mean, inverse) for one in flat]
    return result
