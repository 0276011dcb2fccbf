"""PaDiM: covariances, distances, shrinkage, the dual form."""

import numpy as np
import pytest
from map_material import meta, normal_segments, training
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from dcase_asd.detectors._shared.position_gaussians import PositionMoments
from dcase_asd.detectors.base import Batch
from dcase_asd.detectors.padim import Config, Padim
from dcase_asd.errors import ConfigError, DataError

SHAPE = (6, 2, 3)


def _train(n, shape=SHAPE):
    return np.concatenate([batch.x for batch in training(shape, n)()])


def _fitted(n, *, shape=SHAPE, **values):
    detector = Padim(Config(**values))
    detector.fit(training(shape, n), seed=1)
    return detector


def _reference(train, x, covariance_of):
    """One position after the other, by scipy's scalar function."""
    result = np.empty((len(x), *x.shape[2:]))
    for i, j in np.ndindex(*x.shape[2:]):
        rows = train[:, :, i, j].astype(np.float64)
        inverse = np.linalg.inv(covariance_of(rows))
        result[:, i, j] = [mahalanobis(one[:, i, j], rows.mean(axis=0), inverse) for one in x]
    return result


def _eps(rows):
    return np.cov(rows, rowvar=False) + 0.01 * np.eye(rows.shape[1])


@pytest.mark.parametrize("n", [5, 6, 40])
def test_distances_are_those_of_scipy_in_both_forms(n):
    detector = _fitted(n)
    assert ("dual" in detector.state()) == (n < 6)
    x = normal_segments(SHAPE, 8, seed=3)
    found = detector.score(x)
    expected = _reference(_train(n), x, _eps)
    np.testing.assert_allclose(found.map, expected, rtol=2e-5)
    np.testing.assert_allclose(found.score, expected.max(axis=(1, 2)), rtol=2e-5)


@pytest.mark.parametrize(("spread", "tolerance"), [(0.3, 1e-4), (300.0, 2e-5)])
def test_many_correlated_channels_are_as_exact_as_promised_at_any_scale(spread, tolerance):
    """More channels than LAPACK gets at once; single precision where the ridge allows it, double where it does not."""
    rng = np.random.default_rng(0)
    mixing = 0.9 + 0.1 * rng.standard_normal((70, 70))
    x = (spread * rng.standard_normal((90, 2, 2, 70)) @ mixing / 8).transpose(0, 3, 1, 2).astype(np.float32)
    detector = Padim(Config())
    detector.fit(
        lambda: [Batch(part, np.arange(len(part)), meta(len(part), n_target=0)) for part in np.array_split(x, 3)], seed=0
    )
    np.testing.assert_allclose(detector.score(x[:9]).map, _reference(x, x[:9], _eps), rtol=tolerance)
    whiten = detector.state()["whiten"]
    assert not np.triu(whiten, 1).any()


@pytest.mark.parametrize("n", [5, 40])
def test_ledoit_wolf_is_that_of_scikit_learn_in_both_forms(n):
    x = normal_segments(SHAPE, 8, seed=3)
    found = _fitted(n, shrinkage="ledoit_wolf").score(x)
    expected = _reference(_train(n), x, lambda rows: LedoitWolf().fit(rows).covariance_)
    # the floor under the variances adds a millionth of them
    np.testing.assert_allclose(found.map, expected, rtol=1e-4)


def test_ledoit_wolf_sums_need_no_second_pass():
    x = normal_segments((4, 1, 1), 30, seed=0)[..., 0].transpose(2, 0, 1).astype(np.float64) + 50
    moments = PositionMoments.empty(x[:, :5].mean(axis=1))
    for part in np.array_split(x, 4, axis=1):
        moments.add(part)
    centred = x - x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(moments.central_fourth(), (np.square(centred).sum(axis=2) ** 2).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(moments.covariance(slice(None), divisor=29)[0], np.cov(x[0], rowvar=False), rtol=1e-9)


@pytest.mark.parametrize("shrinkage", ["eps", "ledoit_wolf"])
def test_dual_and_primal_agree_at_the_border(shrinkage):
    """With as many segments as channels the primal form is used, with one fewer the dual; dropping a copy changes little."""
    from dcase_asd.detectors._shared.position_gaussians import dual_form, dual_squared, primal_form, primal_squared

    x = normal_segments((9, 2, 2), 7, seed=0).reshape(7, 9, 4).transpose(2, 0, 1).astype(np.float64)
    moments = PositionMoments.empty(x.mean(axis=1))
    moments.add(x)
    mean, v, ridge = dual_form(x, eps=0.01, shrinkage=shrinkage)
    test = x[:, :3].transpose(1, 2, 0) + 0.3
    primal = primal_squared(test, mean, primal_form(moments, eps=0.01, shrinkage=shrinkage))
    np.testing.assert_allclose(dual_squared(test, mean, v, ridge), primal, rtol=1e-4)
    np.testing.assert_allclose(mean, moments.mean())


def test_a_large_offset_costs_no_digits():
    x = _train(40) + 1e4
    detector = Padim(Config())
    detector.fit(
        lambda: [Batch(part, np.arange(len(part)), meta(len(part), n_target=0)) for part in np.array_split(x, 5)], seed=0
    )
    expected = _reference(x, x[:4], _eps)
    np.testing.assert_allclose(detector.score(x[:4]).map, expected, rtol=1e-3)


def test_channels_are_drawn_by_the_seed_and_kept():
    first, second = _fitted(30, shape=(20, 2, 2), n_channels=8), Padim(Config(n_channels=8))
    second.fit(training((20, 2, 2), 30), seed=2)
    channels = first.state()["channels"]
    assert len(set(channels.tolist())) == 8
    assert channels.tolist() == sorted(channels.tolist())
    assert channels.tolist() != second.state()["channels"].tolist()
    x = normal_segments((20, 2, 2), 5, seed=0)
    changed = x.copy()
    changed[:, [c for c in range(20) if c not in channels]] = 7.0
    np.testing.assert_array_equal(first.score(x).map, first.score(changed).map)


def test_the_map_shows_where_and_blur_spreads_it():
    x = normal_segments((6, 7, 7), 2, seed=5)
    x[1, :, 5, 2] += 9.0
    sharp, soft = (_fitted(60, shape=(6, 7, 7), blur=blur).score(x) for blur in (0.0, 1.0))
    for scores in (sharp, soft):
        assert np.unravel_index(scores.map[1].argmax(), (7, 7)) == (5, 2)
    assert soft.score[1] < sharp.score[1]
    # a blur keeps the mean (reflected at the border)
    assert soft.map[1].mean() == pytest.approx(sharp.map[1].mean(), rel=1e-5)


def test_positions_that_never_changed_and_too_little_data():
    x = _train(30)
    x[:, :, 0, 0] = 3.0

    def batches():
        return [Batch(x, np.arange(30), meta(30, n_target=0))]

    for shrinkage in ("eps", "ledoit_wolf"):
        detector = Padim(Config(shrinkage=shrinkage))
        detector.fit(batches, seed=0)
        assert np.isfinite(detector.score(x).score).all()
    x[:] = 3.0
    with pytest.raises(DataError, match="all training segments are equal"):
        Padim(Config(shrinkage="ledoit_wolf")).fit(batches, seed=0)
    with pytest.raises(DataError, match="1 segments, at least 2"):
        Padim(Config()).fit(lambda: [Batch(x[:1], np.arange(1), meta(1, n_target=0))], seed=0)
    for values in ({"n_channels": 0}, {"eps": 0.0}, {"blur": -1.0}):
        with pytest.raises(ConfigError):
            Config(**values)
