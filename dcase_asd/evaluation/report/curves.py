"""The numbers behind the curves: ROC points, their areas, histogram bins; pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_FPR", "Roc", "histogram_edges", "roc_points"]

#: pAUC counts false-positive rates up to this value (DCASE Task 2, all years).
MAX_FPR = 0.1


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic.

    Attributes
    ----------
    fpr, tpr : ndarray [point]
        From (0, 0) to (1, 1), corner points only.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]

    @property
    def auc(self) -> float:
        """Area under the curve; ties count one half."""
        return float(np.trapezoid(self.tpr, self.fpr))

    @property
    def pauc(self) -> float:
        """Area up to :data:`MAX_FPR`, standardised to 0.5 for chance (McClish 1989, as the official evaluators do)."""
        below = self.fpr < MAX_FPR
        at_limit = float(np.interp(MAX_FPR, self.fpr, self.tpr))
        fpr, tpr = np.append(self.fpr[below], MAX_FPR), np.append(self.tpr[below], at_limit)
        chance = MAX_FPR**2 / 2
        return float((1 + (np.trapezoid(tpr, fpr) - chance) / (MAX_FPR - chance)) / 2)


def roc_points(normal: NDArray[np.floating], anomalous: NDArray[np.floating]) -> Roc | None:
    """Return the ROC of two sets of scores (higher = more anomalous), or None if one of them is empty.

    Equal scores of normal and anomalous clips make one slanted step, so that the area counts them one half.
    """
    if len(normal) == 0 or len(anomalous) == 0:
        return None
    thresholds = np.unique(np.concatenate([normal, anomalous]))[::-1]
    fpr = 1 - np.searchsorted(np.sort(normal), thresholds, side="left") / len(normal)
    tpr = 1 - np.searchsorted(np.sort(anomalous), thresholds, side="left") / len(anomalous)
    fpr, tpr = np.insert(fpr, 0, 0.0), np.insert(tpr, 0, 0.0)
    dx, dy = np.diff(fpr), np.diff(tpr)
    turn = np.abs(dx[:-1] * dy[1:] - dy[:-1] * dx[1:]) > 1e-12  # points inside a straight run carry nothing
    keep = np.concatenate([[True], turn, [True]])
    return Roc(fpr[keep], tpr[keep])


def histogram_edges(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return bin edges for scores: 12 to 36 bins between the 0.5 % and 99.5 % quantiles, widened by 3 %.

    The width follows Freedman and Diaconis (1981); scores beyond the edges belong into the outermost bins.
    """
    low, high = np.quantile(scores, [0.005, 0.995])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    spread = np.subtract(*np.quantile(scores, [0.75, 0.25]))
    width = 2 * spread / len(scores) ** (1 / 3)
    n_bins = int(np.clip((high - low) / width if width > 0 else 12, 12, 36))
    margin = 0.03 * (high - low)
    return np.linspace(low - margin, high + margin, n_bins + 1)
