"""Decisions counted over all sections against scikit-learn on the joined clips, and tables that cannot be."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from dcase_asd.evaluation.counted import counted_table, counted_together, feasible
from dcase_asd.evaluation.evaluate import evaluate_scores


def tables(seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for machine, section, n, share in (("a", "x", 40, 0.7), ("a", "y", 25, 0.2), ("b", "00", 33, 0.5)):
        truth = (rng.permutation(n) < share * n).astype(int)
        ids = [f"{machine}/{section}/é{i}" for i in range(n)]
        columns = {"clip_id": ids, "machine": machine, "section": section, "domain": "source", "is_anomaly": truth}
        parts.append(pd.DataFrame(columns).assign(score=truth + rng.normal(size=n)))
    joined = pd.concat(parts, ignore_index=True)
    truth = joined.drop(columns="score")
    scores = joined[["clip_id", "score"]].assign(system="s")
    return truth, scores, scores.assign(decision=(joined["score"] > 0.4).astype(int)).drop(columns="score")


def test_decisions_are_counted_as_over_one_set_of_clips():
    truth, scores, decisions = tables()
    metrics = evaluate_scores(scores, truth, rule="pooled", decisions=decisions, interval=False, oracle=True)
    row = counted_table(metrics).loc["s"]
    plain = evaluate_scores(scores, truth, rule="pooled", decisions=decisions, interval=False)
    assert "oracle" not in " ".join(counted_table(plain).columns)  # what saw labels is there only if it was asked for by name
    y, alarm = truth["is_anomaly"], decisions["decision"]
    share = y.mean()
    expected = {
        "precision": precision_score(y, alarm),
        "recall": recall_score(y, alarm),
        "F1": f1_score(y, alarm),
        "balanced accuracy": balanced_accuracy_score(y, alarm),
        "base rate": share,
        "F1 of always anomaly": f1_score(y, np.ones_like(y)),
    }
    assert {key: row[key] for key in expected} == pytest.approx(expected)
    best = []
    for _, rows in scores.merge(truth, on="clip_id").groupby(["machine", "section"]):
        cuts = [-np.inf, *rows["score"]]
        best.append(max(f1_score(rows["is_anomaly"], rows["score"] > cut) for cut in cuts))
    assert row["best F1 (oracle, mean of sections)"] == pytest.approx(np.mean(best))


def test_without_decisions_or_with_domains_there_is_nothing_to_count():
    truth, scores, decisions = tables()
    assert counted_together(evaluate_scores(scores, truth, rule="pooled", interval=False).systems["s"]) is None
    split = truth.assign(domain=np.where(np.arange(len(truth)) % 2, "source", "target"))
    with_domains = evaluate_scores(scores, split, rule="dcase2023", decisions=decisions, interval=False)
    assert not len(counted_table(with_domains))


def test_no_alarm_at_all_is_a_precision_of_zero():
    truth, scores, decisions = tables()
    metrics = evaluate_scores(scores, truth, rule="pooled", decisions=decisions.assign(decision=0), interval=False)
    counted = counted_together(metrics.systems["s"])
    assert counted is not None
    assert (counted.hits, counted.false_alarms) == (0, 0)
    assert counted.values["precision"] == counted.values["F1"] == 0.0


# Rotondi and Lavalle, Table 3: precision, recall; 1258 defective and 467 good test pictures of MVTec AD
TABLE_3 = [(0.674, 0.310), (0.744, 0.500), (0.690, 0.677), (0.780, 0.761), (0.726, 0.956), (0.734, 0.858), (0.722, 0.812)]


def test_a_published_row_is_possible_but_for_the_one_with_exchanged_columns():
    assert all(feasible(p, r, n_pos=1258, n_neg=467) for p, r in TABLE_3)
    assert not feasible(0.390, 0.758, n_pos=1258, n_neg=467)
    assert feasible(0.758, 0.390, n_pos=1258, n_neg=467)


def test_feasible_by_hand():
    assert feasible(0.5, 1.0, n_pos=2, n_neg=2)
    assert not feasible(0.5, 1.0, n_pos=2, n_neg=1)
    assert feasible(0.0, 0.0, n_pos=3, n_neg=3)
    assert not feasible(1.0, 0.4, n_pos=2, n_neg=5)  # two clips have no recall of 0.4
