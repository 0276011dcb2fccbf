"""What lies between machine and microphone: a room response that belongs to the place, with small changes clip by clip."""

from __future__ import annotations

import hashlib

import numpy as np

from dcase_asd.synthesis.machine import Waveform
from dcase_asd.synthesis.signals import SAMPLE_RATE_HZ

__all__ = ["reverberate", "room_response"]

_N_EARLY = 14
#: Time for the level to fall by 60 dB, as an exponent.
_LN_60_DB = np.log(1000.0)


def room_response(place: str, *, reverberation_s: float, rng: np.random.Generator) -> Waveform:
    """Return an impulse response ``[sample]``: direct sound, early reflections, decaying tail.

    Parameters
    ----------
    place : str
        Machine and microphone position; the same place has the same walls in every corpus.
    reverberation_s : float
        Time for the tail to fall by 60 dB.
    rng : numpy.random.Generator
        Draws what differs from clip to clip: the microphone is never put back on the very same spot.
    """
    walls = np.random.default_rng(int.from_bytes(hashlib.sha256(f"room/{place}".encode()).digest()[:8], "big"))
    n_samples = int(0.6 * reverberation_s * SAMPLE_RATE_HZ)
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    tail = walls.standard_normal(n_samples) * np.exp(-_LN_60_DB * time_s / reverberation_s)
    # walls and air swallow high frequencies: a one-pole low-pass over the diffuse tail
    tail = np.convolve(tail, 0.45 ** np.arange(8))[:n_samples]
    tail[: int(0.004 * SAMPLE_RATE_HZ)] = 0.0
    response = 0.35 * tail / np.sqrt(np.sum(tail**2))
    delays_s = np.sort(walls.uniform(0.0008, 0.03, _N_EARLY)) + 4e-5 * rng.standard_normal(_N_EARLY)
    gains = walls.choice([-1.0, 1.0], _N_EARLY, p=[0.25, 0.75]) * walls.uniform(0.08, 0.35, _N_EARLY)
    gains *= np.exp(0.15 * rng.standard_normal(_N_EARLY)) * np.exp(-delays_s / 0.02)
    np.add.at(response, np.maximum((delays_s * SAMPLE_RATE_HZ).astype(np.int64), 1), gains)
    response[0] += 1.0
    return np.asarray(response / np.sqrt(np.sum(response**2)))


def reverberate(dry: Waveform, response: Waveform) -> Waveform:
    """Convolve ``dry [sample]`` with an impulse response; the result has the length of ``dry``."""
    from scipy.signal import oaconvolve

    return np.asarray(oaconvolve(dry, response)[: len(dry)])
