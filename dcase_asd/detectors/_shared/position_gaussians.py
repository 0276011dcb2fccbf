"""A Gaussian at every position of a map: streaming moments, ridge or Ledoit-Wolf shrinkage, Cholesky whitening, dual form.

Segments to fit on come as ``[position, segment, dim]``, which :func:`by_position` makes of batches; those to score in their own
layout, ``[segment, dim, position]``. Nothing goes through batched ``inv``, which on CPU is slow and fails for some sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors._shared.batched_factor import solve_factor, whiten
from dcase_asd.errors import DataError

__all__ = ["PositionMoments", "by_position", "dual_form", "dual_squared", "primal_form", "primal_of_segments", "primal_squared"]

Array = NDArray[np.float64]
PositionShrinkage = Literal["eps", "ledoit_wolf"]

#: Values of the largest temporary: 8 M doubles, 64 MiB; positions are worked on in groups of this size.
_GROUP_VALUES = 8_388_608
#: Values of a temporary that is to stay in the cache: 2 MiB in single precision.
_CACHE_VALUES = 524_288
#: Positions gathered at a time from ``[segment, dim, position]``: one cache line of single precision, so that every line is
#: read once; a plain transposed copy reads each sixteen times.
_LINE = 16
#: Covariances are made in single precision where its rounding, 2^-24 of their trace, is at most this share of the ridge, the
#: least variance of a direction. Distances differ by less than that share (measured: by a tenth where one direction has all the
#: variance, by a hundredth otherwise).
_ROUNDING = 1e-3
#: Ledoit-Wolf: least variance of a direction, as a share of the mean variance over all positions; without it a position
#: that never changed in training (a black border) would have none.
_FLOOR = 1e-6


@dataclass
class PositionMoments:
    """Sums over segments of ``y = x - shift`` at every position; memory does not grow with the number of segments.

    Attributes
    ----------
    shift : ndarray [position, dim]
        A typical segment, so that the sums stay small.
    n : int
    first : ndarray [position, dim]
        Sum of y.
    second : ndarray [position, dim, dim]
        Sum of y y^T.
    third : ndarray [position, dim]
        Sum of |y|^2 y; with ``fourth``, the sum of |y|^4 ``[position]``, it gives the Ledoit-Wolf amount without a second pass.
    """

    shift: Array
    n: int
    first: Array
    second: Array
    third: Array
    fourth: Array
    with_fourth: bool = True

    @classmethod
    def empty(cls, shift: Array, *, with_fourth: bool = True) -> PositionMoments:
        """Start with no segments; ``with_fourth`` False leaves out the sums that only Ledoit-Wolf shrinkage needs."""
        n_positions, dim = shift.shape
        square = np.zeros((n_positions, dim, dim))
        return cls(shift, 0, np.zeros_like(shift), square, np.zeros_like(shift), np.zeros(n_positions), with_fourth)

    def add(self, x: NDArray[np.float32]) -> None:
        """Add segments ``[position, segment, dim]``."""
        import torch

        self.n += x.shape[1]
        for rows in groups(len(x), *x.shape[1:], values=_CACHE_VALUES):
            y = x[rows] - self.shift[rows, None]
            self.first[rows] += y.sum(axis=1)
            # in place: the sums are the largest array here, and are read and written once
            views = torch.from_numpy(self.second[rows]), torch.from_numpy(y)
            views[0].baddbmm_(views[1].mT, views[1])
            if self.with_fourth:
                lengths = np.einsum("pnd,pnd->pn", y, y)
                self.third[rows] += np.einsum("pn,pnd->pd", lengths, y)
                self.fourth[rows] += np.square(lengths).sum(axis=1)

    def mean(self) -> Array:
        """Return the mean ``[position, dim]``."""
        return np.asarray(self.shift + self.first / self.n)

    def covariance(self, rows: slice, *, divisor: int) -> Array:
        """Return the scatter about the mean over ``divisor``, of some positions."""
        import torch

        u = torch.from_numpy(self.first[rows] / self.n)
        scatter = torch.from_numpy(self.second[rows])
        joined = torch.baddbmm(scatter, u[:, :, None], u[:, None, :], beta=1.0 / divisor, alpha=-self.n / divisor)
        return np.asarray(joined.numpy())

    def central_fourth(self) -> Array:
        """Return the sum of |y - mean(y)|^4 ``[position]``, expanded in the sums kept."""
        u = self.first / self.n
        uu = np.einsum("pd,pd->p", u, u)
        trace = np.einsum("pdd->p", self.second)
        quadratic = np.einsum("pd,pde,pe->p", u, self.second, u, optimize=True)
        # with sum y = n u the expansion's two last terms join
        result = self.fourth - 4.0 * np.einsum("pd,pd->p", u, self.third) + 4.0 * quadratic + 2.0 * uu * trace
        return np.asarray(result - 3.0 * self.n * uu**2)


def centred_positions(x: NDArray[Any], center: Array, *, dtype: np.dtype[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield some positions and their segments less the centre ``[position, segment, dim]``, in a buffer that is used again.

    Parameters
    ----------
    x : ndarray [segment, dim, position]
    center : ndarray [position, dim], float64
    dtype : dtype
        Of the result. The difference to single precision is taken in two steps, so that a large centre costs no digits.
    """
    n, dim, n_positions = x.shape
    flat = np.ascontiguousarray(x).reshape(n * dim, n_positions)
    near = center.astype(dtype)
    rest = (center - near).astype(dtype)
    gathered = np.empty((n * dim, _LINE), dtype=flat.dtype)
    buffer = np.empty((_LINE, n, dim), dtype=dtype)
    for first in range(0, n_positions, _LINE):
        rows = slice(first, min(first + _LINE, n_positions))
        chunk, y = gathered[:, : rows.stop - first], buffer[: rows.stop - first]
        np.copyto(chunk, flat[:, rows])
        np.subtract(chunk.T.reshape(y.shape), near[rows, None], out=y)
        if dtype != np.float64:
            y -= rest[rows, None]
        yield rows, y


