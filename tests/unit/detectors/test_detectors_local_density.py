"""Local-density normalisation of the kNN grid against a naive implementation: explicit loops over differences."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from dcase_asd.detectors._shared.fit_sets import TrainingRows, pseudo_target
from dcase_asd.detectors._shared.nearest import Bank, Reading, squared_to_neighbors
from dcase_asd.detectors.knn import Config, Knn
from dcase_asd.errors import ConfigError, DataError, FormatError

KS = (1, 2, 4, 16)
FIT_SETS = ("source", "both", "pseudo_target")
PER_CLIP = 3


def _data(*, dim: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(dim, dim))
    source, query = (rng.normal(size=(n, dim)) @ mixing for n in (48, 12))
    # target clips are few and lie far apart
    return source + 5.0, 3.0 * rng.normal(size=(12, dim)) @ mixing + 8.0, query + 5.0


def _distance(a: np.ndarray, b: np.ndarray, metric: str, precision: np.ndarray) -> float:
    if metric == "cosine":
        return float(1.0 - a @ b / np.sqrt((a @ a) * (b @ b)))
    return float(np.sqrt((a - b) @ precision @ (a - b)))


def _naive(points: np.ndarray, clip: np.ndarray, query: np.ndarray, *, density_k: int, metric: str, precision) -> np.ndarray:
    """Return the normalised distances ``[query, point]``, ascending: Wilkinghoff et al., ICASSP 2025, ratio form."""
    density = []
    for i, one in enumerate(points):
        others = sorted(_distance(one, points[j], metric, precision) for j in range(len(points)) if clip[j] != clip[i])
        density.append(np.mean(others[:density_k]))
    return np.array([sorted(_distance(q, b, metric, precision) / d for b, d in zip(points, density, strict=True)) for q in query])


def _points(name: str, source: np.ndarray, target: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    clip = np.arange(len(source) + len(target)) // PER_CLIP
    if name == "pseudo_target":
        mixed = pseudo_target(TrainingRows(source, target), config=config, seed=0)
        return mixed, np.arange(len(mixed))
    return (source, clip[: len(source)]) if name == "source" else (np.concatenate([source, target]), clip)


@pytest.mark.parametrize("reduce", ["mean", "kth"])
@pytest.mark.parametrize("density_k", [1, 4])
@pytest.mark.parametrize(
    ("metric", "covariance"),
    [("mahalanobis", "shared"), ("mahalanobis", "per_set"), ("euclidean", "shared"), ("cosine", "shared")],
)
def test_the_grid_equals_the_naive_implementation(batches_of, metric: str, covariance: str, density_k: int, reduce: str) -> None:
    source, target, query = _data()
    # a law of weights that makes no near copies, whose densities would all be raised to the least one
    config = Config(
        fit_sets=FIT_SETS,
        n_neighbors=KS,
        metric=metric,
        covariance=covariance,
        reduce=reduce,
        local_density=density_k,
        pseudo_target_law="uniform",
    )
    detector = Knn(config)
    detector.fit(batches_of(source, target, n_batches=4, per_clip=PER_CLIP), seed=0)
    parts = detector.score(query).parts
    assert list(parts) == [f"fit_set={s},k={k}" for s in FIT_SETS for k in KS]
    for name in FIT_SETS:
        points, clip = _points(name, source, target, config)
        basis = np.concatenate([source, target]) if covariance == "shared" else points
        precision = np.linalg.inv(ledoit_wolf(basis)[0]) if metric == "mahalanobis" else np.eye(source.shape[1])
        nearest = _naive(points, clip, query, density_k=density_k, metric=metric, precision=precision)
        for k in KS:
            expected = nearest[:, k - 1] if reduce == "kth" else nearest[:, :k].mean(axis=1)
            np.testing.assert_allclose(parts[f"fit_set={name},k={k}"], expected, rtol=1e-7)


def test_scores_have_no_unit_and_densities_are_kept_only_where_asked_for(batches_of) -> None:
    source, target, query = _data()
    scores = {}
    for factor in (1.0, 1000.0):
        detector = Knn(Config(metric="euclidean", n_neighbors=(1,), local_density=2))
        detector.fit(batches_of(factor * source, factor * target, per_clip=PER_CLIP), seed=0)
        scores[factor] = detector.score(factor * query).score
    np.testing.assert_allclose(scores[1.0], scores[1000.0], rtol=1e-9)
    plain = Knn(Config(metric="euclidean", n_neighbors=(1,)))
    plain.fit(batches_of(source, target), seed=0)
    assert not any(name.startswith("density.") for name in plain.state())


def test_a_sparse_domain_reaches_as_far_as_a_dense_one(batches_of) -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(80, 2)), 10.0 * rng.normal(size=(8, 2)) + [100.0, 0.0]
    near_source, near_target = rng.normal(size=(300, 2)), 10.0 * rng.normal(size=(300, 2)) + [100.0, 0.0]
    ratio = {}
    for density_k in (0, 1):
        detector = Knn(Config(metric="euclidean", n_neighbors=(1,), local_density=density_k))
        detector.fit(batches_of(source, target), seed=0)
        ratio[density_k] = np.median(detector.score(near_target).score) / np.median(detector.score(near_source).score)
    assert ratio[0] > 10.0
    assert 0.3 < ratio[1] < 3.0


def test_segments_of_the_same_clip_are_no_neighbours_and_order_does_not_matter(batches_of) -> None:
    source, target, query = _data()
    results = []
    for order in (None, np.random.default_rng(1).permutation(len(source) + len(target))):
        detector = Knn(Config(local_density=2, n_neighbors=KS))
        detector.fit(batches_of(source, target, order=order, n_batches=3, per_clip=PER_CLIP), seed=0)
        results.append(detector.score(query).score)
    np.testing.assert_array_equal(*results)
    alone = Knn(Config(local_density=2, n_neighbors=KS))
    alone.fit(batches_of(source, target), seed=0)
    assert not np.allclose(alone.score(query).score, results[0])


def test_copies_of_a_segment_do_not_make_everything_else_infinitely_far(batches_of) -> None:
    source, _, query = _data()
    detector = Knn(Config(metric="euclidean", n_neighbors=(1,), local_density=1))
    detector.fit(batches_of(np.concatenate([source, source[:4]])), seed=0)
    density = detector.state()["density.both.source"]
    assert np.isfinite(detector.score(query).score).all()
    np.testing.assert_allclose(density[:4], density[-4:])
    assert 0.0 < density.min() < 2e-3 * density.mean()


def test_density_that_the_data_do_not_have_is_refused(batches_of) -> None:
    source, _, _ = _data()
    with pytest.raises(DataError, match=r"local_density 46 exceeds the 45 training segments of other clips"):
        Knn(Config(n_neighbors=(1,), local_density=46)).fit(batches_of(source, per_clip=PER_CLIP), seed=0)
    with pytest.raises(DataError, match="all training segments are equal"):
        Knn(Config(n_neighbors=(1,), metric="euclidean", local_density=1)).fit(batches_of(np.ones((10, 3))), seed=0)
    with pytest.raises(ConfigError, match="local_density"):
        Config(local_density=-1)


def test_a_state_without_densities_does_not_fit(batches_of) -> None:
    source, target, query = _data()
    config = Config(n_neighbors=(1,), local_density=1, fit_sets=("source", "both"))
    detector, again = Knn(config), Knn(config)
    detector.fit(batches_of(source, target, per_clip=PER_CLIP), seed=0)
    again.load_state(detector.state())
    np.testing.assert_array_equal(again.score(query).score, detector.score(query).score)
    state = {name: value for name, value in detector.state().items() if name != "density.both.target"}
    with pytest.raises(FormatError, match=r"density\.both\.target"):
        again.load_state(state)


def test_divided_distances_keep_their_digits_where_the_product_loses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(50, 8)) * 1e-3 + 1e6, rng.normal(size=(50, 8)) * 1e-3 - 1e6])
    query, divisor = points[:5] + 1e-4, rng.uniform(0.5, 2.0, size=100)
    monkeypatch.setattr("dcase_asd.detectors._shared.nearest._CHUNK_VALUES", 300)
    bank = Bank.of({"all": points}, readings={"plain": Reading("all"), "scaled": Reading("all", divisor)})
    found = bank.nearest(query, k=100)
    squared = ((query[:, None] - points[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(found["plain"], np.sort(squared, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["scaled"], np.sort(squared / divisor, axis=1), rtol=1e-5)


def test_neighbours_are_found_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    points, group = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) // 4
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    squared[group[:, None] == group] = np.inf
    monkeypatch.setattr("dcase_asd.detectors._shared.nearest._CHUNK_VALUES", 200)
    np.testing.assert_allclose(squared_to_neighbors(points, group=group, k=5), np.sort(squared, axis=1)[:, :5], rtol=1e-12)
