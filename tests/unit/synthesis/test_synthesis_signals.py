"""Building blocks: against direct formulas, and the laws they must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcase_asd.errors import UnknownNameError
from dcase_asd.synthesis import signals
from dcase_asd.synthesis.noise import NOISES, factory_noise
from dcase_asd.synthesis.recording import clip_seed, strength
from dcase_asd.synthesis.room import reverberate, room_response


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("first", [1, 3])
def test_harmonics_equal_a_sum_of_cosines(first: int) -> None:
    phase = signals.phase_of(np.linspace(90.0, 130.0, 9000), 9000)
    amplitudes = [0.5, 0.0, 0.3, 0.2]
    starts = 2 * np.pi * generator().random(4)
    direct = sum(a * np.cos((first + k) * phase + s) for k, (a, s) in enumerate(zip(amplitudes, starts, strict=True)))
    # 1e-9: the sine table is exact to 1e-12, the powers of its entries to a few times that
    np.testing.assert_allclose(signals.harmonics(phase, amplitudes, rng=generator(), first=first), direct, atol=1e-9)


def test_harmonics_above_the_top_are_left_out() -> None:
    tone = signals.harmonics(signals.phase_of(3000.0, 16000), [0.0, 0.0, 1.0], rng=generator())
    assert np.abs(tone).max() == 0.0


def test_phase_of_constant_frequency_and_passing_times() -> None:
    phase = signals.phase_of(25.0, 16000)
    # one sample of play: a time is that of the first sample past the mark
    np.testing.assert_allclose(signals.times_of_phase(phase), np.arange(1, 25) / 25.0, atol=1.01 / 16000)
    np.testing.assert_allclose(signals.times_of_phase(phase, turns=5.0), np.arange(1, 5) / 5.0, atol=1.01 / 16000)


@settings(max_examples=25, deadline=None)
@given(st.integers(2000, 20000), st.floats(60.0, 3000.0), st.floats(-12.0, 0.0), st.integers(0, 99))
def test_shaped_noise_has_unit_power_and_no_offset(n_samples: int, corner_hz: float, slope: float, seed: int) -> None:
    noise = signals.shaped_noise(n_samples, generator(seed), signals.sloped(corner_hz, slope))
    assert noise.shape == (n_samples,)
    assert abs(noise.mean()) < 1e-9
    # narrow spectra over 0.1 s have few degrees of freedom: a loose bound
    assert 0.3 < noise.std() < 2.0


def test_shaped_noise_follows_its_gain() -> None:
    noise = signals.shaped_noise(320000, generator(), signals.sloped(500.0, -6.0, low_hz=1.0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    band = [power[int(f * 20 * 0.9) : int(f * 20 * 1.1)].mean() for f in (1000.0, 2000.0, 4000.0)]
    # 6 dB per octave; each band holds some thousand bins, so 0.3 dB is six deviations
    np.testing.assert_allclose(np.diff(10 * np.log10(band)), [-6.0, -6.0], atol=0.5)


def test_ring_of_a_pulse_is_a_decaying_sine() -> None:
    pulse = signals.excitation(1600, [0.01], 2.0)
    time_s = np.arange(1600) / 16000 - 0.01
    expected = np.where(time_s >= 0, 2.0 * 0.5 * np.exp(-time_s / 0.02) * np.sin(2 * np.pi * 700.0 * time_s), 0.0)
    np.testing.assert_allclose(signals.ring(pulse, [(700.0, 0.02, 0.5)]), expected, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-0.1, 0.3), max_size=8))
def test_excitation_keeps_the_strength_of_the_pulses_inside(times_s: list[float]) -> None:
    pulses = signals.excitation(3200, np.array(times_s), 1.0)
    inside = [t for t in times_s if 0 <= t * 16000 < 3199]
    assert pulses.sum() == pytest.approx(len(inside))


def test_gate_is_closed_outside_open_inside_and_smooth() -> None:
    envelope = signals.gate(16000, 0.2, 0.8, rise_s=0.1, fall_s=0.2)
    assert envelope[:3200].max() == 0.0
    assert envelope[12800:].max() == 0.0
    assert envelope[4800:9600].min() == 1.0
    assert envelope[4000] == pytest.approx(0.5, abs=1e-3)
    assert np.abs(np.diff(envelope)).max() < 0.002
    assert signals.gate(1600, -1.0, 5.0).min() == 1.0


def test_wander_has_the_asked_for_depth() -> None:
    slow = signals.wander(16000 * 400, generator(), tau_s=0.5, depth=0.1)
    assert slow.std() == pytest.approx(0.1, rel=0.1)  # 400 independent stretches: 5 % deviation


def test_room_belongs_to_the_place_and_keeps_the_level() -> None:
    first, again, other = (
        room_response(place, reverberation_s=0.3, rng=generator(seed)) for place, seed in (("a/0", 1), ("a/0", 2), ("b/0", 1))
    )
    alike, unlike = np.corrcoef(first, again)[0, 1], np.corrcoef(first[1:], other[1:])[0, 1]
    assert 0.9 < alike < 1.0
    assert abs(unlike) < 0.3
    noise = generator().standard_normal(32000)
    assert reverberate(noise, first).std() == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(reverberate(noise, first)[:500], np.convolve(noise[:500], first)[:500], atol=1e-9)


@pytest.mark.parametrize("kind", sorted(NOISES))
def test_factory_noise_has_about_unit_level(kind: str) -> None:
    # the median over clips: a clank in one of them may be loud
    levels = [factory_noise(kind, n_samples=32000, rng=generator(s)).std() for s in range(9)]
    assert 0.75 < np.median(levels) < 1.3


def test_unknown_noise_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'press'"):
        factory_noise("pres", n_samples=100, rng=generator())


def test_clip_seeds_differ_by_every_part() -> None:
    seeds = {tuple(clip_seed(s, m, k)) for s in (0, 1) for m in ("fan", "valve") for k in ("a_0", "a_1")}
    assert len(seeds) == 8


def test_strength_falls_with_difficulty_and_is_one_at_the_default() -> None:
    assert strength(0.5) == 1.0
    assert strength(0.0) == pytest.approx(10**0.45)
    assert strength(1.0) == pytest.approx(10**-0.45)
