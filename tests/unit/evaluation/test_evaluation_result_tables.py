"""Tables with every measure: what stands beside the score, means over machines, and the row that needs no system."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from dcase_asd.evaluation.evaluate import evaluate_scores
from dcase_asd.evaluation.report.data import SystemRow
from dcase_asd.evaluation.result_tables import detection_markdown, mean_over_machines, text_table
from dcase_asd.evaluation.results import Metrics
from dcase_asd.pipeline.result_rows import ALWAYS, system_rows


def evaluation(rule="pooled", seed=0, n_bootstrap=200):
    """Two machines of 6 + 4 and 8 + 8 clips, one system; decisions above 0."""
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame(
        [
            {"clip_id": f"{m}{i:02}", "machine": m, "section": "00", "domain": "source", "is_anomaly": int(i >= n_normal)}
            for m, n_normal, n in (("cap", 6, 10), ("nut", 8, 16))
            for i in range(n)
        ]
    )
    score = rng.normal(size=len(truth)) + 0.3 * truth["is_anomaly"]
    scores = truth[["clip_id"]].assign(system="s", score=score)
    decisions = truth[["clip_id"]].assign(system="s", decision=(score > 0).astype(int))
    return evaluate_scores(scores, truth, rule=rule, decisions=decisions, n_bootstrap=n_bootstrap), truth, score


def test_pooled_rows_hold_what_scikit_learn_says():
    from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

    metrics, truth, score = evaluation()
    row, always = system_rows([metrics], comparators=[])
    for machine, rows in truth.groupby("machine").indices.items():
        y, s = truth["is_anomaly"].to_numpy()[rows], score.to_numpy()[rows]
        wanted = {
            "AP": average_precision_score(y, s),
            "precision": precision_score(y, s > 0),
            "recall": recall_score(y, s > 0),
            "F1": f1_score(y, s > 0),
        }
        assert row.beside[machine] == pytest.approx(wanted)
        ones = np.ones(len(y), dtype=int)
        trivial = {"AP": average_precision_score(y, ones), "precision": y.mean(), "recall": 1.0, "F1": f1_score(y, ones)}
        assert always.beside[machine] == pytest.approx(trivial)
    assert (always.system, always.group, always.score) == (ALWAYS, "trivial", 0.5)


def test_a_bootstrap_interval_stands_at_every_machine_and_survives_the_file():
    metrics, *_ = evaluation()
    machine = metrics.systems["s"].machines["nut"]
    interval = machine.intervals["auc"]
    assert interval.method == "bootstrap"
    assert interval.estimate == machine.means["auc"]
    assert interval.low < machine.means["auc"] < interval.high
    assert Metrics.from_json(metrics.to_json()) == metrics
    (row, _) = system_rows([metrics], comparators=[])
    assert row.ranges["nut"]["AUC"] == pytest.approx((interval.low, interval.high))
    assert not evaluation(n_bootstrap=0)[0].systems["s"].machines["nut"].intervals


def test_seeds_widen_the_interval_of_a_machine():
    one, two = evaluation(seed=0)[0], evaluation(seed=1)[0]
    alone, both = (system_rows(runs, comparators=[])[0].ranges["nut"]["AUC"] for runs in ([one], [one, two]))
    assert both[1] - both[0] > alone[1] - alone[0]


def test_other_rules_show_the_terms_of_their_score_alone():
    (row,) = system_rows([evaluation(rule="dcase2020")[0]], comparators=[])
    assert not row.beside
    assert detection_markdown([row]) == ""


ROWS = [
    SystemRow(
        system="a_b",
        group="ours",
        score=0.75,
        low=0.7,
        high=0.8,
        per_machine={"cap": {"AUC": 0.8, "score": 0.8}, "nut": {"AUC": 0.7, "score": 0.7}},
        beside={"cap": {"F1": 0.6, "pixel AUROC": 0.9}, "nut": {"F1": 0.5}},
        ranges={"cap": {"AUC": (0.75, 0.85)}},
    ),
    SystemRow(system="c", group="trivial", score=0.5, per_machine={"cap": {"AUC": 0.5}, "nut": {"AUC": 0.5}}),
]


def test_markdown_has_intervals_dashes_and_means():
    assert detection_markdown(ROWS) == (
        "| Machine | System | AUC | F1 | pixel AUROC |\n| --- | --- | ---: | ---: | ---: |\n"
        "| cap | a\\_b | 80.00 [75.00, 85.00] | 60.00 | 90.00 |\n| cap | c | 50.00 | – | – |\n"
        "| nut | a\\_b | 70.00 | 50.00 | – |\n| nut | c | 50.00 | – | – |\n"
        "| mean of 2 | a\\_b | 75.00 | 55.00 | – |\n| mean of 2 | c | 50.00 | – | – |\n"
    )


def test_a_mean_needs_every_machine():
    assert mean_over_machines(ROWS[0], "F1") == pytest.approx(0.55)
    assert math.isnan(mean_over_machines(ROWS[0], "pixel AUROC"))


def test_the_text_table_lines_up_and_ends_with_the_rules_own_score():
    lines = text_table(ROWS, heading="Test").splitlines()
    assert lines[0] == "Test"
    assert lines[2].split() == ["cap", "a_b", "80.00", "80.00", "60.00", "90.00"]
    assert lines[6].split() == ["mean", "of", "2", "a_b", "75.00", "55.00", "-"]
    assert lines[-2].split() == ["a_b", "75.00", "70.00", "..", "80.00"]
    assert {line.index("AUC") + 3 for line in lines[1:2]} == {lines[2].index("80.00") + 5}
