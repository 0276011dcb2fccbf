from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from dcase_asd.detectors._shared.covariance import Moments, shrink, whitening
from dcase_asd.errors import DataError


def _x(n: int, dim: int, *, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng([n, dim])
    return rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + offset


@pytest.mark.parametrize(("n", "dim"), [(5, 8), (50, 8), (400, 8), (30, 60)])
def test_ledoit_wolf_in_one_pass_equals_scikit_learn(n: int, dim: int) -> None:
    x = _x(n, dim, offset=3.0)
    expected, amount = ledoit_wolf(x)
    moments = Moments.empty(x[:3].mean(axis=0))
    for part in np.array_split(x, 4):
        moments.add(part)
    assert moments.ledoit_wolf() == pytest.approx(amount, rel=1e-9)
    np.testing.assert_allclose(shrink(moments.covariance(), amount), expected, rtol=1e-9, atol=1e-12)


def test_streaming_covariance_equals_numpy_with_a_large_offset() -> None:
    x = _x(300, 6, offset=1e4)
    moments = Moments.empty(x[:10].mean(axis=0))
    for part in np.array_split(x, 7):
        moments.add(part)
    np.testing.assert_allclose(moments.covariance(), np.cov(x.T, bias=True), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.mean(), x.mean(axis=0), rtol=1e-12)


def test_merged_moments_are_those_of_all_rows() -> None:
    x = _x(60, 4)
    shift = x[0]
    a, b, both = Moments.empty(shift), Moments.empty(shift), Moments.empty(shift)
    a.add(x[:25])
    b.add(x[25:])
    both.add(x)
    merged = a.merged(b)
    np.testing.assert_allclose(merged.covariance(), both.covariance(), rtol=1e-10, atol=1e-12)
    assert merged.ledoit_wolf() == pytest.approx(both.ledoit_wolf(), rel=1e-10)


def test_whitening_makes_the_identity() -> None:
    cov = np.cov(_x(100, 5).T)
    w = whitening(cov, name="test")
    np.testing.assert_allclose(w @ cov @ w.T, np.eye(5), atol=1e-9)
    assert np.array_equal(w, np.tril(w))


@pytest.mark.parametrize("cov", [np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 1.0, 1e-18]), -np.eye(3)])
def test_a_singular_covariance_is_refused_with_a_remedy(cov: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"here: .*singular.*shrinkage"):
        whitening(cov, name="here")
