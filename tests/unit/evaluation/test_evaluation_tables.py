"""Result files cell by cell on hand-made metrics, and tables for people."""

import csv
import dataclasses
import io

import pandas as pd
import pytest

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.evaluation import tables
from dcase_asd.evaluation.intervals import Interval
from dcase_asd.evaluation.results import MachineMetrics, Metrics, SectionMetrics, SystemMetrics

MEAN = "over all machine types, sections, and domains"


def section(**values):
    return SectionMetrics(values, {"source_normal": 1})


def metrics(rule, *sections, means=None, names=("a",), official_ci95=None):
    machine = MachineMetrics({f"0{number}": entry for number, entry in enumerate(sections)}, means or {}, 0.5)
    interval = Interval(0.5, 0.25, 0.75, 0.95, 9, "jackknife")
    return Metrics(rule, {name: SystemMetrics({"fan": machine}, means or {}, 0.5, interval, official_ci95) for name in names})


def cells(text):
    return list(csv.reader(io.StringIO(text)))


def test_layout_of_2022_with_and_without_decisions():
    full = {"auc": 0.7, "auc_source": 0.8, "auc_target": 0.4, "pauc": 0.6}
    marks = {f"{k}_{d}": v for k, v in (("precision", 0.5), ("recall", 1.0), ("f1", 0.25)) for d in ("source", "target")}
    means = {"auc_source": 0.8, "auc_target": 0.4, "pauc": 0.6}
    text = tables.official_csv(metrics("dcase2022", section(**full, **marks), means=means, official_ci95=1e-5))
    assert text == (
        "fan\n"
        "section,AUC (all),AUC (source),AUC (target),pAUC,precision (source),precision (target),"
        "recall (source),recall (target),F1 score (source),F1 score (target)\n"
        "00,0.7,0.8,0.4,0.6,0.5,0.5,1.0,1.0,0.25,0.25\n"
        ",,AUC,pAUC,precision,recall,F1 score\n"
        "arithmetic mean,,0.6000000000000001,0.6,0.5,1.0,0.25\n"
        "harmonic mean,,0.5333333333333333,0.6,0.5,1.0,0.25\n"
        "source harmonic mean,,0.8,0.6,0.5,1.0,0.25\n"
        "target harmonic mean,,0.4,0.6,0.5,1.0,0.25\n"
        "\n"
        ",,AUC,pAUC,precision,recall,F1 score\n"
        f'"arithmetic mean {MEAN}",,0.6000000000000001,0.6,0.5,1.0,0.25\n'
        f'"harmonic mean {MEAN}",,0.5333333333333333,0.6,0.5,1.0,0.25\n'
        f'"source harmonic mean {MEAN}",,0.8,0.6,0.5,1.0,0.25\n'
        f'"target harmonic mean {MEAN}",,0.4,0.6,0.5,1.0,0.25\n'
        "\n"
        "official score,,0.5\n"
        "official score ci95,,1e-05\n"
        "\n"
    )
    bare = cells(tables.official_csv(metrics("dcase2022", section(**full), means=means)))
    assert bare[2] == ["00", "0.7", "0.8", "0.4", "0.6", *[""] * 6]
    assert bare[4] == ["arithmetic mean", "", "0.6000000000000001", "0.6", "", "", ""]


def test_own_domain_file_says_so():
    values = {"auc": 0.7, "auc_source": 0.8, "auc_target": 0.4, "pauc": 0.6}
    rows = cells(tables.official_csv(metrics("own_domain", section(**values))))
    assert rows[1][2:4] == ["AUC (source, own domain)", "AUC (target, own domain)"]
    assert ["score (own_domain)", "", "0.5"] in rows
    assert not any("official" in cell for row in rows for cell in row)


