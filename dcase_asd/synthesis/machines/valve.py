"""A solenoid valve that opens and closes in a pattern: clicks, a puff of air, silence in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dcase_asd.synthesis.machine import Condition, Fault, Machine, Waveform
from dcase_asd.synthesis.signals import (
    SAMPLE_RATE_HZ,
    Mode,
    excitation,
    gate,
    harmonics,
    jitter,
    phase_of,
    resonances,
    ring,
    shaped_noise,
)

#: Pattern: (time of opening, time held open) in s within a cycle, and the cycle's length in s.
_PATTERNS: Mapping[str, tuple[tuple[tuple[float, float], ...], float]] = {
    "00": (((0.0, 0.25),), 0.80),
    "01": (((0.0, 0.12), (0.30, 0.12)), 1.00),
    "02": (((0.0, 0.60),), 1.20),
    "03": (((0.0, 0.10), (0.22, 0.10), (0.44, 0.30)), 1.30),
    "04": (((0.0, 0.35), (0.55, 0.12)), 1.05),
    "05": (((0.0, 0.18), (0.40, 0.40)), 1.25),
}
_OPEN_MODES = ((640.0, 0.010, 0.8), (1480.0, 0.008, 1.0), (2750.0, 0.006, 0.9), (4800.0, 0.004, 0.6), (6600.0, 0.003, 0.3))
_CLOSE_MODES = ((520.0, 0.012, 1.0), (1220.0, 0.009, 0.9), (2380.0, 0.005, 0.5), (4100.0, 0.003, 0.25))


def render(attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return the dry sound; ``pat`` names the opening pattern."""
    strokes = _strokes(attributes["pat"], n_samples / SAMPLE_RATE_HZ, rng=rng, fault=fault)
    opened, closed = strokes[:, 0], strokes[:, 1]
    force = np.exp(0.06 * rng.standard_normal((2, len(strokes)))) * jitter(rng, 0.1)
    dirt = fault.of("dirty_seat")
    # dirt on the seat cushions the blow: the high modes die first
    cushion = [(f, d / (1.0 + 0.25 * dirt), a * np.exp(-1.6 * dirt * (f / 4000.0))) for f, d, a in _CLOSE_MODES]
    clicks = ring(excitation(n_samples, opened, 1.5 * force[0]), _detuned(_OPEN_MODES, rng))
    clicks += ring(excitation(n_samples, closed, 1.2 * force[1]), _detuned(cushion, rng))
    if fault.cause == "broken_spring":
        times_s = (closed[:, None] + np.array([0.028, 0.047, 0.060])).ravel()
        bounce = np.tile([0.95, 0.65, 0.4], len(closed)) * np.repeat(force[1], 3) * fault.severity
        clicks += ring(excitation(n_samples, times_s, bounce), _detuned(_CLOSE_MODES, rng))
    flow = np.zeros(n_samples)
    for start_s, stop_s in strokes:
        flow += gate(n_samples, start_s + 0.004, stop_s + 0.01, rise_s=0.01, fall_s=0.03)
    hiss = shaped_noise(n_samples, rng, resonances([(3200.0, 2600.0, 1.0), (5600.0, 2000.0, 0.6)], floor=0.05))
    air = 0.10 * jitter(rng, 0.15) * flow * hiss
    hum = 0.02 * harmonics(phase_of(100.0, n_samples), [1.0, 0.5, 0.4], rng=rng) * flow
    return 7.0 * (clicks + air + hum + _additions(flow, rng=rng, fault=fault))


def _strokes(pattern: str, duration_s: float, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    """Return ``[stroke, (open, close)]`` in s, with the scatter of a healthy controller or of a faulty one."""
    steps, cycle_s = _PATTERNS[pattern]
    cycle_s *= jitter(rng, 0.01)
    starts = np.arange(-rng.random() * cycle_s, duration_s, cycle_s)
    strokes = np.array([(t + at, t + at + held) for t in starts for at, held in steps])
    strokes += 0.003 * rng.standard_normal(strokes.shape)
    late = fault.of("sticking_plunger")
    if late:
        stuck = rng.random(len(strokes)) < 0.5
        strokes[:, 0] += stuck * np.minimum(rng.gamma(3.0, 0.018 * late, len(strokes)), 0.09)
    if fault.of("lost_pulses"):
        lost = rng.random(len(strokes)) < min(0.25 * fault.severity, 0.7)
        lost[rng.integers(len(strokes))] = True
        strokes = strokes[~lost]
    return strokes


def _additions(flow: Waveform, *, rng: np.random.Generator, fault: Fault) -> Waveform:
    n_samples = len(flow)
    total = np.zeros(n_samples)
    if fault.cause == "leak":
        leak = shaped_noise(n_samples, rng, resonances([(4600.0 * jitter(rng, 0.05), 900.0, 1.0), (6300.0, 1500.0, 0.5)]))
        total += 0.035 * fault.severity * leak * (1.0 - 0.7 * np.minimum(flow, 1.0))
    if fault.cause == "chattering_coil":
        buzz = harmonics(phase_of(100.0, n_samples), [0.3 / k**0.3 for k in range(1, 30)], rng=rng)
        total += 0.14 * fault.severity * buzz * np.minimum(flow, 1.0)
    return total


def _detuned(modes: Sequence[Mode], rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Temperature and mounting move the modes a little from clip to clip."""
    return [(f * jitter(rng, 0.006), d * jitter(rng, 0.05), a * jitter(rng, 0.08)) for f, d, a in modes]


def _condition(pattern: str, noise: str) -> Condition:
    return Condition(attributes={"pat": pattern}, noise=noise, snr_db=0.0)


MACHINE = Machine(
    name="valve",
    subset="dev",
    source=tuple(_condition(p, "hall") for p in ("00", "01", "02", "03")),
    target=tuple(_condition(p, "compressor") for p in ("04", "05")),
    causes=("sticking_plunger", "lost_pulses", "leak", "chattering_coil", "dirty_seat", "broken_spring"),
    render=render,
    reverberation_s=0.3,
)
