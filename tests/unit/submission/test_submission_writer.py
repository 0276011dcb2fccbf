from __future__ import annotations

import csv
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dcase_asd.errors import FormatError, UnknownNameError
from dcase_asd.submission.formats import YEARS, FileKey, year_format
from dcase_asd.submission.validator import check_submission
from dcase_asd.submission.writer import SystemEntry, write_submission

Make = Callable[..., SystemEntry]
LABEL = "Doe-Ray_XYZ-Lab_task2"


@pytest.mark.parametrize("year", YEARS)
def test_tree_and_zip_hold_the_same_and_pass_the_validator(year: int, make_entry: Make, pdf: Path, tmp_path: Path) -> None:
    out = tmp_path / "äus gabe"
    target = write_submission(out, year=year, label=LABEL, systems=[make_entry(year)] * 4, report=pdf)
    assert target == out / f"{LABEL}.zip"
    assert check_submission(target, year=year) == []
    assert check_submission(out, year=year) == []
    with zipfile.ZipFile(target) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    tree = {p.relative_to(out).as_posix(): p.read_bytes() for p in (out / "task2").rglob("*") if p.is_file()}
    assert packed == tree
    assert list(packed) == sorted(packed)
    assert sorted(p.name for p in out.iterdir()) == [f"{LABEL}.zip", "task2"]