def test_layout_of_2021_lists_sections_by_domain():
    def half(domain, base):
        return {f"{k}_{domain}": base for k in ("auc", "pauc", "precision", "recall", "f1")}

    entries = [section(**half("source", 0.5), **half("target", 0.25)), section(**half("source", 1.0), **half("target", 0.25))]
    rows = cells(tables.official_csv(metrics("dcase2021", *entries)))
    assert rows[1] == ["section", "domain", "AUC", "pAUC", "precision", "recall", "F1 score"]
    assert [row[:3] for row in rows[2:6]] == [
        ["00", "source", "0.5"], ["01", "source", "1.0"], ["00", "target", "0.25"], ["01", "target", "0.25"],
    ]  # fmt: skip
    assert rows[6] == ["arithmetic mean", "", *["0.5"] * 5]
    assert [float(cell) for cell in rows[7][2:]] == pytest.approx([4 / 11] * 5)
    assert rows[9] == ["", "", "AUC", "pAUC", "precision", "recall", "F1 score"]
    assert rows[10][0] == f"arithmetic mean {MEAN}"


def test_layout_of_2020_and_of_pooled():
    entries, means = [section(auc=0.5, pauc=0.75), section(auc=1.0, pauc=0.25)], {"auc": 0.75, "pauc": 0.5}
    text = tables.official_csv(metrics("dcase2020", *entries, means=means))
    assert text == "fan\nid,AUC,pAUC\n00,0.5,0.75\n01,1.0,0.25\nAverage,0.75,0.5\n\n"
    pooled = cells(tables.official_csv(metrics("pooled", *entries, means=means)))
    assert pooled[4][0] == "harmonic mean"
    assert pooled[-1] == ["score (pooled)", "0.5"]


def test_system_must_be_named_when_there_are_two(tmp_path):
    pair = metrics("dcase2020", section(auc=0.5, pauc=0.75), means={"auc": 0.5, "pauc": 0.75}, names=("a", "b"))
    for name in (None, "c"):
        with pytest.raises(UnknownNameError, match="known: a, b"):
            tables.official_csv(pair, system=name)
    path = tmp_path / "ein Ört" / "b_result.csv"
    tables.write_official_csv(path, pair, system="b")
    assert path.read_text(encoding="utf-8") == tables.official_csv(pair, system="b")


def test_section_table_puts_systems_side_by_side():
    entries, means = [section(auc=0.5, pauc=0.75), section(auc=1.0, pauc=0.25)], {"auc": 0.75, "pauc": 0.5}
    table = tables.section_table(metrics("dcase2020", *entries, means=means, names=("a", "b")))
    assert list(table.columns) == [("a", "AUC"), ("a", "pAUC"), ("b", "AUC"), ("b", "pAUC")]
    assert list(table.index) == [("fan", "00"), ("fan", "01"), ("fan", "Average"), ("all", "Average")]
    assert table.loc[("fan", "01"), ("b", "pAUC")] == 0.25
    assert table.loc[("fan", "Average"), ("a", "AUC")] == 0.75
    assert tables.markdown(table).splitlines()[2] == "| fan | 00 | 50.00 | 75.00 | 50.00 | 75.00 |"


def test_seed_table_averages_runs_of_one_rule():
    base = metrics("pooled", section(auc=0.5, pauc=0.75), names=("a", "b"))
    runs = [
        dataclasses.replace(base, systems={n: dataclasses.replace(s, score=0.6 + step) for n, s in base.systems.items()})
        for step in (0.0, 0.01, 0.05)
    ]
    table = tables.seed_table(runs)
    # mean 0.62, standard deviation 0.02646, t(0.975, 2) = 4.30265
    assert table.loc["b"].tolist() == pytest.approx([0.62, 0.62 - 0.0657250, 0.62 + 0.0657250, 0.6, 0.65, 3], abs=1e-6)
    assert table.columns[0] == "score (pooled)"
    assert "| b | 62.00 | 55.43 | 68.57 | 60.00 | 65.00 | 3 |" in tables.markdown(table)
    with pytest.raises(DataError, match="different rules"):
        tables.seed_table([base, dataclasses.replace(base, rule="dcase2020")])
    with pytest.raises(DataError, match="at least two"):
        tables.seed_table([base])


def test_markdown_rounds_percent_to_two_decimals_and_escapes():
    table = pd.DataFrame({"AUC | all": [0.663946, float("nan")], "n": [3, 4]}, index=pd.Index(["a|b", "c"], name="system"))
    assert tables.markdown(table) == (
        "| system | AUC \\| all | n |\n| --- | ---: | ---: |\n| a\\|b | 66.39 | 3 |\n| c |  | 4 |\n"
    )
    assert "| 0.6639 |" in tables.markdown(table, percent=False)
