"""A Gaussian at every position of a map: streaming moments, ridge or Ledoit-Wolf shrinkage, Cholesky whitening, dual form.

All arrays are ``[position, ...]``. Nothing is inverted: batched ``inv`` on CPU is slow and fails for some sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError

__all__ = ["PositionMoments", "dual_form", "dual_squared", "primal_form", "primal_squared"]

Array = NDArray[np.float64]
PositionShrinkage = Literal["eps", "ledoit_wolf"]

#: Values of the largest temporary: 8 M doubles, 64 MiB; positions are worked on in groups of this size.
_GROUP_VALUES = 8_388_608
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

    @classmethod
    def empty(cls, shift: Array) -> PositionMoments:
        """Start with no segments."""
        n_positions, dim = shift.shape
        square = np.zeros((n_positions, dim, dim))
        return cls(shift, 0, np.zeros_like(shift), square, np.zeros_like(shift), np.zeros(n_positions))

    def add(self, x: NDArray[Any]) -> None:
        """Add segments ``[position, segment, dim]``."""
        import torch

        y = x - self.shift[:, None]
        lengths = np.einsum("pnd,pnd->pn", y, y)
        self.n += y.shape[1]
        self.first += y.sum(axis=1)
        # in place: the sums are the largest array here, and are read and written once
        views = torch.from_numpy(self.second), torch.from_numpy(y)
        views[0].baddbmm_(views[1].transpose(1, 2), views[1])
        self.third += np.einsum("pn,pnd->pd", lengths, y)
        self.fourth += np.square(lengths).sum(axis=1)

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
    fourth = moments.central_fourth()
    variance = _mean_variance(moments) if shrinkage == "ledoit_wolf" else np.ones(n_positions)
    floor = _floor(variance)
    for rows in groups(n_positions, dim, dim):
        if shrinkage == "eps":
            covariance = moments.covariance(rows, divisor=moments.n - 1)
            ridge = np.full(len(covariance), eps)
        else:
            covariance = moments.covariance(rows, divisor=moments.n)
            norm = np.einsum("pde,pde->p", covariance, covariance)
            amount = _ledoit_wolf(norm, variance[rows], fourth[rows], n=moments.n, dim=dim)
            covariance *= (1.0 - amount)[:, None, None]
            ridge = amount * variance[rows] + floor
        covariance[:, np.arange(dim), np.arange(dim)] += ridge[:, None]
        whiten[rows] = _inverse_of_factor(covariance)
    return whiten


def dual_form(x: NDArray[Any], *, eps: float, shrinkage: PositionShrinkage) -> tuple[Array, Array, Array]:
    """Return mean, ``V`` and ridge such that ``(|d|^2 - |V d|^2) / ridge`` is the squared Mahalanobis distance of d.

    For fewer segments than dimensions (Woodbury): with scaled rows Z, ``V = chol(Z Z^T + ridge I)^-1 Z``. Exact, and smaller
    than a whitening matrix.

    Parameters
    ----------
    x : ndarray [position, segment, dim]
    """
    x = np.asarray(x, dtype=np.float64)
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


def primal_squared(delta: Array, whiten: NDArray[np.float32]) -> Array:
    """Return squared distances ``[position, segment]`` of ``delta [position, segment, dim]``."""
    squared = np.empty(delta.shape[:2])
    for rows in groups(len(delta), *delta.shape[1:]):
        y = delta[rows].astype(np.float32) @ whiten[rows].transpose(0, 2, 1)
        squared[rows] = np.einsum("pnd,pnd->pn", y, y, dtype=np.float64)
    return squared


def dual_squared(delta: Array, v: Array, ridge: Array) -> Array:
    """Return squared distances ``[position, segment]`` from the dual form, in double precision, since it subtracts."""
    squared = np.empty(delta.shape[:2])
    for rows in groups(len(delta), *delta.shape[1:]):
        y = delta[rows] @ v[rows].transpose(0, 2, 1)
        part = np.einsum("pnd,pnd->pn", delta[rows], delta[rows]) - np.einsum("pnk,pnk->pn", y, y)
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


def _inverse_of_factor(covariance: Array) -> Array:
    return _solve_factor(covariance, np.broadcast_to(np.eye(covariance.shape[1]), covariance.shape))


def _solve_factor(positive: Array, right: Array) -> Array:
    """Return ``chol(positive)^-1 right`` for every position."""
    import torch

    try:
        factor = np.linalg.cholesky(positive)
    except np.linalg.LinAlgError as error:
        raise DataError("padim: the covariance of a position is not positive definite to working precision; raise eps") from error
    solved = torch.linalg.solve_triangular(torch.from_numpy(factor), torch.from_numpy(np.ascontiguousarray(right)), upper=False)
    return np.asarray(solved.numpy())
