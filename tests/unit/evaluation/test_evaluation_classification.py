"""Decisions judged: against scikit-learn and scipy, and the coverage of the interval of F1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from dcase_asd.errors import DataError
from dcase_asd.evaluation.classification import classification, share_interval
from dcase_asd.evaluation.rules import rule_named


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=60))
def test_values_are_those_of_scikit_learn(pairs):
    truth, decided = np.array([1, *(a for a, _ in pairs)]), np.array([1, *(b for _, b in pairs)])
    found = classification(truth, decided)
    assert found.accuracy.estimate == pytest.approx(accuracy_score(truth, decided))
    assert found.f1.estimate == pytest.approx(f1_score(truth, decided))
    assert found.f1_weighted == pytest.approx(f1_score(truth, decided, average="weighted", zero_division=0.0))
    assert found.f1_trivial == pytest.approx(f1_score(truth, np.ones_like(truth)))
    assert found.accuracy_trivial == pytest.approx(max(truth.mean(), 1 - truth.mean()))
    for interval in (found.accuracy, found.f1):
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 7), (499, 500), (1, 1)])
def test_shares_have_the_exact_interval(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    found = share_interval(hits, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.method == "exact"


def test_a_faultless_result_has_an_interval_of_some_width():
    found = classification([1] * 10 + [0] * 10, [1] * 10 + [0] * 10)
    assert found.f1.estimate == found.accuracy.estimate == 1.0
    # 0.025 ** (1 / n): no error among n is that likely if the share of right ones is so low
    assert found.accuracy.low == pytest.approx(0.025 ** (1 / 20))
    jaccard = 0.025 ** (1 / 10)
    assert found.f1.low == pytest.approx(2 * jaccard / (1 + jaccard))


def test_the_interval_of_f1_covers_what_it_should():
    """4000 sets of 200 clips of a classifier with known rates; its F1 in the long run lies in 95 % of the intervals or more."""
    rng = np.random.default_rng(0)
    share, sensitivity, false_alarms = 0.3, 0.8, 0.1
    truth = rng.random((4000, 200)) < share
    decided = np.where(truth, rng.random(truth.shape) < sensitivity, rng.random(truth.shape) < false_alarms)
    hits, either = (truth & decided).sum(axis=1), (truth | decided).sum(axis=1)
    low, high = (
        np.array([getattr(share_interval(int(h), int(n)), end) for h, n in zip(hits, either, strict=True)])
        for end in ("low", "high")
    )
    true_jaccard = share * sensitivity / (share + (1 - share) * false_alarms)
    covered = ((low <= true_jaccard) & (true_jaccard <= high)).mean()
    # never below the nominal 95 % by more than three standard errors of the simulation, and not absurdly wide
    assert covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 4000)
    assert covered < 0.985


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(DataError, match="positive class"):
        classification([0, 0], [0, 1])
    with pytest.raises(DataError, match="one decision per clip"):
        classification([0, 1], [1])
    with pytest.raises(DataError, match="is no share"):
        share_interval(3, 2)


def test_the_rule_for_classifiers_judges_decisions():
    assert rule_named("supervised").judges_decisions
    assert [term.key for term in rule_named("supervised").terms] == ["auc"]
    assert not rule_named("pooled").judges_decisions
