"""Thresholds: where a score becomes an alarm, learnt from scores of normal clips.

Conventions
-----------
``normal_scores [clip]`` are clip scores of *normal* clips on the scale of the scores to be decided; a clip is an alarm if its
score is greater than the threshold. A threshold that saw anomalies is marked ``oracle``: an upper bound, not a result.

Thresholds
----------
* :func:`gamma_threshold`: quantile of a fitted gamma distribution, the official baseline's rule.
* :func:`false_alarm_threshold`: order statistic that keeps an expected false-alarm rate whatever the distribution.
* :func:`oracle_threshold`: best F1 against labels.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcase_asd.errors import DataError, UnknownNameError, UsageError

__all__ = ["METHODS", "Threshold", "false_alarm_threshold", "gamma_threshold", "oracle_threshold", "own_threshold"]

Floats = npt.NDArray[np.float64]

METHODS = ("gamma", "false_alarm")
#: What :func:`own_threshold` calls itself.
OWN = "own"
# three parameters and a tail quantile: with fewer clips than this the fit follows single clips
_MIN_GAMMA = 10
# a fit is refused when as many or few clips above it occur in one of 10^9 samples of the fitted distribution: no sampling noise
_MISFIT = 1e-9


@dataclass(frozen=True)
class Threshold:
    """A threshold with what is known about it.

    Attributes
    ----------
    value : float
        Alarm if score > value.
    method : str
        ``gamma``, ``false_alarm``, ``own`` or ``best_f1``.
    n : int
        Clips it was learnt from.
    rate : float
        Expected share of normal clips above it.
    rate_low, rate_high : float
        Interval (95 %) of that share: for order statistics exact for any continuous distribution, else from the clips above
        (Clopper-Pearson).
    oracle : bool
        True if anomalies or labels were used.
    parameters : mapping of str to float
        The method's own numbers, such as the gamma's ``shape``, ``location``, ``scale``.
    """

    value: float
    method: str
    n: int
    rate: float
    rate_low: float
    rate_high: float
    oracle: bool = False
    parameters: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        scores: npt.ArrayLike,
        *,
        method: str = "gamma",
        rate: float = 0.1,
        labels: npt.ArrayLike | None = None,
        oracle: bool = False,
    ) -> Threshold:
        """Learn a threshold from normal scores; with ``oracle=True`` and labels the best one in hindsight.

        Parameters
        ----------
        scores : array_like [clip]
            Scores of normal clips (``oracle=True``: of all clips).
        method : str
            ``gamma`` or ``false_alarm``; an oracle takes the best F1.
        rate : float
            False-alarm rate aimed at.
        labels : array_like [clip], optional
            0 or 1; only with ``oracle=True``.
        oracle : bool
            Says aloud that the truth is used; the result carries it.

        Raises
        ------
        UsageError
            If labels come without ``oracle=True`` or the other way round.
        UnknownNameError
            If no method has the name.
        DataError
            As the method's function.
        """
        if (labels is not None) != oracle:
            raise UsageError(
                "a threshold learns from normal scores only; labels make it an oracle: pass labels and oracle=True, or neither"
            )
        if labels is not None:
            return oracle_threshold(scores, labels)
        if method not in METHODS:
            raise UnknownNameError("threshold", method, METHODS)
        if method == "gamma":
            return gamma_threshold(scores, quantile=1.0 - rate)
        return false_alarm_threshold(scores, rate=rate)

    def decide(self, scores: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return 1 where the score is above the threshold, else 0, int [clip]; raises ``DataError`` for NaN and infinity."""
        return (_finite(scores) > self.value).astype(np.int64)


def gamma_threshold(normal_scores: npt.ArrayLike, *, quantile: float = 0.9) -> Threshold:
    """Return the quantile of a gamma distribution with location and scale, fitted by maximum likelihood.

    The official baseline's decision: ``scipy.stats.gamma.fit`` of the training scores, ``ppf(0.9)``
    (nttcslab/dcase2023_task2_baseline_ae:networks/base_model.py). Here the scores are standardised for the fit and the result is
    scaled back (the family is closed under shift and scale, the optimiser is not indifferent to them), several starts are tried,
    and of the fits that do not contradict the scores the likeliest is taken.

    Raises
    ------
    DataError
        If there are fewer than ten scores, they are constant or not finite, the fit fails, or the fitted distribution contradicts
        the scores. There is no fallback to another method: :func:`false_alarm_threshold` needs no distribution.
    """
    values = _finite(normal_scores)
    _require_open("quantile", quantile)
    if values.size < _MIN_GAMMA:
        raise DataError(f"{values.size} normal scores: a gamma fit needs at least {_MIN_GAMMA}; use the false_alarm threshold")
    centre, spread = float(values.mean()), float(values.std())
    if spread <= np.finfo(np.float64).eps * max(abs(centre), 1e-300):
        raise DataError(f"all {values.size} normal scores are {centre:g}: a gamma fit needs scores that vary")
    standard = (values - centre) / spread
    shape, location, scale, cut = _best_gamma(standard, quantile)
    low, high = _exact_interval(int(np.count_nonzero(standard > cut)), values.size)
    parameters = {"shape": shape, "location": location * spread + centre, "scale": scale * spread, "quantile": quantile}
    return Threshold(cut * spread + centre, "gamma", values.size, 1.0 - quantile, low, high, parameters=parameters)


