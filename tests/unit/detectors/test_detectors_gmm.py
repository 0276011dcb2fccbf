from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from dcase_asd.detectors.gmm import Config, Gmm
from dcase_asd.errors import ConfigError, DataError


def _data(dim: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dim, dim))
    centers = 6.0 * rng.normal(size=(3, dim))
    source, query = (rng.normal(size=(n, dim)) @ mixing + centers[rng.integers(3, size=n)] for n in (300, 40))
    return source, query


def _fitted(batches, **values) -> Gmm:
    detector = Gmm(Config(**values))
    detector.fit(batches, seed=0)
    return detector


@pytest.mark.parametrize("covariance", ["full", "diag", "tied"])
@pytest.mark.parametrize("k", [1, 3])
def test_equals_scikit_learn(batches_of, covariance: str, k: int) -> None:
    source, query = _data()
    detector = _fitted(batches_of(source), n_components=(k,), covariance=covariance, tol=1e-9, max_iter=500)
    # reg is relative to the mean variance; the rest of the model does not depend on centre and scale
    reg = 1e-3 * float(source.var(axis=0).mean())
    model = GaussianMixture(k, covariance_type=covariance, reg_covar=reg, random_state=0, tol=1e-9, max_iter=500).fit(source)
    np.testing.assert_allclose(detector.score(query).score, -model.score_samples(query), rtol=1e-5)


def test_the_scale_and_place_of_features_change_scores_by_a_constant_only(batches_of) -> None:
    source, query = _data()
    plain = _fitted(batches_of(source), n_components=(3,)).score(query).score
    moved = _fitted(batches_of(1e-3 * source + 10.0), n_components=(3,)).score(1e-3 * query + 10.0).score
    np.testing.assert_allclose(moved - plain, np.full(len(query), source.shape[1] * np.log(1e-3)), rtol=1e-6)


def test_shrunk_with_amount_one_is_spherical(batches_of) -> None:
    source, query = _data()
    found = _fitted(batches_of(source), n_components=(1,), covariance="shrunk", shrinkage=1.0, reg=0.0).score(query).score
    variance = float(source.var(axis=0).mean())
    expected = -multivariate_normal(source.mean(axis=0), variance * np.eye(source.shape[1])).logpdf(query)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_pca_scores_the_projection(batches_of) -> None:
    source, query = _data(dim=6)
    found = _fitted(batches_of(source), n_components=(1,), pca_dim=2, reg=0.0).score(query).score
    _, axes = np.linalg.eigh(np.cov(source.T))
    low, low_query = ((x - source.mean(axis=0)) @ axes[:, -2:] for x in (source, query))
    expected = -multivariate_normal(low.mean(axis=0), np.cov(low.T, bias=True)).logpdf(low_query)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    with pytest.raises(DataError, match="pca_dim 7"):
        _fitted(batches_of(source), pca_dim=7)


def test_parts_name_the_grid(batches_of) -> None:
    source, query = _data()
    scores = _fitted(batches_of(source, source[:20] + 1.0), n_components=(2, 1), fit_sets=("source", "pseudo_target")).score(
        query
    )
    assert list(scores.parts) == [f"fit_set={s},n_components={k}" for s in ("source", "pseudo_target") for k in (2, 1)]
    np.testing.assert_array_equal(scores.score, scores.parts["fit_set=source,n_components=2"])


def test_more_components_than_segments_are_left_out_and_logged(batches_of, caplog: pytest.LogCaptureFixture) -> None:
    source, query = _data()
    with caplog.at_level(logging.WARNING):
        detector = _fitted(batches_of(source[:10]), n_components=(1, 16))
    assert "16" in caplog.text
    # what is left keeps its name: on a machine with more segments the same grid has two parts
    assert list(detector.score(query).parts) == ["fit_set=both,n_components=1"]
    with pytest.raises(DataError, match="16"):
        _fitted(batches_of(source[:10]), n_components=(1, 16), oversize="error")


def test_em_that_does_not_converge_is_logged_and_recorded(batches_of, caplog: pytest.LogCaptureFixture) -> None:
    source, _ = _data()
    with caplog.at_level(logging.WARNING):
        detector = _fitted(batches_of(source), n_components=(16,), max_iter=1, tol=1e-12)
    assert "did not converge" in caplog.text
    assert detector.state()["both.16.converged"].tolist() == [0]


def test_far_segments_are_still_told_apart(batches_of) -> None:
    source, query = _data()
    far = np.stack([query[0] * 10.0**power for power in range(2, 9)])
    score = _fitted(batches_of(source), n_components=(4,)).score(far).score
    assert np.isfinite(score).all()
    assert (np.diff(score) > 0).all()


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_identical_segments_are_refused(batches_of, covariance: str) -> None:
    with pytest.raises(DataError, match="the same"):
        _fitted(batches_of(np.full((20, 3), 0.1)), covariance=covariance)


def test_a_singular_component_is_refused_with_a_remedy(batches_of) -> None:
    source, _ = _data(dim=6)
    with pytest.raises(DataError, match=r"raise reg|regularisation"):
        _fitted(batches_of(source[:8]), n_components=(4,), reg=0.0)


@pytest.mark.parametrize("values", [{"n_components": (0,)}, {"reg": -1.0}, {"shrinkage": 2.0}, {"pca_dim": -1}, {"n_init": 0}])
def test_impossible_configurations_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError):
        Config(**values)
