"""Thresholds: the gamma rule against scipy and under shift and scale, the order statistic against its promise, the oracle."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from dcase_asd.errors import DataError, UnknownNameError, UsageError
from dcase_asd.scores.thresholds import Threshold, false_alarm_threshold, gamma_threshold, oracle_threshold


@pytest.fixture(scope="module")
def gamma_scores():
    return np.random.default_rng(0).gamma(3.0, 2.0, 1000)


def test_gamma_equals_the_official_fit(gamma_scores):
    official = scipy.stats.gamma.ppf(0.9, *scipy.stats.gamma.fit(gamma_scores))
    # both are simplex searches that stop at a relative step of 1e-4
    assert gamma_threshold(gamma_scores).value == pytest.approx(official, rel=1e-4)


def test_gamma_finds_the_true_quantile(gamma_scores):
    found = gamma_threshold(gamma_scores, quantile=0.95)
    assert found.value == pytest.approx(scipy.stats.gamma.ppf(0.95, 3.0, 0.0, 2.0), rel=0.05)
    assert found.rate == pytest.approx(0.05)
    assert found.rate_low < np.mean(gamma_scores > found.value) < found.rate_high
    assert not found.oracle


@pytest.mark.parametrize(("scale", "shift"), [(1e-9, 0.0), (1e6, 0.0), (1.0, -1e4), (1e-3, 7.0)])
def test_gamma_follows_shift_and_scale(gamma_scores, scale, shift):
    base = gamma_threshold(gamma_scores).value
    # the shift costs digits of the scores, at most 1e4 * eps against a spread of 1e-3
    assert gamma_threshold(gamma_scores * scale + shift).value == pytest.approx(base * scale + shift, rel=1e-6)


def test_gamma_reports_its_parameters_in_the_scores_unit(gamma_scores):
    found = gamma_threshold(gamma_scores * 100 + 5)
    p = found.parameters
    assert scipy.stats.gamma.ppf(0.9, p["shape"], p["location"], p["scale"]) == pytest.approx(found.value, rel=1e-9)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.arange(9.0), "9 normal scores"),
        (np.full(50, 3.0), "vary"),
        (np.r_[np.arange(20.0), np.nan], "score 20 is nan"),
        (-np.random.default_rng(0).gamma(1.0, 1.0, 2000), "no gamma distribution describes"),
        (np.zeros((3, 4)), "one dimension"),
    ],
)
def test_gamma_fails_aloud(scores, message):
    with pytest.raises(DataError, match=message):
        gamma_threshold(scores)


def test_gamma_copes_with_two_far_clusters():
    """The official call puts the 90 % quantile of these above every score."""
    generator = np.random.default_rng(0)
    scores = np.r_[generator.normal(0, 0.1, 500), generator.normal(30, 0.1, 500)]
    assert scipy.stats.gamma.ppf(0.9, *scipy.stats.gamma.fit(scores)) > scores.max()
    assert np.mean(scores > gamma_threshold(scores).value) == pytest.approx(0.1, abs=0.06)


@settings(deadline=None)
@given(st.integers(20, 300), st.floats(0.05, 0.5), st.integers(0, 1000))
def test_false_alarm_rate_is_conservative_and_tight(n, rate, seed):
    scores = np.random.default_rng(seed).permutation(n).astype(float)
    found = false_alarm_threshold(scores, rate=rate)
    above = np.count_nonzero(scores > found.value)
    assert found.rate <= rate + 1e-12
    assert found.rate > rate - 1 / (n + 1) - 1e-12
    # one of the n + 1 equally likely places of a new score above the threshold each
    assert found.rate == pytest.approx((above + 1) / (n + 1))
    assert found.rate_low < found.rate < found.rate_high


def test_false_alarm_interval_covers_the_true_rate():
    generator = np.random.default_rng(0)
    trials, inside, rates = 2000, 0, []
    for _ in range(trials):
        found = false_alarm_threshold(generator.normal(size=99), rate=0.1)
        true = scipy.stats.norm.sf(found.value)
        rates.append(true)
        inside += found.rate_low <= true <= found.rate_high
    # 0.95 and 0.1 with 5 standard errors
    assert inside / trials == pytest.approx(0.95, abs=0.025)
    assert np.mean(rates) == pytest.approx(0.1, abs=0.0035)


def test_false_alarm_rate_on_an_exact_grid():
    """(99 + 1) * 0.1 is ten: the 90th of 99 scores, not the 91st by a rounding error; ties stay below the rate."""
    assert false_alarm_threshold(np.arange(1.0, 100.0), rate=0.1).value == 90.0
    tied = np.r_[np.zeros(50), np.ones(49)]
    assert false_alarm_threshold(tied, rate=0.1).decide(tied).sum() == 0


def test_too_few_scores_for_the_rate_say_how_many():
    with pytest.raises(DataError, match="at least 99"):
        false_alarm_threshold(np.arange(98.0), rate=0.01)
    assert false_alarm_threshold(np.arange(99.0), rate=0.01).value == 98.0
    for rate in (0.0, 1.0, -0.1):
        with pytest.raises(DataError, match="rate"):
            false_alarm_threshold(np.arange(99.0), rate=rate)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=4, max_size=40))
def test_oracle_is_the_best_f1(clips):
    scores, labels = np.array([c[0] for c in clips], dtype=float), np.array([c[1] for c in clips], dtype=int)
    if len(set(labels)) < 2:
        with pytest.raises(DataError, match="both classes"):
            oracle_threshold(scores, labels)
        return
    found = Threshold.fit(scores, labels=labels, oracle=True)
    assert found.oracle
    assert f1_score(labels, found.decide(scores)) == pytest.approx(found.parameters["f1"])
    alarms = scores[None] > np.arange(-0.5, 9.0)[:, None]
    best = (2 * (alarms & (labels == 1)).sum(axis=1) / (alarms.sum(axis=1) + labels.sum())).max()
    assert found.parameters["f1"] == pytest.approx(best)


def test_labels_only_with_the_word_oracle():
    scores, labels = np.arange(20.0), np.repeat([0, 1], 10)
    with pytest.raises(UsageError, match="oracle=True"):
        Threshold.fit(scores, labels=labels)
    with pytest.raises(UsageError, match="oracle=True"):
        Threshold.fit(scores, oracle=True)


def test_fit_chooses_by_method(gamma_scores):
    assert Threshold.fit(gamma_scores) == gamma_threshold(gamma_scores, quantile=0.9)
    assert Threshold.fit(gamma_scores, method="false_alarm", rate=0.2) == false_alarm_threshold(gamma_scores, rate=0.2)
    with pytest.raises(UnknownNameError, match="did you mean 'gamma'"):
        Threshold.fit(gamma_scores, method="gama")


def test_decision_is_strictly_above():
    found = false_alarm_threshold(np.arange(1.0, 100.0), rate=0.1)
    assert found.decide([89.0, 90.0, 90.1]).tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="score 1"):
        found.decide([1.0, np.nan])
