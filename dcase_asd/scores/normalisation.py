"""Bringing scores of different systems to one scale, by statistics of normal training scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError, UnknownNameError

__all__ = ["Standardised", "Standardiser"]

Method = Literal["mean_std", "median_mad"]
_METHODS = ("mean_std", "median_mad")

#: 1 / Phi^-1(3/4): makes the median absolute deviation an estimate of a Gaussian's standard deviation (Rousseeuw & Croux 1993).
_MAD_TO_STD = 1.482602218505602


@dataclass(frozen=True)
class Standardised:
    """Standardised scores and how they came about.

    Attributes
    ----------
    score : ndarray [clip], float64
    transductive : bool
        True if statistics of the scored clips themselves were used: such a score cannot be given to a single recording, and
        depends on the other clips of the test set.
    """

    score: NDArray[np.float64]
    transductive: bool


@dataclass(frozen=True)
class Standardiser:
    """``(score - center) / scale``; monotone, so it changes no AUC, only how scores add up in an ensemble.

    Attributes
    ----------
    center, scale : float
    method : {"mean_std", "median_mad"}
    transductive : bool
    """

    center: float
    scale: float
    method: Method
    transductive: bool = False

    @classmethod
    def fit(
        cls,
        normal_scores: NDArray[Any],
        *,
        method: Method = "mean_std",
        transductive: bool = False,
        center: float | None = None,
    ) -> Standardiser:
        """Take the statistics of scores of normal training or calibration clips.

        Parameters
        ----------
        normal_scores : ndarray [clip]
        method : {"mean_std", "median_mad"}
            Mean and standard deviation (divided by n), or median and scaled median absolute deviation.
        transductive : bool
            Say so if these are the scores of the very clips to be standardised (what the systems behind Fujimura 2023 do); the
            results carry the flag.
        center : float, optional
            Keep this value where it is meant to be 0 afterwards, a classifier's boundary say; the scale is then the root mean
            square (or the scaled median) distance from it.

        Raises
        ------
        DataError
            For fewer than two scores, values that are not finite, or no spread at all.
        UnknownNameError
            For an unknown method.
        """
        if method not in _METHODS:
            raise UnknownNameError("standardisation method", method, _METHODS)
        scores = _finite(normal_scores, name="normal_scores")
        if len(scores) < 2:
            raise DataError(f"normal_scores: {len(scores)} scores, at least 2 are needed; add calibration clips")
        if center is None:
            center = float(scores.mean() if method == "mean_std" else np.median(scores))
        if method == "mean_std":
            scale = float(np.sqrt(np.square(scores - center).mean()))
        else:
            scale = _MAD_TO_STD * float(np.median(np.abs(scores - center)))
        # a spread within rounding of the values themselves is none
        if scale <= 4.0 * np.finfo(np.float64).eps * abs(center):
            raise DataError(
                f"normal_scores: {len(scores)} scores have no spread ({method}: center {center}, scale {scale}); "
                "the detector gives every normal clip the same score: check it, or leave it out of the ensemble"
            )
        return cls(center, scale, method, transductive)

    def apply(self, score: NDArray[Any]) -> Standardised:
        """Standardise scores; raises ``DataError`` for values that are not finite."""
        return Standardised((_finite(score, name="score") - self.center) / self.scale, self.transductive)


def _finite(value: NDArray[Any], *, name: str) -> NDArray[np.float64]:
    value = np.asarray(value, dtype=np.float64)
    if value.ndim != 1:
        raise DataError(f"{name}: expected one axis, got shape {value.shape}")
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad):
        raise DataError(f"{name}: {value[bad[0]]} at position {int(bad[0])}; scores must be finite")
    return value
