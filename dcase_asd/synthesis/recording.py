"""One clip: the machine's sound through its room, factory noise at the condition's level, a microphone gain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from dcase_asd.synthesis.machine import HEALTHY, Condition, Fault, Machine, Waveform
from dcase_asd.synthesis.noise import factory_noise
from dcase_asd.synthesis.room import reverberate, room_response

__all__ = ["Take", "clip_seed", "record", "strength"]

#: Level of a running machine in the recordings, as in MIMII-like data far from full scale (dB re full-scale amplitude 1).
_LEVEL_DB = -30.0
#: Clip-to-clip scatter: preamplifier gain (uniform, +-) and level of the noise (deviation).
_GAIN_DB, _NOISE_SCATTER_DB = 3.0, 1.0
#: Decades of fault strength between difficulty 0 and 1: from about +9 dB to -9 dB around the default of 0.5.
_STRENGTH_DECADES = 0.9
#: Scatter of one fault's severity from clip to clip (no two chipped teeth are alike), log-normal.
_SEVERITY_SCATTER = 0.25


@dataclass(frozen=True, kw_only=True)
class Take:
    """What one clip is to be: everything :func:`record` needs besides the machine.

    Attributes
    ----------
    key : str
        Names the clip among those of its machine (split, domain, class, index); the random numbers follow from it.
    condition : Condition
        Operating state and place.
    cause : str
        What is wrong; empty for a normal clip.
    """

    key: str
    condition: Condition
    cause: str = ""


def clip_seed(seed: int, machine: str, key: str) -> list[int]:
    """Return the clip's own seed: SHA-256 over corpus seed, machine and key, so that no clip depends on another."""
    digest = hashlib.sha256(f"dcase_asd.synthesis/{seed}/{machine}/{key}".encode()).digest()
    return [int.from_bytes(digest[i : i + 4], "big") for i in range(0, 32, 4)]


def strength(difficulty: float) -> float:
    """Return the mean severity of faults: 1 at difficulty 0.5, 2.8 at 0, 0.35 at 1."""
    return float(10.0 ** (_STRENGTH_DECADES * (0.5 - difficulty)))


def record(machine: Machine, take: Take, *, n_samples: int, seed: int, difficulty: float) -> Waveform:
    """Return the recording ``waveform [sample]`` in [-1, 1] at 16 kHz.

    Parameters
    ----------
    machine : Machine
        What sounds.
    take : Take
        Which clip.
    n_samples : int
        Its length.
    seed : int
        Seed of the corpus.
    difficulty : float
        0 (faults loud) to 1 (faults faint).
    """
    streams = np.random.SeedSequence(clip_seed(seed, machine.name, take.key)).spawn(5)
    sound, place, hall, level, fault_rng = (np.random.default_rng(stream) for stream in streams)
    fault = HEALTHY
    if take.cause:
        fault = Fault(take.cause, strength(difficulty) * float(np.exp(_SEVERITY_SCATTER * fault_rng.standard_normal())))
    condition = take.condition
    dry = machine.render(condition.attributes, n_samples=n_samples, rng=sound, fault=fault)
    response = room_response(f"{machine.name}/{condition.position}", reverberation_s=machine.reverberation_s, rng=place)
    wet = reverberate(dry, response)
    noise = factory_noise(condition.noise, n_samples=n_samples, rng=hall)
    noise_db = -condition.snr_db + _NOISE_SCATTER_DB * level.standard_normal()
    gain_db = _LEVEL_DB + level.uniform(-_GAIN_DB, _GAIN_DB)
    mixed = 10.0 ** (gain_db / 20.0) * (wet + 10.0 ** (noise_db / 20.0) * noise)
    return np.asarray(np.clip(mixed, -1.0, 1.0))
