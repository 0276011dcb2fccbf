"""From distances at every position to one score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError

__all__ = ["check_top_share", "top_mean"]


def check_top_share(value: float) -> None:
    """Raise ``ConfigError`` unless ``value`` is within [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"top_share: expected a share from 0 (the largest alone) to 1 (the mean), got {value}")


def top_mean(distance: NDArray[np.floating], *, share: float) -> NDArray[np.float64]:
    """Return the mean of the largest ``share`` of each row's values, at least of one.

    Parameters
    ----------
    distance : ndarray [segment, position]
    share : float
        0: the largest alone; 1: all.
    """
    n = max(1, round(share * distance.shape[1]))
    if n == 1:
        return np.asarray(distance.max(axis=1), dtype=np.float64)
    # sorted, so that the sum does not depend on how a partition happens to arrange its values
    return np.asarray(np.sort(distance, axis=1)[:, -n:].mean(axis=1, dtype=np.float64))
