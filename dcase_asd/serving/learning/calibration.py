"""The threshold, from scores of normal recordings by models that did not hear them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcase_asd.scores.thresholds import Threshold, false_alarm_threshold
from dcase_asd.serving.learning.fitting import Normals, assign_folds, fit_detectors
from dcase_asd.serving.model import Model

__all__ = ["Calibration", "calibrate", "score_unheard"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Scores of normal windows by models that have not seen them, and the threshold they give.

    Attributes
    ----------
    scores : ndarray [window], ascending
    target_scores : ndarray [window]
        Those of the second condition among them.
    threshold : Threshold
        ``parameters``: ``order``, the order statistic that the promise rests on, and ``student`` where recordings are few.
    wanted_rate : float
        What was asked for; ``threshold.rate`` is what the number of recordings allows.
    own : mapping of str to Threshold
        Each condition's own (``source``, ``target``); a condition of a single recording has none.
    unheard : ndarray [window] or None
        Scores of the second condition by a model that heard the first alone.
    """

    scores: Floats
    target_scores: Floats
    threshold: Threshold
    wanted_rate: float
    own: Mapping[str, Threshold]
    unheard: Floats | None = None

    def percentile(self, score: float) -> float:
        """Per cent of the normal windows that score lower."""
        return 100.0 * float(np.searchsorted(self.scores, score, side="left")) / len(self.scores)


def calibrate(
    model: Model, cross: Mapping[str, Floats], normals: Normals, *, rate: float, seed: int, unheard: Floats | None = None
) -> Calibration:
    """Set the threshold for a false-alarm rate so that it holds in every condition that was heard.

    Each condition has a threshold of its own, from its own recordings; the highest is taken. Where recordings are too few for the
    rate, it is that of the lowest rate they can promise, or the bound that one more value of a Gaussian passes at the wanted rate
    (Student's t; Hahn and Meeker, Statistical Intervals, section 4.7), whichever is higher: the first is promised, the second is
    not.
    """
    scores = model.combine(cross)
    used = assign_folds(normals.group, normals.domain, n_folds=model.fronts.config.folds, seed=seed) >= 0
    domain = np.array(normals.domain)[used]
    own = {
        name: false_alarm_threshold(part, rate=max(rate, 1.0 / (len(part) + 1)))
        for name in ("source", "target")
        if len(part := scores[domain == name])
    }
    few = any(1.0 / (np.count_nonzero(domain == name) + 1) > rate * (1.0 + 1e-9) for name in own)
    bounds = {"order": max(one.value for one in own.values())} | ({"student": _student_bound(scores, rate)} if few else {})
    value = max(bounds.values())
    sure = len(own) == 1 and value == bounds["order"]
    threshold = Threshold(
        value,
        "false_alarm",
        len(scores),
        max(one.rate for one in own.values()),
        min(one.rate_low for one in own.values()) if sure else 0.0,
        max(one.rate_high for one in own.values()),
        parameters=bounds,
    )
    return Calibration(np.sort(scores), scores[domain == "target"], threshold, rate, own, unheard)


def _student_bound(scores: Floats, rate: float) -> float:
    from scipy import stats

    n = len(scores)
    return float(scores.mean() + stats.t.ppf(1.0 - rate, n - 1) * scores.std(ddof=1) * (1.0 + 1.0 / n) ** 0.5)


def score_unheard(model: Model, normals: Normals, *, seed: int) -> Floats | None:
    """Score the second condition's windows by a model that heard the first alone: what a further condition may be like.

    None if there is no second condition, or an extractor was trained on it.
    """
    domain = np.array(normals.domain)
    if not (domain == "target").any() or any(extractor.trains for extractor in model.fronts.extractors.values()):
        return None
    part = Model(model.fronts, fit_detectors(model.fronts, normals, domain == "source", seed=seed), model.standardisers)
    windows = np.flatnonzero(domain == "target")
    rows = {key: domain[own.window] == "target" for key, own in normals.segments.items()}
    raw = part.raw({key: own.vector[rows[key]] for key, own in normals.segments.items()})
    index = {key: np.searchsorted(windows, own.window[rows[key]]) for key, own in normals.segments.items()}
    return part.combine(part.pooled(raw, index))
