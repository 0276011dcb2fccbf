"""A ball bearing on a test shaft: hum and rolling noise when healthy; faults strike at the kinematic frequencies."""

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
    poisson_times,
    resonances,
    ring,
    shaped_noise,
    sloped,
    times_of_phase,
    wander,
)

# Nine balls, ratio of ball to pitch diameter 0.2047, contact angle 0 (SKF 6205 as in the CWRU bearing data):
# events per shaft turn at outer race, inner race, one ball (both races), cage.
_OUTER, _INNER, _BALL, _CAGE = 3.585, 5.415, 4.714, 0.398
_HOUSING_MODES = ((1250.0, 0.0045, 0.5), (2840.0, 0.003, 0.7), (4350.0, 0.002, 0.6), (6100.0, 0.0015, 0.3))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``vel`` is the speed in hundreds of turns per minute, ``loc`` the microphone (see the room)."""
    rate_hz = float(attributes["vel"]) * 100.0 / 60.0
    turn = phase_of(
        rate_hz * jitter(rng, 0.006) * (1.0 + wander(n_samples, rng, tau_s=1.0, depth=0.002)),
        n_samples,
        start_rad=rng.uniform(0, 2 * np.pi),
    )
    # rolling noise grows about with the speed (in amplitude), the motor's hum hardly
    pace = rate_hz / 23.0
    roll = shaped_noise(
        n_samples,
        rng,
        resonances([(1250.0, 600.0, 0.8), (2840.0, 900.0, 0.7), (4350.0, 1100.0, 0.35)], floor=0.10),
        sloped(900.0 * pace, -3.0 * jitter(rng, 0.1)),
    )
    dry = 1.0 + 0.22 * fault.of("starved_lubrication")
    hum = harmonics(turn, [a * jitter(rng, 0.15) for a in (0.35, 0.42, 0.18, 0.24, 0.10, 0.14, 0.06, 0.08, 0.04, 0.05)], rng=rng)
    poles = harmonics(4.0 * turn, [0.12, 0.10, 0.05, 0.08, 0.03, 0.03], rng=rng)
    wobble = 1.0 + 0.08 * np.cos(turn) + np.minimum(0.55 * fault.of("broken_cage"), 0.9) * np.cos(_CAGE * turn)
    rolling = 0.62 * pace**0.8 * jitter(rng, 0.12) * dry * roll * wobble
    return np.asarray(1.2 * (hum + poles + rolling + _additions(turn, rng=rng, fault=fault)))


def _additions(turn: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples, duration_s = len(turn), len(turn) / SAMPLE_RATE_HZ
    order = {"outer_race": _OUTER, "inner_race": _INNER, "ball": _BALL}.get(fault.cause)
    total = np.zeros(n_samples)
    if order is not None:
        times_s = times_of_phase(turn, turns=1.0 / order, offset=rng.random())
        times_s = times_s + 2e-4 * rng.standard_normal(len(times_s))  # balls slip a little: no exact period
        # a spot on the inner race or a ball passes through the loaded zone once per turn of shaft or cage
        load_order = {"outer_race": 0.0, "inner_race": 1.0, "ball": _CAGE}[fault.cause]
        angle = load_order * np.interp(times_s, np.arange(n_samples) / SAMPLE_RATE_HZ, turn)
        blows = np.exp(0.15 * rng.standard_normal(len(times_s))) * (0.55 + 0.45 * np.cos(angle))
        total += 1.7 * fault.severity * ring(excitation(n_samples, times_s, blows), _HOUSING_MODES)
    if fault.cause == "dirt":
        times_s = poisson_times(rng, rate_hz=7.0, start_s=0.0, stop_s=duration_s)
        total += 2.6 * fault.severity * ring(excitation(n_samples, times_s, rng.gamma(1.5, 1.0, len(times_s))), _HOUSING_MODES)
    if fault.cause == "starved_lubrication":
        hiss = shaped_noise(n_samples, rng, resonances([(5600.0, 1600.0, 1.0)]))
        total += 0.11 * fault.severity * hiss * (1.0 + 0.6 * np.cos(turn))
    return total


def _condition(speed: int, place: str, noise: str) -> Condition:
    return Condition(attributes={"vel": str(speed), "loc": place}, noise=noise, snr_db=4.0, position="ABC".index(place))


MACHINE = Machine(
    name="bearing",
    subset="dev",
    source=tuple(_condition(v, p, "hall") for v in (8, 14, 20) for p in "AB"),
    target=(_condition(11, "C", "machinery"), _condition(17, "C", "machinery")),
    causes=("outer_race", "inner_race", "ball", "broken_cage", "dirt", "starved_lubrication"),
    render=render,
    reverberation_s=0.3,
)
