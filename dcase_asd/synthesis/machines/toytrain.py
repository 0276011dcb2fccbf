"""A toy train that runs past once: axle pairs over rail joints, motor and wheels; silence at both ends."""

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

#: Train: positions of its axles in m (locomotive and waggons), motor partial weight, ring of its wheels in Hz.
_TRAINS: Mapping[str, tuple[tuple[float, ...], float, float]] = {
    "A1": ((0.0, 0.03, 0.09, 0.12, 0.18, 0.21), 0.30, 2350.0),
    "A2": ((0.0, 0.025, 0.10, 0.125), 0.38, 2600.0),
    "B1": ((0.0, 0.035, 0.11, 0.145, 0.22, 0.255), 0.26, 2150.0),
    "C1": ((0.0, 0.03, 0.10, 0.13, 0.20, 0.23, 0.30, 0.33), 0.34, 2480.0),
    "C2": ((0.0, 0.03, 0.08, 0.11), 0.28, 2250.0),
}
#: Speed step of the controller to m/s; length of a rail and girth of a wheel in m.
_SPEED_M_S, _RAIL_M, _GIRTH_M = 0.055, 0.17, 0.034
_TRACK_MODES = ((420.0, 0.012, 0.8), (980.0, 0.008, 0.8), (1850.0, 0.006, 0.5))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``car`` is the train, ``spd`` the step of the controller, ``mic`` the place (see the room)."""
    axles, motor_gain, wheel_hz = _TRAINS[attributes["car"]]
    duration_s = n_samples / SAMPLE_RATE_HZ
    speed, run, envelope = _journey(int(attributes["spd"]) * _SPEED_M_S, duration_s, rng=rng)
    speed *= 1.0 + wander(n_samples, rng, tau_s=0.4, depth=0.008 + 0.05 * min(fault.of("slipping_wheel"), 3.0))
    travel = 2 * np.pi * (np.cumsum(speed) / SAMPLE_RATE_HZ / _RAIL_M + rng.random())
    wheel = travel * _RAIL_M / _GIRTH_M
    joints = [times_of_phase(travel + 4 * np.pi, offset=at / _RAIL_M) for at in axles]
    clacks = np.concatenate(joints)
    worse = fault.of("broken_joint")
    heights = np.exp(0.25 * rng.standard_normal(len(clacks))) * 0.8
    if worse:
        bad = rng.uniform(0.3, 0.7) * float(np.ptp(travel)) + travel[0]
        near = np.interp(clacks, np.arange(n_samples) / SAMPLE_RATE_HZ, travel)
        heights[np.abs(near - bad) < 2 * np.pi * 1.1] *= 1.0 + 2.5 * worse
    modes = [*_TRACK_MODES, (wheel_hz * jitter(rng, 0.01), 0.010, 0.5), (2.1 * wheel_hz, 0.006, 0.3)]
    sound = ring(excitation(n_samples, clacks, heights * (speed.max() / 0.4)), modes)
    motor = harmonics(9.0 * wheel, [motor_gain * a * jitter(rng, 0.2) for a in (1.0, 0.4, 0.7, 0.2, 0.3, 0.1)], rng=rng)
    roll = shaped_noise(
        n_samples, rng, resonances([(980.0, 500.0, 0.8), (wheel_hz, 800.0, 1.0), (4300.0, 1800.0, 0.4)], floor=0.07)
    )
    sound += run * (motor + 0.62 * jitter(rng, 0.12) * (speed.max() / 0.4) * roll * (1.0 + 0.15 * np.cos(wheel)))
    return 1.45 * envelope * (sound + run * _additions(wheel, rng=rng, fault=fault))


def _journey(speed_m_s: float, duration_s: float, *, rng: np.random.Generator) -> tuple[Waveform, Waveform, Waveform]:
    """Return speed ``[sample]`` in m/s, the same relative to the top, and loudness by distance."""
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    drive_s = duration_s * 0.6 * (0.44 / speed_m_s) ** 0.4 * jitter(rng, 0.03)
    start_s = rng.uniform(0.10, 0.22) * duration_s
    run = gate(n_samples, start_s, start_s + drive_s, rise_s=0.4, fall_s=0.4)
    middle_s = start_s + drive_s * rng.uniform(0.44, 0.56)
    along = 2.2 * (np.arange(n_samples) / SAMPLE_RATE_HZ - middle_s) / drive_s
    return speed_m_s * jitter(rng, 0.012) * run, run, 0.6 / np.hypot(0.6, along)


def _additions(wheel: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples, duration_s = len(wheel), len(wheel) / SAMPLE_RATE_HZ
    total = np.zeros(n_samples)
    if fault.cause == "flat_wheel":
        times_s = times_of_phase(wheel, offset=rng.random())
        blows = excitation(n_samples, times_s, np.exp(0.2 * rng.standard_normal(len(times_s))))
        total += 1.5 * fault.severity * ring(blows, _TRACK_MODES)
    if fault.cause == "squealing_axle":
        pitch = 3450.0 * jitter(rng, 0.06) * (1.0 + wander(n_samples, rng, tau_s=0.1, depth=0.008))
        total += 0.26 * fault.severity * harmonics(phase_of(pitch, n_samples), [1.0, 0.3], rng=rng) * (1.0 + np.cos(wheel))
    if fault.cause == "obstacle":
        start_s = rng.uniform(0.35, 0.6) * duration_s
        bumps = start_s + np.cumsum(rng.exponential(0.05, 5))
        total += 3.8 * fault.severity * ring(excitation(n_samples, bumps, rng.gamma(4.0, 0.3, 5)), _TRACK_MODES)
    if fault.cause == "slipping_wheel":
        rub = shaped_noise(n_samples, rng, resonances([(5200.0, 1800.0, 1.0)]))
        total += 0.36 * fault.severity * rub * np.clip(wander(n_samples, rng, tau_s=0.15, depth=1.0), 0.0, 2.0)
    return total


def _condition(car: str, step: int, mic: int) -> Condition:
    attributes = {"car": car, "spd": str(step), "mic": str(mic)}
    return Condition(attributes=attributes, noise="hall" if mic == 1 else "machinery", snr_db=6.0, position=mic)


MACHINE = Machine(
    name="ToyTrain",
    subset="dev",
    source=tuple(_condition(c, s, 1) for c in ("A1", "A2", "B1") for s in (7, 10)),
    target=(_condition("C1", 6, 2), _condition("C2", 9, 2)),
    causes=("flat_wheel", "broken_joint", "squealing_axle", "obstacle", "slipping_wheel"),
    render=render,
    reverberation_s=0.4,
)