def _best_gamma(standard: Floats, quantile: float) -> tuple[float, float, float, float]:
    """Return shape, location, scale and quantile of the likeliest fit that does not contradict the scores."""
    from scipy import stats

    best, refused = None, []
    for shape, location, scale in _gamma_fits(standard):
        cut = float(stats.gamma.ppf(quantile, shape, location, scale))
        above = int(np.count_nonzero(standard > cut))
        if not np.isfinite(cut) or stats.binomtest(above, standard.size, 1.0 - quantile).pvalue < _MISFIT:
            refused.append(f"shape {shape:.3g}: {above}")
            continue
        likelihood = float(stats.gamma.logpdf(standard, shape, location, scale).sum())
        if best is None or likelihood > best[0]:
            best = (likelihood, (shape, location, scale, cut))
    if best is None:
        raise DataError(
            f"no gamma distribution describes the normal scores: of {standard.size}, about "
            f"{(1.0 - quantile) * standard.size:.0f} should lie above the {quantile:g} quantile; "
            f"found {'; '.join(refused) or 'no fit'}; "
            "use the false_alarm threshold"
        )
    return best[1]


def _gamma_fits(standard: Floats) -> Iterator[tuple[float, float, float]]:
    """Yield the finite outcomes of scipy's fit from its own start and from moments about several locations.

    The likelihood has no maximum as the location reaches the lowest score (shape below one): one start is not enough.
    """
    from scipy import stats

    # of standardised scores: shape and scale that give mean 0 and variance 1 with the gamma's edge so far below the mean
    starts: list[tuple[tuple[float, ...], dict[str, float]]] = [((), {})] + [
        ((edge**2,), {"loc": -edge, "scale": 1.0 / edge}) for edge in (0.5, 1.0, 2.0, 4.0, 8.0)
    ]
    for arguments, options in starts:
        # the optimiser steps outside the support on its way and warns; its outcome is judged by the caller
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.suppress(stats.FitError):
            warnings.simplefilter("ignore", RuntimeWarning)
            shape, location, scale = (float(x) for x in stats.gamma.fit(standard, *arguments, **options))
            if np.isfinite([shape, location, scale]).all() and shape > 0 and scale > 0:
                yield shape, location, scale


def _exact_interval(above: int, n: int) -> tuple[float, float]:
    from scipy import stats

    known = stats.binomtest(above, n).proportion_ci(0.95, method="exact")
    return float(known.low), float(known.high)


def false_alarm_threshold(normal_scores: npt.ArrayLike, *, rate: float) -> Threshold:
    """Return the lowest of the normal scores above which a new normal clip lies with expected probability at most ``rate``.

    The k-th of n scores with ``k = n + 1 - floor((n + 1) rate)``: for any continuous distribution the share above it follows
    Beta(n + 1 - k, k), whose mean is at most ``rate`` and whose 95 % interval is reported (David and Nagaraja, Order Statistics,
    section 2.1; the same argument as split conformal prediction). Ties only lower the rate.

    Raises
    ------
    DataError
        If there are too few scores for the rate (``n + 1 < 1 / rate``) or one is not finite.
    """
    from scipy import special

    values = np.sort(_finite(normal_scores))
    _require_open("rate", rate)
    n = values.size
    # the small term keeps (n + 1) * rate = 2.9999999999999996 at 3
    above = int((n + 1) * rate + 1e-9)
    if above < 1:
        needed = int(np.ceil(1.0 / rate - 1e-9)) - 1
        raise DataError(f"{n} normal scores cannot promise a false-alarm rate of {rate:g}: at least {needed} are needed")
    rank = n + 1 - above
    low, high = special.betaincinv(above, rank, [0.025, 0.975])
    return Threshold(
        float(values[rank - 1]), "false_alarm", n, above / (n + 1), float(low), float(high), False, {"rank": float(rank)}
    )


def own_threshold(normal_scores: npt.ArrayLike, *, boundary: float) -> Threshold:
    """Return the boundary that a classifier was trained with, and the share of held-out normal clips above it.

    Raises
    ------
    DataError
        If there is no score or one is not finite.
    """
    values = _finite(normal_scores)
    above = int(np.count_nonzero(values > boundary))
    low, high = _exact_interval(above, values.size)
    return Threshold(boundary, OWN, values.size, above / values.size, low, high)


def oracle_threshold(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Threshold:
    """Return the threshold of the best F1 against the truth, marked ``oracle``; of equal ones the highest.

    Raises
    ------
    DataError
        If shapes differ, a label is neither 0 nor 1, a score is not finite, or a class is missing.
    """
    values, truth = _finite(scores), np.asarray(labels)
    if truth.shape != values.shape or not np.isin(truth, [0, 1]).all() or len(np.unique(truth)) != 2:
        raise DataError(f"{values.size} scores need as many labels, 0 or 1, of both classes; found shape {truth.shape}")
    levels = np.unique(values)
    # alarm if score > cut: every decision has one of the scores as its cut, but "always alarm", which lies below them all
    cuts = np.concatenate([[np.nextafter(levels[0], -np.inf)], levels[:-1]])[::-1]
    positives, negatives = np.sort(values[truth == 1]), np.sort(values[truth == 0])
    hits = positives.size - np.searchsorted(positives, cuts, side="right")
    false = negatives.size - np.searchsorted(negatives, cuts, side="right")
    f1 = 2.0 * hits / (hits + false + positives.size)
    best = int(f1.argmax())
    rate, (low, high) = float(false[best] / negatives.size), _exact_interval(int(false[best]), negatives.size)
    parameters = {"f1": float(f1[best])}
    return Threshold(float(cuts[best]), "best_f1", values.size, rate, low, high, oracle=True, parameters=parameters)


def _finite(scores: npt.ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise DataError(f"scores have shape {values.shape}: give one score per clip, in one dimension")
    bad = ~np.isfinite(values)
    if bad.any():
        place = int(bad.argmax())
        raise DataError(f"score {place} is {values[place]}: scores must be finite")
    return values


def _require_open(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise DataError(f"{name} {value} is not in (0, 1)")
