"""Intervals of scores: exact leave-one-out values, the jackknife, the organisers' ci95, and the spread over seeds.

Conventions
-----------
As in :mod:`dcase_asd.evaluation.metrics`. ``leave_one_out [clip]`` holds the statistic of all clips but one, in clip order.

Leave-one-out values are exact and cost one sort per section: removing an anomaly takes its term out of the area; removing a
normal shifts the counts of the anomalies below it by one and shrinks the axis, for which prefix sums over the sorted anomalies
suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcase_asd.errors import DataError
from dcase_asd.evaluation.challenge import CONFIDENCE, MAX_FPR
from dcase_asd.evaluation.metrics import Array, Floats, area_terms, mcclish, validate
from dcase_asd.evaluation.rules import Rule, Section

__all__ = [
    "Interval",
    "can_leave_one_out",
    "jackknife",
    "leave_one_out",
    "mean_interval",
    "official_ci95",
    "official_half_width",
    "score_jackknife",
    "score_leave_one_out",
]


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval.

    Attributes
    ----------
    estimate, low, high : float
        In the statistic's unit; the jackknife is symmetric about ``estimate`` and not cut at 0 or 1.
    confidence : float
        Such as 0.95.
    n : int
        Clips, seeds or replicates it rests on.
    method : str
        ``jackknife``, ``student_t`` or ``bootstrap``.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    n: int
    method: str

    @property
    def half_width(self) -> float:
        """Half of ``high - low``."""
        return (self.high - self.low) / 2.0


def leave_one_out(labels: Array, scores: Array, *, max_fpr: float = 1.0) -> Floats:
    """Return AUC (``max_fpr`` = 1) or pAUC with each clip left out in turn, float [clip], in O(n log n).

    Raises
    ------
    DataError
        As :func:`~dcase_asd.evaluation.metrics.validate`, or if a class has fewer than two clips.
    """
    positives, negatives = validate(labels, scores)
    if min(positives.size, negatives.size) < 2:
        raise DataError(
            f"{positives.size} anomalies and {negatives.size} normals: leaving one clip out needs at least two of each; "
            "evaluate without an interval"
        )
    anomaly = np.asarray(labels).astype(bool)
    result = np.empty(anomaly.size)
    result[anomaly], result[~anomaly] = _leave_out(positives, negatives, max_fpr)
    return np.asarray(mcclish(result, max_fpr))


def _leave_out(positives: Floats, negatives: Floats, max_fpr: float) -> tuple[Floats, Floats]:
    """Return the raw partial areas without each anomaly and without each normal."""
    n_pos, n_neg = positives.size, negatives.size
    order = np.argsort(positives)
    anomalies, normals = positives[order], np.sort(negatives)
    right = np.searchsorted(normals, anomalies, side="right")
    equal = (right - np.searchsorted(normals, anomalies, side="left")).astype(np.float64)
    greater = (n_neg - right).astype(np.float64)

    terms = area_terms(greater, equal, max_fpr * n_neg)
    without_positive = np.empty(n_pos)
    without_positive[order] = (terms.sum() - terms) / ((n_pos - 1) * n_neg)

    limit = max_fpr * (n_neg - 1)
    # an anomaly above the removed normal keeps its counts, one beside it loses a tie, one below it a false alarm before it
    above = _prefix(area_terms(greater, equal, limit))
    beside = _prefix(area_terms(greater, np.maximum(equal - 1, 0.0), limit))
    below = _prefix(area_terms(np.maximum(greater - 1, 0.0), equal, limit))
    low = np.searchsorted(anomalies, negatives, side="left")
    high = np.searchsorted(anomalies, negatives, side="right")
    total = below[low] + (beside[high] - beside[low]) + (above[n_pos] - above[high])
    return without_positive, total / (n_pos * (n_neg - 1))


def _prefix(terms: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(terms)])


def jackknife(estimate: float, left_out: Floats, *, confidence: float = CONFIDENCE) -> Interval:
    """Return Student's interval of the pseudo-values ``n * estimate - (n - 1) * left_out`` about ``estimate``.

    Source: Tukey's jackknife as in Mesaros et al. 2019, IEEE/ACM TASLP 27(6), section IV.

    Parameters
    ----------
    estimate : float
        The statistic of all clips.
    left_out : ndarray [clip]
        The statistic without each clip.
    confidence : float
        Two-sided.
    """
    n = left_out.size
    pseudo = n * estimate - (n - 1) * left_out
    half = _critical(confidence, n) * float(pseudo.std(ddof=1)) / np.sqrt(n)
    return Interval(estimate, estimate - float(half), estimate + float(half), confidence, n, "jackknife")


def official_half_width(left_out: Floats, *, confidence: float = CONFIDENCE) -> float:
    """Return the organisers' jackknife half-width, which is ``n - 1`` times too small.

    Their formula puts the leave-one-out values where the pseudo-values belong: ``t * sqrt(sum((x_i - mean)^2) / (n (n - 1)))``
    (Kota-Dohi/dcase2022_evaluator:dcase2022_task2_evaluator.py, ``jackknife_estimate``).
    """
    n = left_out.size
    return float(_critical(confidence, n) * left_out.std(ddof=1) / np.sqrt(n))


def official_ci95(labels: Array, scores: Array) -> float:
    """Return the line ``official score ci95`` of the organisers' result file, for comparison only.

    The mean of :func:`official_half_width` of AUC and of pAUC over the raw scores of all machines thrown together. It is not an
    interval of the official score: use :func:`score_jackknife`. Raises as :func:`leave_one_out`.
    """
    widths = [official_half_width(leave_one_out(labels, scores, max_fpr=limit)) for limit in (1.0, MAX_FPR)]
    return float(np.mean(widths))


def score_leave_one_out(sections: Sequence[Section], rule: Rule) -> Floats:
    """Return the rule's score with each clip of all sections left out in turn, float [clip], in section and clip order.

    Raises
    ------
    DataError
        If a term of a section has fewer than two anomalies or two normals.
    """
    weights = rule.weights([section.machine for section in sections])
    totals = np.array([rule.transform(rule.values(section)).sum() for section in sections]) * weights
    weight = float(weights.sum()) * len(rule.terms)
    parts = []
    for place, section in enumerate(sections):
        # summed afresh, not subtracted: the reciprocal of a clipped zero is 4.5e15 and would take the others' digits with it
        rest = float(np.delete(totals, place).sum())
        changed = rule.transform(_section_leave_one_out(section, rule)).sum(axis=1) * weights[place]
        parts.append(rule.from_total(rest + changed, weight))
    return np.concatenate(parts)


def _section_leave_one_out(section: Section, rule: Rule) -> Floats:
    """Return the section's terms without each clip, float [clip, term]; a clip outside a term leaves it as it is."""
    result = np.tile(rule.values(section), (section.scores.size, 1))
    for column, term in enumerate(rule.terms):
        mask = term.mask(section)
        try:
            result[mask, column] = leave_one_out(section.is_anomaly[mask], section.scores[mask], max_fpr=term.max_fpr)
        except DataError as error:
            raise DataError(f"{section.machine} section {section.section}, {term.label}: {error}") from error
    return result


