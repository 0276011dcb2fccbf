"""A band saw: a toothed band over two wheels, cutting and idling in turn; the tooth-passing tone follows the speed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dcase_asd.synthesis.machine import Condition, Fault, Machine, Waveform
from dcase_asd.synthesis.signals import (
    SAMPLE_RATE_HZ,
    excitation,
    gate,
    harmonics,
    jitter,
    phase_of,
    resonances,
    ring,
    shaped_noise,
    sloped,
    times_of_phase,
    wander,
)

#: Length of the band, girth of a wheel and tooth pitch in m.
_BAND_M, _WHEEL_M, _PITCH_M = 2.24, 0.94, 0.0125
_BLADE_MODES = ((1350.0, 0.012, 0.6), (2700.0, 0.009, 0.6), (4150.0, 0.006, 0.5), (6400.0, 0.004, 0.3))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``vel`` is the speed of the band in m/s."""
    speed = float(attributes["vel"]) * jitter(rng, 0.008)
    duration_s = n_samples / SAMPLE_RATE_HZ
    cut = gate(n_samples, rng.uniform(0.05, 0.2) * duration_s, rng.uniform(0.75, 0.95) * duration_s, rise_s=0.25, fall_s=0.25)
    speed_track = speed * (1.0 - 0.015 * cut) * (1.0 + wander(n_samples, rng, tau_s=0.5, depth=0.002))
    travel = phase_of(speed_track / _PITCH_M, n_samples)  # one turn of this phase per tooth
    wheel = travel * _PITCH_M / _WHEEL_M + rng.uniform(0, 2 * np.pi)
    band = travel * _PITCH_M / _BAND_M + rng.uniform(0, 2 * np.pi)
    dull = fault.of("dull_teeth")
    tooth = [a * jitter(rng, 0.15) for a in (0.42, 0.24 * (1 - min(0.3 * dull, 0.7)), 0.16, 0.09, 0.05)]
    teeth = harmonics(travel, tooth, rng=rng) * (0.35 + 0.65 * cut)
    motor = harmonics(phase_of(49.0 * jitter(rng, 0.004), n_samples), [0.18, 0.22, 0.08, 0.12, 0.04, 0.06], rng=rng)
    rasp = shaped_noise(
        n_samples, rng, resonances([(1350.0, 700.0, 0.8), (2700.0, 1300.0, 1.0), (4150.0, 1600.0, 0.7)], floor=0.1)
    )
    # the weld makes every band a little uneven: a faint swing once per round
    swing = 1.0 + 0.08 * np.cos(band) + 0.10 * np.cos(wheel) + min(0.45 * fault.of("unbalanced_wheel"), 0.85) * np.cos(wheel)
    sound = (teeth + 0.70 * jitter(rng, 0.12) * rasp * (0.25 + 0.75 * cut)) * swing + motor
    return 1.3 * (sound + _additions(wheel, band, cut, rng=rng, fault=fault))


def _additions(wheel: Waveform, band: Waveform, cut: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples = len(wheel)
    total = np.zeros(n_samples)
    if fault.cause == "broken_teeth":
        times_s = times_of_phase(band, offset=rng.random())
        blows = excitation(n_samples, np.add.outer(times_s, [0.0, 0.003]).ravel(), 2.2)
        total += fault.severity * ring(blows, _BLADE_MODES) * (0.4 + 0.6 * cut)
    if fault.cause == "dull_teeth":
        total += 0.26 * fault.severity * cut * shaped_noise(n_samples, rng, sloped(2500.0, -3.0, low_hz=1800.0))
    if fault.cause == "unbalanced_wheel":
        total += 0.16 * fault.severity * harmonics(wheel, [0.5, 0.8, 1.0, 0.8, 0.6, 0.4], rng=rng)
    if fault.cause == "scraping_guide":
        touch = np.clip(wander(n_samples, rng, tau_s=0.15, depth=1.0) - 0.4, 0.0, 2.0)
        scrape = shaped_noise(n_samples, rng, resonances([(5400.0, 1500.0, 1.0), (3300.0, 500.0, 0.6)]))
        total += 0.50 * fault.severity * touch * scrape
    if fault.cause == "singing_band":
        pitch = 1870.0 * jitter(rng, 0.06) * (1.0 + wander(n_samples, rng, tau_s=0.2, depth=0.004))
        total += 0.28 * fault.severity * cut * harmonics(phase_of(pitch, n_samples), [1.0, 0.5, 0.25], rng=rng)
    return total


def _condition(speed: int, noise: str) -> Condition:
    return Condition(attributes={"vel": str(speed)}, noise=noise, snr_db=4.0)


MACHINE = Machine(
    name="bandsaw",
    subset="eval",
    source=(_condition(13, "machinery"), _condition(15, "machinery")),
    target=(_condition(12, "conveyor"), _condition(14, "conveyor")),
    causes=("broken_teeth", "dull_teeth", "unbalanced_wheel", "scraping_guide", "singing_band"),
    render=render,
    reverberation_s=0.3,
)
