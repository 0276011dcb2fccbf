import numpy as np
import pytest
from scipy import signal

from dcase_asd.errors import ConfigError
from dcase_asd.features.framing import FrameGrid
from dcase_asd.features.power import HighPass, high_pass, high_passed_power

RATE = 16000
GRID = FrameGrid(window=2048, hop=256)


def _tone(frequency_hz, n=RATE):
    return np.sin(2 * np.pi * frequency_hz * np.arange(n) / RATE).astype(np.float32)


@pytest.mark.parametrize("design", ["butter", "ellip", "cheby2"])
def test_6_khz_passes_and_1_khz_does_not(design):
    config = HighPass(design=design)
    high = high_passed_power(_tone(6000), config, sample_rate_hz=RATE, grid=GRID)
    low = high_passed_power(_tone(1000), config, sample_rate_hz=RATE, grid=GRID)
    middle = slice(10, -10)
    # the power of a sine is 1/2; 1 dB of ripple each way takes at most 2 dB
    assert high[middle].min() > 0.5 * 10**-0.2
    assert high[middle].max() < 0.5 * 1.001
    # 40 dB each way
    assert low[middle].max() < 0.5 * 10**-8 * 1.01


@pytest.mark.parametrize("design", ["butter", "ellip", "cheby2"])
def test_the_edges_hold_the_losses_asked_for(design):
    config = HighPass(design=design, ripple_db=0.5, attenuation_db=60.0)
    n = 1 << 16
    impulse = np.zeros(n, np.float32)
    impulse[n // 2] = 1.0
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(high_pass(impulse, config, sample_rate_hz=RATE))) + 1e-12)
    frequency = np.fft.rfftfreq(n, 1 / RATE)
    assert gain_db[frequency >= 4000].min() > -1.001  # twice 0.5 dB: forwards and backwards
    assert gain_db[frequency <= 3500].max() < -119.9


@pytest.mark.parametrize("n", [2, 5, 30, 4000])
@pytest.mark.parametrize("design", ["butter", "ellip", "cheby2"])
def test_equals_scipys_zero_phase_filter(design, n):
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    config = HighPass(design=design)
    edges = (4000.0, 3500.0, 1.0, 40.0)
    sections = {
        "butter": lambda: signal.iirdesign(*edges, ftype="butter", output="sos", fs=RATE),
        "ellip": lambda: signal.iirdesign(*edges, ftype="ellip", output="sos", fs=RATE),
        "cheby2": lambda: signal.iirdesign(*edges, ftype="cheby2", output="sos", fs=RATE),
    }[design]()
    padlen = min(3 * (2 * len(sections) + 1), n - 1)
    expected = signal.sosfiltfilt(sections, x.astype(np.float64), padlen=padlen)
    np.testing.assert_allclose(high_pass(x, config, sample_rate_hz=RATE), expected, rtol=1e-9, atol=1e-9)


def test_the_filter_delays_nothing():
    middle = 4000
    n = np.arange(2 * middle + 1) - middle
    burst = (np.cos(2 * np.pi * 6000 * n / RATE) * np.exp(-((n / 100) ** 2))).astype(np.float32)
    filtered = high_pass(burst, HighPass(), sample_rate_hz=RATE)
    assert np.abs(filtered).argmax() == middle
    np.testing.assert_allclose(filtered, filtered[::-1], atol=1e-6)  # float32 input: 6e-8 of 1


def test_edges_that_make_no_high_pass_are_refused():
    with pytest.raises(ConfigError, match="stopband_hz < passband_hz"):
        HighPass(passband_hz=3500.0, stopband_hz=4000.0)
    with pytest.raises(ConfigError, match="ripple_db"):
        HighPass(ripple_db=50.0)
    with pytest.raises(ConfigError, match="half the sampling rate of 8000"):
        high_pass(_tone(100), HighPass(), sample_rate_hz=8000)