def by_position(x: NDArray[Any], channels: NDArray[np.int64], *, out: NDArray[np.float32]) -> None:
    """Write some channels, ascending, of segments ``[segment, channel, position]`` into ``out [position, segment, dim]``."""
    n_positions = x.shape[2]
    chosen = channels if len(channels) < x.shape[1] else slice(None)
    step = 4 * _LINE
    # rows longer than need be: at a power of two apart, a column's values share one set of the cache (1.4 times as slow)
    gathered = np.empty((len(x), len(channels), step + 1), dtype=np.float32)
    for first in range(0, n_positions, step):
        rows = slice(first, min(first + step, n_positions))
        chunk = gathered[:, :, : rows.stop - first]
        np.copyto(chunk, x[:, chosen, rows])
        out[rows] = chunk.transpose(2, 0, 1)


def groups(n_positions: int, *sizes: int, values: int = _GROUP_VALUES) -> list[slice]:
    """Cut positions into slices whose arrays of ``sizes`` values each stay within ``values``."""
    step = max(1, values // max(int(np.prod(sizes)), 1))
    return [slice(first, first + step) for first in range(0, n_positions, step)]


def primal_form(moments: PositionMoments, *, eps: float, shrinkage: PositionShrinkage) -> NDArray[np.float32]:
    """Return the lower-triangular whitening ``[position, dim, dim]``, ``W (covariance + ridge) W^T = I``.

    ``eps``: covariance over ``n - 1`` plus ``eps I`` (PaDiM, Eq. 1). ``ledoit_wolf``: covariance over ``n``, shrunk towards
    its mean variance by the amount estimated at that position.
    """
    n_positions, dim = moments.shift.shape
    result = np.zeros((n_positions, dim, dim), dtype=np.float32)
    trusted = shrinkage == "ledoit_wolf"
    fourth = moments.central_fourth() if trusted else np.zeros(n_positions)
    variance = _mean_variance(moments) if trusted else np.ones(n_positions)
    floor = _floor(variance)
    for rows in groups(n_positions, dim, dim):
        covariance = moments.covariance(rows, divisor=moments.n if trusted else moments.n - 1)
        if trusted:
            ridge = _shrink(covariance, variance[rows], fourth[rows], n=moments.n, floor=floor)
        else:
            ridge = np.full(len(covariance), eps)
        whiten(covariance, ridge, out=result[rows])
    return result


def primal_of_segments(x: NDArray[np.float32], *, eps: float, shrinkage: PositionShrinkage) -> tuple[Array, NDArray[np.float32]]:
    """Return mean and whitening as :func:`primal_form` of segments ``[position, segment, dim]`` that are all in memory.

    Covariances are made and factorised a few positions at a time and never stored. With ``eps`` they are in single precision
    where that is enough; the amounts of ``ledoit_wolf`` are estimated in double precision.
    """
    n_positions, n, dim = x.shape
    mean = np.empty((n_positions, dim))
    result = np.zeros((n_positions, dim, dim), dtype=np.float32)
    blocks = groups(n_positions, n, dim, values=_CACHE_VALUES)
    if shrinkage == "eps":
        for rows in blocks:
            mean[rows], _, covariance = _moments(x[rows], divisor=n - 1)
            if np.einsum("pdd->p", covariance).max() * 2.0**-24 > _ROUNDING * eps:
                mean[rows], _, covariance = _moments(x[rows].astype(np.float64), divisor=n - 1)
            whiten(covariance, np.full(len(covariance), eps), out=result[rows])
        return mean, result
    variance = np.concatenate([np.var(x[rows], axis=1, dtype=np.float64).mean(axis=1) for rows in blocks])
    floor = _floor(variance)
    for rows in blocks:
        mean[rows], y, covariance = _moments(x[rows].astype(np.float64), divisor=n)
        fourth = np.square(np.einsum("pnd,pnd->pn", y, y)).sum(axis=1)
        ridge = _shrink(covariance, variance[rows], fourth, n=n, floor=floor)
        whiten(covariance, ridge, out=result[rows])
    return mean, result


def _moments(x: NDArray[Any], *, divisor: int) -> tuple[Array, NDArray[Any], NDArray[Any]]:
    """Return mean, segments less the mean (as rounded) and covariance of ``[position, segment, dim]``, in its precision."""
    import torch

    given = torch.from_numpy(x)
    center = given.mean(dim=1, keepdim=True)
    y = given - center
    rest = y.mean(dim=1, keepdim=True)  # what single precision left of a large mean
    covariance = torch.bmm(y.mT, y).baddbmm_(rest.mT, rest, beta=1.0 / divisor, alpha=-len(x[0]) / divisor)
    return (center.double() + rest.double())[:, 0].numpy(), y.numpy(), covariance.numpy()


def _shrink(covariance: Array, variance: Array, fourth: Array, *, n: int, floor: float) -> Array:
    """Scale covariances down in place by the amount estimated, and return what to add to their variances."""
    norm = np.einsum("pde,pde->p", covariance, covariance)
    amount = _ledoit_wolf(norm, variance, fourth, n=n, dim=covariance.shape[1])
    covariance *= (1.0 - amount)[:, None, None]
    return np.asarray(amount * variance + floor)


def dual_form(x: NDArray[np.float32], *, eps: float, shrinkage: PositionShrinkage) -> tuple[Array, Array, Array]:
    """Return mean, ``V`` and ridge such that ``(|d|^2 - |V d|^2) / ridge`` is the squared Mahalanobis distance of d.

    For fewer segments than dimensions (Woodbury): with scaled rows Z, ``V = chol(Z Z^T + ridge I)^-1 Z``. Exact, and smaller
    than a whitening matrix.

    Parameters
    ----------
    x : ndarray [position, segment, dim]
    """
    x = x.astype(np.float64)
    n_positions, n, dim = x.shape
    mean = x.mean(axis=1)
    z = x - mean[:, None]
    gram = z @ z.transpose(0, 2, 1)
    lengths = np.einsum("pnn->pn", gram)
    if shrinkage == "eps":
        scale, ridge = np.full(n_positions, 1.0 / (n - 1)), np.full(n_positions, eps)
    else:
        variance = lengths.sum(axis=1) / (n * dim)
        norm = np.einsum("pnm,pnm->p", gram, gram) / n**2
        amount = _ledoit_wolf(norm, variance, np.square(lengths).sum(axis=1), n=n, dim=dim)
        scale, ridge = (1.0 - amount) / n, amount * variance + _floor(variance)
    gram *= scale[:, None, None]
    gram[:, np.arange(n), np.arange(n)] += ridge[:, None]
    return mean, solve_factor(gram, z * np.sqrt(scale)[:, None, None]), ridge


def primal_squared(x: NDArray[Any], mean: Array, whiten: NDArray[np.float32]) -> Array:
    """Return squared distances ``[position, segment]`` of segments ``[segment, dim, position]`` to ``mean [position, dim]``."""
    import torch

    squared = np.empty((x.shape[2], len(x)))
    for rows, delta in centred_positions(x, mean, dtype=np.dtype(np.float32)):
        y = torch.bmm(torch.from_numpy(delta), torch.from_numpy(np.asarray(whiten[rows])).transpose(1, 2)).numpy()
        squared[rows] = np.einsum("pnd,pnd->pn", y, y, dtype=np.float64)
    return squared


def dual_squared(x: NDArray[Any], mean: Array, v: Array, ridge: Array) -> Array:
    """Return squared distances ``[position, segment]`` from the dual form, in double precision, since it subtracts."""
    squared = np.empty((x.shape[2], len(x)))
    for rows, delta in centred_positions(x, mean, dtype=np.dtype(np.float64)):
        y = delta @ v[rows].transpose(0, 2, 1)
        part = np.einsum("pnd,pnd->pn", delta, delta) - np.einsum("pnk,pnk->pn", y, y)
        squared[rows] = np.maximum(part, 0.0) / ridge[rows, None]
    return squared


def _mean_variance(moments: PositionMoments) -> Array:
    u = moments.first / moments.n
    trace = np.einsum("pdd->p", moments.second) / moments.n - np.einsum("pd,pd->p", u, u)
    return np.asarray(trace / moments.shift.shape[1])


def _floor(variance: Array) -> float:
    floor = _FLOOR * float(variance.mean())
    if not floor > 0.0:
        raise DataError("padim: all training segments are equal, so there is no covariance to shrink; check the features")
    return floor


def _ledoit_wolf(norm: Array, variance: Array, fourth: Array, *, n: int, dim: int) -> Array:
    """Return the amounts of shrinkage (Ledoit & Wolf 2004, Lemma 3.2 to 3.5), 1 where nothing varies but in one way."""
    spread = norm - dim * variance**2
    noise = (fourth / n - norm) / n
    safe = np.where(spread > 0.0, spread, 1.0)
    return np.asarray(np.where(spread > 0.0, np.clip(noise / safe, 0.0, 1.0), 1.0))
