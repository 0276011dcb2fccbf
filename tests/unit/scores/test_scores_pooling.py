from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcase_asd.errors import ConfigError, DataError, UnknownNameError
from dcase_asd.scores.pooling import methods, pool_map, pool_segments


def _by_hand(score: np.ndarray, weight: np.ndarray, method: str, upper: float) -> float:
    if method == "upper_mean":
        return float(np.mean(np.sort(score)[::-1][: max(1, int(np.ceil(round(upper * len(score), 6))))]))
    if method == "power_weighted":
        return float(np.average(score, weights=weight) if weight.sum() > 0 else score.mean())
    return float({"mean": np.mean, "max": np.max, "median": np.median}[method](score))


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    seed=st.integers(0, 10_000),
    upper=st.sampled_from([0.01, 0.3, 0.5, 0.9, 1.0]),
    method=st.sampled_from(methods()),
)
@settings(max_examples=150, deadline=None)
def test_equals_a_loop_over_clips_in_any_order(sizes: list[int], seed: int, upper: float, method: str) -> None:
    rng = np.random.default_rng(seed)
    clip = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    score = np.round(rng.normal(size=len(clip)), 1)  # rounding makes ties
    weight = rng.exponential(size=len(clip)) * (clip != 0) * 10.0 ** rng.integers(-12, 12)
    given_weight = {"weight": weight} if method == "power_weighted" else {}
    found = pool_segments(score, clip, method=method, upper=upper, **given_weight)
    expected = [_by_hand(score[clip == c], weight[clip == c], method, upper) for c in range(len(sizes))]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_all_methods_are_listed() -> None:
    assert methods() == ["max", "mean", "median", "power_weighted", "upper_mean"]


def test_silent_segments_do_not_count() -> None:
    # 5 segments of which only the middle three hold the event; the odd scores at the ends are in silence
    found = pool_segments(
        np.array([9.0, 1.0, 2.0, 3.0, 9.0]), np.zeros(5, int), method="power_weighted", weight=np.array([0, 1, 2, 1, 0])
    )
    assert found.tolist() == [2.0]


def test_weights_of_one_loud_clip_do_not_silence_another() -> None:
    weight = np.array([1e-300, 3e-300, 1e300, 1e300])
    found = pool_segments(np.array([0.0, 4.0, 0.0, 4.0]), np.array([0, 0, 1, 1]), method="power_weighted", weight=weight)
    np.testing.assert_allclose(found, [3.0, 2.0])


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"method": "men"}, UnknownNameError, "mean"),
        ({"weight": np.ones(3)}, ConfigError, "weight"),
        ({"method": "power_weighted"}, ConfigError, "weight"),
        ({"method": "power_weighted", "weight": np.array([1, -1, 1])}, DataError, "negative"),
        ({"method": "power_weighted", "weight": np.ones(2)}, DataError, "shape"),
        ({"method": "power_weighted", "weight": np.array([1, np.nan, 1])}, DataError, "nan"),
        ({"score": np.array([1, np.inf, 2])}, DataError, "inf"),
        ({"score": np.zeros(0), "clip": np.zeros(0, int)}, DataError, "at least one"),
        ({"clip": np.array([0, 2, 2])}, DataError, "clip 1"),
        ({"clip": np.array([1, 1, 2])}, DataError, "clip 0"),
        ({"clip": np.array([-1, 0, 1])}, DataError, "clip 0|gap"),
        ({"clip": np.zeros(2, int)}, DataError, "clip"),
        ({"clip": np.array([0.0, 0.5, 1.0])}, DataError, "whole"),
        ({"upper": 0.0}, ConfigError, "upper"),
    ],
)
def test_refusals(change: dict, error: type[Exception], match: str) -> None:
    arguments = {"score": np.arange(3.0), "clip": np.array([0, 0, 1]), "method": "mean", **change}
    with pytest.raises(error, match=match):
        pool_segments(**arguments)


def test_maps_are_averaged_over_frequency_and_weighted_over_time() -> None:
    rng = np.random.default_rng(0)
    score_map, weight = rng.normal(size=(3, 4, 5)), rng.exponential(size=(3, 5))
    weight[1] = 0.0
    found = pool_map(score_map, weight)
    expected = [np.average(m.mean(axis=0), weights=w if w.sum() else None) for m, w in zip(score_map, weight, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(pool_map(score_map), score_map.mean(axis=(1, 2)), rtol=1e-12)


def test_segment_sums_as_weights_normalise_over_the_whole_clip() -> None:
    rng = np.random.default_rng(1)
    score_map, weight = rng.normal(size=(4, 3, 6)), rng.exponential(size=(4, 6))
    clip = np.zeros(4, int)
    found = pool_segments(pool_map(score_map, weight), clip, method="power_weighted", weight=weight.sum(axis=1))
    np.testing.assert_allclose(found, [np.average(score_map.mean(axis=1), weights=weight)], rtol=1e-12)


@pytest.mark.parametrize(
    ("score_map", "weight"),
    [(np.zeros((2, 3)), None), (np.zeros((2, 3, 4)), np.ones((2, 3))), (np.full((1, 1, 1), np.nan), None)],
)
def test_map_refusals(score_map: np.ndarray, weight: np.ndarray | None) -> None:
    with pytest.raises(DataError):
        pool_map(score_map, weight)
