"""The builder: bytes, statistics, precomputed arrays, and every refusal."""

import json
import logging

import numpy as np
import pytest

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import AudioError, ConfigError, FormatError, ManifestError
from dcase_asd.features.build import build_machine, write_feature_json
from dcase_asd.features.log_mel import Config, LogMel
from dcase_asd.features.statistics import Moments, read_statistics, write_statistics
from dcase_asd.features.store import FeatureFolder
from dcase_asd.features.waveform import Config as WaveformConfig
from dcase_asd.io.arrays import save_array
from dcase_asd.io.audio import read_audio, write_audio
from dcase_asd.manifests.schema import Manifest

SMALL = {"n_mels": 40, "window_s": 0.064}


def _row(clip_id, path, **values):
    row = {
        "clip_id": clip_id,
        "path": path,
        "kind": "audio",
        "subset": "dev",
        "machine": "fan",
        "section": "00",
        "domain": "source",
        "split": "train",
        "attributes": {"vel": "12"},
        "n_samples": 0,
        "n_channels": 1,
        "sample_rate_hz": 16000,
        "sha256": "",
    }
    return {**row, **values}


@pytest.fixture
def root(tmp_path):
    """A data root with a space and a non-ASCII letter in its name."""
    folder = tmp_path / "données de machines"
    folder.mkdir()
    return folder


