from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from dcase_asd.detectors._shared.fit_sets import TrainingRows, pseudo_target
from dcase_asd.detectors.mahalanobis import Config, Mahalanobis
from dcase_asd.errors import DataError


def _data(dim: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dim, dim))
    source, target, query = (rng.normal(size=(n, dim)) @ mixing + 10.0 for n in (200, 30, 40))
    return source, 0.5 * target + 7.0, query


def _fitted(batches, **values) -> Mahalanobis:
    detector = Mahalanobis(Config(**values))
    detector.fit(batches, seed=0)
    return detector


def test_equals_scikit_learn_with_ledoit_wolf(batches_of) -> None:
    source, target, query = _data()
    detector = _fitted(batches_of(source, target, n_batches=5), fit_sets=("source", "both"), squared=True)
    parts = detector.score(query).parts
    np.testing.assert_allclose(parts["fit_set=source"], LedoitWolf().fit(source).mahalanobis(query), rtol=1e-8)
    both = np.concatenate([source, target])
    np.testing.assert_allclose(parts["fit_set=both"], LedoitWolf().fit(both).mahalanobis(query), rtol=1e-8)


def test_without_shrinkage_it_is_the_empirical_distance(batches_of) -> None:
    source, _, query = _data()
    detector = _fitted(batches_of(source), shrinkage=0.0)
    np.testing.assert_allclose(detector.score(query).score ** 2, EmpiricalCovariance().fit(source).mahalanobis(query), rtol=1e-8)
    # the mean squared distance of the fitted rows is the dimension, exactly
    assert (detector.score(source).score ** 2).mean() == pytest.approx(source.shape[1], rel=1e-10)


def test_separate_domains_take_the_nearer_gaussian(batches_of) -> None:
    source, target, query = _data()
    detector = _fitted(batches_of(source, target), separate_domains=True, squared=True)
    apart = [LedoitWolf().fit(x).mahalanobis(query) for x in (source, target)]
    np.testing.assert_allclose(detector.score(query).score, np.minimum(*apart), rtol=1e-8)


def test_a_single_target_segment_uses_the_source_covariance(batches_of) -> None:
    source, target, query = _data()
    detector = _fitted(batches_of(source, target[:1]), separate_domains=True, squared=True)
    model = LedoitWolf().fit(source)
    moved = model.mahalanobis(query - target[:1] + source.mean(axis=0))
    np.testing.assert_allclose(detector.score(query).score, np.minimum(model.mahalanobis(query), moved), rtol=1e-8)


@pytest.mark.parametrize("law", ["beta", "uniform", "half"])
def test_the_pseudo_target_gaussian_is_that_of_many_mixtures(batches_of, law: str) -> None:
    source, target, query = _data()
    values = {"fit_sets": ("pseudo_target",), "pseudo_target_law": law, "pseudo_target_amount": 1000.0}
    detector = _fitted(batches_of(source, target), shrinkage=0.0, **values)
    drawn = pseudo_target(TrainingRows(source, target), config=Config(**values), seed=0)
    # 200000 mixtures: the sampled covariance is within about 1 %
    np.testing.assert_allclose(detector.score(query).score ** 2, EmpiricalCovariance().fit(drawn).mahalanobis(query), rtol=0.03)


def test_one_source_segment_is_too_few(batches_of) -> None:
    source, target, _ = _data()
    with pytest.raises(DataError, match="at least 2"):
        _fitted(batches_of(source[:1], target))


def test_more_dimensions_than_segments_without_shrinkage_is_refused(batches_of) -> None:
    source, _, _ = _data()
    with pytest.raises(DataError, match="singular"):
        _fitted(batches_of(source[:4]), shrinkage=0.0)
