"""Streaming mean and standard deviation: one pass, any order of merging, no array larger than a clip."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import FormatError
from dcase_asd.io.atomic import write_json

__all__ = ["Moments", "read_statistics", "write_statistics"]


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


def write_statistics(path: str | os.PathLike[str], moments: Moments | None, *, standardise: str) -> None:
    """Write ``statistics.json``: the kind of standardisation, and the training waveforms' moments where it needs them."""
    values = None
    if moments is not None:
        values = {"n_samples": moments.n, "mean": moments.mean, "std": moments.std, "sum_of_squared_deviations": moments.m2}
    write_json(path, {"standardise": standardise, "waveform": values})


def read_statistics(path: str | os.PathLike[str]) -> Moments | None:
    """Read what :func:`write_statistics` wrote, bit for bit; None where the standardisation needs no statistics.

    Raises
    ------
    FormatError
        If the file is missing or malformed.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))["waveform"]
        if values is None:
            return None
        return Moments(int(values["n_samples"]), float(values["mean"]), float(values["sum_of_squared_deviations"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not the amplitude statistics of a machine ({error}); re-run stage 2") from error
