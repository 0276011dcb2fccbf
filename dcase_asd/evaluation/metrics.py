"""Metrics of one set of clips: AUC, pAUC, average precision, precision, recall, F1, and the means that join them.

Conventions
-----------
``labels [clip]`` hold 0 (normal) or 1 (anomaly), ``scores [clip]`` are finite and higher = more anomalous, ``decisions [clip]``
hold 0 or 1. Results are fractions in [0, 1], not percent. A normal and an anomaly of equal score count one half.

Metrics
-------
* :func:`auc`: area under the ROC curve.
* :func:`pauc`: the area up to a false-positive rate, McClish-standardised to [0, 1] with 0.5 = chance.
* :func:`average_precision`: area under the stepwise precision-recall curve.
* :func:`precision_recall_f1`: by the official epsilon rules; :func:`base_rates`: what deciding "anomaly" always would give.
* :func:`harmonic_mean`, :func:`arithmetic_mean`: the harmonic one clipped below at the machine epsilon, as the organisers do.

Areas come from two binary searches per anomaly into the sorted normals: an area is a sum over anomalies of :func:`area_terms`,
which is what makes exact leave-one-out values and the bootstrap cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcase_asd.errors import DataError
from dcase_asd.evaluation.challenge import EPSILON, MAX_FPR

__all__ = [
    "BaseRates",
    "Detection",
    "area_terms",
    "arithmetic_mean",
    "auc",
    "average_precision",
    "base_rates",
    "harmonic_mean",
    "mcclish",
    "pauc",
    "precision_recall_f1",
    "rank_counts",
    "roc_area",
    "validate",
]

Floats = npt.NDArray[np.float64]
Array = npt.ArrayLike


@dataclass(frozen=True)
class Detection:
    """Precision, recall and F1 of binary decisions, fractions."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class BaseRates:
    """What a set of clips gives away without listening.

    Attributes
    ----------
    n_pos, n_neg : int
        Anomalies and normals.
    precision_base : float
        Share of anomalies: precision, and average precision, of a random ranking.
    f1_trivial : float
        F1 of deciding "anomaly" for every clip, ``2 p / (1 + p)`` with ``p = precision_base``.
    """

    n_pos: int
    n_neg: int
    precision_base: float
    f1_trivial: float


def validate(labels: Array, scores: Array) -> tuple[Floats, Floats]:
    """Return the scores of the anomalies and of the normals.

    Raises
    ------
    DataError
        If shapes differ, a label is neither 0 nor 1, a score is not finite, or one class is missing.
    """
    truth, values = _binary(labels, "label"), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape:
        raise DataError(f"{truth.size} labels but scores of shape {values.shape}: give one score per clip, in one dimension")
    bad = ~np.isfinite(values)
    if bad.any():
        place = int(bad.argmax())
        raise DataError(f"score {place} is {values[place]}: scores must be finite")
    if truth.all() or not truth.any():
        raise DataError(f"all {truth.size} labels are of one class: AUC, pAUC and precision need normals (0) and anomalies (1)")
    return values[truth], values[~truth]


