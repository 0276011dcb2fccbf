"""Tables per machine ID and section from a folder of score files, against what the organisers' tools compute."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score
from year_runs import MACHINES, truth_units, write_truth

from dcase_asd.cli.evaluate_verb import command as evaluate
from dcase_asd.manifests.corpora import corpus_spec


def write_scores(folder, spec, seed=0):
    """Write score files of random numbers; return (machine, section) to (labels, domains, scores)."""
    rng = np.random.default_rng([seed, spec.year])
    folder.mkdir(parents=True)
    values = {}
    for machine, section, names in truth_units(spec):
        scores = rng.integers(0, 20, len(names)) / 8  # ties too
        anomaly, target = np.arange(len(names)) % 2, np.arange(len(names)) // 2 % 2
        word = "id" if spec.year == 2020 else "section"
        parts = {f"{machine}_{word}_{section}" + ("" if spec.year == 2020 else "_test"): np.arange(len(names))}
        if spec.year == 2021:
            target = np.array(["target" in name for name in names]).astype(int)
            domains = enumerate(("source", "target"))
            parts = {f"{machine}_section_{section}_{d}_test": np.flatnonzero(target == i) for i, d in domains}
        for part, rows in parts.items():
            lines = [f"{names[i]},{float(scores[i])!r}\n" for i in rng.permutation(rows)]
            (folder / f"anomaly_score_{part}.csv").write_text("".join(lines))
        values[machine, section] = anomaly, target, scores
    return values


def terms(spec, anomaly, target, scores):
    """The numbers of a section by the year's rule, with scikit-learn as in the organisers' evaluators."""
    if spec.year == 2020:
        return [roc_auc_score(anomaly, scores), roc_auc_score(anomaly, scores, max_fpr=0.1)]
    if spec.year == 2021:
        rows = [target == 0, target == 1]
        return [roc_auc_score(anomaly[r], scores[r], max_fpr=m) for m in (None, 0.1) for r in rows]
    rows = [(target == d) | (anomaly == 1) for d in (0, 1)]
    return [roc_auc_score(anomaly[r], scores[r]) for r in rows] + [roc_auc_score(anomaly, scores, max_fpr=0.1)]


def mean_of(spec, rows):
    rows = np.array(rows)
    return rows.mean(axis=0) if spec.year == 2020 else len(rows) / (1 / np.maximum(rows, np.finfo(float).eps)).sum(axis=0)


@pytest.mark.parametrize("year", [2020, 2021, 2022, 2026])
def test_section_tables_hold_what_the_organisers_evaluator_prints(year, tmp_path):
    spec = corpus_spec(f"dcase{year}")
    write_truth(tmp_path / "trüth", spec)
    values = write_scores(tmp_path / "a team", spec)
    arguments = ["--year", year, "--scores", tmp_path / "a team", "--ground-truth", tmp_path / "trüth", "--sections"]
    result = CliRunner().invoke(evaluate, [*map(str, arguments), "--csv", str(tmp_path / "result.csv")])
    assert result.exit_code == 0, result.output
    printed = [line for line in result.output.splitlines() if line.startswith("| ")][2:]
    expected, every, mean_row = [], [], "Average" if year == 2020 else "harmonic mean"
    for machine in sorted({machine for machine, _ in values}):
        rows = {section: terms(spec, *values[machine, section]) for m, section in values if m == machine}
        expected += [[machine, section, *row] for section, row in rows.items()]
        expected.append([machine, mean_row, *mean_of(spec, list(rows.values()))])
        every.append(list(rows.values()))
    # over all: 2020 averages the machines' averages, later years take all sections
    overall = [mean_of(spec, r) for r in every] if year == 2020 else [row for rows in every for row in rows]
    expected.append(["all", mean_row, *mean_of(spec, overall)])
    shown = ["| " + " | ".join([*row[:2], *(f"{100 * value:.2f}" for value in row[2:])]) + " |" for row in expected]
    assert printed == shown
    if year == 2020:
        with (tmp_path / "result.csv").open(newline="") as stream:
            table = [row for row in csv.reader(stream) if len(row) == 3 and row[0] != "id"]
        want = [row for row in expected if row[0] != "all"]
        assert [row[0] for row in table] == [row[1] for row in want]
        np.testing.assert_allclose([list(map(float, row[1:])) for row in table], [row[2:] for row in want], rtol=1e-12)


def test_systems_of_the_same_folder_name_stand_side_by_side(tmp_path):
    spec = corpus_spec("dcase2023")
    write_truth(tmp_path / "truth", spec)
    for seed, experiment in enumerate(("one", "two")):
        write_scores(tmp_path / experiment / "task2" / "Doe_1", spec, seed=seed)
    folders = [str(tmp_path / experiment / "task2" / "Doe_1") for experiment in ("one", "two")]
    base = ["--year", "2023", "--ground-truth", str(tmp_path / "truth")]
    result = CliRunner().invoke(evaluate, [*base, "--scores", folders[0], "--scores", folders[1], "--sections"])
    assert result.exit_code == 0, result.output
    assert "one-task2-Doe_1: official score" in result.output
    assert "two-task2-Doe_1: official score" in result.output
    assert sum(line.startswith(f"| {MACHINES[2023][1]} ") for line in result.output.splitlines()) == 2
    again = CliRunner().invoke(evaluate, [*base, "--scores", folders[0], "--scores", folders[0]])
    assert "given twice" in str(again.exception)
