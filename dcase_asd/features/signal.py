"""A recording as the feature wants it: one channel, one rate; and how loud it was."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError
from dcase_asd.features.base import AudioConfig
from dcase_asd.io.audio import read_audio, select_channel

__all__ = ["level_db", "read_waveform", "resample", "resampled_length"]

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
    mean_square = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return max(10.0 * math.log10(mean_square), SILENCE_DB) if mean_square > 0.0 else SILENCE_DB


def read_waveform(path: Path, config: AudioConfig, *, n_samples: int, sample_rate_hz: int) -> tuple[NDArray[np.float32], float]:
    """Read a recording as the feature wants it.

    Parameters
    ----------
    path : Path
        The recording.
    config : AudioConfig
        Its ``channel`` and ``sample_rate_hz`` are used.
    n_samples, sample_rate_hz : int
        What the manifest says.

    Returns
    -------
    waveform : ndarray [sample], float32
        At ``config.sample_rate_hz``.
    level_db : float
        RMS level of the channel before resampling.

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
        waveform = select_channel(samples, config.channel)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error
    return resample(waveform, from_hz=rate, to_hz=config.sample_rate_hz), level_db(waveform)
