"""The machines: loudness, attributes that can be heard, faults that leave the trace their physics asks for."""

from __future__ import annotations

import numpy as np
import pytest

from dcase_asd.errors import UnknownNameError
from dcase_asd.synthesis.machine import HEALTHY, Condition, Fault
from dcase_asd.synthesis.machines import machine_of, machines
from dcase_asd.synthesis.recording import Take, record

N = 6 * 16000


def dry(name: str, cause: str = "", *, severity: float = 1.0, condition: Condition | None = None, seed: int = 0) -> np.ndarray:
    machine = machine_of(name)
    attributes = (condition or machine.source[0]).attributes
    fault = Fault(cause, severity) if cause else HEALTHY
    return machine.render(attributes, n_samples=N, rng=np.random.default_rng(seed), fault=fault)


def spectrum(signal: np.ndarray) -> np.ndarray:
    """Amplitude spectrum in bins of 1/6 Hz."""
    return np.abs(np.fft.rfft(signal * np.hanning(len(signal))))


def line(values: np.ndarray, frequency_hz: float, *, spread_hz: float = 1.0) -> float:
    """Peak within the spread over the median of the 20 Hz around."""
    at, near, far = (round(6 * f) for f in (frequency_hz, spread_hz, 10.0))
    return float(values[at - near : at + near + 1].max() / np.median(values[max(at - far, 1) : at + far]))


@pytest.mark.parametrize("name", sorted(machines()))
def test_healthy_level_while_running_is_about_one(name: str) -> None:
    levels = []
    for seed, condition in enumerate(machine_of(name).source + machine_of(name).target):
        frames = dry(name, condition=condition, seed=seed).reshape(-1, 800).std(axis=1)
        levels.append(np.sqrt(np.mean(frames[frames > 0.3 * frames.max()] ** 2)))
    # the valve is nothing but clicks: its level while clicking is far over its mean
    assert 0.6 < np.mean(levels) < (4.0 if name == "valve" else 1.5)


@pytest.mark.parametrize(("name", "cause"), [(m.name, c) for m in machines().values() for c in m.causes])
def test_every_cause_changes_the_sound_and_keeps_it_sane(name: str, cause: str) -> None:
    sick = dry(name, cause)
    assert np.isfinite(sick).all()
    assert sick.shape == (N,)
    change_db = 20 * np.log10(np.std(sick - dry(name)) / np.std(sick))
    assert change_db > -30.0
    assert abs(20 * np.log10(sick.std() / dry(name).std())) < 4.0


@pytest.mark.parametrize("name", sorted(machines()))
def test_same_take_same_samples_and_no_clipping(name: str) -> None:
    machine = machine_of(name)
    take = Take(key="x", condition=machine.target[0], cause=machine.causes[0])
    first, second = (record(machine, take, n_samples=32000, seed=3, difficulty=0.5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() < 1.0


@pytest.mark.parametrize("name", ["ToyCar", "ToyTrain", "ToyDrone", "Vacuum"])
def test_events_are_absent_at_both_ends(name: str) -> None:
    for seed in range(3):
        sound = dry(name, seed=seed)
        assert np.abs(sound[: int(0.07 * N)]).max() == 0.0
        assert np.abs(sound[-int(0.05 * N) :]).max() < 1e-6  # the last stroke may still ring out
        assert sound[N // 3 : N // 2].std() > 0.3


@pytest.mark.parametrize(
    ("cause", "order"),
    # SKF 6205 (CWRU bearing data): fault frequencies in multiples of the shaft's
    [("outer_race", 3.585), ("inner_race", 5.415), ("ball", 4.714)],
)
def test_bearing_faults_strike_at_the_kinematic_frequency(cause: str, order: float) -> None:
    shaft_hz = 8 * 100 / 60
    strengths = []
    for sound in (dry("bearing", cause, severity=2.0), dry("bearing")):
        # envelope spectrum of the band of the housing modes, the classical diagnosis
        band = np.fft.irfft(
            np.where((np.arange(N // 2 + 1) > 6 * 2400) & (np.arange(N // 2 + 1) < 6 * 4800), np.fft.rfft(sound), 0), N
        )
        envelope = band**2
        strengths.append(line(spectrum(envelope - envelope.mean()), order * shaft_hz, spread_hz=2.0))
    assert strengths[0] > 2.5 * strengths[1]


def test_eccentric_wheel_raises_the_sidebands_of_the_mesh() -> None:
    def sidebands(cause: str) -> float:
        values = spectrum(dry("gearbox", cause, severity=1.5))
        shaft = 1.5 * 15.5 * (1.06 - 0.06 * 0.95)  # volt, turns per volt, load of 50 g
        mesh = 19 * shaft
        centre = np.argmax(values[round(6 * 0.95 * mesh) : round(6 * 1.05 * mesh)]) + round(6 * 0.95 * mesh)
        step = round(centre / 57)  # the wheel's turning rate: mesh frequency by its 57 teeth
        sides = [values[centre + k * step - 4 : centre + k * step + 5].max() for k in (-1, 1)]
        return float(np.mean(sides) / values[centre - 4 : centre + 5].max())

    assert sidebands("eccentric_wheel") > 2.0 * sidebands("")


def test_lost_pulses_leave_fewer_clicks_and_a_leak_fills_the_pauses() -> None:
    def frames(cause: str) -> np.ndarray:
        return dry("valve", cause, severity=1.5).reshape(-1, 160).std(axis=1)

    healthy, lost, leak = frames(""), frames("lost_pulses"), frames("leak")
    assert (lost > 3.0).sum() < (healthy > 3.0).sum()
    assert np.percentile(leak, 10) > 1.5 * np.percentile(healthy, 10)


def test_dry_fan_bearing_squeals_at_one_frequency() -> None:
    ratio = spectrum(dry("fan", "dry_bearing", severity=1.5)) / spectrum(dry("fan"))
    smooth = np.convolve(ratio, np.full(60, 1 / 60), "same")
    assert 2300.0 < np.argmax(smooth) / 6 < 3300.0


def test_stuck_fault_is_local_in_time() -> None:
    change = (dry("ToyTrain", "obstacle") - dry("ToyTrain")).reshape(-1, 1600).std(axis=1)
    assert (change > 0.3 * change.max()).sum() < len(change) / 4


def test_speed_attribute_moves_the_tones() -> None:
    def blade_hz(step: str) -> float:
        condition = next(c for c in machine_of("gearbox").source if c.attributes["volt"] == step)
        values = spectrum(dry("gearbox", condition=condition))
        return float(np.argmax(values[6 * 250 : 6 * 900]) / 6 + 250)

    assert blade_hz("2.5") / blade_hz("1.5") == pytest.approx(2.5 / 1.5, rel=0.05)


def test_unknown_machine_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'valve'"):
        machine_of("valv")
