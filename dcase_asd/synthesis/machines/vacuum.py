"""A vacuum cleaner that is switched on and off: turbine whine, suction noise, run-up and coasting, silence around it."""

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
    poisson_times,
    resonances,
    ring,
    shaped_noise,
    wander,
)

#: Cleaner: turns per second at full power, blades of the turbine, centre of the suction noise in Hz.
_CLEANERS: Mapping[str, tuple[float, int, float]] = {
    "A1": (335.0, 7, 1350.0),
    "A2": (352.0, 7, 1500.0),
    "B1": (298.0, 9, 1150.0),
    "B2": (312.0, 9, 1250.0),
    "C1": (324.0, 8, 1420.0),
    "C2": (341.0, 8, 1300.0),
}
#: Power step: share of the full speed. ``b`` is the step with the brush roller running.
_STEPS: Mapping[str, float] = {"L": 0.74, "M": 0.87, "H": 1.0}
_HOSE_MODES = ((820.0, 0.006, 0.6), (1900.0, 0.005, 0.6), (3600.0, 0.003, 0.5))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``car`` is the cleaner, ``spd`` its power step, ``mic`` the place (see the room)."""
    top_hz, n_blades, suction_hz = _CLEANERS[attributes["car"]]
    step = attributes["spd"]
    duration_s = n_samples / SAMPLE_RATE_HZ
    start_s = rng.uniform(0.08, 0.18) * duration_s
    stop_s = start_s + rng.uniform(0.58, 0.66) * duration_s
    power = gate(n_samples, start_s, stop_s, rise_s=0.5, fall_s=0.9)
    block = fault.of("clogged_nozzle")
    # a choked turbine moves less air: less load, higher speed
    pace = top_hz * _STEPS[step[0]] * jitter(rng, 0.010) * (1.0 + min(0.045 * block, 0.15))
    turn = phase_of(pace * (0.1 + 0.9 * power**0.5) * (1.0 + wander(n_samples, rng, tau_s=0.5, depth=0.002)), n_samples)
    whine = harmonics(n_blades * turn, [0.30 * jitter(rng, 0.2), 0.12, 0.05], rng=rng)
    whine += harmonics(turn, [a * jitter(rng, 0.2) for a in (0.26, 0.18, 0.08, 0.05, 0.04, 0.04)], rng=rng)
    air = shaped_noise(n_samples, rng, resonances([(suction_hz, 1500.0, 1.0), (3.1 * suction_hz, 2500.0, 0.5)], floor=0.12))
    total = whine + 0.78 * jitter(rng, 0.10) * air / (1.0 + 0.3 * block)
    if step.endswith("b"):
        roller = phase_of(61.0 * jitter(rng, 0.01) * (0.1 + 0.9 * power), n_samples)
        total += harmonics(roller, [0.16, 0.12, 0.18, 0.10, 0.08, 0.06, 0.05, 0.04], rng=rng)
    return 1.15 * power**1.2 * (total + _additions(turn, start_s=start_s, stop_s=stop_s, rng=rng, fault=fault))


def _additions(turn: Waveform, *, start_s: float, stop_s: float, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples = len(turn)
    total = np.zeros(n_samples)
    if fault.cause == "whistling_leak":
        pitch = 2150.0 * jitter(rng, 0.08) * (1.0 + wander(n_samples, rng, tau_s=0.2, depth=0.005))
        total += 0.27 * fault.severity * harmonics(phase_of(pitch, n_samples), [1.0, 0.4, 0.15], rng=rng)
    if fault.cause == "worn_brushes":
        spark = shaped_noise(n_samples, rng, resonances([(6200.0, 2500.0, 1.0)]))
        total += 0.15 * fault.severity * spark * (1.0 + np.cos(turn / 2.0)) * (1.0 + np.cos(phase_of(100.0, n_samples)))
    if fault.cause == "rattling_debris":
        times_s = poisson_times(rng, rate_hz=9.0, start_s=start_s, stop_s=stop_s)
        total += 2.8 * fault.severity * ring(excitation(n_samples, times_s, rng.gamma(2.0, 0.6, len(times_s))), _HOSE_MODES)
    if fault.cause == "unbalanced_turbine":
        sway = 1.0 + 0.8 * np.cos(phase_of(6.5 * jitter(rng, 0.2), n_samples))
        total += 0.32 * fault.severity * sway * harmonics(turn, [1.0, 0.3, 0.3, 0.1], rng=rng)
    if fault.cause == "clogged_nozzle":
        flutter = np.maximum(np.sin(phase_of(17.0 * jitter(rng, 0.1), n_samples)), 0.0)
        total += 0.30 * fault.severity * flutter * shaped_noise(n_samples, rng, resonances([(420.0, 350.0, 1.0)]))
    return total


def _condition(car: str, step: str, mic: int) -> Condition:
    attributes = {"car": car, "spd": step, "mic": str(mic)}
    return Condition(attributes=attributes, noise="hall" if mic == 1 else "conveyor", snr_db=6.0, position=mic)


MACHINE = Machine(
    name="Vacuum",
    subset="eval",
    source=(_condition("A1", "M", 1), _condition("A2", "H", 1), _condition("B1", "Lb", 1), _condition("B2", "Mb", 1)),
    target=(_condition("C1", "Mb", 2), _condition("C2", "H", 2)),
    causes=("clogged_nozzle", "whistling_leak", "worn_brushes", "rattling_debris", "unbalanced_turbine"),
    render=render,
    reverberation_s=0.45,
)
