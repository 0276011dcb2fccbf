"""Each challenge rule against scikit-learn on the clips the rule names, and the published numbers that identify the rules."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.evaluation.metrics import harmonic_mean
from dcase_asd.evaluation.rules import RULES, Section, rule_named, rule_of_year

# What the organisers' evaluators print for their baselines (result rows in their READMEs), and the clip counts
# (source normal, source anomaly, target normal, target anomaly) of the evaluation sets.
PUBLISHED = json.loads((Path(__file__).parents[2] / "data" / "published_baselines.json").read_text(encoding="utf-8"))
BASELINES = [(year, name) for year in ("2023", "2024") for name in PUBLISHED[year]["baselines"]]
COLUMNS = ["auc_source", "auc_target", "pauc"]


def make(machine="fan", section="00", *, counts=(30, 5, 12, 21), seed=0):
    generator = np.random.default_rng(seed)
    n = sum(counts)
    anomaly = np.repeat([False, True, False, True], counts)
    domain = np.repeat(["source", "source", "target", "target"], counts)
    scores = np.round(generator.normal(anomaly * 0.7 + (domain == "target") * 1.0), 1)
    order = generator.permutation(n)
    return Section(machine, section, anomaly[order], domain[order], scores[order])


def sklearn_value(section, keep, max_fpr=None):
    return roc_auc_score(section.is_anomaly[keep], section.scores[keep], max_fpr=max_fpr)


def expected(section, rule):
    src, tgt, anomaly = section.domain == "source", section.domain == "target", section.is_anomaly
    every = np.ones_like(src)
    pooled = [sklearn_value(section, every), sklearn_value(section, every, 0.1)]
    own = [sklearn_value(section, d) for d in (src, tgt)]
    if rule in {"dcase2020", "pooled"}:
        return pooled
    if rule == "supervised":
        return pooled[:1]
    if rule == "dcase2021":
        return own + [sklearn_value(section, d, 0.1) for d in (src, tgt)]
    if rule == "own_domain":
        return [*own, pooled[1]]
    return [sklearn_value(section, d | anomaly) for d in (src, tgt)] + [pooled[1]]


@pytest.mark.parametrize("name", sorted(RULES))
def test_terms_equal_scikit_learn_on_the_named_clips(name):
    section = make()
    assert rule_named(name).values(section) == pytest.approx(expected(section, name), abs=1e-12)


def published(year, name):
    return PUBLISHED[year]["counts"].values(), PUBLISHED[year]["baselines"][name]


def off_grid(value):
    return abs(value - round(value))


@pytest.mark.parametrize(("year", "name"), BASELINES)
def test_published_baseline_score_follows_from_its_rows(year, name):
    _, table = published(year, name)
    values = np.array([table[column] for column in COLUMNS]).T
    rule = rule_of_year(int(year))
    assert float(rule.combine(values, rule.weights(["m"] * len(values)))) == pytest.approx(table["score"], abs=1e-15)
    assert harmonic_mean(values) == pytest.approx(table["score"], abs=1e-15)


@pytest.mark.parametrize(("year", "name"), BASELINES)
def test_published_auc_is_on_the_grid_of_the_official_rule(year, name):
    """2 * AUC * n_normal(domain) * n_anomaly(both domains) is an integer."""
    counts, table = published(year, name)
    for place, (src_n, src_a, tgt_n, tgt_a) in enumerate(counts):
        for column, n_normal in (("auc_source", src_n), ("auc_target", tgt_n)):
            assert off_grid(2 * table[column][place] * n_normal * (src_a + tgt_a)) < 1e-10


@pytest.mark.parametrize("name", ["MAHALA", "MSE"])
def test_published_auc_is_off_the_grid_of_the_own_domain_rule(name):
    """2023 is unbalanced: counting own-domain anomalies, some AUC is no whole number of half pairs."""
    counts, table = published("2023", name)
    gaps = [
        off_grid(2 * table[column][place] * n_normal * n_anomaly)
        for place, (src_n, src_a, tgt_n, tgt_a) in enumerate(counts)
        for column, n_normal, n_anomaly in (("auc_source", src_n, src_a), ("auc_target", tgt_n, tgt_a))
    ]
    assert max(gaps) > 0.1


@pytest.mark.parametrize(("year", "name"), BASELINES)
def test_published_pauc_is_on_the_grid_of_the_pooled_rule(year, name):
    """The area up to 0.1 * n_normal false alarms, undone from McClish: interpolation leaves tenths of a half pair."""
    counts, table = published(year, name)
    for place, (src_n, src_a, tgt_n, tgt_a) in enumerate(counts):
        area = (2 * table["pauc"][place] - 1) * (0.1 - 0.005) + 0.005
        assert off_grid(20 * area * (src_n + tgt_n) * (src_a + tgt_a)) < 1e-8


@pytest.mark.parametrize("machine", ["fan", "valve"])
def test_published_2020_averages_follow_from_their_ids(machine):
    rows = PUBLISHED["2020"][machine]
    rule = rule_named("dcase2020")
    for column, average in zip(("auc", "pauc"), rows["average"], strict=True):
        values = np.array(rows[column])[:, None]
        assert float(rule.combine(values, rule.weights([machine] * 3))) == pytest.approx(average, abs=1e-12)


def test_own_domain_and_official_differ_on_an_unbalanced_set():
    section = make(counts=(40, 3, 10, 30))
    own, official = rule_named("own_domain"), rule_named("dcase2022")
    gaps = own.values(section) - official.values(section)
    assert abs(gaps[0]) > 0.05
    assert gaps[2] == 0.0
    assert official.combine(official.values(section)[None], np.ones(1)) != own.combine(own.values(section)[None], np.ones(1))


def test_arithmetic_rule_averages_machines_first():
    """Three IDs of one machine and one of another weigh the machines alike."""
    rule = rule_named("dcase2020")
    machines = ["fan", "fan", "fan", "pump"]
    values = np.array([[0.9, 0.9], [0.9, 0.9], [0.9, 0.9], [0.5, 0.5]])
    assert float(rule.combine(values, rule.weights(machines))) == pytest.approx(0.7, abs=1e-15)


def test_rules_of_years_are_official_from_2021_on():
    assert [rule_of_year(year).official for year in range(2020, 2027)] == [False] + [True] * 6
    with pytest.raises(UnknownNameError, match="dcase2019"):
        rule_of_year(2019)
    with pytest.raises(UnknownNameError, match="own_domain"):
        rule_named("own-domain")


def test_missing_domain_names_machine_section_and_remedy():
    section = make(counts=(20, 5, 0, 5))
    with pytest.raises(DataError, match=r"fan section 00: AUC \(target\) needs normal target clips.*pooled"):
        rule_named("dcase2022").values(section)
