"""Time statistics of the log-mel segment: an embedding without training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.extractors.base import Extractor
from dcase_asd.registry import Info

__all__ = ["Config", "LogMelStatistics"]

INFO = Info(
    summary="mean, deviation or extremes of each mel band over time; nothing is trained",
    implementation="LogMelStatistics",
    source="time-averaged log-mel with nearest neighbours: the plain comparator of DCASE Task 2",
    input="log_mel",
    cost="one pass over the features",
    strengths="fast, nothing to tune, no other machines needed",
    weaknesses="deaf to the order of events in time",
)


@configclass
class Config:
    """Which statistics, concatenated in this order.

    Attributes
    ----------
    statistics : tuple of {"mean", "std", "max", "min", "median"}
        Each gives one number per mel band.
    """

    statistics: tuple[Literal["mean", "std", "max", "min", "median"], ...] = ("mean",)

    def __post_init__(self) -> None:
        """Refuse an empty list and repetitions."""
        if not self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise ConfigError(f"statistics: expected at least one and each once, got {self.statistics}")


class LogMelStatistics(Extractor[Config]):
    """Statistics over time of each mel band."""

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], None]:
        """Reduce ``[segment, frame, mel]`` to ``[segment, mel * number of statistics]``.

        Raises
        ------
        FormatError
            For another shape, or values that are not finite.
        """
        if segments.ndim != 3 or 0 in segments.shape:
            raise FormatError(f"expected log-mel segments [segment, frame, mel], got {segments.shape}")
        # one segment at a time in float64: sums of float16 overflow, and a segment's bits must not depend on its batch
        vector = np.stack([self._one(np.asarray(segment, dtype=np.float64)) for segment in segments]).astype(np.float32)
        bad = ~np.isfinite(vector).all(axis=1)
        if bad.any():
            raise FormatError(f"segment {int(bad.argmax())}: values are not finite; repair the recording and re-run stage 2")
        return vector, None

    def _one(self, segment: NDArray[np.float64]) -> NDArray[np.float64]:
        functions: dict[str, Callable[..., NDArray[np.float64]]] = {
            "mean": np.mean,
            "std": np.std,
            "max": np.max,
            "min": np.min,
            "median": np.median,
        }
        return np.concatenate([functions[name](segment, axis=0) for name in self.config.statistics])
