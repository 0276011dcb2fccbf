"""Metrics with their interval on 4,200 clips (the size of DCASE 2022) against the organisers' jackknife, which is O(N^2).

The peer leaves each of N clips out and calls ``roc_auc_score`` on the rest, for AUC and for pAUC, as ``jackknife_estimate`` in
Kota-Dohi/dcase2022_evaluator does (with ``numpy.delete`` instead of its slower list of indices). It is timed on a sample of the
clips and extrapolated to all: the whole takes minutes. The sampled values must agree with ours to 1e-12, or it is an error.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from dcase_asd.evaluation import bootstrap, intervals
from dcase_asd.evaluation.challenge import MAX_FPR
from dcase_asd.evaluation.rules import Section, rule_named
from tests.benchmarks import Row

DESCRIPTION = "official score with interval at 4,200 clips against the organisers' O(N^2) jackknife (theirs extrapolated)"

#: 7 machines, 3 sections, 50 clips in each domain and class: the 2022 evaluation set.
N_MACHINES, N_SECTIONS, N_CELL = 7, 3, 50
#: Clips (replicates) of the peer that are really run.
SAMPLE = 40
N_BOOTSTRAP = 1000
ROUNDS = 3


def run() -> list[Row]:
    """Time both sides in turn, median of the rounds.

    Raises
    ------
    AssertionError
        If the two sides' numbers differ by more than 1e-12.
    """
    sections, rule = _data(), rule_named("dcase2022")
    labels = np.concatenate([section.is_anomaly for section in sections])
    scores = np.concatenate([section.scores for section in sections])
    clips = np.linspace(0, labels.size - 1, SAMPLE).astype(int)
    _require_equal(labels, scores, clips)

    share = labels.size / SAMPLE
    ours, peer = _alternate(lambda: intervals.official_ci95(labels, scores), lambda: _leave_out(labels, scores, clips))
    both, _ = _alternate(
        lambda: (intervals.official_ci95(labels, scores), intervals.score_jackknife(sections, rule)), lambda: None
    )
    drawn, redrawn = _alternate(
        lambda: bootstrap.bootstrap_scores([sections], rule, n_bootstrap=N_BOOTSTRAP, seed=0),
        lambda: _resample(sections),
        rounds=1,
    )
    note = f"theirs extrapolated from {SAMPLE}"
    return [
        _row(f"the organisers' ci95 itself, {labels.size} clips ({note})", ours, peer * share, ">= 100"),
        _row(f"score, its own interval and the organisers' ci95, {labels.size} clips ({note})", both, peer * share, ">= 100"),
        _row(f"stratified bootstrap of the score, {N_BOOTSTRAP} replicates ({note})", drawn, redrawn * N_BOOTSTRAP / SAMPLE, ""),
    ]


def _row(name: str, ours_s: float, peer_s: float, target: str) -> Row:
    return Row(name=name, ours_s=ours_s, peer_s=peer_s, ratio=peer_s / ours_s, target=target)


def _data() -> list[Section]:
    generator = np.random.default_rng(0)
    anomaly = np.tile(np.repeat([False, True], N_CELL), 2)
    domain = np.repeat(["source", "target"], 2 * N_CELL)
    return [
        Section(f"machine{m}", f"{s:02d}", anomaly, domain, generator.normal(anomaly * 0.8 + (domain == "target") * 0.4))
        for m in range(N_MACHINES)
        for s in range(N_SECTIONS)
    ]


def _leave_out(labels: np.ndarray, scores: np.ndarray, clips: np.ndarray) -> np.ndarray:
    from sklearn.metrics import roc_auc_score

    return np.array(
        [
            [roc_auc_score(np.delete(labels, clip), np.delete(scores, clip), max_fpr=limit) for limit in (None, MAX_FPR)]
            for clip in clips
        ]
    )


def _resample(sections: list[Section]) -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    for _ in range(SAMPLE):
        for section in sections:
            # cells are contiguous and of equal size
            rows = (generator.integers(0, N_CELL, (4, N_CELL)) + N_CELL * np.arange(4)[:, None]).ravel()
            y, s, d = section.is_anomaly[rows], section.scores[rows], section.domain[rows]
            for name in ("source", "target"):
                keep = (d == name) | y
                roc_auc_score(y[keep], s[keep])
            roc_auc_score(y, s, max_fpr=MAX_FPR)


def _require_equal(labels: np.ndarray, scores: np.ndarray, clips: np.ndarray) -> None:
    ours = np.stack([intervals.leave_one_out(labels, scores, max_fpr=limit)[clips] for limit in (1.0, MAX_FPR)], axis=1)
    worst = float(np.abs(ours - _leave_out(labels, scores, clips)).max())
    if worst > 1e-12:
        raise AssertionError(f"leave-one-out values differ from scikit-learn by {worst:g}")


def _alternate(ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = ROUNDS) -> tuple[float, float]:
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, taken in zip((ours, peer), seconds, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
