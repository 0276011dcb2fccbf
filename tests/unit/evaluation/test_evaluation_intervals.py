"""Leave-one-out values against recomputation, the two jackknives against each other, widths against repeated sampling."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dcase_asd.errors import DataError
from dcase_asd.evaluation import bootstrap, intervals
from dcase_asd.evaluation.bootstrap import bootstrap_scores, paired_difference
from dcase_asd.evaluation.rules import RULES, Section, rule_named


def make(*, counts=(12, 7, 9, 6), seed=0, machine="fan", section="00", shift=1.0, grid=1):
    generator = np.random.default_rng(seed)
    anomaly = np.repeat([False, True, False, True], counts)
    domain = np.repeat(["source", "source", "target", "target"], counts)
    scores = np.round(generator.normal(anomaly * shift + (domain == "target") * 0.5), grid)
    return Section(machine, section, anomaly, domain, scores)


def without(section, clip):
    keep = np.arange(section.scores.size) != clip
    return Section(section.machine, section.section, section.is_anomaly[keep], section.domain[keep], section.scores[keep])


def score(sections, rule):
    values = np.stack([rule.values(section) for section in sections])
    return float(rule.combine(values, rule.weights([section.machine for section in sections])))


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(2, 12), st.integers(2, 25)),
    st.integers(0, 10_000),
    st.sampled_from([None, 0.1, 0.34]),
    st.sampled_from([2, 6, 500]),
)
def test_leave_one_out_equals_recomputation(sizes, seed, max_fpr, grid):
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat([1, 0], sizes))
    scores = generator.integers(0, grid, labels.size) / 3.0
    expected = [roc_auc_score(np.delete(labels, clip), np.delete(scores, clip), max_fpr=max_fpr) for clip in range(labels.size)]
    found = intervals.leave_one_out(labels, scores, max_fpr=max_fpr or 1.0)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(RULES))
def test_score_leave_one_out_equals_recomputation(name):
    rule = rule_named(name)
    sections = [
        make(seed=1),
        make(seed=2, section="01", counts=(5, 4, 6, 3)),
        make(seed=3, machine="valve", counts=(4, 4, 8, 5), shift=2.0),
    ]
    expected = [
        score([*sections[:place], without(section, clip), *sections[place + 1 :]], rule)
        for place, section in enumerate(sections)
        for clip in range(section.scores.size)
    ]
    assert intervals.score_leave_one_out(sections, rule) == pytest.approx(expected, abs=1e-12)


def test_leave_one_out_survives_a_term_of_zero():
    """A zero term has a reciprocal of 1e15; the other sections' part must not drown in it."""
    reversed_section = make(seed=5)
    reversed_section = Section(
        "fan", "01", reversed_section.is_anomaly, reversed_section.domain, -1.0 * reversed_section.is_anomaly
    )
    rule = rule_named("dcase2021")
    sections = [make(seed=6), reversed_section]
    found = intervals.score_leave_one_out(sections, rule)
    expected = score([without(sections[0], 0), reversed_section], rule)
    assert found[0] == pytest.approx(expected, rel=1e-9)
    assert 0 < expected < 1e-14


def test_jackknife_is_n_minus_one_times_the_official_value():
    section = make(counts=(100, 50, 80, 40))
    for max_fpr, name in ((1.0, "auc"), (0.1, "pauc")):
        values = intervals.leave_one_out(section.is_anomaly, section.scores, max_fpr=max_fpr)
        half = intervals.jackknife(0.5, values).half_width
        assert half == pytest.approx((270 - 1) * intervals.official_half_width(values), rel=1e-10), name


def test_official_ci95_follows_the_organisers_formula():
    """Written out from the formula, with scikit-learn and scipy, on clips of two machines thrown together."""
    first, second = make(seed=1), make(seed=2, machine="valve")
    labels, scores = np.r_[first.is_anomaly, second.is_anomaly], np.r_[first.scores, second.scores]
    n, widths = labels.size, []
    for max_fpr in (None, 0.1):
        thetas = [roc_auc_score(np.delete(labels, i), np.delete(scores, i), max_fpr=max_fpr) for i in range(n)]
        sigma = np.sqrt(np.sum((thetas - np.mean(thetas)) ** 2) / (n * (n - 1)))
        widths.append(abs(scipy.stats.t.ppf(0.025, n - 1)) * sigma)
    assert intervals.official_ci95(labels, scores) == pytest.approx(np.mean(widths), rel=1e-10)


def test_jackknife_of_a_mean_is_student():
    values = np.random.default_rng(0).normal(size=30)
    left_out = (values.sum() - values) / 29
    found = intervals.jackknife(values.mean(), left_out)
    expected = scipy.stats.t.interval(0.95, 29, loc=values.mean(), scale=scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_mean_interval_is_student_over_seeds():
    found = intervals.mean_interval([0.61, 0.63, 0.60, 0.66])
    expected = scipy.stats.t.interval(0.95, 3, loc=0.625, scale=scipy.stats.sem([0.61, 0.63, 0.60, 0.66]))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.625, *expected), abs=1e-12)
    assert (found.n, found.method) == (4, "student_t")
    for bad in ([0.5], [], [0.5, np.nan]):
        with pytest.raises(DataError, match="at least two finite"):
            intervals.mean_interval(bad)


