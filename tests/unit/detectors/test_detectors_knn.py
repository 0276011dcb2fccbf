"""The kNN grid against scikit-learn, one model per grid point."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors

from dcase_asd import config as configs
from dcase_asd.detectors._shared.fit_sets import TrainingRows, pseudo_target
from dcase_asd.detectors._shared.nearest import Bank
from dcase_asd.detectors.knn import Config, Knn
from dcase_asd.errors import ConfigError, DataError

KS = (1, 2, 4, 16)
FIT_SETS = ("source", "both", "pseudo_target")


def _data(*, offset: float = 0.0, spread: float = 1.0, dim: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mixing = spread * rng.normal(size=(dim, dim))
    source, target, query = (rng.normal(size=(n, dim)) @ mixing for n in (150, 20, 40))
    return source + offset, target + spread + offset, query + offset


def _points(name: str, source: np.ndarray, target: np.ndarray, config: Config) -> np.ndarray:
    if name == "pseudo_target":
        return pseudo_target(TrainingRows(source, target), config=config, seed=0)
    return source if name == "source" else np.concatenate([source, target])


def _reference(points: np.ndarray, query: np.ndarray, *, k: int, kth: bool = False, **metric) -> np.ndarray:
    distance = NearestNeighbors(n_neighbors=k, algorithm="brute", **metric).fit(points).kneighbors(query)[0]
    return distance[:, -1] if kth else distance.mean(axis=1)


def _mahalanobis(points: np.ndarray) -> dict:
    # differences instead of a matrix product: scikit-learn's own rounding must not blur the comparison
    return {"metric": "mahalanobis", "metric_params": {"VI": np.linalg.inv(ledoit_wolf(points)[0])}}


@pytest.mark.parametrize(("offset", "spread"), [(0.0, 1.0), (10.0, 1.0), (10.0, 0.01), (1000.0, 0.01)])
@pytest.mark.parametrize("covariance", ["shared", "per_set"])
def test_mahalanobis_grid_equals_scikit_learn(batches_of, offset: float, spread: float, covariance: str) -> None:
    source, target, query = _data(offset=offset, spread=spread)
    config = Config(fit_sets=FIT_SETS, n_neighbors=KS, covariance=covariance)
    detector = Knn(config)
    detector.fit(batches_of(source, target, n_batches=3), seed=0)
    parts = detector.score(query).parts
    assert list(parts) == [f"fit_set={s},k={k}" for s in FIT_SETS for k in KS]
    for name in FIT_SETS:
        points = _points(name, source, target, config)
        metric = _mahalanobis(np.concatenate([source, target]) if covariance == "shared" else points)
        for k in KS:
            np.testing.assert_allclose(parts[f"fit_set={name},k={k}"], _reference(points, query, k=k, **metric), rtol=1e-5)


@pytest.mark.parametrize("reduce", ["mean", "kth"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_other_metrics_equal_scikit_learn(batches_of, metric: str, reduce: str) -> None:
    source, target, query = _data(offset=2.0)
    detector = Knn(Config(metric=metric, reduce=reduce, n_neighbors=KS))
    detector.fit(batches_of(source, target), seed=0)
    parts = detector.score(query).parts
    points = np.concatenate([source, target])
    for k in KS:
        expected = _reference(points, query, k=k, kth=reduce == "kth", metric=metric)
        np.testing.assert_allclose(parts[f"fit_set=both,k={k}"], expected, rtol=1e-5)


def test_single_precision_features_far_from_the_origin(batches_of) -> None:
    # image-facts d.3: offset 10, spread .01 costs an uncentred single-precision product 20 %
    source, target, query = (v.astype(np.float32) for v in _data(offset=10.0, spread=0.01, dim=64))
    detector = Knn(Config(metric="euclidean", n_neighbors=(4,)))
    detector.fit(batches_of(source, target), seed=0)
    points = np.concatenate([source, target]).astype(np.float64)
    exact = np.sqrt(((query[:, None].astype(np.float64) - points[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(detector.score(query).score, np.sort(exact, axis=1)[:, :4].mean(axis=1), rtol=1e-5)


def test_training_segments_are_at_distance_zero_from_themselves(batches_of) -> None:
    source, _, _ = _data(offset=1e3)
    detector = Knn(Config(n_neighbors=(1,)))
    detector.fit(batches_of(source), seed=0)
    np.testing.assert_array_equal(detector.score(source).score, np.zeros(len(source)))


def test_tiny_distances_in_a_far_cluster_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    # two clusters 2e6 apart, 1e-3 wide: |q|^2 eps is 100 times the squared distances sought
    points = np.concatenate([rng.normal(size=(50, 8)) * 1e-3 + 1e6, rng.normal(size=(50, 8)) * 1e-3 - 1e6])
    query = points[:5] + 1e-4
    found = Bank.of({"all": points}).nearest(query, k=100)["all"][:, 0]
    exact = ((query[:, None] - points[None]) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_long_banks_and_queries_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, query = _data()
    blocks = {"source": source, "target": target}
    whole = Bank.of(blocks).nearest(query, k=5)
    monkeypatch.setattr("dcase_asd.detectors._shared.nearest._CHUNK_VALUES", 500)
    cut = Bank.of(blocks).nearest(query, k=5)
    for name in blocks:
        np.testing.assert_allclose(cut[name], whole[name], rtol=1e-9)


def test_separate_domains_take_the_nearer_domain(batches_of) -> None:
    source, target, query = _data()
    detector = Knn(Config(metric="euclidean", n_neighbors=(1, 4), separate_domains=True))
    detector.fit(batches_of(source, target), seed=0)
    parts = detector.score(query).parts
    for k in (1, 4):
        apart = [_reference(points, query, k=k, metric="euclidean") for points in (source, target)]
        np.testing.assert_allclose(parts[f"fit_set=both,k={k}"], np.minimum(*apart), rtol=1e-9)


def test_score_is_the_first_part_and_one_combination_has_no_parts(batches_of) -> None:
    source, target, query = _data()
    grid, single = Knn(Config(n_neighbors=(4, 1), fit_sets=("both", "source"))), Knn(Config(n_neighbors=(4,)))
    for detector in (grid, single):
        detector.fit(batches_of(source, target), seed=0)
    np.testing.assert_array_equal(grid.score(query).score, grid.score(query).parts["fit_set=both,k=4"])
    np.testing.assert_allclose(grid.score(query).score, single.score(query).score, rtol=1e-12)
    assert single.score(query).parts == {}


def test_k_above_the_number_of_points_is_left_out_and_logged(batches_of, caplog: pytest.LogCaptureFixture) -> None:
    source, target, query = _data()
    detector = Knn(Config(n_neighbors=(1, 30), fit_sets=("source", "both")))
    with caplog.at_level(logging.WARNING):
        detector.fit(batches_of(source[:25], target[:5]), seed=0)
    assert "30" in caplog.text
    assert list(detector.score(query).parts) == ["fit_set=source,k=1", "fit_set=both,k=1", "fit_set=both,k=30"]
    with pytest.raises(DataError, match="30"):
        Knn(Config(n_neighbors=(1, 30), oversize="error")).fit(batches_of(source[:25]), seed=0)
    with pytest.raises(DataError, match="30"):
        Knn(Config(n_neighbors=(30,))).fit(batches_of(source[:25]), seed=0)


def test_no_target_segments_leave_the_pseudo_target_parts_out(batches_of) -> None:
    source, _, query = _data()
    detector = Knn(Config(n_neighbors=(1,), fit_sets=("pseudo_target", "both", "source")))
    detector.fit(batches_of(source), seed=0)
    parts = detector.score(query).parts
    assert list(parts) == ["fit_set=both,k=1", "fit_set=source,k=1"]
    np.testing.assert_array_equal(parts["fit_set=both,k=1"], parts["fit_set=source,k=1"])


def test_source_only_does_not_look_at_target_segments(batches_of) -> None:
    source, target, query = _data()
    with_target, without = Knn(Config(fit_sets=("source",))), Knn(Config(fit_sets=("source",)))
    with_target.fit(batches_of(source, target * 100), seed=0)
    without.fit(batches_of(source), seed=0)
    np.testing.assert_array_equal(with_target.score(query).score, without.score(query).score)


def test_a_zero_vector_has_no_cosine(batches_of) -> None:
    source, _, query = _data()
    detector = Knn(Config(metric="cosine", n_neighbors=(1,)))
    detector.fit(batches_of(source), seed=0)
    query[3] = 0.0
    with pytest.raises(DataError, match="segment 3"):
        detector.score(query)


@pytest.mark.parametrize("shrinkage", [0.0, "ledoit_wolf"])
def test_identical_training_segments_have_no_covariance(batches_of, shrinkage) -> None:
    with pytest.raises(DataError, match="singular"):
        Knn(Config(n_neighbors=(1,), shrinkage=shrinkage)).fit(batches_of(np.ones((10, 3))), seed=0)


@pytest.mark.parametrize("values", [{"n_neighbors": ()}, {"n_neighbors": (0, 1)}, {"n_neighbors": (2, 2)}, {"shrinkage": 1.5}])
def test_impossible_configurations_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError):
        Config(**values)


def test_a_part_is_the_same_whatever_else_is_in_the_grid(batches_of) -> None:
    source, target, query = _data()
    grid = Knn(Config(n_neighbors=(1, 4), fit_sets=FIT_SETS))
    grid.fit(batches_of(source, target), seed=0)
    parts = grid.score(query).parts
    for name in ("both", "pseudo_target"):
        alone = Knn(Config(n_neighbors=(4,), fit_sets=(name,)))
        alone.fit(batches_of(source, target), seed=0)
        np.testing.assert_allclose(alone.score(query).score, parts[f"fit_set={name},k=4"], rtol=1e-9)


@pytest.mark.parametrize(("text", "value"), [("ledoit_wolf", "ledoit_wolf"), ("1e-1", 0.1), (0, 0.0)])
def test_shrinkage_from_yaml(text, value) -> None:
    assert configs.build(Config, {"shrinkage": text, "n_neighbors": [1], "fit_sets": ["both"]}).shrinkage == value
