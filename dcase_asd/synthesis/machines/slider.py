"""A slide rail moving to and fro: motor whine and rolling noise with the speed, knocks where it starts and stops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dcase_asd.synthesis.machine import Condition, Fault, Machine, Waveform
from dcase_asd.synthesis.signals import (
    SAMPLE_RATE_HZ,
    excitation,
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

_STROKE_M = 0.35
#: Travel per motor turn (lead of the screw or circumference of the pulley) in m, by unit of the DCASE 2020 layout.
_LEAD_M = {"": 0.020, "00": 0.020, "02": 0.032, "04": 0.012}
_RAIL_MODES = ((310.0, 0.025, 0.9), (720.0, 0.015, 0.7), (1560.0, 0.010, 0.5), (2900.0, 0.006, 0.35))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``vel`` is the top speed in mm/s, ``ac`` the acceleration in units of 100 m/s2 (0.03: 3 m/s2)."""
    top, push = float(attributes["vel"]) / 1000.0 * jitter(rng, 0.006), float(attributes["ac"]) * 100.0
    lead_m = _LEAD_M[attributes.get("id", "")]
    speed, knocks_s = _motion(top, push, n_samples / SAMPLE_RATE_HZ, rng=rng, fault=fault)
    position = np.cumsum(speed) / SAMPLE_RATE_HZ
    pace = np.abs(speed)
    turning = phase_of(pace / lead_m, n_samples)
    whine = harmonics(turning, [a * jitter(rng, 0.15) for a in (0.20, 0.30, 0.14, 0.18, 0.08, 0.10, 0.05, 0.05)], rng=rng)
    steps = harmonics(8.0 * turning, [0.24 * jitter(rng, 0.15), 0.13, 0.08, 0.05, 0.03], rng=rng)
    roll = shaped_noise(
        n_samples, rng, resonances([(720.0, 500.0, 1.0), (1560.0, 800.0, 0.7), (2900.0, 1400.0, 0.5)], floor=0.06)
    )
    carriage = 1.0 + 0.2 * np.cos(2 * np.pi * position / 0.1 + rng.uniform(0, 2 * np.pi))
    moving = pace / 0.5
    sound = moving**0.5 * (whine + steps) + 0.85 * jitter(rng, 0.1) * moving * roll * carriage
    blows = excitation(n_samples, knocks_s, push / 3.0 * np.exp(0.12 * rng.standard_normal(len(knocks_s))))
    slack = fault.of("slack_belt")
    modes = [(f, d * (1.0 + 1.2 * slack), a * (1.0 + 0.5 * slack)) for f, d, a in _RAIL_MODES]
    holding = 0.05 * harmonics(phase_of(50.0, n_samples), [0.0, 1.0, 0.0, 0.6, 0.0, 0.3], rng=rng)
    return 1.2 * (sound + ring(0.9 * blows, modes) + holding + _additions(speed, position, rng=rng, fault=fault))


def _motion(top: float, push: float, duration_s: float, *, rng: np.random.Generator, fault: Fault) -> tuple[Waveform, Waveform]:
    """Return speed ``[sample]`` in m/s (trapezoids, to and fro) and the times at which the carriage jolts."""
    ramp_s = min(top / push, np.sqrt(_STROKE_M / push))
    peak = push * ramp_s
    glide_s = max(_STROKE_M / peak - ramp_s, 0.0)
    travel_s, dwell_s = 2 * ramp_s + glide_s, 0.25 * jitter(rng, 0.03)
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    start_s = -rng.random() * 2.0 * (travel_s + dwell_s)
    speed, knocks, sign = np.zeros(len(time_s)), [], 1.0
    while start_s < duration_s:
        pause_s = dwell_s * jitter(rng, 0.02)
        if fault.cause == "lost_steps" and rng.random() < min(0.45 * fault.severity, 0.9):
            pause_s += rng.uniform(0.2, 0.45)
        run = np.interp(time_s - start_s, [0.0, ramp_s, ramp_s + glide_s, travel_s], [0.0, peak, peak, 0.0])
        speed += sign * run
        knocks += [start_s, start_s + travel_s]
        start_s, sign = start_s + travel_s + pause_s, -sign
    if fault.cause == "stick_slip":
        # the carriage hangs and jumps: a jerky speed in part of the travel
        jerk = phase_of(23.0 * jitter(rng, 0.1), len(time_s), start_rad=rng.uniform(0, 6.0))
        spot = np.clip(wander(len(time_s), rng, tau_s=0.3, depth=1.0), 0.0, 1.0)
        speed = speed * (1.0 + np.minimum(0.5 * fault.severity, 0.95) * spot * np.sin(jerk))
    return speed, np.asarray(knocks)


def _additions(speed: Waveform, position: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples = len(speed)
    total = np.zeros(n_samples)
    if fault.cause == "dented_rail":
        mark = position.min() + rng.uniform(0.3, 0.7) * np.ptp(position)
        crossings = np.flatnonzero(np.diff(position > mark)) / SAMPLE_RATE_HZ
        total += ring(excitation(n_samples, crossings, 3.0 * fault.severity), [(f * 1.3, d, a) for f, d, a in _RAIL_MODES])
    if fault.cause == "dry_rail":
        pitch = (1500.0 + 1400.0 * np.abs(speed)) * jitter(rng, 0.05) * (1.0 + wander(n_samples, rng, tau_s=0.1, depth=0.01))
        squeak = harmonics(phase_of(pitch, n_samples), [0.5, 0.25, 0.15], rng=rng)
        total += 0.55 * fault.severity * squeak * np.abs(speed) / 0.5 * (0.4 + 0.6 * (speed > 0))
    if fault.cause == "loose_screw":
        ticks = times_of_phase(phase_of(np.abs(speed) / 0.0125, n_samples))
        ticks = ticks[rng.random(len(ticks)) < 0.5]
        blows = excitation(n_samples, ticks, rng.gamma(2.0, 0.35, len(ticks)))
        total += fault.severity * ring(blows, [(2100.0, 0.006, 0.5), (3900.0, 0.004, 0.5), (5600.0, 0.003, 0.3)])
    if fault.cause == "stick_slip":
        scrape = shaped_noise(n_samples, rng, sloped(1200.0, -4.0, low_hz=500.0))
        rough = np.abs(np.gradient(speed)) * SAMPLE_RATE_HZ
        total += 0.07 * np.minimum(rough, 10.0) * scrape * min(fault.severity, 2.0) * (np.abs(speed) > 0.02)
    return total


def _condition(speed: int, push: str, noise: str, unit: str = "") -> Condition:
    attributes = {"vel": str(speed), "ac": push}
    attributes |= {"id": unit} if unit else {}
    return Condition(attributes=attributes, noise=noise, snr_db=4.0, position=int(unit or 0))


MACHINE = Machine(
    name="slider",
    subset="dev",
    source=tuple(_condition(v, a, "hall") for v in (300, 500, 700) for a in ("0.03", "0.05")),
    target=(_condition(400, "0.04", "conveyor"), _condition(600, "0.04", "conveyor")),
    causes=("stick_slip", "dented_rail", "dry_rail", "slack_belt", "loose_screw", "lost_steps"),
    render=render,
    reverberation_s=0.3,
    units={
        "00": (_condition(400, "0.04", "hall", "00"),),
        "02": (_condition(650, "0.06", "machinery", "02"),),
        "04": (_condition(300, "0.03", "compressor", "04"),),
    },
)
