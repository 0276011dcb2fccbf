"""What 0/1 decisions are worth: accuracy and F1 with exact intervals, beside what deciding without looking would give.

Intervals (95 % unless told otherwise) are exact ones of binomial shares (Clopper and Pearson 1934, Biometrika 26(4)), so that a
faultless result on few clips does not come with an interval of no width:

* accuracy: the share of right decisions among all clips;
* F1: ``F1 = 2 J / (1 + J)`` with the Jaccard index ``J = TP / (TP + FP + FN)``, a share among the clips that are positive or were
  called so; the ends of J's interval are carried over, since F1 rises with J. It holds for that number of clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcase_asd.errors import DataError
from dcase_asd.evaluation.challenge import CONFIDENCE
from dcase_asd.evaluation.intervals import Interval
from dcase_asd.evaluation.metrics import Array, base_rates, precision_recall_f1

__all__ = ["Classification", "classification", "share_interval"]


@dataclass(frozen=True)
class Classification:
    """The worth of one system's decisions on one set of clips, fractions.

    Attributes
    ----------
    n_pos, n_neg : int
        Clips of each class.
    accuracy, f1 : Interval
        With ``method`` ``exact``.
    precision, recall : float
        Of the positive class.
    f1_weighted : float
        F1 of each class, weighted by its share of the clips: what the reports of common tools call F1 of a classifier.
    accuracy_trivial : float
        Accuracy of always deciding for the larger class.
    f1_trivial : float
        F1 of always deciding for the positive class; ``precision_base`` is its precision, the base rate.
    precision_base : float
    """

    n_pos: int
    n_neg: int
    accuracy: Interval
    f1: Interval
    precision: float
    recall: float
    f1_weighted: float
    accuracy_trivial: float
    f1_trivial: float
    precision_base: float

    def row(self) -> dict[str, float]:
        """Return everything as one flat row of a table."""
        return {
            "n_pos": self.n_pos,
            "n_neg": self.n_neg,
            "precision_base": self.precision_base,
            "f1_trivial": self.f1_trivial,
            "accuracy_trivial": self.accuracy_trivial,
            "f1": self.f1.estimate,
            "f1_low": self.f1.low,
            "f1_high": self.f1.high,
            "accuracy": self.accuracy.estimate,
            "accuracy_low": self.accuracy.low,
            "accuracy_high": self.accuracy.high,
            "precision": self.precision,
            "recall": self.recall,
            "f1_weighted": self.f1_weighted,
        }


def classification(labels: Array, decisions: Array, *, confidence: float = CONFIDENCE) -> Classification:
    """Judge 0/1 decisions against the truth.

    Parameters
    ----------
    labels, decisions : array_like [clip]
        0 or 1.
    confidence : float
        Of the intervals.

    Raises
    ------
    DataError
        If shapes differ, a value is neither 0 nor 1, there is no clip, or no clip of the positive class.
    """
    found, rates = precision_recall_f1(labels, decisions), base_rates(labels)
    other = precision_recall_f1(1 - np.asarray(labels), 1 - np.asarray(decisions))
    if not rates.n_pos:
        raise DataError(f"all {rates.n_neg} clips are of the other class: F1 needs clips of the positive class")
    truth, alarm = np.asarray(labels).astype(bool), np.asarray(decisions).astype(bool)
    hits, either = int(np.count_nonzero(truth & alarm)), int(np.count_nonzero(truth | alarm))
    jaccard = share_interval(hits, either, confidence=confidence)
    n = truth.size
    return Classification(
        n_pos=rates.n_pos,
        n_neg=rates.n_neg,
        accuracy=share_interval(int(np.count_nonzero(truth == alarm)), n, confidence=confidence),
        f1=Interval(_f1(jaccard.estimate), _f1(jaccard.low), _f1(jaccard.high), confidence, either, "exact"),
        precision=found.precision,
        recall=found.recall,
        f1_weighted=(rates.n_pos * found.f1 + rates.n_neg * other.f1) / n,
        accuracy_trivial=max(rates.n_pos, rates.n_neg) / n,
        f1_trivial=rates.f1_trivial,
        precision_base=rates.precision_base,
    )


def share_interval(n_hits: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return ``n_hits / n`` with its Clopper-Pearson interval; raises ``DataError`` for an impossible share."""
    from scipy import special

    if not 0 <= n_hits <= n or n < 1:
        raise DataError(f"{n_hits} of {n} is no share: expected 0 <= hits <= n and at least one clip")
    tail = (1.0 - confidence) / 2.0
    low = float(special.betaincinv(n_hits, n - n_hits + 1, tail)) if n_hits else 0.0
    high = float(special.betaincinv(n_hits + 1, n - n_hits, 1.0 - tail)) if n_hits < n else 1.0
    return Interval(n_hits / n, low, high, confidence, n, "exact")


def _f1(jaccard: float) -> float:
    return 2.0 * jaccard / (1.0 + jaccard)
