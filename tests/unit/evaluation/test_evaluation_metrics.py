"""Metrics against scikit-learn and scipy, and the properties that identify the challenge's rules."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from dcase_asd.errors import DataError
from dcase_asd.evaluation import metrics

# areas are sums of at most 80 terms divided once: 1e-12 leaves four digits above rounding
TOLERANCE = 1e-12


@st.composite
def clips(draw, *, least=1):
    """Labels with both classes, and scores on a coarse grid so that ties within and across classes are common."""
    n_pos, n_neg = draw(st.integers(least, 40)), draw(st.integers(least, 40))
    grid = draw(st.sampled_from([2, 5, 1000]))
    scores = draw(st.lists(st.integers(-grid, grid), min_size=n_pos + n_neg, max_size=n_pos + n_neg))
    labels = np.array([1] * n_pos + [0] * n_neg)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(labels.size)
    return labels[order], np.array(scores)[order] / 7.0


@settings(deadline=None, max_examples=80)
@given(clips(), st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.99]))
def test_areas_equal_scikit_learn(data, max_fpr):
    labels, scores = data
    assert metrics.auc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores), abs=TOLERANCE)
    expected = reference.roc_auc_score(labels, scores, max_fpr=max_fpr)
    assert metrics.pauc(labels, scores, max_fpr=max_fpr) == pytest.approx(expected, abs=TOLERANCE)
    assert metrics.average_precision(labels, scores) == pytest.approx(
        reference.average_precision_score(labels, scores), abs=TOLERANCE
    )


@settings(deadline=None)
@given(clips())
def test_auc_is_on_the_grid_of_pair_counts(data):
    labels, scores = data
    count = 2 * metrics.auc(labels, scores) * labels.sum() * (1 - labels).sum()
    assert count == pytest.approx(round(count), abs=1e-9)


@settings(deadline=None)
@given(clips())
def test_negated_scores_give_the_complement(data):
    labels, scores = data
    assert metrics.auc(labels, -scores) == pytest.approx(1 - metrics.auc(labels, scores), abs=TOLERANCE)


@settings(deadline=None, max_examples=40)
@given(clips(), st.integers(0, 10))
def test_decisions_equal_scikit_learn(data, seed):
    labels, _ = data
    decisions = np.random.default_rng(seed).integers(0, 2, labels.size)
    found = metrics.precision_recall_f1(labels, decisions)
    expected = reference.precision_recall_fscore_support(labels, decisions, average="binary", zero_division=0.0)[:3]
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected, abs=TOLERANCE)


def test_pauc_of_a_hand_drawn_curve():
    # 20 normals: limit 2 of them; the anomalies stand before the first, between the first two, and last
    normals = np.arange(20, 0, -1.0)
    scores, labels = np.r_[21.0, 19.5, 0.0, normals], np.r_[1, 1, 1, np.zeros(20, dtype=int)]
    area = (2 + 1 + 0) / (3 * 20)
    assert metrics.pauc(labels, scores) == pytest.approx(0.5 * (1 + (area - 0.005) / (0.1 - 0.005)), abs=TOLERANCE)


def test_chance_is_one_half_when_every_score_is_tied():
    labels, scores = np.r_[np.ones(7), np.zeros(33)], np.zeros(40)
    assert metrics.auc(labels, scores) == 0.5
    assert metrics.pauc(labels, scores) == pytest.approx(0.5, abs=TOLERANCE)


def test_base_rates_match_the_constant_detector():
    labels = np.r_[np.ones(30, dtype=int), np.zeros(70, dtype=int)]
    rates = metrics.base_rates(labels)
    assert (rates.n_pos, rates.n_neg, rates.precision_base) == (30, 70, 0.3)
    assert rates.f1_trivial == pytest.approx(reference.f1_score(labels, np.ones(100, dtype=int)), abs=TOLERANCE)


def test_no_alarm_has_zero_f1_without_a_warning():
    found = metrics.precision_recall_f1([0, 1, 1], [0, 0, 0])
    assert (found.precision, found.recall, found.f1) == (0.0, 0.0, 0.0)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=30))
def test_means_equal_scipy(values):
    assert metrics.harmonic_mean(values) == pytest.approx(scipy.stats.hmean(values), rel=1e-12)
    assert metrics.arithmetic_mean(values) == pytest.approx(np.mean(values), rel=1e-12)


def test_harmonic_mean_with_a_zero_is_about_1e_15_as_the_organisers_print():
    # six values, one of them zero: 6 * epsilon, the 1.3e-15 in the official 2021 README sample
    found = metrics.harmonic_mean([0.0, 0.6, 0.6, 0.7, 0.5, 0.8])
    assert found == pytest.approx(6 * 2.220446049250313e-16, rel=1e-12)
    assert found == pytest.approx(1.3322676295501878e-15, rel=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.5], "2 labels but scores"),
        ([0, 2], [0.1, 0.2], "label 1 is"),
        ([0, 1], [0.1, np.nan], "score 1 is nan"),
        ([0, 1], [np.inf, 0.0], "score 0 is inf"),
        ([1, 1], [0.1, 0.2], "one class"),
        ([[0, 1]], [[0.1, 0.2]], "one dimension"),
    ],
)
def test_bad_input_is_named(labels, scores, message):
    for function in (metrics.auc, metrics.pauc, metrics.average_precision):
        with pytest.raises(DataError, match=message):
            function(labels, scores)


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.5, float("nan")])
def test_max_fpr_out_of_range(max_fpr):
    with pytest.raises(DataError, match="max_fpr"):
        metrics.pauc([0, 1], [0.0, 1.0], max_fpr=max_fpr)


def test_fraction_as_decision_is_refused():
    """The official tool truncates 0.9 to 0; here it is an error."""
    with pytest.raises(DataError, match="decision 1"):
        metrics.precision_recall_f1([0, 1], [0, 0.9])


def test_empty_inputs():
    for function in (metrics.harmonic_mean, metrics.arithmetic_mean, metrics.base_rates):
        with pytest.raises(DataError):
            function([])
