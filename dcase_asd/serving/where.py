"""Where a recording is anomalous: the stretch of time that scores highest, and the frequencies in it that are unusual."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.serving.model import Bands, WindowScore
from dcase_asd.serving.recordings import Window

__all__ = ["Place", "locate", "unusual_bands"]

# A band is smoothed over its neighbours: single mel bands jump about.
_SMOOTHING = 3


class Place(tuple[float, float, float, float]):
    """``from_s, to_s, from_hz, to_hz``; frequencies are NaN where no front has bands."""

    __slots__ = ()


def locate(scored: WindowScore, window: Window, bands: Bands | None) -> Place:
    """Return the segment that scores highest, and the frequency range in it that differs most from normal."""
    best = int(np.argmax(scored.segments))
    from_s = window.start_s + float(scored.piece.starts_s[scored.piece.reference][best])
    end_s = window.stop / window.recording.sample_rate_hz
    to_s = min(from_s + scored.piece.length_s, end_s)
    if bands is None or scored.piece.bands is None:
        return Place((from_s, to_s, float("nan"), float("nan")))
    return Place((from_s, to_s, *unusual_bands(scored.piece.bands[best], bands)))


def unusual_bands(spectrum: NDArray[np.float64], bands: Bands) -> tuple[float, float]:
    """Return the range about the largest deviation in which deviations are at least half of it.

    Parameters
    ----------
    spectrum : ndarray [band]
        Mean spectrum of a segment.
    bands : Bands
        Means and deviations of normal segments; a deviation below a tenth of their median counts as that tenth.
    """
    floor = max(0.1 * float(np.median(bands.std)), np.finfo(np.float64).tiny)
    deviation = np.abs(spectrum - bands.mean) / np.maximum(bands.std, floor)
    width = min(_SMOOTHING, len(deviation))
    smooth = np.convolve(np.pad(deviation, width // 2, mode="edge"), np.ones(width) / width, mode="valid")[: len(deviation)]
    peak = int(np.argmax(smooth))
    low = high = peak
    while low > 0 and smooth[low - 1] >= smooth[peak] / 2.0:
        low -= 1
    while high < len(smooth) - 1 and smooth[high + 1] >= smooth[peak] / 2.0:
        high += 1
    return float(bands.center_hz[low]), float(bands.center_hz[high])
