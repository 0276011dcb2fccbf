"""A toy car that drives past the microphone once: motor whine, gear mesh, tyres; nothing but the room before and after."""

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

#: Car: teeth of the pinion, gear ratio to the wheels, loudness of its tyres, body resonance in Hz.
_CARS: Mapping[str, tuple[int, float, float, float]] = {
    "A1": (9, 5.2, 0.50, 1180.0),
    "A2": (11, 4.4, 0.62, 1430.0),
    "B1": (8, 6.1, 0.44, 930.0),
    "C1": (10, 4.8, 0.56, 1300.0),
    "C2": (12, 5.6, 0.48, 1040.0),
}
#: Motor turns per second and volt of the supply.
_HZ_PER_VOLT = 4.4
_CRACK_MODES = ((1700.0, 0.006, 0.6), (3100.0, 0.004, 0.6), (5200.0, 0.003, 0.4))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``car`` sets gears and body, ``spd`` the supply (V); ``mic`` and ``noise`` act in the room."""
    teeth, ratio, tyres, body_hz = _CARS[attributes["car"]]
    volt = float(attributes["spd"].rstrip("V"))
    envelope, run = _pass_by(volt, n_samples / SAMPLE_RATE_HZ, rng=rng, fault=fault)
    drag = 1.0 - min(0.05 * fault.of("wound_axle"), 0.2)
    hum = _HZ_PER_VOLT * volt * drag * jitter(rng, 0.012) * (0.15 + 0.85 * run)
    unsteady = 0.004 + 0.012 * fault.of("melted_gear")
    motor = phase_of(hum * (1.0 + wander(n_samples, rng, tau_s=0.15, depth=unsteady)), n_samples)
    wheel = motor / ratio + rng.uniform(0, 2 * np.pi)
    whine = harmonics(motor, [a * jitter(rng, 0.2) for a in (0.10, 0.12, 0.30, 0.07, 0.05, 0.20, 0.03, 0.03, 0.08)], rng=rng)
    mesh = harmonics(teeth * motor, [a * jitter(rng, 0.2) for a in (0.45, 0.22, 0.10, 0.05)], rng=rng)
    bent = min(0.45 * fault.of("bent_shaft"), 0.9)
    mesh *= 1.0 + 0.12 * np.cos(wheel) + bent * np.cos(wheel)
    rolling = shaped_noise(n_samples, rng, resonances([(body_hz, 600.0, 1.0), (2.3 * body_hz, 1300.0, 0.6)], floor=0.08))
    rolling *= tyres * jitter(rng, 0.12) * (volt / 34.0) * (1.0 + 0.15 * np.cos(2 * wheel) + 0.6 * bent * np.cos(wheel))
    sound = whine + mesh + rolling + _additions(motor, wheel, rng=rng, fault=fault)
    return 1.9 * envelope * sound


def _pass_by(volt: float, duration_s: float, *, rng: np.random.Generator, fault: Fault) -> tuple[Waveform, Waveform]:
    """Return loudness ``[sample]`` by distance and motor run-up ``[sample]`` between standstills (0 to 1)."""
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    drive_s = duration_s * 0.58 * (34.0 / volt) ** 0.5 * jitter(rng, 0.03) * (1.0 + 0.06 * min(fault.of("wound_axle"), 2.0))
    start_s = rng.uniform(0.12, 0.24) * duration_s
    run = gate(n_samples, start_s, start_s + drive_s, rise_s=0.35, fall_s=0.25)
    closest_s = start_s + drive_s * rng.uniform(0.42, 0.58)
    # metres: the track is about 3 m long and passes the microphone at 0.6 m
    along = 3.0 * (np.arange(n_samples) / SAMPLE_RATE_HZ - closest_s) / drive_s
    return 0.6 / np.hypot(0.6, along) * run**0.5, run


def _additions(motor: Waveform, wheel: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples = len(motor)
    total = np.zeros(n_samples)
    if fault.cause == "chipped_gear":
        times_s = times_of_phase(wheel, offset=rng.random())
        blows = excitation(n_samples, times_s, 1.7 * np.exp(0.2 * rng.standard_normal(len(times_s))))
        total += fault.severity * ring(blows, _CRACK_MODES)
    if fault.cause == "melted_gear":
        growl = shaped_noise(n_samples, rng, sloped(500.0, -6.0, low_hz=200.0))
        total += 0.28 * fault.severity * growl * (1.0 + 0.8 * np.cos(motor))
    if fault.cause == "wound_axle":
        rub = shaped_noise(n_samples, rng, resonances([(3600.0, 2200.0, 1.0)]))
        total += 0.34 * fault.severity * rub * np.maximum(np.cos(wheel), 0.0) ** 3
    if fault.cause == "loose_body":
        times_s = times_of_phase(wheel, turns=0.5)
        times_s = times_s[rng.random(len(times_s)) < 0.3] + 0.008 * rng.random()
        blows = excitation(n_samples, times_s, rng.gamma(2.0, 0.7, len(times_s)))
        total += fault.severity * ring(blows, [(640.0, 0.02, 0.7), (1520.0, 0.01, 0.6), (2700.0, 0.007, 0.4)])
    if fault.cause == "bent_shaft":
        total += 0.16 * fault.severity * harmonics(wheel, [1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2], rng=rng)
    return total


def _condition(car: str, volt: int, mic: int, noise: int) -> Condition:
    attributes = {"car": car, "spd": f"{volt}V", "mic": str(mic), "noise": str(noise)}
    return Condition(attributes=attributes, noise="hall" if noise == 1 else "press", snr_db=6.0, position=mic)


MACHINE = Machine(
    name="ToyCar",
    subset="dev",
    source=tuple(_condition(c, v, 1, 1) for c in ("A1", "A2", "B1") for v in (28, 37)),
    target=(_condition("C1", 31, 2, 2), _condition("C2", 40, 2, 2)),
    causes=("bent_shaft", "chipped_gear", "melted_gear", "wound_axle", "loose_body"),
    render=render,
    reverberation_s=0.4,
)
