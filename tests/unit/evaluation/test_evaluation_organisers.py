"""The organisers' files of every year, in a folder with a space and an umlaut, and the defects seen in real submissions."""

import csv
import logging

import numpy as np
import pandas as pd
import pytest

from dcase_asd.errors import FormatError, UnknownNameError
from dcase_asd.evaluation import tables
from dcase_asd.evaluation.evaluate import evaluate_scores
from dcase_asd.evaluation.ground_truth import read_ground_truth
from dcase_asd.evaluation.organisers import evaluate_folder

MACHINES = {"ToyCar": 4, "fan": 5}
LABELS = [0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "Prüf stand"
    folder.mkdir()
    return folder


def write(path, rows, *, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator=end).writerows(rows)


def clips(year, section, domain=""):
    names = {2020: f"id_{section}_{{:08d}}.wav", 2021: f"section_{section}_{domain}_test_{{:04d}}.wav"}
    return [names.get(year, f"section_{section}_{{:04d}}.wav").format(number) for number in range(len(LABELS))]


def build(root, year, *, sections=("03", "04"), suffix="_test", decisions=True, end="\n"):
    """Write a clone and a score folder; return both and the same content as tables."""
    truth, system, rows = root / "clone", root / "mein System", []
    generator = np.random.default_rng(year)
    kinds = ["anomaly_score", *(["decision_result"] if decisions and year > 2020 else [])]
    listing = []
    for machine in MACHINES:
        listing.append([machine])
        for section in sections:
            for domain in ("source", "target") if year == 2021 else ("",):
                names = clips(year, section, domain)
                domains = [domain] * len(names) if domain else ["source", "target"] * (len(names) // 2)
                scores = np.round(generator.normal(size=len(names)) + LABELS, 2)
                unit = (
                    f"{machine}_id_{section}" if year == 2020 else f"{machine}_section_{section}{'_' + domain if domain else ''}"
                )
                ending = "" if year == 2020 else suffix
                values = {"anomaly_score": scores, "decision_result": (scores > 0.5).astype(int)}
                for kind in kinds:
                    write(system / f"{kind}_{unit}{ending}.csv", zip(names[::-1], values[kind][::-1], strict=True))
                write(truth / "ground_truth_data" / f"ground_truth_{unit}_test.csv", zip(names, LABELS, strict=True), end=end)
                if not domain:
                    flags = [int(d == "target") for d in domains]
                    write(
                        truth / "ground_truth_domain" / f"ground_truth_{unit}_test.csv", zip(names, flags, strict=True), end=end
                    )
                for name, label, where, score in zip(names, LABELS, domains, scores, strict=True):
                    word, number = ("normal", "anomaly")[label], name[-8:-4]
                    true = f"section_{section}_{where}_test_{word}_{number}_vel_6.wav"
                    listing.append([name, f"{word}_{name}", label] if year == 2020 else [name, true])
                    domain_known = "unknown" if year == 2020 else where
                    rows.append((f"{machine}/{name}", machine, section, domain_known, label, "mein System", score))
    if year == 2020:
        truth.mkdir(exist_ok=True)
        for folder in ("ground_truth_data", "ground_truth_domain"):
            for path in (truth / folder).glob("*"):
                path.unlink()
            (truth / folder).rmdir()
    write(root / f"eval_data_list_{year}.csv", listing, end="\r\n")
    table = pd.DataFrame(rows, columns=["clip_id", "machine", "section", "domain", "is_anomaly", "system", "score"])
    return truth, system, table


@pytest.mark.parametrize("year", [2021, 2022, 2023, 2026])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_clone_gives_what_the_tables_give(root, year, end):
    truth, system, table = build(root, year, end=end)
    found = evaluate_folder(system, truth, year=year)
    decisions = table.assign(decision=(table.score > 0.5).astype(int))
    expected = evaluate_scores(table, table, rule=f"dcase{year}", decisions=decisions)
    assert found == expected


@pytest.mark.parametrize("year", [2020, 2021, 2022, 2024])
def test_a_list_gives_what_the_tables_give(root, year):
    _, system, table = build(root, year, decisions=False)
    found = evaluate_folder(system, root / f"eval_data_list_{year}.csv", year=year, interval=False)
    assert found == evaluate_scores(table, table, rule=f"dcase{year}", interval=False)


def test_a_clone_of_2020_holds_a_list(root):
    _, system, table = build(root, 2020)
    (root / "eval_data_list_2020.csv").rename(root / "clone" / "eval_data_list.csv")
    found = evaluate_folder(system, root / "clone", year=2020)
    assert found == evaluate_scores(table, table, rule="dcase2020")


def test_names_without_test_are_read_aloud(root, caplog):
    truth, system, table = build(root, 2022, suffix="")
    with caplog.at_level(logging.WARNING):
        found = evaluate_folder(system, truth, year=2022)
    assert "8 file names lack _test" in caplog.text
    assert found.systems["mein System"].score == evaluate_scores(table, table, rule="dcase2022").systems["mein System"].score


def test_baseline_names_are_read(root):
    truth, system, _ = build(root, 2023, sections=("00",))
    expected = evaluate_folder(system, truth, year=2023)
    for path in list(system.glob("*.csv")):
        name = path.name.replace("anomaly_score_", "anomaly_score_DCASE2023T2").replace("result_", "result_DCASE2023T2")
        path.rename(system / name.replace("_test.csv", "_test_seed13711_id(0_)_Eval.csv"))
    assert evaluate_folder(system, truth, year=2023) == expected


def test_true_names_are_understood_where_the_attributes_give_them(root):
    truth, system, _ = build(root, 2023, sections=("00",))
    expected = evaluate_folder(system, truth, year=2023)
    for machine in MACHINES:
        names = clips(2023, "00")
        stems = [f"section_00_x_{number}_vel_{number}" for number in range(len(names))]
        write(truth / "ground_truth_attributes" / f"ground_truth_{machine}_section_00_test.csv", zip(names, stems, strict=True))
        path = system / f"anomaly_score_{machine}_section_00_test.csv"
        text = path.read_text(encoding="utf-8")
        for name, stem in zip(names, stems, strict=True):
            text = text.replace(name, f"{stem}.wav")
        path.write_text(text, encoding="utf-8")
    assert evaluate_folder(system, truth, year=2023) == expected


def test_two_systems_and_another_rule(root):
    truth, system, table = build(root, 2022)
    found = evaluate_folder({"a": system, "b": system}, truth, year=2022, rule="own_domain", n_bootstrap=5)
    assert found.rule == "own_domain"
    assert found.systems["a"] == found.systems["b"]
    assert found.differences[0].interval.estimate == 0.0
    assert not any(key.startswith("mein") for key in found.systems)
    assert len(table) == found.systems["a"].interval.n


def edit(path, change):
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")


def replaced(row, text):
    def change(lines):
        return [*lines[: row - 1], text, *lines[row:]]

    return change


DEFECTS = {
    "missing row": (
        lambda lines: lines[:3] + lines[4:],
        r"anomaly_score_fan_section_04_test\.csv: 1 clips are missing: section_04_0008",
    ),
    "extra row": (lambda lines: [*lines, "section_04_9999.wav,1.0"], r"test\.csv: row 13: 'section_04_9999\.wav' is no clip"),
    "misnamed row": (replaced(2, "Section_04_0010.wav,1.0"), r"row 2: 'Section_04_0010\.wav' is no clip"),
    "development names": (replaced(1, "section_00_source_test_normal_0000.wav,1"), r"row 1: .* is no clip"),
    "doubled row": (lambda lines: [*lines, lines[0]], r"row 13: 'section_04_0011\.wav' stands in row 1 already"),
    "header line": (lambda lines: ["file_name,anomaly_score", *lines], r"row 1: 'file_name' is no clip"),
    "three columns": (replaced(5, "section_04_0007.wav,1,0.5"), "row 5: 3 columns"),
    "one column": (replaced(5, "section_04_0007.wav"), "row 5: 1 columns"),
    "NaN": (replaced(12, "section_04_0000.wav,nan"), "row 12: score 'nan' is not finite"),
    "infinite": (replaced(12, "section_04_0000.wav,-inf"), "row 12: score '-inf' is not finite"),
    "no number": (replaced(12, "section_04_0000.wav,high"), "row 12: 'high' is not a number"),
}


@pytest.mark.parametrize("defect", list(DEFECTS))
def test_defects_are_named_by_file_and_row(root, defect):
    truth, system, _ = build(root, 2022)
    change, message = DEFECTS[defect]
    edit(system / "anomaly_score_fan_section_04_test.csv", change)
    with pytest.raises(FormatError, match=message):
        evaluate_folder(system, truth, year=2022)


@pytest.mark.parametrize("text", ["0.9", "2", "yes", "nan"])
def test_decisions_other_than_0_and_1_are_refused(root, text):
    """The official tool truncates 0.9 to 0."""
    truth, system, _ = build(root, 2022)
    edit(system / "decision_result_fan_section_04_test.csv", replaced(12, f"section_04_0000.wav,{text}"))
    with pytest.raises(FormatError, match=rf"decision_result_fan_section_04_test\.csv: row 12: .*{text}"):
        evaluate_folder(system, truth, year=2022)


def test_decisions_of_some_sections_only(root):
    truth, system, _ = build(root, 2022)
    (system / "decision_result_fan_section_04_test.csv").unlink()
    with pytest.raises(
        FormatError, match=r"no decision_result file for fan 04 \(1 of 4 missing\).*decision_result_fan_section_04_test\.csv"
    ):
        evaluate_folder(system, truth, year=2022)


def test_files_missing_misnamed_or_of_another_set(root):
    truth, system, _ = build(root, 2022)
    score = system / "anomaly_score_fan_section_04_test.csv"
    score.rename(system / "anomaly_score_fan.csv")
    with pytest.raises(
        FormatError, match=r"anomaly_score_fan\.csv: misnamed; expected a name such as anomaly_score_ToyCar_section_03_test"
    ):
        evaluate_folder(system, truth, year=2022)
    (system / "anomaly_score_fan.csv").rename(system / "anomaly_score_fan_section_00_test.csv")
    with pytest.raises(FormatError, match="ground truth has no fan 00; are these scores of the development set"):
        evaluate_folder(system, truth, year=2022)
    (system / "anomaly_score_fan_section_00_test.csv").unlink()
    with pytest.raises(FormatError, match=r"no anomaly_score file for fan 04 \(1 of 4 missing\)"):
        evaluate_folder(system, truth, year=2022)
    with pytest.raises(FormatError, match="no such folder"):
        evaluate_folder(root / "none", truth, year=2022)
    with pytest.raises(UnknownNameError, match="dcase2019"):
        evaluate_folder(system, truth, year=2019)


def test_a_file_that_is_no_text(root):
    truth, system, _ = build(root, 2022)
    (system / "anomaly_score_fan_section_04_test.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"fan_section_04_test\.csv: not a readable CSV"):
        evaluate_folder(system, truth, year=2022)


def test_both_spellings_of_one_file(root):
    truth, system, _ = build(root, 2022)
    text = (system / "anomaly_score_fan_section_04_test.csv").read_text(encoding="utf-8")
    (system / "anomaly_score_fan_section_04.csv").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match="a second file for fan 04"):
        evaluate_folder(system, truth, year=2022)


def test_decisions_for_one_of_two_systems(root):
    truth, system, _ = build(root, 2022)
    other = root / "other"
    other.mkdir()
    for path in system.glob("anomaly_score*.csv"):
        (other / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FormatError, match="other: no decision_result files, while other systems have them"):
        evaluate_folder({"a": system, "other": other}, truth, year=2022)


def test_ground_truth_defects(root):
    truth, *_ = build(root, 2022)
    domain = truth / "ground_truth_domain" / "ground_truth_fan_section_03_test.csv"
    text = domain.read_text(encoding="utf-8")
    edit(domain, lambda lines: lines[1:])
    with pytest.raises(FormatError, match=r"section_03_0000\.wav stands in only one"):
        read_ground_truth(truth, year=2022)
    domain.write_text(text.replace(",1\n", ",2\n"), encoding="utf-8")
    with pytest.raises(FormatError, match=r"row 2: 'section_03_0001.wav,2'; expected file name and 0 or 1"):
        read_ground_truth(truth, year=2022)
    domain.write_text(text + text.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"row 13: section_03_0000.wav stands in row 1 already"):
        read_ground_truth(truth, year=2022)
    domain.unlink()
    with pytest.raises(FormatError, match="no such file; from 2022"):
        read_ground_truth(truth, year=2022)
    with pytest.raises(FormatError, match="misnamed for 2021"):
        read_ground_truth(truth, year=2021)
    with pytest.raises(FormatError, match="neither an eval_data_list"):
        read_ground_truth(root / "nowhere", year=2022)


def test_list_defects(root):
    path = root / "eval_data_list.csv"
    for rows, message in (
        ([["section_00_0000.wav", "section_00_source_test_normal_0000.wav"]], "row 1: .* is no row of an 2024 list"),
        ([["fan"], ["section_00_0000.wav", "x.wav"]], "row 2: no section, domain and label"),
        ([["fan"], ["section_00_0000.wav", "section_01_source_test_normal_0000.wav"]], "row 2: no section"),
    ):
        write(path, rows)
        with pytest.raises(FormatError, match=message):
            read_ground_truth(path, year=2024)
    write(path, [["fan"], ["id_01_00000000.wav", "normal_id_01.wav", "yes"]])
    with pytest.raises(FormatError, match="row 2: label 'yes'"):
        read_ground_truth(path, year=2020)


def test_a_true_name_without_test_is_read(root):
    """RoboticArm 2024: section_00_source_normal_0035_weight15_BckgF.wav."""
    path = root / "eval_data_list_2024.csv"
    names = ["section_00_source_normal_0035_weight15_BckgF.wav", "section_00_target_anomaly_1490_weight15.wav"]
    write(path, [["RoboticArm"], *([f"section_00_{i:04d}.wav", name] for i, name in enumerate(names))])
    table = read_ground_truth(path, year=2024).table
    assert table[["domain", "is_anomaly"]].to_numpy().tolist() == [["source", 0], ["target", 1]]


def test_csv_layout_of_each_year(root):
    heads = {
        2020: "id,AUC,pAUC",
        2021: "section,domain,AUC,pAUC,precision,recall,F1 score",
        2022: "section,AUC (all),AUC (source)",
    }
    for year, head in heads.items():
        truth, system, _ = build(root / str(year), year)
        place = root / str(year) / f"eval_data_list_{year}.csv" if year == 2020 else truth
        lines = tables.official_csv(evaluate_folder(system, place, year=year)).splitlines()
        assert lines[0] == "ToyCar"
        assert lines[1].startswith(head)
