"""Two real DCASE 2022 submissions against the organisers' ground truth, and against an evaluation by scikit-learn alone."""

import csv
import io
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from dcase_asd.evaluation import tables
from dcase_asd.evaluation.organisers import evaluate_folder

SHARED = Path(os.environ.get("DCASE_ASD_SHARED", Path(__file__).resolve().parents[4] / "shared"))
DATA = SHARED / "data" / "conformance2022"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"real submissions are not at {DATA}; set DCASE_ASD_SHARED")
SYSTEMS = {"system_1": (66.394619, (77.501, 63.512, 60.473)), "system_3": (67.418579, (81.360, 63.889, 60.405))}


@pytest.fixture(scope="module")
def metrics():
    return evaluate_folder({name: DATA / name for name in SYSTEMS}, DATA, year=2022, n_bootstrap=200, seed=1)


def read(path):
    with path.open(newline="") as stream:
        return dict(csv.reader(stream))


def by_hand(system):
    """Return {(machine, section): result row} by the organisers' definition, joined by file name."""
    rows = {}
    for path in sorted((DATA / "ground_truth_data").glob("*.csv")):
        machine, section = re.fullmatch(r"ground_truth_(\w+)_section_(\d\d)_test\.csv", path.name).groups()
        truth, domain = read(path), read(DATA / "ground_truth_domain" / path.name)
        files = {
            kind: read(DATA / system / f"{kind}_{machine}_section_{section}.csv") for kind in ("anomaly_score", "decision_result")
        }
        names = list(truth)
        y, d = np.array([int(truth[n]) for n in names]), np.array([int(domain[n]) for n in names])
        s = np.array([float(files["anomaly_score"][n]) for n in names])
        c = np.array([int(float(files["decision_result"][n])) for n in names])
        aucs = [roc_auc_score(y[keep], s[keep]) for keep in (y >= 0, (d == 0) | (y == 1), (d == 1) | (y == 1))]
        marks = [f(y[d == k], c[d == k], zero_division=0) for f in (precision_score, recall_score, f1_score) for k in (0, 1)]
        rows[machine, section] = [*aucs, roc_auc_score(y, s, max_fpr=0.1), *marks]
    return rows


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_official_score_to_six_decimals(metrics, system):
    score, means = SYSTEMS[system]
    found = metrics.systems[system]
    assert round(100 * found.score, 6) == score
    assert [100 * found.means[key] for key in ("auc_source", "auc_target", "pauc")] == pytest.approx(means, abs=0.0005)


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_result_file_equals_an_evaluation_by_hand(metrics, system):
    expected = by_hand(system)
    lines = list(csv.reader(io.StringIO(tables.official_csv(metrics, system=system))))
    found, machine = {}, ""
    for line in lines:
        if len(line) == 1:
            machine = line[0]
        elif len(line) == 11 and line[0] != "section":
            found[machine, line[0]] = [float(cell) for cell in line[1:]]
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, abs=1e-12)

    values = np.array(list(expected.values()))
    floor = np.maximum(values, sys.float_info.epsilon)
    over_all = {line[0]: line[2:] for line in lines if line and line[0].endswith("domains")}
    means = {
        "arithmetic mean": [values[:, c].mean() for c in ([1, 2], [3], [4, 5], [6, 7], [8, 9])],
        "harmonic mean": [scipy.stats.hmean(floor[:, c], axis=None) for c in ([1, 2], [3], [4, 5], [6, 7], [8, 9])],
        "source harmonic mean": [scipy.stats.hmean(floor[:, c]) for c in (1, 3, 4, 6, 8)],
        "target harmonic mean": [scipy.stats.hmean(floor[:, c]) for c in (2, 3, 5, 7, 9)],
    }
    for name, row in means.items():
        found_row = [float(cell) for cell in over_all[f"{name} over all machine types, sections, and domains"]]
        assert found_row == pytest.approx(row, rel=1e-9)
    last = {line[0]: float(line[2]) for line in lines if line and line[0].startswith("official score")}
    assert last["official score"] == pytest.approx(scipy.stats.hmean(floor[:, 1:4], axis=None), abs=1e-15)
    assert last["official score ci95"] == metrics.systems[system].official_ci95


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_every_auc_is_on_its_grid(metrics, system):
    for machine in metrics.systems[system].machines.values():
        for section in machine.sections.values():
            n_anomaly = section.counts["source_anomaly"] + section.counts["target_anomaly"]
            for domain in ("source", "target"):
                count = 2 * section.values[f"auc_{domain}"] * section.counts[f"{domain}_normal"] * n_anomaly
                assert count == pytest.approx(round(count), abs=1e-8)


def test_the_official_interval_is_thousands_of_times_too_small(metrics):
    """Of 4,200 clips; the pooled raw-score interval and that of the score itself differ by less than a factor of two."""
    for system in metrics.systems.values():
        assert system.interval.n == 4200
        assert 0.5 < system.interval.half_width / (4199 * system.official_ci95) < 2
        assert 0.012 < system.interval.half_width < 0.02


def test_one_point_of_difference_is_not_decided_by_these_clips(metrics):
    (gap,) = metrics.differences
    assert (gap.system, gap.reference) == ("system_3", "system_1")
    assert gap.interval.estimate == pytest.approx(0.01023959, abs=1e-8)
    assert gap.interval.low < 0 < gap.interval.high
    assert not gap.is_decided


def test_own_domain_and_official_are_different_numbers(metrics):
    own = evaluate_folder(DATA / "system_1", DATA, year=2022, rule="own_domain", interval=False).systems["system_1"]
    assert abs(own.score - metrics.systems["system_1"].score) > 0.005
    assert own.means["pauc"] == metrics.systems["system_1"].means["pauc"]