def test_widths_match_repeated_sampling():
    """Jackknife and bootstrap half-widths against the spread of scores over 300 fresh samples; within 15 %, the noise of both."""
    rule, counts = rule_named("dcase2022"), (40, 25, 40, 25)

    def draw(seed):
        first = [make(seed=2 * seed + k, counts=counts, machine=m, grid=6) for k, m in enumerate(("fan", "valve"))]
        noise = np.random.default_rng(900_000 + seed)
        return first, [
            Section(s.machine, s.section, s.is_anomaly, s.domain, s.scores + noise.normal(0, 0.7, s.scores.size)) for s in first
        ]

    pairs = [draw(seed) for seed in range(300)]
    scores = np.array([[score(system, rule) for system in pair] for pair in pairs])
    widths = [intervals.score_jackknife(pair[0], rule).half_width for pair in pairs[:60]]
    assert np.mean(widths) / 1.97 == pytest.approx(scores[:, 0].std(ddof=1), rel=0.15)
    gaps = [
        paired_difference(("a", first), ("b", second), rule, n_bootstrap=200, seed=1).interval.half_width
        for first, second in pairs[:40]
    ]
    assert np.mean(gaps) / 1.96 == pytest.approx((scores[:, 0] - scores[:, 1]).std(ddof=1), rel=0.15)


@pytest.mark.parametrize("name", ["dcase2020", "dcase2021", "dcase2022", "own_domain"])
def test_bootstrap_replicate_equals_resampled_clips(name, monkeypatch):
    """The weighted areas of a known draw equal the rule on clips repeated as often as they were drawn."""
    rule, section = rule_named(name), make(seed=4)
    counts = np.random.default_rng(3).integers(0, 3, section.scores.size).astype(float)
    for domain in ("source", "target"):
        for anomalous in (False, True):
            members = np.flatnonzero((section.domain == domain) & (section.is_anomaly == anomalous))
            counts[members] = np.random.default_rng(len(members)).multinomial(len(members), [1 / len(members)] * len(members))
    monkeypatch.setattr("dcase_asd.evaluation.bootstrap.draw_counts", lambda *_: counts[None])
    rows = np.repeat(np.arange(counts.size), counts.astype(int))
    resampled = Section("fan", "00", section.is_anomaly[rows], section.domain[rows], section.scores[rows])
    found = bootstrap_scores([[section]], rule, n_bootstrap=1, seed=0)
    assert found[0, 0] == pytest.approx(score([resampled], rule), abs=1e-12)


def test_draws_keep_the_size_of_every_stratum():
    section = make(counts=(12, 7, 9, 1))
    counts = bootstrap.draw_counts(section, 4000, np.random.default_rng(0))
    for domain in ("source", "target"):
        for anomalous in (False, True):
            members = (section.domain == domain) & (section.is_anomaly == anomalous)
            assert (counts[:, members].sum(axis=1) == members.sum()).all()
    # each clip once on average: standard error of a count below one, over 4000 draws, is 0.016
    assert counts.mean(axis=0) == pytest.approx(np.ones(29), abs=0.08)
    assert counts.max() > 3


def test_paired_difference_is_seeded_and_decides():
    rule = rule_named("dcase2022")
    good, bad = [make(seed=1, counts=(60, 60, 60, 60), shift=3.0)], [make(seed=1, counts=(60, 60, 60, 60), shift=0.5)]
    found = paired_difference(("good", good), ("bad", bad), rule, n_bootstrap=300, seed=7)
    assert found == paired_difference(("good", good), ("bad", bad), rule, n_bootstrap=300, seed=7)
    assert found.interval != paired_difference(("good", good), ("bad", bad), rule, n_bootstrap=300, seed=8).interval
    assert found.is_decided
    assert found.interval.low > 0.1
    assert found.share_better == 1.0
    same = paired_difference(("a", good), ("b", good), rule, n_bootstrap=50, seed=0)
    assert (same.interval.estimate, same.interval.low, same.interval.high, same.is_decided) == (0.0, 0.0, 0.0, False)


def test_paired_comparison_needs_the_same_clips():
    rule = rule_named("pooled")
    for other in ([make(counts=(12, 7, 9, 5))], [make(section="01")], [make(), make(section="01")]):
        with pytest.raises(DataError, match="same clips"):
            paired_difference(("a", [make()]), ("b", other), rule, n_bootstrap=5)
    with pytest.raises(DataError, match="n_bootstrap 0"):
        paired_difference(("a", [make()]), ("b", [make()]), rule, n_bootstrap=0)


def test_a_single_anomaly_has_no_leave_one_out():
    with pytest.raises(DataError, match=r"fan section 00, AUC: 1 anomalies and 9 normals.*without an interval"):
        intervals.score_jackknife([make(counts=(9, 1, 0, 0))], rule_named("pooled"))


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1, 95])
def test_confidence_is_a_fraction(confidence):
    with pytest.raises(DataError, match="confidence"):
        intervals.mean_interval([0.1, 0.2], confidence=confidence)
