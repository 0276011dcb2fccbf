from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import median_abs_deviation, zscore

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.scores.normalisation import Standardiser

SCORES = np.random.default_rng(0).gamma(2.0, size=50) + 1e6


def test_mean_std_equals_scipy() -> None:
    np.testing.assert_allclose(Standardiser.fit(SCORES).apply(SCORES).score, zscore(SCORES), rtol=1e-9)


def test_median_mad_equals_scipy_and_ignores_outliers() -> None:
    model = Standardiser.fit(SCORES, method="median_mad")
    assert model.center == np.median(SCORES)
    assert model.scale == pytest.approx(median_abs_deviation(SCORES, scale="normal"), rel=1e-9)
    spoilt = Standardiser.fit(np.append(SCORES, 1e12), method="median_mad")
    assert abs(spoilt.center - model.center) < 0.2


def test_statistics_of_training_scores_are_applied_to_others() -> None:
    model = Standardiser.fit(np.array([1.0, 3.0]))
    result = model.apply(np.array([2.0, 5.0]))
    assert result.score.tolist() == [0.0, 3.0]
    assert result.transductive is False


def test_transductive_results_say_so() -> None:
    assert Standardiser.fit(SCORES, transductive=True).apply(SCORES).transductive is True


@pytest.mark.parametrize("method", ["mean_std", "median_mad"])
@pytest.mark.parametrize("bad", [np.full(9, 0.1), np.zeros(4), [1.0], [], [1.0, np.nan], [[1.0, 2.0]]])
def test_scores_without_spread_or_sense_are_refused(bad, method: str) -> None:
    with pytest.raises(DataError, match="normal_scores"):
        Standardiser.fit(np.asarray(bad), method=method)


def test_unknown_method() -> None:
    with pytest.raises(UnknownNameError, match="mean_std"):
        Standardiser.fit(SCORES, method="mean_sdt")
