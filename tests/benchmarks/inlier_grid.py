"""The kNN grid of Fujimura 2023 (5 values of k, 3 fit sets) against one scikit-learn model per grid point.

Both sides are fitted on the same segments and score the same queries with the Mahalanobis distance (one shared shrunk
covariance) in double precision on the same number of threads. The peer gets whitened embeddings and the Euclidean metric, which
is scikit-learn's fast path (its ``mahalanobis`` metric is slower). Figures that differ by more than 1e-5 are an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from dcase_asd.detectors._shared.fit_sets import TrainingRows, rows_of
from dcase_asd.detectors.base import Batch, Batches
from dcase_asd.detectors.knn import Config, Knn
from dcase_asd.features.segments import SegmentMeta
from tests.benchmarks import Row

DESCRIPTION = "kNN grid (k = 1, 2, 4, 16, 32; source, both, pseudo-target): one pass against 15 scikit-learn models"

FIT_SETS = ("source", "both", "pseudo_target")
KS = (1, 2, 4, 16, 32)
#: Sizes of DCASE 2023: 990 source and 10 target clips of 10 s, 5 segments each (5 s, 75 % overlap), 512-d; 200 test clips.
N_SOURCE, N_TARGET, N_QUERY, DIM = 4950, 50, 1000, 512
ROUNDS = 4


def run() -> list[Row]:
    """Time fitting and scoring of the whole grid, ours and theirs in turn, best of several rounds.

    Raises
    ------
    AssertionError
        If a part differs from scikit-learn by more than 1e-5.
    """
    from sklearn.covariance import ledoit_wolf
    from sklearn.neighbors import NearestNeighbors

    source, target, query = _data()
    rows = TrainingRows(source, target)
    config = Config(fit_sets=FIT_SETS, n_neighbors=KS)
    detector, batches = Knn(config), _batches(source, target)
    detector.fit(batches, seed=0)
    whiten = detector.state()["whiten"]
    white_query = query.astype(np.float64) @ whiten.T
    points = {name: rows_of(name, rows, config=config, seed=0).astype(np.float64) @ whiten.T for name in FIT_SETS}
    models = {
        f"fit_set={name},k={k}": (NearestNeighbors(n_neighbors=k, algorithm="brute", metric="euclidean"), points[name])
        for name in FIT_SETS
        for k in KS
    }
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        _time(best, "ours fit", lambda: detector.fit(batches, seed=0))
        _time(best, "ours score", lambda: detector.score(query))
        _time(best, "peer fit covariance", lambda: ledoit_wolf(rows.all.astype(np.float64)))
        for name, (model, x) in models.items():
            _time(best, f"peer fit {name}", lambda model=model, x=x: model.fit(x))
            _time(best, f"peer score {name}", lambda model=model: model.kneighbors(white_query)[0].mean(axis=1))
    for name, values in detector.score(query).parts.items():
        np.testing.assert_allclose(values, models[name][0].kneighbors(white_query)[0].mean(axis=1), rtol=1e-5, err_msg=name)
    score_s, peer_score_s = best["ours score"], sum(v for k, v in best.items() if k.startswith("peer score"))
    total, peer_total = score_s + best["ours fit"], peer_score_s + sum(v for k, v in best.items() if k.startswith("peer fit"))
    return [
        _row("knn grid: score", score_s, peer_score_s, ">= 5"),
        # the peer is given whitened points and ready mixtures, so this ratio is a lower bound
        _row("knn grid: fit and score", total, peer_total, ">= 2"),
    ]


def _row(name: str, ours_s: float, peer_s: float, target: str) -> Row:
    return Row(name=name, ours_s=ours_s, peer_s=peer_s, ratio=peer_s / ours_s, target=target)


def _time(best: dict[str, float], name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    best[name] = min(best.get(name, np.inf), time.perf_counter() - start)


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    # decaying spectrum and a common offset, as pooled ReLU features have
    mixing = rng.normal(size=(DIM, DIM)) * (np.arange(1, DIM + 1) ** -0.5)
    source, target, query = (
        (rng.normal(size=(n, DIM)) @ mixing.T + 10.0).astype(np.float32) for n in (N_SOURCE, N_TARGET, N_QUERY)
    )
    return source, target + np.float32(0.5), query


def _batches(source: np.ndarray, target: np.ndarray) -> Batches:
    x, n = np.concatenate([source, target]), len(source) + len(target)
    text = np.array([""] * n, dtype=object)
    domain = np.array(["source"] * len(source) + ["target"] * len(target), dtype=object)
    meta = SegmentMeta(text, text, domain, text, np.zeros(n))

    def batches() -> Iterator[Batch]:
        yield Batch(x, np.arange(n), meta)

    return batches
