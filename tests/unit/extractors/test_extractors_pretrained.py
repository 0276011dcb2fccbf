"""Pretrained waveform networks: real loaders, tested with checkpoints of the right shape that are made here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.extractors import efficientat, panns
from dcase_asd.extractors._shared.waveform_networks import WEIGHTS_VARIABLE
from dcase_asd.extractors.efficientat import EfficientAt
from dcase_asd.extractors.embed import embed_store
from dcase_asd.extractors.log_mel_statistics import Config as StatisticsConfig
from dcase_asd.extractors.log_mel_statistics import LogMelStatistics
from dcase_asd.extractors.panns import Panns
from dcase_asd.features.store import FeatureStore
from dcase_asd.networks.mobilenetv3_audio import AudioMobileNetV3, MelFrontEnd

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("DCASE_ASD_SHARED", ROOT.parent / "shared"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    path = tmp_path / "poids é" / efficientat.CHECKPOINT.file
    path.parent.mkdir()
    torch.save(dict(AudioMobileNetV3(width=0.4).state_dict()), path)
    return path


def waveform(n: int = 3, n_samples: int = 32000) -> np.ndarray:
    return np.random.default_rng(5).normal(scale=0.1, size=(n, n_samples)).astype(np.float32)


def test_parameters_of_the_published_network() -> None:
    # the figure of the EfficientAT table for mn04_as: 0.98 M
    assert sum(p.numel() for p in AudioMobileNetV3(width=0.4).parameters()) == 983_599


def test_front_end_against_numpy() -> None:
    x = waveform(1, 4000)[0].astype(np.float64)
    emphasised = x[1:] - 0.97 * x[:-1]
    padded = np.pad(emphasised, 512, mode="reflect")
    window = np.zeros(1024)
    window[112:912] = np.hanning(800)
    mel = lambda f: 1127.0 * np.log(1.0 + f / 700.0)  # noqa: E731 - Kaldi's scale
    edges = np.linspace(mel(0.0), mel(15000.0), 130)
    at = mel(np.arange(513) * 32000 / 1024)
    rise = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rise, fall))
    frames = np.stack([padded[i : i + 1024] * window for i in range(0, len(padded) - 1023, 320)])
    expected = (np.log(filters @ np.abs(np.fft.rfft(frames)).T ** 2 + 1e-5) + 4.5) / 5.0
    found = MelFrontEnd()(torch.from_numpy(x[None].astype(np.float32))).numpy()[0, 0]
    assert found.shape == expected.shape
    # single precision; log(1e-5 + power) near its floor is the worst case
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(("pooling", "dim"), [("mean", 384), ("max", 384), ("mean_max", 768)])
def test_efficientat_pooling_and_map(checkpoint: Path, pooling: str, dim: int) -> None:
    extractor = EfficientAt(efficientat.Config(checkpoint=str(checkpoint), pooling=pooling, return_map=True))
    vector, at = extractor.embed(waveform())
    assert vector.shape == (3, dim)
    assert at is not None
    assert at.shape[:3] == (3, 384, 4)
    expected = {"mean": at.mean(axis=(2, 3)), "max": at.max(axis=(2, 3))}
    expected["mean_max"] = np.concatenate([expected["mean"], expected["max"]], axis=1)
    np.testing.assert_allclose(vector, expected[pooling], rtol=1e-4, atol=1e-6)


def test_efficientat_layers(checkpoint: Path) -> None:
    dims = {
        layer: EfficientAt(efficientat.Config(checkpoint=str(checkpoint), layer=layer)).embed(waveform(1))[0].shape[1]
        for layer in (0, 6, 15, 16, -1, -17)
    }
    assert dims == {0: 8, 6: 48 // 3, 15: 64, 16: 384, -1: 384, -17: 8}
    with pytest.raises(ConfigError, match="layer"):
        efficientat.Config(layer=17)


def test_saved_state_needs_no_checkpoint(checkpoint: Path) -> None:
    first = EfficientAt(efficientat.Config(checkpoint=str(checkpoint)))
    expected = first.embed(waveform())[0]
    state = first.state()
    checkpoint.unlink()
    second = EfficientAt(efficientat.Config())
    second.load_state(state)
    assert second.embed(waveform())[0].tobytes() == expected.tobytes()


def test_missing_checkpoint_names_address_and_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=r"is missing .*Cnn14_mAP=0\.431\.pth \(327\.4 MB\).*zenodo\.org/records/3987831"):
        Panns(panns.Config()).embed(waveform())
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=r"no such file: .*mn04_as_mAP_432\.pt.*4\.1 MB.*EfficientAT"):
        EfficientAt(efficientat.Config()).embed(waveform())
    assert not EfficientAt.available()


def test_cut_short_and_foreign_checkpoints(tmp_path: Path, checkpoint: Path) -> None:
    short = tmp_path / "Cnn14_mAP=0.431.pth"
    short.write_bytes(b"x" * 1000)
    with pytest.raises(ConfigError, match="1000 bytes, at least 300000000 expected"):
        Panns(panns.Config(checkpoint=str(short))).embed(waveform())
    with pytest.raises(ConfigError, match="SHA-256"):
        EfficientAt(efficientat.Config(checkpoint=str(checkpoint), sha256="0" * 64)).embed(waveform())
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    EfficientAt(efficientat.Config(checkpoint=str(checkpoint), sha256=digest)).embed(waveform())
    with pytest.raises(ConfigError, match="another network or width"):
        EfficientAt(efficientat.Config(checkpoint=str(checkpoint), width=1.0)).embed(waveform())
    checkpoint.write_bytes(b"\x80\x04nonsense" * 500_000)
    with pytest.raises(FormatError, match="not a torch file of tensors"):
        EfficientAt(efficientat.Config(checkpoint=str(checkpoint))).embed(waveform())


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "bad.pt"
    torch.save({"features.0.0.weight": Attack(), "filler": torch.zeros(1_100_000)}, path)
    with pytest.raises(FormatError, match="not a torch file of tensors"):
        EfficientAt(efficientat.Config(checkpoint=str(path))).embed(waveform())
    assert not (tmp_path / "executed").exists()


def test_wrong_segments(checkpoint: Path) -> None:
    extractor = EfficientAt(efficientat.Config(checkpoint=str(checkpoint)))
    with pytest.raises(FormatError, match="waveform segments"):
        extractor.embed(np.zeros((2, 10, 64), dtype=np.float32))
    with pytest.raises(FormatError, match="at least 514"):
        extractor.embed(waveform(1, 400))
    bad = waveform(1)
    bad[0, 7] = np.nan
    with pytest.raises(FormatError, match="not finite"):
        extractor.embed(bad)


def test_another_sampling_rate_is_refused(checkpoint: Path) -> None:
    import pandas as pd

    index = pd.DataFrame(
        [{"clip_id": "é", "section": "00", "domain": "source", "attributes": "{}", "start": 0, "length": 16000, "level_db": 0.0}]
    )
    store = FeatureStore(waveform(1, 16000)[0], None, index)
    options = {"segment_frames": 8000, "hop_frames": 8000, "frame_rate_hz": 16000.0}
    with pytest.raises(ConfigError, match="sample_rate_hz: 32000, resample: true"):
        embed_store(EfficientAt(efficientat.Config(checkpoint=str(checkpoint))), store, **options)
    found = embed_store(LogMelStatistics(StatisticsConfig()), FeatureStore(store.data[:, None], None, index), **options)
    assert len(found.vector) == 2


@pytest.mark.slow
def test_panns_with_a_checkpoint_of_the_right_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    network = panns.Panns(panns.Config())._built(n_classes=527)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    path = tmp_path / panns.CHECKPOINT.file
    torch.save({"iteration": 1, "model": network.state_dict()}, path)
    # what the checkpoint's published size says of it: tensors and little else
    assert path.stat().st_size == pytest.approx(panns.CHECKPOINT.n_bytes, rel=1e-3)
    extractor = Panns(panns.Config(return_map=True))
    x = waveform(2, 16000)
    vector, at = extractor.embed(x)
    path.unlink()
    with torch.inference_mode():
        expected = network(torch.from_numpy(x))["embedding"].numpy()
    np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)
    assert vector.shape == (2, 2048)
    assert at is not None
    assert at.shape == (2, 2048, 2, 1)
    assert [p.name for p in tmp_path.iterdir()] == []
    with pytest.raises(FormatError, match="at least 9920"):
        extractor.embed(waveform(1, 5000))


def test_panns_runs_no_wget_and_writes_nothing(tmp_path: Path) -> None:
    """Importing panns_inference itself runs wget where ~/panns_data is missing."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "wget").write_text(f"#!/bin/sh\ntouch {tmp_path}/fetched\n")
    (tmp_path / "bin" / "wget").chmod(0o755)
    (tmp_path / "home").mkdir()
    code = "import sys; from dcase_asd.extractors import panns; panns._models().Cnn14; print('panns_inference' in sys.modules)"
    environment = {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MPLCONFIGDIR": str(tmp_path / "mpl"),
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    assert not (tmp_path / "fetched").exists()
    assert not (tmp_path / "home" / "panns_data").exists()


def test_real_weights_know_fans_and_tones() -> None:
    """With the published weights: a fan sounds like a fan or a hum, a sine like a sine wave (AudioSet class numbers)."""
    weights = SHARED / "data" / "weights" / efficientat.CHECKPOINT.file
    recording = SHARED / "data" / "audio" / "fan_state" / "ON_20200318T204454.wav"
    if not weights.is_file():
        pytest.skip(f"{weights} is not here (set DCASE_ASD_SHARED)")
    import csv

    import soundfile
    import soxr

    with (weights.parent / "audioset_class_labels_indices.csv").open(encoding="utf-8", newline="") as stream:
        names = [row["display_name"] for row in csv.DictReader(stream)]
    samples, rate = soundfile.read(recording, dtype="float32", frames=160000)
    fan = soxr.resample(samples, rate, 32000)
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(len(fan)) / 32000)).astype(np.float32)
    tags = EfficientAt(efficientat.Config(checkpoint=str(weights))).tags(np.stack([fan, tone]))
    best = [[names[i] for i in np.argsort(-row)[:5]] for row in tags]
    assert {"Hum", "Mains hum"} <= set(best[0])
    assert best[1][0] == "Sine wave"
