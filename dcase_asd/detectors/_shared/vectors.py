"""Standardisation of vectors by training statistics, kept in a detector's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors._shared.grid import wanted

__all__ = ["Standardisation"]

# A few units in the last place of float32 (1.2e-7), the type of features.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Standardisation:
    """``(x - mean) / std`` by dimension, in double precision.

    Attributes
    ----------
    mean, std : ndarray [dim]
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def fit(cls, x: NDArray[Any]) -> Standardisation:
        """Take the statistics of ``x [segment, dim]``; a constant dimension has no scale and is divided by 1."""
        mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        return cls(mean, np.where(std > _ROUNDING * np.abs(mean), std, 1.0))

    @classmethod
    def none(cls, n_dim: int) -> Standardisation:
        """Return the one that changes nothing."""
        return cls(np.zeros(n_dim), np.ones(n_dim))

    def apply(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Standardise ``x [segment, dim]``."""
        return np.asarray((x - self.mean) / self.std, dtype=np.float64)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``mean`` and ``std``."""
        return {"mean": self.mean, "std": self.std}

    @classmethod
    def from_state(cls, tensors: Mapping[str, NDArray[Any]], *, owner: object) -> Standardisation:
        """Make what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        return cls(*(np.asarray(wanted(tensors, name, owner=owner), dtype=np.float64) for name in ("mean", "std")))
