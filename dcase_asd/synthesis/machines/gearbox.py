"""A two-stage gear reducer lifting a weight: mesh harmonics with shaft sidebands, whine with the motor voltage."""

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

#: Teeth of pinion and wheel of the first stage, pinion of the second.
_TEETH = (19, 57, 23)
#: Turns per second of the motor and volt.
_HZ_PER_VOLT = 15.5
_CASING_MODES = ((780.0, 0.010, 0.5), (1690.0, 0.007, 0.6), (2950.0, 0.004, 0.5), (4600.0, 0.003, 0.3))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``volt`` sets the speed, ``wt`` (g) the load on the teeth."""
    load = 0.7 + float(attributes["wt"]) / 200.0
    speed_hz = float(attributes["volt"]) * _HZ_PER_VOLT * (1.06 - 0.06 * load) * jitter(rng, 0.008)
    motor = phase_of(speed_hz * (1.0 + wander(n_samples, rng, tau_s=0.8, depth=0.003)), n_samples)
    shaft = motor * _TEETH[0] / _TEETH[1] + rng.uniform(0, 2 * np.pi)
    eccentric = fault.of("eccentric_wheel")
    sway = (0.10 + min(0.50 * eccentric, 0.7)) * np.cos(shaft)
    worn = fault.of("worn_teeth")
    first = [a * jitter(rng, 0.2) for a in (0.50, 0.26 * (1 + 0.6 * worn), 0.14 * (1 + worn), 0.06, 0.04)]
    second = [a * jitter(rng, 0.2) for a in (0.34, 0.20 * (1 + 0.6 * worn), 0.10 * (1 + worn), 0.05, 0.03)]
    # an eccentric wheel also moves the mesh point to and fro: phase modulation beside the amplitude modulation
    mesh = harmonics(_TEETH[0] * motor + (0.2 + 1.3 * eccentric) * np.sin(shaft), first, rng=rng)
    mesh += harmonics(_TEETH[2] * shaft, second, rng=rng)
    brush = harmonics(motor, [0.10 * jitter(rng, 0.3), 0.16, 0.05, 0.06, 0.03, 0.05], rng=rng)
    grind = shaped_noise(
        n_samples, rng, resonances([(800.0, 500.0, 1.0), (1700.0, 700.0, 0.8), (3000.0, 1200.0, 0.4)], floor=0.08)
    )
    sound = load**0.5 * mesh * (1.0 + sway) + brush + 0.55 * jitter(rng, 0.12) * grind * (1.0 + 0.2 * np.cos(shaft))
    return np.asarray(1.15 * (sound + _additions(motor, shaft, rng=rng, fault=fault)))


def _additions(motor: Waveform, shaft: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples, duration_s = len(motor), len(motor) / SAMPLE_RATE_HZ
    total = np.zeros(n_samples)
    if fault.cause == "chipped_tooth":
        times_s = times_of_phase(shaft, offset=rng.random())
        blows = excitation(n_samples, times_s, 2.3 * np.exp(0.2 * rng.standard_normal(len(times_s))))
        total += fault.severity * ring(blows, _CASING_MODES)
    if fault.cause == "worn_teeth":
        total += 0.10 * fault.severity * shaped_noise(n_samples, rng, sloped(2000.0, -6.0, low_hz=900.0))
    if fault.cause == "dry_teeth":
        hiss = shaped_noise(n_samples, rng, resonances([(4300.0, 1800.0, 1.0)]))
        total += 0.17 * fault.severity * hiss * (1.0 + np.cos(_TEETH[2] * shaft / 4.0)) * (1.0 + 0.5 * np.cos(motor))
    if fault.cause == "loose_play":
        for _ in range(rng.integers(2, 4)):
            start_s = rng.uniform(0.0, duration_s - 0.5)
            times_s = start_s + np.cumsum(rng.exponential(0.018, 18))
            total += fault.severity * ring(excitation(n_samples, times_s, rng.gamma(2.0, 1.2, 18)), _CASING_MODES)
    if fault.cause == "slipping_brush":
        whine = phase_of(7.0 * np.gradient(motor) * SAMPLE_RATE_HZ / (2 * np.pi) * 4.0, n_samples)
        start_s = rng.uniform(0.0, 0.5 * duration_s)
        tone = harmonics(whine, [0.26, 0.13, 0.08], rng=rng)
        total += fault.severity * tone * gate(n_samples, start_s, start_s + 0.55 * duration_s, rise_s=0.1, fall_s=0.1)
    return total


def _condition(volt: str, weight: str, noise: str) -> Condition:
    return Condition(attributes={"volt": volt, "wt": weight}, noise=noise, snr_db=3.0)


MACHINE = Machine(
    name="gearbox",
    subset="dev",
    source=tuple(_condition(v, w, "machinery") for v in ("1.5", "2.0", "2.5") for w in ("50", "150")),
    target=(_condition("1.75", "100", "conveyor"), _condition("2.75", "50", "conveyor"), _condition("2.75", "200", "conveyor")),
    causes=("chipped_tooth", "worn_teeth", "eccentric_wheel", "dry_teeth", "loose_play", "slipping_brush"),
    render=render,
    reverberation_s=0.25,
)
