"""The level of a segment in decibels: the plainest thing that can be known of a sound."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import FormatError
from dcase_asd.extractors.base import Extractor
from dcase_asd.features.signal import level_db
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "Level"]

INFO = Info(
    summary="RMS level of the segment in dB; with a nearest neighbour it finds what is louder or softer than ever before",
    implementation="Level",
    source="the trivial comparator of this toolkit's reports (level_up, level_down), as an embedding",
    input="waveform",
    cost="none",
    strengths="hears faults that are only a matter of loudness",
    weaknesses="a change of gain or distance is an anomaly to it; needs features with standardise: none",
)


@configclass
class Config:
    """Nothing to choose."""


class Level(Extractor[Config]):
    """RMS level without the mean, one dimension."""

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], None]:
        """Reduce ``[segment, sample]`` to ``[segment, 1]``, dB re full scale; silence is -200.

        Raises
        ------
        FormatError
            For another shape, or samples that are not finite.
        """
        if segments.ndim != 2 or 0 in segments.shape:
            raise FormatError(f"expected waveform segments [segment, sample], got {segments.shape}; use features.name: waveform")
        wide = np.asarray(segments, dtype=np.float64)
        if not np.isfinite(wide).all():
            raise FormatError("samples are not finite; repair the recording and re-run stage 2")
        levels = [level_db(row - row.mean()) for row in wide]
        return np.array(levels, dtype=np.float32)[:, None], None
