"""A Gaussian at every position of a map: streaming moments, ridge or Ledoit-Wolf shrinkage, Cholesky whitening, dual form.

Segments come in their own layout, ``[segment, dim, position]``; all else is ``[position, ...]``. Nothing is inverted: batched
``inv`` on CPU is slow and fails for some sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError

__all__ = ["PositionMoments", "dual_form", "dual_squared", "primal_form", "primal_of_segments", "primal_squared"]

Array = NDArray[np.float64]
PositionShrinkage = Literal["eps", "ledoit_wolf"]

#: Values of the largest temporary: 8 M doubles, 64 MiB; positions are worked on in groups of this size.
_GROUP_VALUES = 8_388_608
#: Positions gathered at a time from ``[segment, dim, position]``: one cache line of single precision, so that every line is
#: read once; a plain transposed copy reads each sixteen times.
_LINE = 16
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

    def add(self, x: NDArray[Any]) -> None:
        """Add segments ``[segment, dim, position]``."""
        import torch

        self.n += len(x)
        for rows, y in centred_positions(x, self.shift, dtype=np.dtype(np.float64)):
            self.first[rows] += y.sum(axis=1)
            # in place: the sums are the largest array here, and are read and written once
            views = torch.from_numpy(self.second[rows]), torch.from_numpy(y)
            views[0].baddbmm_(views[1].transpose(1, 2), views[1])
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


def groups(n_positions: int, *sizes: int) -> list[slice]:
    """Cut positions into slices whose arrays of ``sizes`` values each stay within the bound."""
    step = max(1, _GROUP_VALUES // max(int(np.prod(sizes)), 1))
    return [slice(first, first + step) for first in range(0, n_positions, step)]


def primal_form(moments: PositionMoments, *, eps: float, shrinkage: PositionShrinkage) -> NDArray[np.float32]:
    """Return the lower-triangular whitening ``[position, dim, dim]``, ``W (covariance + ridge) W^T = I``.

    ``eps``: covariance over ``n - 1`` plus ``eps I`` (PaDiM, Eq. 1). ``ledoit_wolf``: covariance over ``n``, shrunk towards
    its mean variance by the amount estimated at that position.
    """
    n_positions, dim = moments.shift.shape
    whiten = np.empty((n_positions, dim, dim), dtype=np.float32)
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
        whiten[rows] = _inverse_of_factor(covariance, ridge)
    return whiten


def primal_of_segments(x: NDArray[Any], *, eps: float, shrinkage: PositionShrinkage) -> tuple[Array, NDArray[np.float32]]:
    """Return mean and whitening as :func:`primal_form` of segments ``[segment, dim, position]`` that are all in memory.

    Covariances are made and factorised a few positions at a time and never stored.
    """
    import torch

    n, dim, n_positions = x.shape
    mean = np.asarray(x.mean(axis=0, dtype=np.float64).T)
    whiten = np.empty((n_positions, dim, dim), dtype=np.float32)
    double = np.dtype(np.float64)
    trusted = shrinkage == "ledoit_wolf"
    variance = np.ones(n_positions)
    if trusted:
        for rows, y in centred_positions(x, mean, dtype=double):
            variance[rows] = np.square(y).mean(axis=(1, 2))
    floor = _floor(variance)
    for rows, y in centred_positions(x, mean, dtype=double):
        view = torch.from_numpy(y)
        covariance = torch.bmm(view.transpose(1, 2), view).numpy()
        covariance /= n if trusted else n - 1
        ridge = np.full(len(y), eps)
        if trusted:
            fourth = np.square(np.einsum("pnd,pnd->pn", y, y)).sum(axis=1)
            ridge = _shrink(covariance, variance[rows], fourth, n=n, floor=floor)
        whiten[rows] = _inverse_of_factor(covariance, ridge)
    return mean, whiten


def _shrink(covariance: Array, variance: Array, fourth: Array, *, n: int, floor: float) -> Array:
    """Scale covariances down in place by the amount estimated, and return what to add to their variances."""
    norm = np.einsum("pde,pde->p", covariance, covariance)
    amount = _ledoit_wolf(norm, variance, fourth, n=n, dim=covariance.shape[1])
    covariance *= (1.0 - amount)[:, None, None]
    return np.asarray(amount * variance + floor)


def dual_form(x: NDArray[Any], *, eps: float, shrinkage: PositionShrinkage) -> tuple[Array, Array, Array]:
    """Return mean, ``V`` and ridge such that ``(|d|^2 - |V d|^2) / ridge`` is the squared Mahalanobis distance of d.

    For fewer segments than dimensions (Woodbury): with scaled rows Z, ``V = chol(Z Z^T + ridge I)^-1 Z``. Exact, and smaller
    than a whitening matrix.

    Parameters
    ----------
    x : ndarray [segment, dim, position]
    """
    x = np.ascontiguousarray(x.transpose(2, 0, 1), dtype=np.float64)
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
    return mean, _solve_factor(gram, z * np.sqrt(scale)[:, None, None]), ridge


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


def _inverse_of_factor(covariance: Array, ridge: Array) -> Array:
    """Return ``chol(covariance + ridge I)^-1``; overwrites the covariance."""
    dim = covariance.shape[1]
    covariance[:, np.arange(dim), np.arange(dim)] += ridge[:, None]
    return _solve_factor(covariance, np.eye(dim))


def _solve_factor(positive: Array, right: Array) -> Array:
    """Return ``chol(positive)^-1 right`` for every position; ``right`` is one matrix, or one for each."""
    import torch

    try:
        factor = np.linalg.cholesky(positive)
    except np.linalg.LinAlgError as error:
        raise DataError("padim: the covariance of a position is not positive definite to working precision; raise eps") from error
    # one right side for all positions is not copied to each
    given = torch.from_numpy(right).expand(len(factor), *right.shape[-2:])
    return np.asarray(torch.linalg.solve_triangular(torch.from_numpy(factor), given, upper=False).numpy())
