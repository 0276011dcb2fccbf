"""The features of the baseline recipes are those of the official baseline, against librosa called as it calls it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dcase_asd.pipeline.recipe import RunOptions, load_config
from dcase_asd.pipeline.settings import plugin_config

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "synthetic" / "asd1"


def _config(name: str) -> dict[str, object]:
    return load_config(RunOptions(recipe=RECIPE, conf=Path("conf") / name))


def test_both_recipes_have_the_same_official_features_and_whole_clips() -> None:
    beside, alone = _config("baselines.yaml"), _config("official_baseline.yaml")
    assert beside["extra_features"]["official"] == alone["features"]
    for config, extractor in ((beside, "clips"), (alone, "frames")):
        assert config["extractors"][extractor]["entry"]["segments"]["length_s"] == 0.0
    assert beside["features"]["n_mels"] == 224
    assert {"official_mse", "official_mahala"} <= set(beside["ensembles"]) & set(beside["evaluate"]["comparators"])
    assert alone["detectors"]["official"]["detector"]["epochs"] == 100


@pytest.mark.parametrize("n_samples", [16000, 96000])
def test_log_mel_equals_librosa_with_the_official_call(n_samples: int) -> None:
    import librosa

    rng = np.random.default_rng(0)
    waveform = (0.1 * rng.normal(size=n_samples)).astype(np.float32)
    mel = librosa.feature.melspectrogram(y=waveform, sr=16000, n_fft=1024, hop_length=512, n_mels=128, power=2.0)
    expected = 20.0 / 2.0 * np.log10(np.maximum(mel, sys.float_info.epsilon))
    plugin, config = plugin_config("features", _config("official_baseline.yaml")["features"])
    found = plugin.implementation(config).compute(waveform)
    assert found.shape == expected.T.shape == (1 + n_samples // 512, 128)
    # single precision of two FFT orders, in dB
    np.testing.assert_allclose(found, expected.T, atol=2e-3)