@pytest.fixture
def corpus(root):
    """Nine training and four test clips of different length, level and offset; clip t03 is silent."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(13):
        n = 16000 + 1000 * i
        x = np.zeros(n) if i == 3 else 0.02 * (i + 1) * rng.standard_normal(n).clip(-3, 3) + 0.05
        write_audio(root / f"fan/{i:02}.wav", x, sample_rate_hz=16000)
        split = "train" if i < 9 else "test"
        domain = "source" if i % 2 else "target"
        rows.append(_row(f"t{i:02}", f"fan/{i:02}.wav", n_samples=n, split=split, domain=domain))
    return Manifest.from_rows(rows)


def _build(manifest, root, *, name="log_mel", nj=1, out="out", progress=None, **values):
    config = configs.build(registry.load("features", name).config, values)
    folder = root.parent / out
    build_machine(manifest, data_root=root, name=name, config=config, out=folder / "fan", nj=nj, progress=progress)
    write_feature_json(folder, name, config, registry.load("features", name).implementation(config).frame_rate_hz)
    return FeatureFolder(folder)


def _bytes(folder):
    return {p.name: p.read_bytes() for p in sorted((folder.path / "fan").iterdir())}


def test_a_clip_in_the_store_is_the_feature_of_the_file(corpus, root):
    folder = _build(corpus, root, **SMALL)
    statistics = json.loads((folder.path / "fan" / "statistics.json").read_text())["waveform"]
    waves = [read_audio(root / f"fan/{i:02}.wav")[0][0] for i in range(13)]
    train = np.concatenate(waves[:9]).astype(np.float64)
    assert statistics["n_samples"] == len(train)
    assert statistics["mean"] == pytest.approx(train.mean(), rel=1e-9)
    assert statistics["std"] == pytest.approx(train.std(), rel=1e-9)
    feature = LogMel(Config(standardise="none", **SMALL))
    for split, first, count in (("train", 0, 9), ("test", 9, 4)):
        store = folder.open("fan", split)
        assert isinstance(store.data, np.memmap)
        assert list(store.index["clip_id"]) == [f"t{i:02}" for i in range(first, first + count)]
        for row in range(count):
            x = waves[first + row]
            scaled = ((x - train.mean()) / train.std()).astype(np.float32)
            # the builder subtracts in float32; where a bin nearly cancels that shows in the fourth digit
            np.testing.assert_allclose(store.clip(row), feature.compute(scaled), atol=5e-3)
            np.testing.assert_array_equal(store.clip_power(row), feature.power(x))
            if x.any():
                assert store.index["level_db"][row] == pytest.approx(20 * np.log10(np.sqrt(np.mean(x.astype(float) ** 2))))
    assert folder.open("fan", "test").index["domain"].tolist() == ["source", "target", "source", "target"]
    assert folder.open("fan", "test").index["attributes"][0] == '{"vel": "12"}'
    assert folder.machines() == ["fan"]
    assert folder.info["frame_rate_hz"] == 62.5
    assert configs.build(Config, folder.info["config"]) == Config(**SMALL)


def test_the_statistics_on_disk_give_the_bits_of_the_store(corpus, root):
    folder = _build(corpus, root, **SMALL)
    statistics = read_statistics(folder.path / "fan" / "statistics.json")
    feature = LogMel(Config(**SMALL))
    got = feature.compute(read_audio(root / "fan/10.wav")[0][0], statistics=statistics)
    assert got.tobytes() == folder.open("fan", "test").clip(1).tobytes()


def test_one_process_and_two_write_the_same_bytes(corpus, root):
    one = _bytes(_build(corpus, root, nj=1, out="one", **SMALL))
    two = _bytes(_build(corpus, root, nj=2, out="two", **SMALL))
    assert one == two
    assert sorted(one) == ["statistics.json"] + [f"{s}{e}" for s in ("test", "train") for e in (".csv", ".npy", ".power.npy")]


def test_building_again_replaces_what_was_there(corpus, root):
    first = _bytes(_build(corpus, root, **SMALL))
    _build(corpus, root, **{**SMALL, "n_mels": 20, "highpass": None})
    assert not (root.parent / "out" / "fan" / "test.power.npy").exists()
    assert _bytes(_build(corpus, root, **SMALL)) == first


def test_silent_clips_are_counted_and_finite(corpus, root, caplog):
    with caplog.at_level(logging.WARNING):
        folder = _build(corpus, root, standardise="clip", **SMALL)
    assert "1 of 9 clips of split train are silent" in caplog.text
    store = folder.open("fan", "train")
    np.testing.assert_allclose(store.clip(3), np.log(1e-10), rtol=1e-6)
    assert store.index["level_db"][3] == -200.0


def test_progress_ends_at_the_number_of_clips(corpus, root):
    seen = []
    _build(corpus, root, progress=lambda done, total: seen.append((done, total)), **SMALL)
    assert seen[-1] == (13, 13)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_standardise_by_clip_machine_and_not_at_all(corpus, root):
    def store(mode):
        return _build(corpus, root, name="waveform", out=mode, standardise=mode).open("fan", "train")

    raw, clip, machine = store("none"), store("clip"), store("machine")
    np.testing.assert_array_equal(raw.clip(1), read_audio(root / "fan/01.wav")[0][0])
    for row in (0, 1, 8):
        assert clip.clip(row).mean() == pytest.approx(0, abs=1e-5)
        assert clip.clip(row).std() == pytest.approx(1, abs=1e-5)
    everything = Moments.of(np.asarray(machine.data))
    assert everything.mean == pytest.approx(0, abs=1e-5)
    assert everything.std == pytest.approx(1, abs=1e-5)
    # levels between clips survive
    assert machine.clip(8).std() / machine.clip(0).std() == pytest.approx(raw.clip(8).std() / raw.clip(0).std(), rel=1e-4)
    assert json.loads((root.parent / "clip" / "fan" / "statistics.json").read_text())["waveform"] is None


def test_waveform_frames_are_samples(corpus, root):
    folder = _build(corpus, root, name="waveform")
    store = folder.open("fan", "test")
    assert folder.info["frame_rate_hz"] == 16000
    assert store.clip(0).shape == store.clip_power(0).shape == (25000,)


def test_stft_is_the_magnitude_of_librosas(corpus, root):
    import librosa

    store = _build(corpus, root, name="stft", standardise="none", scale="none", window_s=0.032).open("fan", "train")
    x = read_audio(root / "fan/05.wav")[0][0]
    expected = np.abs(librosa.stft(x, n_fft=512, hop_length=256, center=False)).T
    assert store.clip(5).shape == expected.shape == (81, 257)
    np.testing.assert_allclose(store.clip(5), expected, rtol=1e-4, atol=1e-5)


def test_float16_rounds_by_no_more_than_it_says(corpus, root):
    exact = _build(corpus, root, out="exact", **SMALL).open("fan", "train").data
    half = _build(corpus, root, out="half", dtype="float16", **SMALL).open("fan", "train").data
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, exact, rtol=2**-11, atol=1e-7)


def test_values_beyond_float16_are_refused(corpus, root):
    with pytest.raises(AudioError, match=r"t?\d\d\.wav: the feature is not finite in float16.*dtype to float32"):
        _build(corpus, root, dtype="float16", scale="none", mel_norm="none", **SMALL)
    assert not FeatureFolder(root.parent / "out").has("fan", "train")


def test_a_channel_of_a_stereo_recording(root):
    near, far = 0.1 * np.ones(4000), 0.3 * np.ones(4000)
    write_audio(root / "s.wav", np.stack([near, far]), sample_rate_hz=16000)
    manifest = Manifest.from_rows([_row("s", "s.wav", n_samples=4000, n_channels=2)])
    for channel, level in (("0", 0.1), ("1", 0.3), ("mean", 0.2)):
        store = _build(manifest, root, name="waveform", standardise="none", channel=channel).open("fan", "train")
        np.testing.assert_allclose(store.data, level, atol=1e-4)  # PCM-16 step: 3e-5
    with pytest.raises(AudioError, match=r"s\.wav: channel '2' asked for"):
        _build(manifest, root, name="waveform", standardise="none", channel="2")


def test_another_rate_is_refused_or_resampled(root):
    n = 44101
    write_audio(root / "r.wav", 0.5 * np.sin(2 * np.pi * 1000 * np.arange(n) / 44100), sample_rate_hz=44100)
    manifest = Manifest.from_rows([_row("r", "r.wav", n_samples=n, sample_rate_hz=44100)])
    with pytest.raises(AudioError, match=r"r\.wav: recorded at 44100 Hz.*16000 Hz.*resample: true"):
        _build(manifest, root, name="waveform")
    store = _build(manifest, root, name="waveform", resample=True, standardise="none").open("fan", "train")
    assert store.data.shape == (16001,)  # ceil(44101 * 16000 / 44100)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16001) / 16000)
    np.testing.assert_allclose(store.data[200:-200], expected[200:-200], atol=1e-3)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 48000])
@pytest.mark.parametrize("n", [2049, 5000, 5001])
def test_the_length_after_resampling_is_known_before(rate, n):
    from dcase_asd.features.signal import resample, resampled_length

    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    assert len(resample(x, from_hz=rate, to_hz=16000)) == resampled_length(n, from_hz=rate, to_hz=16000)


def test_precomputed_log_mels_enter_as_they_are(root):
    arrays = {f"c{i}": np.random.default_rng(i).standard_normal((40, 20 + i)).astype(np.float32) for i in range(3)}
    for name, array in arrays.items():
        save_array(root / f"{name}.npy", array)
    manifest = Manifest.from_rows([_row(name, f"{name}.npy", kind="log_mel") for name in arrays])
    store = _build(manifest, root, n_mels=40).open("fan", "train")
    for row, array in enumerate(arrays.values()):
        np.testing.assert_array_equal(store.clip(row), array.T)
    assert store.power is None
    assert store.index["level_db"].isna().all()
    with pytest.raises(FormatError, match=r"c0\.npy: expected \[mel, frame\] with 224 mel bins.*found shape \(40, 20\)"):
        _build(manifest, root)
    with pytest.raises(FormatError, match="takes no precomputed log_mel"):
        _build(manifest, root, name="stft")


def test_precomputed_vectors_are_one_frame_each(root):
    for i in range(3):
        save_array(root / f"v{i}.npy", np.full(8, i, np.float32))
    manifest = Manifest.from_rows([_row(f"v{i}", f"v{i}.npy", kind="vector") for i in range(3)])
    store = _build(manifest, root, name="waveform").open("fan", "train")
    np.testing.assert_array_equal(store.data, np.arange(3)[:, None] * np.ones((1, 8)))
    save_array(root / "v1.npy", np.zeros(9, np.float32))
    with pytest.raises(FormatError, match=r"v1\.npy: frames of shape \(9,\), the clips before it have \(8,\)"):
        _build(manifest, root, name="waveform")
    save_array(root / "v1.npy", np.array([0, 1, 2, 3, np.nan, 5, 6, 7], np.float32))
    with pytest.raises(FormatError, match=r"v1\.npy: .*not finite"):
        _build(manifest, root, name="waveform")
    save_array(root / "v1.npy", np.array(["a"] * 8))
    with pytest.raises(FormatError, match=r"v1\.npy: expected real numbers, found <U1"):
        _build(manifest, root, name="waveform")
    (root / "v1.npy").unlink()
    with pytest.raises(FormatError, match=r"v1\.npy: no such array file"):
        _build(manifest, root, name="waveform")


def test_the_file_must_be_what_the_manifest_says(corpus, root):
    table = corpus.table.copy()
    table.loc[4, "n_samples"] += 1
    with pytest.raises(AudioError, match=r"04\.wav: the manifest expects 20001 samples at 16000 Hz, found 20000 at 16000 Hz"):
        _build(Manifest(table), root, **SMALL)
    table.loc[4, "n_samples"] = 1000
    with pytest.raises(AudioError, match=r"04\.wav: expected at least 1024 samples"):
        _build(Manifest(table), root, **SMALL)


def test_an_error_in_a_worker_names_the_file(corpus, root):
    (root / "fan/07.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"07\.wav: not a readable recording"):
        _build(corpus, root, nj=2, **SMALL)
    assert not FeatureFolder(root.parent / "out").has("fan", "train")


def test_rows_that_make_no_machine_are_refused(corpus, root):
    with pytest.raises(ManifestError, match="one machine, found fan, valve"):
        _build(Manifest.from_rows([_row("a", "a.wav"), _row("b", "b.wav", machine="valve")]), root)
    with pytest.raises(ManifestError, match="one kind, found audio, vector"):
        _build(Manifest.from_rows([_row("a", "a.wav"), _row("b", "b.npy", kind="vector")]), root)
    with pytest.raises(ManifestError, match="no rows"):
        _build(Manifest.from_rows([]), root)
    with pytest.raises(ManifestError, match="reads audio files, the manifest's are image"):
        _build(Manifest.from_rows([_row("a", "a.png", kind="image")]), root)
    with pytest.raises(ManifestError, match="reads image files, the manifest's are audio"):
        _build(corpus, root, name="image")
    with pytest.raises(ManifestError, match="no training clips"):
        _build(corpus.select(split="test"), root, **SMALL)
    with pytest.raises(ConfigError, match="nj"):
        _build(corpus, root, nj=0)


def test_machine_statistics_must_be_handed_over():
    feature = registry.load("features", "waveform").implementation(WaveformConfig())
    with pytest.raises(ConfigError, match=r"statistics\.json"):
        feature.compute(np.zeros(4, np.float32))


def test_listing_and_reading_configurations_imports_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys; from dcase_asd import registry; "
        "[registry.load('features', n).config() for n in ('log_mel', 'stft', 'waveform')]; "
        "bad = {'torch', 'librosa', 'scipy', 'sklearn', 'pandas', 'torchaudio'} & set(sys.modules); "
        "sys.exit(' '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_statistics_that_are_none_or_no_statistics(tmp_path):
    write_statistics(tmp_path / "s.json", None, standardise="clip")
    assert read_statistics(tmp_path / "s.json") is None
    (tmp_path / "s.json").write_text('{"waveform": 3}')
    with pytest.raises(FormatError, match=r"s\.json: not the amplitude statistics"):
        read_statistics(tmp_path / "s.json")