def can_leave_one_out(sections: Sequence[Section], rule: Rule) -> bool:
    """Return whether every term of every section keeps both classes when any clip is left out."""
    return all(min(mask.sum() for mask in term.split(section)) > 1 for section in sections for term in rule.terms)


def score_jackknife(sections: Sequence[Section], rule: Rule, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the jackknife interval, over clips, of the rule's score; raises as :func:`score_leave_one_out`.

    It says how far the score would move with other test clips of the same machines; not with other machines or seeds.
    """
    values = np.stack([rule.values(section) for section in sections])
    estimate = float(rule.combine(values, rule.weights([section.machine for section in sections])))
    return jackknife(estimate, score_leave_one_out(sections, rule), confidence=confidence)


def mean_interval(values: Array, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean over seeds with Student's interval (``t * std / sqrt(n)``, n - 1 degrees of freedom).

    Raises
    ------
    DataError
        If there are fewer than two values or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2 or not np.isfinite(array).all():
        raise DataError(f"{array.tolist()}: an interval over seeds needs at least two finite values, one per seed")
    mean = float(array.mean())
    half = float(_critical(confidence, array.size) * array.std(ddof=1) / np.sqrt(array.size))
    return Interval(mean, mean - half, mean + half, confidence, array.size, "student_t")


def _critical(confidence: float, n: int) -> float:
    from scipy import special

    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence {confidence} is not in (0, 1)")
    return float(special.stdtrit(n - 1, 0.5 + confidence / 2.0))
