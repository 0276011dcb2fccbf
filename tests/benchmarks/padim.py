"""PaDiM: moments, Cholesky whitening and one matrix product, against a loop over positions as public code has it.

The peer collects the batches and chooses channels; then, one position after the other, ``np.cov`` and ``np.linalg.inv``. It
scores by ``scipy.spatial.distance.mahalanobis``, one picture and position after the other (xiahaifeng1995/PaDiM, open-iad; they
invert every position again at every test, which is left out here). Scoring is timed on some positions and scaled up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dcase_asd.detectors._shared.position_gaussians import by_position
from dcase_asd.detectors.base import Batch
from dcase_asd.detectors.padim import Config, Padim
from dcase_asd.features.segments import SegmentMeta
from tests.benchmarks import Race, Row, one_thread, race

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
    bare = "transposing, products and LAPACK alone"
    functions = {
        "our fit": lambda: detector.fit(lambda: _batches(train), seed=0),
        "peer fit": lambda: _fit_by_position(train),
        bare: lambda: _bare(train),
        "our score": lambda: detector.score(test),
        "peer score": lambda: _score_by_position(test, means, inverses, places),
    }
    with one_thread():
        found = race(functions, rounds=ROUNDS, warm=True)
    timed = Race({**found.seconds, "peer score": [s * SIDE * SIDE / len(places) for s in found.seconds["peer score"]]})
    return [
        timed.row("padim fit: np.cov and inv by position / ours", "our fit", "peer fit", target=">= 5", limit=bare),
        timed.row("padim score: scipy by picture and position / ours", "our score", "peer score", target=">= 20"),
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


def _bare(x: np.ndarray) -> None:
    """What every fit by position does in single precision, each in one call: nothing is checked, centred or kept."""
    import torch

    collected = np.empty((SIDE * SIDE, len(x), CHANNELS), dtype=np.float32)
    for batch in _batches(x):
        rows = slice(batch.key[0], batch.key[-1] + 1)
        by_position(batch.x.reshape(len(batch.x), CHANNELS, -1), np.arange(CHANNELS), out=collected[:, rows])
    unit = torch.eye(CHANNELS)[None]
    for first in range(0, SIDE * SIDE, 16):
        block = torch.from_numpy(collected[first : first + 16])
        covariance = torch.bmm(block.mT, block)
        torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), unit, upper=False)


def _score_by_position(x: np.ndarray, means: np.ndarray, inverses: np.ndarray, places: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import mahalanobis

    flat = x.reshape(len(x), CHANNELS, -1)
    result = np.empty((len(x), len(places)))
    for column, place in enumerate(places):
        mean, inverse = means[:, place], inverses[:, :, place]
        result[:, column] = [mahalanobis(one[:, place], mean, inverse) for one in flat]
    return result
