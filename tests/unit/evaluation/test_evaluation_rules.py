"""Each challenge rule against scikit-learn on the clips the rule names, and the published numbers that identify the rules."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.evaluation.metrics import harmonic_mean
from dcase_asd.evaluation.rules import RULES, Section, rule_named, rule_of_year

# (source normal, source anomaly, target normal, target anomaly) of the 2023 evaluation set, and the published AUC (source),
# AUC (target), pAUC of the baselines MAHALA and MSE: nttcslab/dcase2023_task2_evaluator:README.md
COUNTS_2023 = {
    "bandsaw": (67, 40, 60, 33),
    "grinder": (107, 27, 36, 30),
    "shaker": (49, 53, 52, 46),
    "ToyDrone": (50, 50, 50, 50),
    "ToyNscale": (50, 50, 50, 50),
    "ToyTank": (50, 50, 50, 50),
    "Vacuum": (50, 50, 50, 50),
}
MAHALA = {
    "auc_source": [
        0.836434267021059, 0.7409411378914575, 0.8476602762317048, 0.8130000000000001,
        0.6678000000000002, 0.8011999999999999, 0.8383999999999999,
    ],
    "auc_target": [0.5885844748858448, 0.50682261208577, 0.6299533799533801, 0.4622, 0.409, 0.4532, 0.9006],
    "pauc": [
        0.5753594967896497, 0.5955291246149972, 0.6233307541280444, 0.5142105263157895,
        0.5089473684210526, 0.5384210526315789, 0.653157894736842,
    ],
    "score": 0.6105082186925268,
}  # fmt: skip
MSE = {
    "auc_source": [0.6667348190554078, 0.706837186424004, 0.69428983714698, 0.7968000000000001, 0.77, 0.7212000000000001, 0.8816],
    "auc_target": [
        0.48287671232876717, 0.5516569200779727, 0.5604118104118104, 0.561, 0.4716, 0.6468, 0.45320000000000005,
    ],
    "pauc": [
        0.5091087658743451, 0.5846166760294185, 0.5491654428600755, 0.5368421052631579,
        0.5178947368421053, 0.5826315789473684, 0.5947368421052631,
    ],
    "score": 0.5925469043549957,
}  # fmt: skip
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
    if rule == "dcase2021":
        return own + [sklearn_value(section, d, 0.1) for d in (src, tgt)]
    if rule == "own_domain":
        return [*own, pooled[1]]
    return [sklearn_value(section, d | anomaly) for d in (src, tgt)] + [pooled[1]]


@pytest.mark.parametrize("name", sorted(RULES))
def test_terms_equal_scikit_learn_on_the_named_clips(name):
    section = make()
    assert rule_named(name).values(section) == pytest.approx(expected(section, name), abs=1e-12)


@pytest.mark.parametrize("published", [MAHALA, MSE], ids=["MAHALA", "MSE"])
def test_published_2023_baseline_follows_from_its_rows(published):
    values = np.array([published[column] for column in COLUMNS]).T
    rule = rule_named("dcase2023")
    score = rule.combine(values[:, None, :].reshape(7, 3), np.ones(7))
    assert float(score) == pytest.approx(published["score"], abs=1e-15)
    assert harmonic_mean(values) == pytest.approx(published["score"], abs=1e-15)


@pytest.mark.parametrize("published", [MAHALA, MSE], ids=["MAHALA", "MSE"])
def test_published_auc_is_on_the_grid_of_the_official_rule_only(published):
    """2 * AUC * n_normal * n_anomaly is an integer for anomalies of both domains; own-domain counts miss it."""
    worst_official, worst_own = 0.0, 0.0
    for place, (src_n, src_a, tgt_n, tgt_a) in enumerate(COUNTS_2023.values()):
        for column, n_normal, n_own in (("auc_source", src_n, src_a), ("auc_target", tgt_n, tgt_a)):
            both, own = (2 * published[column][place] * n_normal * n for n in (src_a + tgt_a, n_own))
            worst_official = max(worst_official, abs(both - round(both)))
            worst_own = max(worst_own, abs(own - round(own)))
    assert worst_official < 1e-10
    assert worst_own > 0.1


@pytest.mark.parametrize("published", [MAHALA, MSE], ids=["MAHALA", "MSE"])
def test_published_pauc_is_on_the_grid_of_the_pooled_rule(published):
    """The area up to 0.1 * n_normal false alarms, undone from McClish: interpolation leaves tenths of a half pair."""
    for place, (src_n, src_a, tgt_n, tgt_a) in enumerate(COUNTS_2023.values()):
        area = (2 * published["pauc"][place] - 1) * (0.1 - 0.005) + 0.005
        count = 20 * area * (src_n + tgt_n) * (src_a + tgt_a)
        assert count == pytest.approx(round(count), abs=1e-8)


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
