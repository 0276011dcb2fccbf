import logging

import numpy as np
import pytest

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import AudioError, ConfigError
from dcase_asd.features.log_mel import Config, LogMel
from dcase_asd.features.mel import BandedFilters, mel_filters


def _chirp(n_samples, rate=16000):
    """100 Hz to 7 kHz, decaying by 60 dB, over a faint quadratic-phase hiss: every band, and made of arithmetic alone."""
    t = np.arange(n_samples) / rate
    end = n_samples / rate
    sweep = np.sin(2 * np.pi * (100 * t + 6900 / (2 * end) * t**2)) * 10 ** (-3 * t / end)
    return (sweep + 0.01 * np.sin(0.37 * np.arange(n_samples) ** 2)).astype(np.float32)


def _make(**values):
    return LogMel(Config(standardise="none", **values))


VARIANTS = [
    {},
    {"center": True},
    {"center": True, "pad_mode": "constant"},
    {"power": 1.0, "scale": "none"},
    {"scale": "db"},
    {"power": 1.0, "scale": "db", "eps": 1e-5},
    {"mel_scale": "htk", "mel_norm": "none"},
    {"window_s": 0.064, "hop_s": 0.01, "n_mels": 64, "window": "hamming"},
    {"window_s": 0.063, "hop_s": 0.0201, "n_mels": 40, "f_min_hz": 0.0, "f_max_hz": 8000.0, "window": "blackman"},
]


@pytest.mark.parametrize("values", VARIANTS, ids=lambda v: ",".join(f"{k}={x}" for k, x in v.items()) or "seed")
def test_backends_agree(values):
    x = _chirp(20_000)
    reference = _make(backend="librosa", **values).compute(x)
    for backend in ("native", "torchaudio"):
        feature = _make(backend=backend, **values)
        got = feature.compute(x)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        assert got.shape == reference.shape == (feature.n_frames(len(x)), *feature.frame_shape)
        # float32 FFTs of 2048 points differ by 1e-6 of the largest bin, 60 dB above the smallest
        np.testing.assert_allclose(got, reference, rtol=2e-4, atol=1e-3 if values.get("scale") != "none" else 1e-6)


def test_golden_numbers_of_librosa():
    # librosa 0.11.0: log(max(melspectrogram(y=_chirp(32000), sr=16000, n_fft=2048, hop_length=256, center=False,
    # n_mels=224, fmin=50, fmax=7800), 1e-10))[mel, frame], in float64 input
    golden = {
        (19, 0): 7.36765,
        (10, 0): 5.70212,
        (120, 0): -4.83375,
        (200, 0): -4.74858,
        (140, 40): 2.88716,
        (10, 40): -5.77033,
        (120, 40): -4.81554,
        (200, 40): -4.86907,
        (187, 80): -1.65707,
        (10, 80): -5.48535,
        (120, 80): -4.73208,
        (200, 80): -4.79561,
        (40, 117): -4.56571,
        (10, 117): -4.71149,
        (120, 117): -5.12917,
        (200, 117): -5.21719,
    }
    got = _make().compute(_chirp(32_000))
    assert got.shape == (118, 224)
    for (mel, frame), value in golden.items():
        assert got[frame, mel] == pytest.approx(value, abs=2e-3), (mel, frame)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", "none"])
def test_mel_filters_equal_librosas(scale, norm):
    import librosa

    ours = mel_filters(sample_rate_hz=22050, n_fft=1024, n_mels=80, f_min_hz=30, f_max_hz=9000, scale=scale, norm=norm)
    theirs = librosa.filters.mel(
        sr=22050, n_fft=1024, n_mels=80, fmin=30, fmax=9000, htk=scale == "htk", norm=None if norm == "none" else norm
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7 * theirs.max())


def test_banded_product_equals_the_full_one():
    filters = mel_filters(sample_rate_hz=16000, n_fft=512, n_mels=37, f_min_hz=0, f_max_hz=8000)
    spectra = np.random.default_rng(0).random((11, 257), dtype=np.float32)
    out = np.full((11, 37), np.nan, np.float32)
    BandedFilters(filters, group=5).apply(spectra, out)
    np.testing.assert_allclose(out, spectra @ filters.T, rtol=1e-5)


def test_the_seeds_parameters_are_the_defaults():
    feature = LogMel(Config())
    # Fujimura 2023, Section 4.2; 5.0 s at 16 ms are 312.5 frames
    assert (feature.grid.window, feature.grid.hop, feature.frame_shape) == (2048, 256, (224,))
    assert feature.frame_rate_hz == 62.5
    assert feature.input_rate_hz == 16000
    assert feature.n_frames(160_000) == 618
    assert registry.load("features", "log_mel").implementation is LogMel


def test_a_tone_lies_in_its_mel_bin():
    from dcase_asd.features.mel import hz_to_mel, mel_to_hz

    low, high = hz_to_mel(50, scale="slaney"), hz_to_mel(7800, scale="slaney")
    centres = mel_to_hz(np.linspace(low, high, 226), scale="slaney")[1:-1]
    x = np.sin(2 * np.pi * centres[150] * np.arange(16_000) / 16_000).astype(np.float32)
    assert (_make().compute(x).argmax(axis=1) == 150).all()


def test_computing_again_gives_the_same_bits_and_keeps_the_input():
    feature, x = _make(), _chirp(70_000)
    before = x.copy()
    first = feature.compute(x)
    feature.compute(_chirp(30_000))
    assert feature.compute(x).tobytes() == first.tobytes()
    assert x.tobytes() == before.tobytes()
    x.flags.writeable = False
    assert feature.compute(x).tobytes() == first.tobytes()


def test_two_threads_do_not_share_a_buffer():
    from concurrent.futures import ThreadPoolExecutor

    feature = _make()
    clips = [_chirp(40_000) * (i + 1) for i in range(8)]
    alone = [feature.compute(x).tobytes() for x in clips]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda x: feature.compute(x).tobytes(), clips)) == alone


def test_silence_is_the_floor():
    np.testing.assert_allclose(_make(eps=1e-8).compute(np.zeros(4096, np.float32)), np.log(1e-8), rtol=1e-6)
    db = _make(eps=1e-5, power=1.0, scale="db").compute(np.zeros(4096, np.float32))
    np.testing.assert_allclose(db, -100.0, rtol=1e-6)


def test_mel_bins_without_an_fft_bin_are_named(caplog):
    with caplog.at_level(logging.WARNING):
        _make(window_s=0.016)
    assert "mel bins hold no FFT bin" in caplog.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"f_max_hz": 9000.0}, "f_max_hz"),
        ({"f_min_hz": 7800.0}, "f_min_hz"),
        ({"n_mels": 0}, "n_mels"),
        ({"power": 3.0}, "power"),
        ({"eps": 0.0}, "eps"),
        ({"hop_s": 0.0}, "hop_s"),
        ({"channel": "left"}, "channel"),
        ({"sample_rate_hz": 8000, "f_max_hz": 4000.0}, "highpass"),
        ({"window": "kaiser"}, "window"),
        ({"n_mel": 3}, "did you mean 'n_mels'"),
        ({"highpass": {"passband": 1}}, "passband_hz"),
    ],
)
def test_wrong_configurations_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        configs.build(Config, values)


def test_a_short_clip_is_refused():
    with pytest.raises(AudioError, match="found 100"):
        _make().compute(np.zeros(100, np.float32))
