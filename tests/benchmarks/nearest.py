"""Nearest neighbours of patches in PatchCore's bank, against faiss (flat, exact) or, without it, scikit-learn's brute force."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from dcase_asd.detectors._shared.nearest import Bank
from tests.benchmarks import Row, alternate, one_thread

DESCRIPTION = "exact nearest neighbours in a bank of patches: one matrix product and centred, against faiss-cpu flat"

#: Queries, bank, dimensions: WideResNet-50's layers 2 and 3, and ResNet-18's.
CASES = ((1_024, 10_240, 1_536), (4_096, 2_048, 384))
ROUNDS = 5


def run() -> list[Row]:
    """Time both; distances that differ by more than 0.1 % are an error.

    Raises
    ------
    AssertionError
        If distances differ.
    """
    rng = np.random.default_rng(0)
    rows = []
    for n_queries, n_points, dim in CASES:
        points, queries = (rng.standard_normal((n, dim), dtype=np.float32) for n in (n_points, n_queries))
        bank = Bank.of({"bank": points.copy()})
        for k in (1, 9):
            name, theirs = _peer(points, k)
            ours = _ours(bank, queries, k)
            np.testing.assert_allclose(ours(), theirs(queries), rtol=1e-3)
            functions = {"ours": ours, "peer": lambda: theirs(queries)}  # noqa: B023
            with one_thread():
                seconds = alternate(functions, rounds=ROUNDS, clock=time.process_time)
            rows.append(
                Row(
                    name=f"{n_queries} queries, bank {n_points} x {dim}, k = {k}: ours / {name}",
                    ours_s=seconds["ours"],
                    peer_s=seconds["peer"],
                    ratio=seconds["ours"] / seconds["peer"],
                    target="<= 1.5",
                )
            )
    return rows


def _ours(bank: Bank, queries: np.ndarray, k: int) -> Callable[[], np.ndarray]:
    return lambda: bank.nearest(queries, k=k)["bank"]


def _peer(points: np.ndarray, k: int) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """Return the peer's name and its squared distances, ascending."""
    try:
        import faiss
    except ImportError:
        from sklearn.neighbors import NearestNeighbors

        tree = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
        return "scikit-learn brute", lambda queries: np.square(tree.kneighbors(queries)[0])
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    return "faiss flat", lambda queries: index.search(queries, k)[0]