def rank_counts(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """Return, per anomaly, how many normals score higher and how many score the same (one sort)."""
    ordered = np.sort(negatives)
    below_or_equal = np.searchsorted(ordered, positives, side="right")
    equal = below_or_equal - np.searchsorted(ordered, positives, side="left")
    return (ordered.size - below_or_equal).astype(np.float64), equal.astype(np.float64)


def area_terms(greater: Floats, equal: Floats, limit: float | Floats) -> Floats:
    """Return each anomaly's area under the ROC curve, in units of one normal by one anomaly.

    On the axis of false alarms counted in normals, an anomaly is found between ``greater`` and ``greater + equal`` (linearly, so
    that ties count one half) and stays found up to ``limit``, the largest number of false alarms looked at. ``limit`` = the
    number of normals gives the whole area; ``max_fpr`` times that number the partial one, interpolated as in scikit-learn.
    """
    room = limit - greater
    # inside a group of ties the curve is a slope: the area is a triangle cut off at the limit
    slope = np.square(np.clip(room, 0.0, None)) / (2.0 * np.where(equal > 0, equal, 1.0))
    return np.where(room <= 0, 0.0, np.where(room >= equal, room - equal / 2.0, slope))


def roc_area(positives: Floats, negatives: Floats, *, max_fpr: float = 1.0) -> float:
    """Return the area under the ROC curve for false-positive rates in [0, max_fpr], not standardised."""
    greater, equal = rank_counts(positives, negatives)
    total = float(area_terms(greater, equal, max_fpr * negatives.size).sum())
    return total / (positives.size * negatives.size)


def mcclish(area: float | Floats, max_fpr: float) -> float | Floats:
    """Standardise a partial area so that 0.5 is chance and 1 perfect (McClish 1989, Medical Decision Making 9(3), eq. for A*)."""
    if max_fpr == 1.0:
        return area
    low = max_fpr**2 / 2.0
    return 0.5 * (1.0 + (area - low) / (max_fpr - low))


def auc(labels: Array, scores: Array) -> float:
    """Return the area under the ROC curve; ``2 * auc * n_neg * n_pos`` is an integer. Raises as :func:`validate`."""
    return roc_area(*validate(labels, scores))


def pauc(labels: Array, scores: Array, *, max_fpr: float = MAX_FPR) -> float:
    """Return the McClish-standardised partial AUC up to ``max_fpr``, the challenge's pAUC.

    Raises
    ------
    DataError
        As :func:`validate`, or if ``max_fpr`` is not in (0, 1].
    """
    if not 0.0 < max_fpr <= 1.0:
        raise DataError(f"max_fpr {max_fpr} is not in (0, 1]; the challenge uses {MAX_FPR}")
    return float(mcclish(roc_area(*validate(labels, scores), max_fpr=max_fpr), max_fpr))


def average_precision(labels: Array, scores: Array) -> float:
    """Return the sum over distinct thresholds of precision times the step in recall. Raises as :func:`validate`."""
    positives, negatives = validate(labels, scores)
    thresholds, found = np.unique(positives, return_counts=True)
    true_alarms = found[::-1].cumsum()[::-1]
    false_alarms = negatives.size - np.searchsorted(np.sort(negatives), thresholds, side="left")
    return float((found * true_alarms / (true_alarms + false_alarms)).sum() / positives.size)


def precision_recall_f1(labels: Array, decisions: Array) -> Detection:
    """Return precision, recall and F1 with every denominator at least the machine epsilon.

    Source: nttcslab/dcase2023_task2_evaluator:dcase2023_task2_evaluator.py, ``output_result``.

    Raises
    ------
    DataError
        If shapes differ or a value is neither 0 nor 1.
    """
    truth, alarm = _binary(labels, "label"), _binary(decisions, "decision")
    if truth.shape != alarm.shape:
        raise DataError(f"{truth.size} labels but {alarm.size} decisions: give one decision per clip")
    hits = float(np.count_nonzero(truth & alarm))
    precision = hits / max(float(np.count_nonzero(alarm)), EPSILON)
    recall = hits / max(float(np.count_nonzero(truth)), EPSILON)
    return Detection(precision, recall, 2.0 * precision * recall / max(precision + recall, EPSILON))


def base_rates(labels: Array) -> BaseRates:
    """Return the counts, the share of anomalies and the F1 of deciding "anomaly" always; raises for no clips."""
    truth = _binary(labels, "label")
    if not truth.size:
        raise DataError("no clips: base rates need at least one label")
    n_pos = int(truth.sum())
    share = n_pos / truth.size
    return BaseRates(n_pos, truth.size - n_pos, share, 2.0 * share / (1.0 + share))


def harmonic_mean(values: Array) -> float:
    """Return the harmonic mean of values clipped below at the machine epsilon.

    A single zero therefore gives about ``n * 2.2e-16`` and not zero, as in the organisers' tables
    (``scipy.stats.hmean(numpy.maximum(x, sys.float_info.epsilon))``, y-kawagu/dcase2021_task2_evaluator and later).
    """
    clipped = np.maximum(_filled(values), EPSILON)
    return float(clipped.size / np.sum(1.0 / clipped))


def arithmetic_mean(values: Array) -> float:
    """Return the arithmetic mean; raises ``DataError`` for no values."""
    return float(_filled(values).mean())


def _filled(values: Array) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size:
        raise DataError("no values to average")
    return array


def _binary(values: Array, what: str) -> npt.NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{what}s have shape {array.shape}: give one dimension, one {what} per clip")
    bad = (array != 0) & (array != 1)
    if np.any(bad):
        place = int(np.argmax(bad))
        raise DataError(f"{what} {place} is {array[place]!r}: expected 0 or 1")
    return array.astype(bool)
