"""The blocked traversal against the plain one, duplicates, radii, streams."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcase_asd.detectors._shared.coreset import StreamingCoreset, farthest_first
from dcase_asd.errors import DataError


def _plain(points, k, start):
    """The textbook loop, in double precision."""
    x = points.astype(np.float64)
    distance = ((x - x[start]) ** 2).sum(axis=1)
    picks = [start]
    while len(picks) < k:
        picks.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[picks[-1]]) ** 2).sum(axis=1))
    return picks, float(np.sqrt(distance.max()))


def _features(n, dim, seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim)) * 3
    return (centres[rng.integers(20, size=n)] + rng.normal(size=(n, dim)) + 10.0).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("pool", "block"), [(64, 16), (300, 8), (4096, 256)])
def test_blocked_is_the_plain_traversal(seed, pool, block):
    x = _features(3000, 24, seed)
    picks, radius = _plain(x, 400, 7)
    found = farthest_first(x.astype(np.float64), 400, start=7, pool=pool, block=block)
    assert found.index.tolist() == picks
    assert found.radius == pytest.approx(radius, rel=1e-9)
    single = farthest_first(x, 400, start=7, pool=pool, block=block)
    # single precision may swap near ties; the cover is as good
    assert len(set(single.index.tolist()) & set(picks)) >= 390
    assert single.radius == pytest.approx(radius, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicates_are_not_picked_twice(dtype):
    distinct = _features(50, 8, 0).astype(dtype)
    x = np.concatenate([distinct] * 40)[np.random.default_rng(0).permutation(2000)]
    found = farthest_first(x, 400, pool=128, block=16)
    assert len(found.index) == 50
    assert len(np.unique(x[found.index], axis=0)) == 50
    assert found.radius <= 1e-3 * np.linalg.norm(distinct - distinct.mean(axis=0), axis=1).max()
    assert len(farthest_first(np.ones((10, 3), dtype), 5).index) == 1


@pytest.mark.parametrize("dim", [128, 1536])
def test_duplicates_in_many_dimensions_are_not_picked(dim):
    distinct = np.random.default_rng(3).normal(size=(300, dim)).astype(np.float32)
    found = farthest_first(np.concatenate([distinct] * 4), 600)
    assert len(np.unique(found.index % 300)) == len(found.index) == 300


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_far_outlier_makes_no_duplicates_of_the_others(dtype):
    x = np.random.default_rng(1).normal(size=(2000, 24)).astype(dtype)
    x[17] *= {np.float32: 1e4, np.float64: 1e8}[dtype]
    _, radius = _plain(x, 200, 5)
    found = farthest_first(x, 200, start=5, pool=128, block=16)
    assert len(found.index) == 200
    assert found.radius == pytest.approx(radius, rel=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_duplicates_of_a_far_point_than_the_pool_holds_hide_no_other(dtype):
    x = np.random.default_rng(2).normal(size=(400, 8)).astype(dtype)
    far = (1e2 * np.ones((300, 8))).astype(dtype)
    found = farthest_first(np.concatenate([x, far]), 600, pool=32, block=8)
    assert sorted(found.index[found.index < 400].tolist()) == list(range(400))
    assert (found.index >= 400).sum() == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(1, 60), st.integers(0, 10_000))
def test_the_radius_covers_every_point(n, dim, k, seed):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    found = farthest_first(x, k, start=seed % n, pool=7, block=3)
    assert len(set(found.index.tolist())) == len(found.index) <= k
    gaps = np.sqrt(((x[:, None] - x[None, found.index]) ** 2).sum(axis=2)).min(axis=1)
    assert gaps.max() == pytest.approx(found.radius, abs=1e-6)


def test_what_cannot_be_picked_is_refused():
    for arguments in ((np.zeros((0, 2)), 1, 0), (np.zeros((3, 2)), 0, 0), (np.zeros((3, 2)), 1, 3)):
        with pytest.raises(DataError, match="k >= 1"):
            farthest_first(arguments[0], arguments[1], start=arguments[2])


def _stream(x, *, chunk, limit=300, ratio=0.1, n_batches=13):
    stream = StreamingCoreset(ratio=ratio, limit=limit, chunk=chunk, seed=4)
    for part in np.array_split(x, n_batches):
        stream.add(part)
    return stream.finish()


def _gap(x, bank):
    squared = (x**2).sum(axis=1)[:, None] + (bank**2).sum(axis=1) - 2 * x @ bank.T
    return float(np.sqrt(np.maximum(squared, 0.0).min(axis=1).max()))


def test_a_stream_that_fits_is_the_exact_coreset():
    x = _features(2500, 16, 3)
    bank, radius = _stream(x, chunk=2500)
    assert bank.shape == (250, 16)
    start = int(np.random.default_rng([4, 0x636F7265]).integers(len(x)))
    picks, expected = _plain(x, 250, start)
    assert radius == pytest.approx(expected, rel=1e-3)
    assert len({row.tobytes() for row in bank} & {row.tobytes() for row in x[picks]}) >= 245


def test_a_long_stream_is_covered_within_the_stated_radius_and_better_than_by_chance():
    x = _features(6000, 16, 5)
    bank, radius = _stream(x, chunk=700, limit=500, ratio=0.05)
    assert bank.shape == (300, 16)
    assert {row.tobytes() for row in bank} <= {row.tobytes() for row in x}
    wide = x.astype(np.float64)
    covered = _gap(wide, bank.astype(np.float64))
    assert covered <= radius * (1 + 1e-4)
    chance = _gap(wide, wide[np.random.default_rng(0).choice(6000, 300, replace=False)])
    assert _plain(x, 300, 0)[1] < covered < chance


def test_what_cannot_fit_into_memory_is_refused_before_the_system_ends_the_process(monkeypatch):
    x = _features(3000, 8, 6)
    whole = 3000 * 8 * 4
    monkeypatch.setattr("dcase_asd.detectors._shared.coreset.free_bytes", lambda: whole)
    with pytest.raises(DataError, match=r"points of 8 values need .* GiB, free are .*lower `chunk` \(1000000\)") as caught:
        _stream(x, chunk=1000000)
    assert "features.size" in str(caught.value)
    # the same stream in chunks fits into the same memory
    assert len(_stream(x, chunk=500, limit=60)[0]) == 60
    monkeypatch.setattr("dcase_asd.detectors._shared.coreset.free_bytes", lambda: None)
    assert len(_stream(x, chunk=1000000)[0]) == 300


def test_the_limit_holds():
    x = _features(3000, 8, 6)
    assert len(_stream(x, chunk=500, limit=60, ratio=1.0)[0]) == 60
    assert len(_stream(x[:3], chunk=500, ratio=0.001, n_batches=1)[0]) == 1
