"""A recording as the feature wants it: one channel, one rate; and how loud it was."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError
from dcase_asd.io.audio import read_audio, select_channel

__all__ = ["SILENCE_DB", "level_db", "read_channel", "resample", "resampled_length"]

#: Floor of a level: 24-bit PCM ends at -138 dB re full scale, so only silence lies here.
SILENCE_DB = -200.0


def resampled_length(n_samples: int, *, from_hz: int, to_hz: int) -> int:
    """Return the length after resampling: ``ceil(n_samples * to_hz / from_hz)``, in exact integer arithmetic."""
    return -(-n_samples * to_hz // from_hz)


def resample(waveform: NDArray[np.float32], *, from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Resample ``waveform [sample]`` with soxr (high quality) to exactly :func:`resampled_length` samples."""
    import soxr

    if from_hz == to_hz:
        return waveform
    length = resampled_length(len(waveform), from_hz=from_hz, to_hz=to_hz)
    out = np.asarray(soxr.resample(waveform, from_hz, to_hz, quality="HQ"), dtype=np.float32)
    # soxr rounds to the nearest length, which may be one short of the ceiling
    return np.pad(out, (0, max(0, length - len(out))))[:length]


def level_db(waveform: NDArray[np.float32]) -> float:
    """Return the RMS level of ``waveform [sample]`` in dB re full scale (amplitude 1); silence is -200."""
    wide = np.asarray(waveform, dtype=np.float64)
    energy = float(wide @ wide)
    return max(10.0 * math.log10(energy / len(wide)), SILENCE_DB) if energy > 0.0 else SILENCE_DB


def read_channel(path: Path, *, channel: str, n_samples: int, sample_rate_hz: int) -> NDArray[np.float32]:
    """Read one channel ``[sample]`` of a recording and hold it against the manifest.

    Parameters
    ----------
    path : Path
        The recording.
    channel : str
        ``"mean"`` or a number.
    n_samples, sample_rate_hz : int
        What the manifest says.

    Raises
    ------
    AudioError
        If the file cannot be read, lacks the channel, or is not what the manifest says.
    """
    samples, rate = read_audio(path)
    if rate != sample_rate_hz or samples.shape[1] != n_samples:
        raise AudioError(
            f"{path}: the manifest expects {n_samples} samples at {sample_rate_hz} Hz, found {samples.shape[1]} at {rate} Hz; "
            "the file changed after stage 1: restore it or re-run stage 1"
        )
    try:
        return select_channel(samples, channel)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error
