"""An industrial axial fan: seven blades, induction motor, turbulence. The domain is what else runs in the hall."""

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
    ring,
    shaped_noise,
    sloped,
    times_of_phase,
    wander,
)

_N_BLADES = 7
#: Four-pole induction motor on 50 Hz mains with 2 % slip: 24.5 turns per second.
_SHAFT_HZ = 24.5
_BLADE_PARTIALS = (0.55, 0.36, 0.22, 0.15, 0.10, 0.06, 0.04)
_GUARD_MODES = ((1130.0, 0.012, 0.5), (2310.0, 0.008, 0.45), (3720.0, 0.005, 0.35))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound of the fan; its attribute (the noise mixed in) does not change the fan itself."""
    del attributes
    load = jitter(rng, 0.10)
    slip = 0.008 * rng.standard_normal() + wander(n_samples, rng, tau_s=1.5, depth=0.0015)
    phase = phase_of(_SHAFT_HZ * (1.0 + slip), n_samples, start_rad=rng.uniform(0, 2 * np.pi))
    clog = fault.of("clogged_inlet")
    blades = harmonics(_N_BLADES * phase, [a * jitter(rng, 0.15) / (1.0 + 0.3 * clog) for a in _BLADE_PARTIALS], rng=rng)
    uneven = harmonics(phase, [0.03 * jitter(rng, 0.4) for _ in range(30)], rng=rng)
    slope = -5.0 * jitter(rng, 0.05)
    turbulence = 0.78 * load * shaped_noise(n_samples, rng, sloped(420.0, slope)) * (1.0 + 0.12 * np.cos(_N_BLADES * phase))
    hum = harmonics(phase_of(100.0, n_samples), [0.14, 0.06, 0.05, 0.02], rng=rng)
    sound = load * (blades + uneven) + turbulence + hum
    return sound * _swing(phase, fault) + _additions(phase, rng=rng, fault=fault)


def _swing(phase: Waveform, fault: Fault) -> Waveform:
    """Once-per-turn modulation: an unbalanced rotor sways, a bent blade passes the microphone with a gust."""
    sway = np.minimum(0.40 * fault.of("imbalance"), 0.8) * np.cos(phase)
    gust = np.minimum(0.8 * fault.of("bent_blade"), 2.5) * np.exp(8.0 * (np.cos(phase) - 1.0))
    return np.asarray(1.0 + sway + gust)


def _additions(phase: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples, duration_s = len(phase), len(phase) / SAMPLE_RATE_HZ
    total = np.zeros(n_samples)
    if fault.cause == "imbalance":
        total += fault.severity * harmonics(phase, [0.34, 0.20, 0.11], rng=rng)
    if fault.cause == "bent_blade":
        total += fault.severity * harmonics(phase, [0.0 if k % _N_BLADES == 0 else 0.06 for k in range(1, 25)], rng=rng)
    if fault.cause == "clogged_inlet":
        surge = 1.0 + 0.7 * np.sin(phase_of(3.1 * jitter(rng, 0.1), n_samples))
        total += 0.44 * fault.severity * surge * shaped_noise(n_samples, rng, sloped(90.0, -9.0))
    if fault.cause == "loose_guard":
        hits = times_of_phase(phase, offset=rng.random())
        start_s = rng.uniform(0.0, 0.5 * duration_s)
        taken = (rng.random(len(hits)) < 0.6) & (hits > start_s) & (hits < start_s + 0.45 * duration_s)
        blows = excitation(n_samples, hits[taken], rng.gamma(3.0, 1.2, int(taken.sum())))
        total += fault.severity * ring(blows, _GUARD_MODES)
    if fault.cause == "dry_bearing":
        pitch = 2750.0 * jitter(rng, 0.05) * (1.0 + wander(n_samples, rng, tau_s=0.3, depth=0.006))
        start_s = rng.uniform(0.0, 0.4 * duration_s)
        squeal = harmonics(phase_of(pitch, n_samples), [0.22, 0.07], rng=rng) * (1.0 + 0.6 * np.cos(phase))
        total += fault.severity * squeal * gate(n_samples, start_s, start_s + 0.6 * duration_s, rise_s=0.2, fall_s=0.2)
    return total


def _condition(mixed: str, noise: str) -> Condition:
    return Condition(attributes={"m-n": mixed}, noise=noise, snr_db=3.0)


MACHINE = Machine(
    name="fan",
    subset="dev",
    source=(_condition("W", "machinery"), _condition("X", "compressor")),
    target=(_condition("Y", "press"), _condition("Z", "conveyor")),
    causes=("imbalance", "bent_blade", "clogged_inlet", "loose_guard", "dry_bearing"),
    render=render,
    reverberation_s=0.35,
)
