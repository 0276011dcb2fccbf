import numpy as np
import pytest
import torch
from fake_features import machine_clip, write_store
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd import registry
from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.extractors.base import Extractor, load_extractor, save_extractor
from dcase_asd.extractors.embed import embed_store, pool_power
from dcase_asd.extractors.log_mel_statistics import Config, LogMelStatistics
from dcase_asd.features.store import FeatureFolder, FeatureStore


class Mapped(Extractor[None]):
    """Gives the segments themselves as a map, so that everything can be checked by eye."""

    calls: list

    def embed(self, segments):
        self.calls.append(segments.shape)
        x = np.asarray(segments, dtype=np.float32)
        return x.mean(1), np.ascontiguousarray(x.transpose(0, 2, 1)[:, None, :, ::10])


def mapped():
    extractor = Mapped(None)
    extractor.calls = []
    return extractor


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    clips = [machine_clip(4.0, rng=rng, n_frames=n) for n in (40, 95, 25, 40)]
    write_store(tmp_path / "Öl", "fan", "train", clips, attributes=[{"spd": str(i)} for i in range(4)])
    return FeatureFolder(tmp_path / "Öl").open("fan", "train")


def test_segments_maps_power_and_meta(store):
    extractor = mapped()
    found = embed_store(extractor, store, segment_frames=40, hop_frames=20, frame_rate_hz=10.0, batch_size=3)
    # 95 frames: starts 0, 20, 40 and the last one at the clip's end, 55
    assert found.meta.start_s.tolist() == [0.0, 0.0, 2.0, 4.0, 5.5, 0.0, 0.0]
    assert found.meta.clip_id.tolist() == [f"fan/train/{i:03d}" for i in (0, 1, 1, 1, 1, 2, 3)]
    assert found.meta.attributes[5] == '{"spd": "2"}'
    assert found.vector.dtype == found.map.dtype == found.power.dtype == np.float32
    assert found.map.shape == (7, 1, 16, 4)
    np.testing.assert_array_equal(found.vector[4], store.clip(1)[55:].mean(0))
    np.testing.assert_array_equal(found.map[2, 0], store.clip(1)[20:60:10].T)
    short = np.concatenate([store.clip(2)] * 2)[:40]
    np.testing.assert_array_equal(found.vector[5], short.mean(0))
    np.testing.assert_allclose(found.power[1], store.clip_power(1)[:40].reshape(4, 10).mean(1), rtol=1e-6)
    assert max(shape[0] for shape in extractor.calls) == 3


def test_batch_size_does_not_change_the_result(store):
    one, many = (embed_store(mapped(), store, segment_frames=30, hop_frames=7, frame_rate_hz=10.0, batch_size=b) for b in (1, 64))
    assert np.array_equal(one.vector, many.vector)
    assert np.array_equal(one.map, many.map)
    assert np.array_equal(one.power, many.power)


def test_whole_clips(store):
    statistics = LogMelStatistics(Config(statistics=("mean", "max")))
    found = embed_store(statistics, store, segment_frames=0, hop_frames=0, frame_rate_hz=10.0)
    assert found.vector.shape == (4, 32)
    assert found.map is None
    np.testing.assert_allclose(found.power[:, 0], [store.clip_power(i).mean() for i in range(4)], rtol=1e-6)
    with pytest.raises(FormatError, match="clips of different lengths need segments"):
        embed_store(mapped(), store, segment_frames=0, hop_frames=0, frame_rate_hz=10.0)


def test_a_store_of_pictures_has_no_power_and_starts_at_zero(tmp_path):
    rng = np.random.default_rng(0)
    write_store(tmp_path, "fan", "train", [machine_clip(4.0, rng=rng, n_frames=10)] * 3, power=False)
    found = embed_store(mapped(), FeatureFolder(tmp_path).open("fan", "train"), segment_frames=0, hop_frames=0, frame_rate_hz=0.0)
    assert found.power is None
    assert found.meta.start_s.tolist() == [0.0] * 3


def test_embeddings_survive_writing(store, tmp_path):
    found = embed_store(mapped(), store, segment_frames=40, hop_frames=20, frame_rate_hz=10.0)
    found.write(tmp_path / "emb")
    again = type(found).read(tmp_path / "emb")
    assert np.array_equal(found.map, again.map)
    assert found.meta.start_s.tolist() == again.meta.start_s.tolist()


def test_errors(store):
    for bad in ({"segment_frames": -1}, {"hop_frames": 0}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            embed_store(mapped(), store, **{"segment_frames": 40, "hop_frames": 20, "frame_rate_hz": 10.0, **bad})
    empty = FeatureStore(store.data[:0], None, store.index.iloc[:0])
    with pytest.raises(FormatError, match="no clips"):
        embed_store(mapped(), empty, segment_frames=40, hop_frames=20, frame_rate_hz=10.0)
    broken = mapped()
    broken.embed = lambda segments: (np.full((len(segments), 2), np.nan, dtype=np.float32), None)
    with pytest.raises(FormatError, match="finite: False"):
        embed_store(broken, store, segment_frames=40, hop_frames=20, frame_rate_hz=10.0)


@given(n_frames=st.integers(1, 60), n_time=st.integers(1, 12))
def test_pool_power_is_adaptive_average_pooling(n_frames, n_time):
    power = np.random.default_rng(n_frames).random((2, n_frames)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(power), n_time).numpy()
    np.testing.assert_allclose(pool_power(power, n_time), expected, rtol=1e-5)


def test_statistics_by_hand(tmp_path):
    x = np.array([[[1.0, 2.0], [3.0, 8.0]]])
    vector, feature_map = LogMelStatistics(Config(statistics=("mean", "std", "max", "min", "median"))).embed(x)
    assert vector.tolist() == [[2.0, 5.0, 1.0, 3.0, 3.0, 8.0, 1.0, 2.0, 2.0, 5.0]]
    assert feature_map is None
    plugin = registry.load("extractors", "log_mel_statistics")
    save_extractor(tmp_path, "log_mel_statistics", plugin.implementation(plugin.config(statistics=("max",))))
    assert load_extractor(tmp_path).embed(x)[0].tolist() == [[3.0, 8.0]]


def test_statistics_of_float16_do_not_overflow():
    x = np.full((1, 4000, 2), 100.0, dtype=np.float16)  # the sum is beyond float16
    assert LogMelStatistics(Config()).embed(x)[0].tolist() == [[100.0, 100.0]]


def test_statistics_errors():
    with pytest.raises(FormatError, match="segment 1"):
        LogMelStatistics(Config()).embed(np.array([[[0.0]], [[np.inf]]]))
    with pytest.raises(FormatError, match=r"\(2, 3\)"):
        LogMelStatistics(Config()).embed(np.zeros((2, 3)))
    for bad in ((), ("mean", "mean")):
        with pytest.raises(ConfigError):
            Config(statistics=bad)
