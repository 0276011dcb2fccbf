"""Factory noise: what else is in the hall. Every kind has occasional clanks, in normal and anomalous clips alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dcase_asd.errors import UnknownNameError
from dcase_asd.synthesis.machine import Waveform
from dcase_asd.synthesis.signals import (
    SAMPLE_RATE_HZ,
    excitation,
    harmonics,
    jitter,
    phase_of,
    poisson_times,
    resonances,
    ring,
    shaped_noise,
    sloped,
    wander,
)

__all__ = ["NOISES", "factory_noise"]

#: Clanks per second; one in about every second 6 s clip.
_CLANK_RATE_HZ = 0.08


def factory_noise(kind: str, *, n_samples: int, rng: np.random.Generator) -> Waveform:
    """Return noise ``[sample]`` of one kind: root mean square about 1 without the clanks.

    Raises
    ------
    UnknownNameError
        If ``kind`` is not in :data:`NOISES`.
    """
    if kind not in NOISES:
        raise UnknownNameError("noise", kind, NOISES)
    steady = NOISES[kind](n_samples, rng)
    breathing = 1.0 + wander(n_samples, rng, tau_s=2.0, depth=0.12)
    return steady * breathing + _clanks(n_samples, rng)


def _hall(n_samples: int, rng: np.random.Generator) -> Waveform:
    """Pink-ish room noise (ventilation, traffic) and mains hum."""
    room = shaped_noise(n_samples, rng, sloped(120.0, -4.5 * jitter(rng, 0.08)))
    hum = harmonics(phase_of(50.0, n_samples), [0.10, 0.20, 0.05, 0.10, 0.02, 0.05], rng=rng)
    return 0.97 * room + hum * jitter(rng, 0.2)


def _machinery(n_samples: int, rng: np.random.Generator) -> Waveform:
    """Distant rotating machines: several drifting harmonic series, dulled by the distance."""
    total = 0.75 * shaped_noise(n_samples, rng, sloped(200.0, -5.0))
    for rate_hz in (29.2, 47.3, 81.0):
        drift = 1.0 + wander(n_samples, rng, tau_s=3.0, depth=0.002)
        phase = phase_of(rate_hz * jitter(rng, 0.01) * drift, n_samples)
        partials = [0.22 * jitter(rng, 0.3) / order**0.7 for order in range(1, 15)]
        total += harmonics(phase, partials, rng=rng)
    return total


def _press(n_samples: int, rng: np.random.Generator) -> Waveform:
    """A stamping press at the far end: regular thumps over a dull rumble."""
    duration_s = n_samples / SAMPLE_RATE_HZ
    period_s = 0.92 * jitter(rng, 0.02)
    times_s = np.arange(-rng.random() * period_s, duration_s, period_s)
    blows = excitation(n_samples, times_s, 1.0 + 0.1 * rng.standard_normal(len(times_s)))
    thumps = ring(blows, [(74.0, 0.09, 2.2), (163.0, 0.06, 1.8), (410.0, 0.03, 1.2), (930.0, 0.015, 0.8)])
    return 0.9 * shaped_noise(n_samples, rng, sloped(160.0, -5.5)) + thumps


def _compressor(n_samples: int, rng: np.random.Generator) -> Waveform:
    """A piston compressor: pulsed hiss and a low tone."""
    phase = phase_of(12.4 * jitter(rng, 0.015) * (1.0 + wander(n_samples, rng, tau_s=2.0, depth=0.003)), n_samples)
    pulse = 0.7 + 0.3 * np.cos(phase)
    hiss = shaped_noise(n_samples, rng, resonances([(900.0, 700.0, 1.0), (2600.0, 1500.0, 0.5)], floor=0.06))
    rumble = shaped_noise(n_samples, rng, sloped(90.0, -6.0))
    return 0.78 * hiss * pulse + 0.76 * rumble + harmonics(phase, [0.0, 0.25, 0.0, 0.2, 0.1, 0.12], rng=rng)


def _conveyor(n_samples: int, rng: np.random.Generator) -> Waveform:
    """A roller conveyor: rumble with many small knocks."""
    duration_s = n_samples / SAMPLE_RATE_HZ
    times_s = poisson_times(rng, rate_hz=9.0, start_s=0.0, stop_s=duration_s)
    knocks = excitation(n_samples, times_s, rng.gamma(2.0, 0.35, len(times_s)))
    rattle = ring(knocks, [(520.0, 0.012, 1.0), (1350.0, 0.008, 0.9), (2480.0, 0.005, 0.6)])
    return 0.92 * shaped_noise(n_samples, rng, sloped(250.0, -4.0)) + rattle


def _clanks(n_samples: int, rng: np.random.Generator) -> Waveform:
    """Dropped tools and pallets: a metallic blow now and then, each with modes of its own."""
    duration_s = n_samples / SAMPLE_RATE_HZ
    total = np.zeros(n_samples)
    for time_s in poisson_times(rng, rate_hz=_CLANK_RATE_HZ, start_s=0.0, stop_s=duration_s):
        lowest_hz = rng.uniform(400.0, 1600.0)
        ratios = np.cumprod(rng.uniform(1.2, 1.8, 4))
        modes = [(min(lowest_hz * r, 7500.0), rng.uniform(0.02, 0.12), rng.uniform(0.3, 1.0)) for r in ratios]
        strength = 10.0 ** (rng.uniform(-6.0, 9.0) / 20.0)
        bounce = excitation(n_samples, [time_s, time_s + rng.uniform(0.05, 0.2)], [strength, 0.4 * strength])
        total += ring(bounce, modes)
    return total


#: The kinds of factory noise by name.
NOISES: Mapping[str, Callable[[int, np.random.Generator], Waveform]] = {
    "hall": _hall,
    "machinery": _machinery,
    "press": _press,
    "compressor": _compressor,
    "conveyor": _conveyor,
}
