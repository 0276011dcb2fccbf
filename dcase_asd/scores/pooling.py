"""From segments to clips: the aggregator A of Fujimura 2023, Eq. 4, and the power weighting of its Section 3.2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, DataError, UnknownNameError

__all__ = ["methods", "pool_map", "pool_segments"]

Array = NDArray[np.float64]


def methods() -> list[str]:
    """List the names that ``method`` of :func:`pool_segments` takes."""
    return sorted(_METHODS)


def pool_segments(
    score: NDArray[Any], clip: NDArray[Any], *, method: str, weight: NDArray[Any] | None = None, upper: float = 0.5
) -> Array:
    """Pool segment scores to clip scores.

    Parameters
    ----------
    score : ndarray [segment]
    clip : ndarray [segment] of int
        Number of each segment's clip, from 0 up, in any order; every number up to the largest occurs.
    method : {"mean", "max", "median", "upper_mean", "power_weighted"}
        ``upper_mean``: mean of the largest ``ceil(upper * n)`` scores of a clip, at least one.
        ``power_weighted``: mean weighted by ``weight``, normalised to sum 1 within each clip (Fujimura 2023, Section 3.2); a clip
        whose weights are all zero (digital silence above the high-pass edge) gets the plain mean.
    weight : ndarray [segment], optional
        Not negative; needed by, and only by, ``power_weighted``.
    upper : float
        Share of a clip's segments that ``upper_mean`` averages, in (0, 1].

    Returns
    -------
    ndarray [clip], float64

    Raises
    ------
    UnknownNameError
        For an unknown method.
    ConfigError
        If ``weight`` does not go with the method, or ``upper`` is out of range.
    DataError
        For scores or weights that are not finite, negative weights, differing lengths, or a clip without segments.
    """
    if method not in _METHODS:
        raise UnknownNameError("pooling method", method, _METHODS)
    if (weight is not None) != (method == "power_weighted"):
        raise ConfigError(
            f"pooling method {method!r} and weight do not go together; only 'power_weighted' takes weights, and needs them"
        )
    if not 0.0 < upper <= 1.0:
        raise ConfigError(f"upper: expected a share above 0 and up to 1, got {upper}")
    score = _finite(score, n_axes=1, name="score")
    clip = np.asarray(clip)
    if clip.shape != score.shape or not np.issubdtype(clip.dtype, np.integer):
        raise DataError(f"clip: expected {len(score)} whole numbers, one a segment; got shape {clip.shape}, dtype {clip.dtype}")
    # by clip, then by score: max, median and upper mean read off positions
    order = np.lexsort((score, clip))
    starts = _starts(clip[order])
    ordered = score[order]
    if weight is not None:
        weight = _weight(weight, shape=score.shape)[order]
    return np.asarray(_METHODS[method](ordered, starts, weight, upper), dtype=np.float64)


def pool_map(score_map: NDArray[Any], weight: NDArray[Any] | None = None) -> Array:
    """Pool score maps to segment scores: mean over frequency, then (weighted) mean over time (Fujimura 2023, Section 3.2).

    Parameters
    ----------
    score_map : ndarray [segment, h, w]
        Frequency x time.
    weight : ndarray [segment, w], optional
        Power over the map's time axis; normalised to sum 1 within each segment; all zero: plain mean.
        To normalise over a whole clip instead, give ``weight.sum(axis=1)`` to :func:`pool_segments` (``power_weighted``).

    Returns
    -------
    ndarray [segment], float64

    Raises
    ------
    DataError
        For values that are not finite, negative weights, or shapes that do not fit.
    """
    over_time = _finite(score_map, n_axes=3, name="score_map").mean(axis=1)
    if weight is None:
        return np.asarray(over_time.mean(axis=1))
    weight = _weight(weight, shape=over_time.shape)
    peak = weight.max(axis=1, keepdims=True)
    share = np.where(peak > 0, weight / np.where(peak > 0, peak, 1.0), 1.0)
    return np.asarray((share * over_time).sum(axis=1) / share.sum(axis=1))


def _finite(value: NDArray[Any], *, n_axes: int, name: str) -> Array:
    value = np.asarray(value, dtype=np.float64)
    if value.ndim != n_axes or value.size == 0:
        raise DataError(f"{name}: expected {n_axes} axes and at least one value, got shape {value.shape}")
    if not np.isfinite(value).all():
        where = tuple(np.argwhere(~np.isfinite(value))[0].tolist())
        raise DataError(f"{name}: {value[where]} at {where}; scores and weights must be finite")
    return value


def _weight(weight: NDArray[Any], *, shape: tuple[int, ...]) -> Array:
    weight = _finite(weight, n_axes=len(shape), name="weight")
    if weight.shape != shape:
        raise DataError(f"weight: expected shape {shape} as the scores have, got {weight.shape}; re-run stage 4")
    if (weight < 0).any():
        raise DataError(f"weight: {weight.min()} is negative; powers are not")
    return weight


def _starts(clip: NDArray[Any]) -> NDArray[np.int64]:
    numbers, starts = np.unique(clip, return_index=True)
    if numbers[0] != 0 or numbers[-1] != len(numbers) - 1:
        gap = next((i for i, number in enumerate(numbers.tolist()) if i != number), len(numbers))
        raise DataError(f"clip: numbers must run from 0 up without a gap, clip {gap} has no segment")
    return np.asarray(starts, dtype=np.int64)


def _sizes(score: Array, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(np.append(starts, len(score)))


def _mean(score: Array, starts: NDArray[np.int64], _weight: Array | None, _upper: float) -> Array:
    return np.asarray(np.add.reduceat(score, starts) / _sizes(score, starts))


def _max(score: Array, starts: NDArray[np.int64], _weight: Array | None, _upper: float) -> Array:
    return np.asarray(score[starts + _sizes(score, starts) - 1])


def _median(score: Array, starts: NDArray[np.int64], _weight: Array | None, _upper: float) -> Array:
    sizes = _sizes(score, starts)
    return np.asarray((score[starts + (sizes - 1) // 2] + score[starts + sizes // 2]) / 2.0)


def _upper_mean(score: Array, starts: NDArray[np.int64], _weight: Array | None, upper: float) -> Array:
    sizes = _sizes(score, starts)
    # the small step back keeps ceil(0.3 * 10) at 3 although 0.3 * 10 is a little above it in binary
    kept = np.maximum(np.ceil(upper * sizes - 1e-9).astype(np.int64), 1)
    return np.asarray(np.add.reduceat(score, np.stack([starts + sizes - kept, starts + sizes], axis=1).ravel()[:-1])[::2] / kept)


def _power_weighted(score: Array, starts: NDArray[np.int64], weight: Array | None, _upper: float) -> Array:
    if weight is None:  # pool_segments has refused this already
        raise ConfigError("power_weighted needs weights")
    # powers may be tiny or huge; only their ratios within a clip matter, and their sum must neither vanish nor overflow
    peak = np.maximum.reduceat(weight, starts)
    sizes = _sizes(score, starts)
    share = np.where(np.repeat(peak, sizes) > 0, weight / np.repeat(np.where(peak > 0, peak, 1.0), sizes), 1.0)
    return np.asarray(np.add.reduceat(score * share, starts) / np.add.reduceat(share, starts))


_METHODS: dict[str, Callable[[Array, NDArray[np.int64], Array | None, float], Array]] = {
    "mean": _mean,
    "max": _max,
    "median": _median,
    "upper_mean": _upper_mean,
    "power_weighted": _power_weighted,
}
