"""A toy drone: four two-bladed rotors that beat against each other; it takes off, hovers and lands within the clip."""

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
    times_of_phase,
    wander,
)

_N_BLADES = 2
#: Drone: rotor turns per second at step 2, reduction from motor to rotor, centre of its propeller noise in Hz.
_DRONES: Mapping[str, tuple[float, float, float]] = {
    "A1": (118.0, 5.0, 2300.0),
    "A2": (126.0, 5.0, 2600.0),
    "B1": (104.0, 6.2, 1900.0),
    "B2": (111.0, 6.2, 2100.0),
    "C1": (133.0, 5.6, 2450.0),
    "C2": (122.0, 5.6, 2200.0),
}
_ARM_MODES = ((1450.0, 0.006, 0.6), (2600.0, 0.005, 0.5), (4400.0, 0.003, 0.4))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``car`` is the drone, ``spd`` the step of its remote control, ``mic`` the place."""
    rate_hz, reduction, hiss_hz = _DRONES[attributes["car"]]
    rate_hz *= 1.0 + 0.09 * (int(attributes["spd"]) - 2)
    duration_s = n_samples / SAMPLE_RATE_HZ
    start_s = rng.uniform(0.10, 0.22) * duration_s
    flying = gate(n_samples, start_s, start_s + duration_s * rng.uniform(0.55, 0.64), rise_s=0.5, fall_s=0.3)
    battery = jitter(rng, 0.012)
    total = np.zeros(n_samples)
    for rotor in range(4):
        weak = min(0.09 * fault.of("weak_motor"), 0.4) if rotor == 0 else 0.0
        steering = wander(n_samples, rng, tau_s=0.3, depth=0.010)
        pace = rate_hz * battery * jitter(rng, 0.012) * (1.0 - weak) * (0.2 + 0.8 * flying) * (1.0 + steering)
        turn = phase_of(pace, n_samples, start_rad=rng.uniform(0, 2 * np.pi))
        blade = [a * jitter(rng, 0.2) for a in (0.30, 0.17, 0.10, 0.06, 0.05, 0.03, 0.02, 0.02)]
        total += harmonics(_N_BLADES * turn, blade, rng=rng)
        total += harmonics(reduction * turn, [0.05, 0.06, 0.03, 0.04], rng=rng)
        if rotor == 0:
            faulty = turn
            total += _rotor_fault(turn, rng=rng, fault=fault)
    hiss = shaped_noise(n_samples, rng, resonances([(hiss_hz, 2200.0, 1.0), (900.0, 700.0, 0.5)], floor=0.08))
    gust = 1.0 + np.minimum(0.35 * fault.of("chipped_blade"), 1.0) * np.cos(faulty)
    total += 0.6 * jitter(rng, 0.12) * hiss * gust * (1.0 + wander(n_samples, rng, tau_s=0.2, depth=0.08))
    return 1.25 * total * flying**1.5


def _rotor_fault(turn: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples = len(turn)
    total = np.zeros(n_samples)
    if fault.cause == "chipped_blade":
        total += fault.severity * harmonics(turn, [0.14, 0.0, 0.12, 0.0, 0.09, 0.0, 0.06, 0.0, 0.05], rng=rng)
    if fault.cause == "loose_arm":
        times_s = times_of_phase(turn, turns=4.0)
        times_s = times_s[rng.random(len(times_s)) < 0.5]
        total += 2.0 * fault.severity * ring(excitation(n_samples, times_s, rng.gamma(2.0, 0.5, len(times_s))), _ARM_MODES)
    if fault.cause == "dry_motor":
        scrape = shaped_noise(n_samples, rng, resonances([(5900.0, 1300.0, 1.0), (4200.0, 600.0, 0.5)]))
        total += 0.30 * fault.severity * scrape * np.maximum(np.cos(turn / 3.0), 0.0)
    if fault.cause == "touching_guard":
        times_s = times_of_phase(turn, turns=0.5)
        swing = np.interp(times_s, np.arange(n_samples) / SAMPLE_RATE_HZ, wander(n_samples, rng, tau_s=0.25, depth=1.0))
        times_s = times_s[swing > 0.7]
        total += 1.2 * fault.severity * ring(excitation(n_samples, times_s, 1.0), [(3300.0, 0.002, 0.8), (6200.0, 0.001, 0.6)])
    return total


def _condition(car: str, step: int, mic: int) -> Condition:
    attributes = {"car": car, "spd": str(step), "mic": str(mic)}
    return Condition(attributes=attributes, noise="hall" if mic == 1 else "compressor", snr_db=6.0, position=mic)


MACHINE = Machine(
    name="ToyDrone",
    subset="eval",
    source=(_condition("A1", 3, 1), _condition("A2", 3, 1), _condition("B1", 2, 1), _condition("B2", 2, 1)),
    target=(_condition("C1", 1, 2), _condition("C2", 1, 2)),
    causes=("chipped_blade", "weak_motor", "loose_arm", "dry_motor", "touching_guard"),
    render=render,
    reverberation_s=0.4,
)
