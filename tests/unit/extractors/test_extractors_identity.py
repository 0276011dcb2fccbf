"""The identity extractor: shapes, scaling, and whole clips through the embedding of a store."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dcase_asd.errors import FormatError
from dcase_asd.extractors.embed import embed_store
from dcase_asd.extractors.identity import Config, Identity
from dcase_asd.features.store import FeatureStore


def test_log_mel_becomes_a_map_of_one_channel() -> None:
    x = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float16)
    vector, at = Identity(Config()).embed(x)
    assert at is not None
    np.testing.assert_array_equal(at[:, 0], x.transpose(0, 2, 1).astype(np.float32))
    np.testing.assert_allclose(vector, x.astype(np.float64).mean(axis=1), rtol=1e-6)
    flat, none = Identity(Config(vector="flat", return_map=False)).embed(x)
    assert none is None
    np.testing.assert_array_equal(flat, at.reshape(3, -1))


def test_vectors_stay_vectors() -> None:
    x = np.random.default_rng(0).normal(size=(3, 1, 5)).astype(np.float32)
    vector, at = Identity(Config()).embed(x)
    np.testing.assert_array_equal(vector, x[:, 0])
    assert at is not None
    assert at.shape == (3, 1, 5, 1)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_pictures_are_channel_first_from_zero_to_one(n_channels: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 4, 6, n_channels), dtype=np.uint8)
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 0, 255
    vector, at = Identity(Config()).embed(x)
    assert at is not None
    assert at.shape == (2, n_channels, 4, 6)
    assert (at.min(), at.max()) == (0.0, 1.0)
    np.testing.assert_allclose(at[1, 0, 2, 5], x[1, 0, 2, 5, 0] / 255.0, rtol=1e-6)
    np.testing.assert_allclose(vector, x[:, 0].mean(axis=(1, 2)) / 255.0, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 16000), (2, 0, 5), (2, 2, 4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="expected segments"):
        Identity(Config()).embed(np.zeros(shape, dtype=np.float32))


def test_values_that_are_not_finite_are_refused() -> None:
    x = np.zeros((3, 4, 5), dtype=np.float32)
    x[1, 2, 3] = np.nan
    with pytest.raises(FormatError, match="segment 1"):
        Identity(Config()).embed(x)


def _store(lengths: list[int]) -> FeatureStore:
    data = np.random.default_rng(0).normal(size=(sum(lengths), 4)).astype(np.float32)
    start = np.cumsum([0, *lengths[:-1]])
    index = pd.DataFrame({"clip_id": [f"é {i}" for i in range(len(lengths))], "start": start, "length": lengths})
    return FeatureStore(data, None, index.assign(section="00", domain="source", attributes="{}", level_db=0.0))


def test_whole_clips_of_one_length_are_one_segment_each() -> None:
    store = _store([9, 9, 9])
    found = embed_store(Identity(Config()), store, segment_frames=0, hop_frames=0, frame_rate_hz=31.25)
    assert found.map is not None
    np.testing.assert_array_equal(found.map[2, 0].T, store.clip(2))
    np.testing.assert_array_equal(found.meta.start_s, [0.0, 0.0, 0.0])


def test_whole_clips_of_different_lengths_are_refused_with_the_remedy() -> None:
    with pytest.raises(FormatError, match="different lengths need segments"):
        embed_store(Identity(Config()), _store([9, 8]), segment_frames=0, hop_frames=0, frame_rate_hz=31.25)
