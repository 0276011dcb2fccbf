"""Streaming mean and standard deviation: one pass, any order of merging, no array larger than a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments"]


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of a stream of numbers.

    Attributes
    ----------
    n : int
        Numbers seen.
    mean : float
        Their mean.
    m2 : float
        Sum of ``(x - mean) ** 2``.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    @classmethod
    def of(cls, values: NDArray[Any]) -> Moments:
        """Return the moments of one array (any shape), accumulated in float64."""
        if values.size == 0:
            return cls()
        wide = np.asarray(values, dtype=np.float64).ravel()
        mean = float(wide.mean())
        wide = wide - mean
        return cls(int(wide.size), mean, float(wide @ wide))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both streams together (Chan, Golub, LeVeque 1983, Eqs. 2.1a and 2.1b)."""
        n = self.n + other.n
        if n == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * other.n / n
        return Moments(n, mean, self.m2 + other.m2 + delta * delta * self.n * other.n / n)

    @property
    def variance(self) -> float:
        """Variance with divisor ``n`` (0 for an empty stream)."""
        return self.m2 / self.n if self.n else 0.0

    @property
    def std(self) -> float:
        """Standard deviation with divisor ``n``."""
        return math.sqrt(self.variance)