def test_same_input_same_bytes_whatever_the_row_order(make_entry: Make, pdf: Path, tmp_path: Path) -> None:
    first = make_entry(2022)
    second = make_entry(2022, clips=first.clips.iloc[::-1])
    a = write_submission(tmp_path / "a", year=2022, label=LABEL, systems=[first], report=pdf)
    b = write_submission(tmp_path / "b", year=2022, label=LABEL, systems=[second], report=pdf)
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scores_read_back_equal(dtype: type, make_entry: Make, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 1000
    machines = year_format(2026).evaluation
    # random bit patterns: all magnitudes, subnormals included
    bits = (
        rng.integers(0, 2**63, size=20 * n, dtype=np.uint64)
        if dtype is np.float64
        else rng.integers(0, 2**31, 20 * n, dtype=np.uint32)
    )
    values = bits.view(dtype)
    values = values[np.isfinite(values)][: n * len(machines)]
    rows = [(m, "00", f"section_00_{i:04d}.wav") for m in machines for i in range(n)]
    clips = pd.DataFrame(rows, columns=["machine", "section", "file_name"]).assign(score=values, decision=0, domain="unknown")
    write_submission(tmp_path, year=2026, label=LABEL, systems=[make_entry(2026, clips=clips)], report=None)
    for machine, part in clips.groupby("machine"):
        path = tmp_path / "task2" / f"{LABEL}_1" / f"anomaly_score_{machine}_section_00_test.csv"
        with path.open(newline="") as stream:
            read = [(name, float(value)) for name, value in csv.reader(stream)]
        assert read == [(name, float(value)) for name, value in zip(part["file_name"], part["score"], strict=True)]


def test_decisions_are_0_or_1_also_from_booleans_and_floats(make_entry: Make, tmp_path: Path) -> None:
    table = make_entry(2023).clips
    systems = [make_entry(2023, clips=table.assign(decision=table["decision"].astype(kind))) for kind in ("bool", "float64")]
    write_submission(tmp_path, year=2023, label=LABEL, systems=systems, report=None)
    for path in (tmp_path / "task2").rglob("decision_result_*.csv"):
        assert path.read_text() == "".join(f"section_00_{i:04d}.wav,{i % 2}\n" for i in range(4))


def test_meta_holds_what_the_year_asks_for(make_entry: Make, tmp_path: Path) -> None:
    keys = {}
    for year in YEARS:
        write_submission(tmp_path / str(year), year=year, label=LABEL, systems=[make_entry(year)], report=None)
        text = (tmp_path / str(year) / "task2" / f"{LABEL}_1" / f"{LABEL}_1.meta.yaml").read_text(encoding="utf-8")
        meta = yaml.safe_load(text)
        assert meta["submission"]["label"] == f"{LABEL}_1"
        assert meta["submission"]["name"] == "Flöw on log-mel"
        assert meta["submission"]["authors"][0]["affiliation"] == {"institution": "XYZ Lab", "location": "Köln, Germany"}
        assert meta["system"]["description"]["front_end"] is None
        assert meta["system"]["complexity"].get("MACS") == (123 if year > 2022 else None)
        keys[year] = list(meta["results"]["development_dataset"]["fan"])
    assert keys[2020] == ["averaged_auc", "averaged_pauc"]
    assert keys[2021] == ["harmonic_mean_auc", "harmonic_mean_pauc"]
    assert keys[2022] == ["harmonic_mean_auc_source", "harmonic_mean_auc_target", "harmonic_mean_pauc"]
    assert keys[2025] == ["auc_source", "auc_target", "pauc"]


@pytest.mark.parametrize(
    ("year", "key", "name", "n_files"),
    [  # the names the official evaluators open; counts: kinds x sections x domains
        (2020, FileKey("anomaly_score", "ToyCar", "05", None), "anomaly_score_ToyCar_id_05.csv", 18),
        (2021, FileKey("decision_result", "pump", "03", "target"), "decision_result_pump_section_03_target_test.csv", 84),
        (2022, FileKey("anomaly_score", "bearing", "04", None), "anomaly_score_bearing_section_04_test.csv", 42),
        (2023, FileKey("anomaly_score", "Vacuum", "00", None), "anomaly_score_Vacuum_section_00_test.csv", 14),
        (2024, FileKey("decision_result", "3DPrinter", "00", None), "decision_result_3DPrinter_section_00_test.csv", 18),
        (2025, FileKey("anomaly_score", "ToyPet", "00", None), "anomaly_score_ToyPet_section_00_test.csv", 16),
        (2026, FileKey("anomaly_score", "Sander", "00", None), "anomaly_score_Sander_section_00_test.csv", 10),
    ],
)
def test_file_names(year: int, key: FileKey, name: str, n_files: int) -> None:
    files = year_format(year).expected_files()
    assert files[key] == name
    assert len(files) == n_files


def test_no_report_no_placeholder(make_entry: Make, tmp_path: Path) -> None:
    target = write_submission(tmp_path, year=2022, label=LABEL, systems=[make_entry(2022)], report=None)
    assert not list(tmp_path.rglob("*.pdf"))
    assert [(p.severity, p.code) for p in check_submission(target, year=2022)] == [("warning", "missing-report")]


def test_clips_of_2020_need_neither_decision_nor_domain(make_entry: Make, tmp_path: Path) -> None:
    clips = make_entry(2020).clips.drop(columns=["decision", "domain"])
    write_submission(tmp_path, year=2020, label=LABEL, systems=[make_entry(2020, clips=clips)], report=None)
    assert not list(tmp_path.rglob("decision*"))


def test_an_older_submission_is_replaced(make_entry: Make, pdf: Path, tmp_path: Path) -> None:
    write_submission(tmp_path, year=2022, label=LABEL, systems=[make_entry(2022)] * 2, report=pdf)
    target = write_submission(tmp_path, year=2023, label=LABEL, systems=[make_entry(2023)], report=pdf)
    assert check_submission(tmp_path / "task2", year=2023) == check_submission(target, year=2023) == []


def change(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def apply(table: pd.DataFrame) -> pd.DataFrame:
        table = table.sort_values(["machine", "section", "file_name"], ignore_index=True).astype({column: object})
        table.loc[2, column] = value
        return table

    return apply


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (change("score", float("nan")), r"anomaly_score_ToyCar_section_03_test\.csv:3: NaN"),
        (change("score", "high"), r"anomaly_score_ToyCar_section_03_test\.csv:3: not a number.*'high'"),
        (change("score", None), r"csv:3: not a number"),
        (change("decision", 0.9), r"decision_result_ToyCar_section_03_test\.csv:3: .*'0\.9'"),
        (change("file_name", "section_03_0001.wav"), "duplicate-row"),
        (change("file_name", "a,b.wav"), "column-count"),
        (change("machine", "../x"), "unknown-file"),
        (change("section", "00"), "development-part"),
        (lambda t: t[t["machine"] != "fan"], r"anomaly_score_fan_section_03_test\.csv: the file is missing"),
        (lambda t: t.drop(columns="decision"), "lack the columns decision; found machine"),
        (lambda t: t[t["machine"] == "none"], "the file is missing"),
    ],
)
def test_bad_clips_are_refused_and_nothing_is_written(
    clips: Callable[[pd.DataFrame], pd.DataFrame], message: str, make_entry: Make, tmp_path: Path
) -> None:
    bad = make_entry(2022, clips=clips(make_entry(2022).clips))
    with pytest.raises(FormatError, match=message):
        write_submission(tmp_path / "out", year=2022, label=LABEL, systems=[make_entry(2022), bad], report=None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"results": {"fan": {"auc_source": 0.6, "auc_target": 0.5, "pauc": 0.5}}}, "is a fraction, not percent"),
        ({"results": {"fan": {"auc": 60.0, "pauc": 50.0}}}, "results of fan: expected auc_source, auc_target, pauc"),
        ({"results": {"pump": {"auc_source": 60.0, "auc_target": 60.0, "pauc": 60.0}}}, "unknown-machine"),
        ({"authors": []}, "submission.authors"),
        ({"total_parameters": -1}, "total_parameters"),
        ({"name": " "}, "submission.name"),
    ],
)
def test_bad_meta_is_refused(fields: dict[str, object], message: str, make_entry: Make, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        write_submission(tmp_path, year=2022, label=LABEL, systems=[make_entry(2022, **fields)], report=None)
    assert not list(tmp_path.iterdir())


def test_incomplete_clips_are_found_by_the_file_list(make_entry: Make, tmp_path: Path) -> None:
    lists = {("fan", "03"): [f"section_03_{i:04d}.wav" for i in range(5)]}
    with pytest.raises(FormatError, match=r"missing|section_03_0004\.wav"):
        write_submission(tmp_path, year=2022, label=LABEL, systems=[make_entry(2022)], report=None, file_lists=lists)


@pytest.mark.parametrize(
    "label", ["Doe_XYZ", "Doe_XYZ_task2_1", "Doe_X_Y_task2", "Doe_XYZ_task3", "../Doe_XYZ_task2", "Doe XYZ_task2", ""]
)
def test_bad_labels_are_refused(label: str, make_entry: Make, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected <Surname>_<INST>_task2"):
        write_submission(tmp_path, year=2022, label=label, systems=[make_entry(2022)], report=None)


def test_number_of_systems_report_and_year(make_entry: Make, tmp_path: Path) -> None:
    system = make_entry(2022)
    for systems in ([], [system] * 5):
        with pytest.raises(FormatError, match="1 to 4"):
            write_submission(tmp_path, year=2022, label=LABEL, systems=systems, report=None)
    with pytest.raises(FormatError, match="cannot be read"):
        write_submission(tmp_path, year=2022, label=LABEL, systems=[system], report=tmp_path / "none.pdf")
    (tmp_path / "t.pdf").write_bytes(struct.pack("<d", 1.0))
    with pytest.raises(FormatError, match="expected a PDF"):
        write_submission(tmp_path, year=2022, label=LABEL, systems=[system], report=tmp_path / "t.pdf")
    with pytest.raises(UnknownNameError, match="2019"):
        write_submission(tmp_path, year=2019, label=LABEL, systems=[system], report=None)
