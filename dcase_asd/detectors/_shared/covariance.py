"""Streaming means and covariances, shrinkage, and whitening by Cholesky factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, DataError

__all__ = ["Moments", "Shrinkage", "check_shrinkage", "shrink", "whitening"]

Array = NDArray[np.float64]
#: ``"ledoit_wolf"`` (Ledoit & Wolf 2004, estimated from the data) or a fixed amount in [0, 1].
Shrinkage = float | Literal["ledoit_wolf"]


@dataclass
class Moments:
    """Sums over the rows seen so far, of ``y = x - shift``; memory is O(dim^2) whatever the number of rows.

    Shifting by a typical row keeps the sums small, so that features with a large common offset lose no digits.

    Attributes
    ----------
    shift : ndarray [dim]
    n : int
    first : ndarray [dim]
        Sum of y.
    second : ndarray [dim, dim]
        Sum of y y^T.
    third : ndarray [dim]
        Sum of |y|^2 y.
    fourth : float
        Sum of |y|^4. With ``third`` it makes the Ledoit-Wolf amount exact without a second pass.
    """

    shift: Array
    n: int
    first: Array
    second: Array
    third: Array
    fourth: float

    @classmethod
    def empty(cls, shift: NDArray[Any]) -> Moments:
        """Start with no rows; all moments that are merged later need the same shift."""
        dim = len(shift)
        return cls(np.asarray(shift, dtype=np.float64), 0, np.zeros(dim), np.zeros((dim, dim)), np.zeros(dim), 0.0)

    @classmethod
    def of(cls, x: NDArray[Any]) -> Moments:
        """Return the moments of rows ``[row, dim]`` that are all in memory."""
        moments = cls.empty(np.asarray(x, dtype=np.float64).mean(axis=0))
        moments.add(x)
        return moments

    def add(self, x: NDArray[Any]) -> None:
        """Add rows ``[row, dim]``."""
        y = np.asarray(x, dtype=np.float64) - self.shift
        squared = np.einsum("nd,nd->n", y, y)
        self.n += len(y)
        self.first += y.sum(axis=0)
        self.second += y.T @ y
        self.third += squared @ y
        self.fourth += float(squared @ squared)

    def merged(self, other: Moments) -> Moments:
        """Return the moments of the rows of both."""
        return Moments(
            self.shift,
            self.n + other.n,
            self.first + other.first,
            self.second + other.second,
            self.third + other.third,
            self.fourth + other.fourth,
        )

    def mean(self) -> Array:
        """Return the mean of the rows."""
        return np.asarray(self.shift + self.first / self.n)

    def covariance(self) -> Array:
        """Return the maximum-likelihood covariance (divided by n, as Ledoit & Wolf do)."""
        u = self.first / self.n
        return np.asarray(self.second / self.n - np.outer(u, u))

    def ledoit_wolf(self) -> float:
        """Return the optimal amount of shrinkage (Ledoit & Wolf 2004, Lemma 3.2 to 3.5), between 0 and 1."""
        u = self.first / self.n
        dim, cov = len(u), self.covariance()
        uu = float(u @ u)
        # sum of |y - u|^4, expanded in the sums kept
        fourth = self.fourth - 4.0 * float(u @ self.third) + 4.0 * float(u @ self.second @ u)
        fourth += 2.0 * uu * float(np.trace(self.second)) - 4.0 * uu * float(u @ self.first) + self.n * uu**2
        norm = float(np.sum(cov**2))
        spread = norm - float(np.trace(cov)) ** 2 / dim
        noise = (fourth / self.n - norm) / self.n
        return float(np.clip(noise / spread, 0.0, 1.0)) if spread > 0.0 else 1.0


def check_shrinkage(value: Shrinkage) -> None:
    """Raise ``ConfigError`` unless ``value`` is ``"ledoit_wolf"`` or within [0, 1]."""
    if value != "ledoit_wolf" and not 0.0 <= float(value) <= 1.0:
        raise ConfigError(f"shrinkage: expected 'ledoit_wolf' or a number from 0 to 1, got {value!r}")


def shrink(covariance: Array, amount: float) -> Array:
    """Return ``(1 - amount) * covariance + amount * mean variance * identity``."""
    dim = len(covariance)
    return np.asarray((1.0 - amount) * covariance + amount * (np.trace(covariance) / dim) * np.eye(dim))


def whitening(covariance: Array, *, name: str) -> Array:
    """Return the lower-triangular ``W`` with ``W covariance W^T = identity``, by Cholesky and a triangular solve.

    Raises
    ------
    DataError
        If the covariance is singular to working precision.
    """
    from scipy.linalg import solve_triangular

    remedy = "use more segments, more shrinkage or regularisation, or fewer dimensions"
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise DataError(f"{name}: the covariance of the training segments is singular; {remedy}") from error
    smallest, total = float(np.min(np.diag(factor)) ** 2), float(np.trace(covariance))
    if smallest <= np.finfo(np.float64).eps * total:
        raise DataError(
            f"{name}: the covariance of the training segments is singular to working precision "
            f"(smallest pivot {smallest:.3g}, trace {total:.3g}); {remedy}"
        )
    # in the order in which it is loaded again: products with the other order differ in their last bits
    return np.ascontiguousarray(solve_triangular(factor, np.eye(len(covariance)), lower=True, check_finite=False))
