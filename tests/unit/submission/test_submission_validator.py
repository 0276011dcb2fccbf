from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dcase_asd.errors import UnknownNameError
from dcase_asd.manifests.schema import Manifest
from dcase_asd.submission.formats import YEARS
from dcase_asd.submission.members import memory_members
from dcase_asd.submission.problems import MAX_PROBLEMS, Report
from dcase_asd.submission.validator import (
    Problem,
    check_members,
    check_score_folder,
    check_submission,
    manifest_file_lists,
)

Files = dict[str, bytes]
Save = Callable[..., Path]
SYSTEM = "task2/Doe-Ray_XYZ-Lab_task2_1"
META = f"{SYSTEM}/Doe-Ray_XYZ-Lab_task2_1.meta.yaml"
PDF = "task2/Doe-Ray_XYZ-Lab_task2.technical_report.pdf"
SCORES = f"{SYSTEM}/anomaly_score_fan_section_04_test.csv"
DECISIONS = f"{SYSTEM}/decision_result_fan_section_04_test.csv"


def lines(files: Files, name: str) -> list[str]:
    return files[name].decode().splitlines()


def edit(name: str, change: Callable[[list[str]], Iterable[str]]) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        files[name] = ("\n".join(change(lines(files, name))) + "\n").encode()

    return apply


def row(name: str, number: int, text: str) -> Callable[[Files], None]:
    return edit(name, lambda old: [*old[: number - 1], text, *old[number:]])


def sub(name: str, pattern: str, by: str, count: int = 0) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        text, n = re.subn(pattern, by, files[name].decode(), count=count)
        assert n
        files[name] = text.encode()

    return apply


def move(old: str, new: str) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        for name in [n for n in files if n.startswith(old)]:
            files[new + name.removeprefix(old)] = files.pop(name)

    return apply


def put(name: str, data: bytes) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        files[name] = data

    return apply


def drop(name: str) -> Callable[[Files], None]:
    return lambda files: files.pop(name) and None


def both(*changes: Callable[[Files], None]) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        for change in changes:
            change(files)

    return apply


def with_list(year: int) -> dict[tuple[str, str], list[str]]:
    rules = YEARS[year]
    assert year == 2022
    return {(m, s): [f"section_{s}_{i:04d}.wav" for i in range(4)] for m, ss in rules.evaluation.items() for s in ss}


def found(problems: list[Problem]) -> Counter[tuple[str, str, str, int | None]]:
    return Counter((p.severity, p.code, p.file, p.row) for p in problems)


E, W = "error", "warning"
DEFECTS: dict[str, tuple[Callable[[Files], None], list[tuple[str, str, str, int | None]]]] = {
    "tab-indented yaml": (
        edit(META, lambda old: [line.replace("  label", "\tlabel") for line in old]),
        [(E, "yaml-tab", META, 2)],
    ),
    "broken yaml": (edit(META, lambda old: [*old, "x: [1"]), [(E, "yaml", META, None)]),
    "yaml alias": (edit(META, lambda old: [*old, "x: &a [1]", "y: *a"]), [(E, "yaml", META, None)]),
    "yaml depth": (edit(META, lambda old: [*old, "x: " + "[" * 30 + "]" * 30]), [(E, "yaml", META, None)]),
    "yaml bomb": (put(META, b"a: &a [x,x]\nb: &b [*a,*a]\n"), [(E, "yaml", META, 2)]),
    "yaml object": (edit(META, lambda old: [*old, "x: !!python/object:os.system {}"]), [(E, "yaml", META, None)]),
    "yaml list": (put(META, b"- 1\n"), [(E, "meta-key", META, None)]),
    # an author indented below the affiliation of the one before, as in the meta files of Xiao 2022
    "author indented too deep": (
        sub(META, r"( +)location: (.*)", r"\1location: \2\n\1- lastname: Wei"),
        [(E, "yaml", META, None)],
    ),
    "empty yaml": (put(META, b" \n"), [(E, "empty-file", META, None)]),
    "huge yaml": (put(META, b"#" * 300_000), [(E, "too-large", META, None)]),
    "fractions": (
        sub(META, r"(fan:\n)(\s+\S+) 61.25\n(\s+\S+) 61.25\n(\s+\S+) 61.25", r"\1\2 0.6\n\3 0.7\n\4 0.5"),
        [(E, "fraction", META, None)] * 3,
    ),
    "more than 100 percent": (sub(META, r"61\.25", "161.25", 1), [(E, "bad-result", META, None)]),
    "result of an evaluation machine": (
        sub(META, r"    fan:", "    fen:"),
        [(E, "unknown-machine", META, None), (W, "missing-result", META, None)],
    ),
    "label of another system": (sub(META, r"task2_1", "task2_2"), [(E, "label-mismatch", META, None)]),
    "no label": (sub(META, r"label: .*", "label:"), [(E, "meta-key", META, None)]),
    "long abbreviation": (sub(META, r"abbreviation: flow", "abbreviation: flow-and-more"), [(W, "abbreviation", META, None)]),
    "parameters as text": (sub(META, r"total_parameters: .*", "total_parameters: 11M"), [(E, "complexity", META, None)]),
    "no corresponding author": (sub(META, r"corresponding: true", "corresponding: false"), [(W, "authors", META, None)]),
    "no meta": (drop(META), [(E, "missing-file", META, None)]),
    "meta misnamed": (move(META, f"{SYSTEM}/system.meta.yaml"), [(E, "label-mismatch", f"{SYSTEM}/system.meta.yaml", None)]),
    "development file besides": (
        put(f"{SYSTEM}/anomaly_score_fan_section_00_test.csv", b"section_00_0000.wav,1\n"),
        [(E, "development-part", f"{SYSTEM}/anomaly_score_fan_section_00_test.csv", None)],
    ),
    "development file instead": (
        move(SCORES, f"{SYSTEM}/anomaly_score_fan_section_01_test.csv"),
        [(E, "development-part", f"{SYSTEM}/anomaly_score_fan_section_01_test.csv", None), (E, "missing-file", SCORES, None)],
    ),
    "development clip": (
        edit(SCORES, lambda old: [*old, "section_00_0000.wav,0.5"]),
        [(E, "development-part", SCORES, 5)],
    ),
    "clip of another section": (edit(SCORES, lambda old: [*old, "section_05_0000.wav,0.5"]), [(E, "misnamed-row", SCORES, 5)]),
    "header line": (edit(SCORES, lambda old: ["file_name,score", *old]), [(E, "header-line", SCORES, 1)]),
    "header line, three columns": (
        edit(DECISIONS, lambda old: ["file_name,score,decision", *(f"{x.split(',')[0]},0.5,1" for x in old)]),
        [(E, "header-line", DECISIONS, 1), *[(E, "column-count", DECISIONS, i) for i in range(2, 6)]],
    ),
    "three columns": (row(SCORES, 2, "section_04_0001.wav,0.5,1"), [(E, "column-count", SCORES, 2)]),
    "one column": (row(SCORES, 2, "section_04_0001.wav"), [(E, "column-count", SCORES, 2)]),
    "semicolons": (
        row(SCORES, 2, "section_04_0001.wav;0.5"),
        [(E, "column-count", SCORES, 2), (E, "misnamed-row", SCORES, 2), (E, "missing-row", SCORES, None)],
    ),
    "blank line": (edit(SCORES, lambda old: [*old, ""]), [(E, "blank-line", SCORES, 5)]),
    "missing row": (edit(SCORES, lambda old: old[:-1]), [(E, "missing-row", SCORES, None)]),
    "extra row": (edit(SCORES, lambda old: [*old, "section_04_0009.wav,0.5"]), [(E, "extra-row", SCORES, 5)]),
    "misnamed row": (
        row(SCORES, 1, "section_04_test_0000.wav,0.5"),
        [(E, "misnamed-row", SCORES, 1), (E, "missing-row", SCORES, None)],
    ),
    "duplicate row": (edit(SCORES, lambda old: [*old, old[0]]), [(E, "duplicate-row", SCORES, 5)]),
    **{
        f"score {value}": (row(SCORES, 1, f"section_04_0000.wav,{value}"), [(E, "not-finite", SCORES, 1)])
        for value in ("nan", "NaN", "inf", "-Infinity", "1e999")
    },
    **{
        f"score {value!r}": (row(SCORES, 1, f"section_04_0000.wav,{value}"), [(E, "not-a-number", SCORES, 1)])
        for value in ("", "high", "1_0", "0x10")
    },
    **{
        f"decision {value}": (row(DECISIONS, 1, f"section_04_0000.wav,{value}"), [(E, "bad-decision", DECISIONS, 1)])
        for value in ("0.9", "2", "-1")
    },
    "decision nan": (row(DECISIONS, 1, "section_04_0000.wav,nan"), [(E, "not-finite", DECISIONS, 1)]),
    "decision 1.0": (row(DECISIONS, 1, "section_04_0000.wav,1.0"), [(W, "decision-form", DECISIONS, 1)]),
    "constant scores": (
        edit(SCORES, lambda old: [re.sub(",.*", ",0.5", x) for x in old]),
        [(W, "constant-scores", SCORES, None)],
    ),
    "bom": (edit(SCORES, lambda old: ["\ufeff" + old[0], *old[1:]]), [(E, "bom", SCORES, 1)]),
    "utf-16": (put(SCORES, "section_04_0000.wav,1\n".encode("utf-16")), [(E, "encoding", SCORES, None)]),
    "empty file": (put(SCORES, b""), [(E, "empty-file", SCORES, None)]),
    "huge file": (put(SCORES, b"\n" * 3_000_000), [(E, "too-large", SCORES, None)]),
    "name without _test": (
        move(SCORES, f"{SYSTEM}/anomaly_score_fan_section_04.csv"),
        [(E, "misnamed-file", f"{SYSTEM}/anomaly_score_fan_section_04.csv", None)],
    ),
    "missing file": (drop(DECISIONS), [(E, "missing-file", DECISIONS, None)]),
    "unknown machine": (
        put(f"{SYSTEM}/anomaly_score_pump_section_04_test.csv", b"section_04_0000.wav,1\n"),
        [(E, "unknown-machine", f"{SYSTEM}/anomaly_score_pump_section_04_test.csv", None)],
    ),
    "unknown section": (
        put(f"{SYSTEM}/anomaly_score_fan_section_06_test.csv", b"section_06_0000.wav,1\n"),
        [(E, "unknown-section", f"{SYSTEM}/anomaly_score_fan_section_06_test.csv", None)],
    ),
    "unknown file": (put(f"{SYSTEM}/scores.csv", b"a,1\n"), [(E, "unknown-file", f"{SYSTEM}/scores.csv", None)]),
    "missing top folder": (
        move("task2/", ""),
        [
            (E, "missing-top-folder", PDF.removeprefix("task2/"), None),
            (E, "missing-top-folder", "Doe-Ray_XYZ-Lab_task2_1", None),
            (E, "missing-top-folder", "Doe-Ray_XYZ-Lab_task2_2", None),
        ],
    ),
    "bad label": (
        both(drop(f"{META}"), move(SYSTEM, "task2/Doe_XYZ_Lab_task2_1"), put("task2/Doe_XYZ_Lab_task2_1/a.meta.yaml", b"")),
        [(E, "bad-label", "task2/Doe_XYZ_Lab_task2_1", None), (E, "empty-file", "task2/Doe_XYZ_Lab_task2_1/a.meta.yaml", None)],
    ),
    "no report": (drop(PDF), [(W, "missing-report", PDF, None)]),
    "report no pdf": (put(PDF, b"hello"), [(W, "bad-report", PDF, None)]),
    "report of another label": (
        move(PDF, "task2/Roe_XYZ_task2.technical_report.pdf"),
        [(E, "label-mismatch", "task2/Roe_XYZ_task2.technical_report.pdf", None)],
    ),
    "stray files": (
        both(put("task2/__MACOSX/x.csv", b""), put("task2/.DS_Store", b""), put("task2/notes.txt", b"")),
        [(W, "stray-file", name, None) for name in ("task2/__MACOSX/x.csv", "task2/.DS_Store", "task2/notes.txt")],
    ),
}


#: Checked in a folder too: what touches layout or reading. The other checks see bytes only.
IN_FOLDERS = ["missing top folder", "bad label", "no meta", "huge file", "bom", "missing file", "stray files", "no report"]


@pytest.mark.parametrize("year", YEARS)
def test_valid_submission_has_no_problem(year: int, valid_files: dict[int, Files], save: Save) -> None:
    path = save(valid_files[year])
    assert check_submission(path, year=year) == []


@pytest.mark.parametrize(("name", "as_folder"), [*((name, False) for name in DEFECTS), *((name, True) for name in IN_FOLDERS)])
def test_each_defect_is_reported_and_nothing_else(name: str, as_folder: bool, valid_files: dict[int, Files], save: Save) -> None:
    inject, expected = DEFECTS[name]
    files = dict(valid_files[2022])
    inject(files)
    path = save(files, as_folder=as_folder)
    problems = check_submission(path, year=2022, file_lists=with_list(2022))
    got = found(problems)
    # rows inside a meta.yaml follow from the dumper's layout: compared only where the table names one
    wanted = Counter(expected)
    loose = Counter((s, c, f, None if f.endswith(".yaml") and (s, c, f, r) not in wanted else r) for s, c, f, r in got.elements())
    assert loose == wanted, "\n".join(map(str, problems))
    assert all(p.what and p.remedy for p in problems)


def test_defects_of_several_kinds_are_all_reported_at_once(valid_files: dict[int, Files], save: Save) -> None:
    chosen = ["fractions", "missing row", "decision 0.9", "no report", "unknown machine"]
    files = dict(valid_files[2022])
    for name in chosen:
        DEFECTS[name][0](files)
    path = save(files)
    codes = {p.code for p in check_submission(path, year=2022, file_lists=with_list(2022))}
    assert codes == {code for name in chosen for _, code, _, _ in DEFECTS[name][1]}


def test_crlf_line_ends_are_fine(valid_files: dict[int, Files], save: Save) -> None:
    files = {n: d.replace(b"\n", b"\r\n") if n.endswith(".csv") else d for n, d in valid_files[2022].items()}
    path = save(files)
    assert check_submission(path, year=2022, file_lists=with_list(2022)) == []


def test_folder_named_task2_is_taken_as_the_top_folder(valid_files: dict[int, Files], tmp_path: Path) -> None:
    for member, data in valid_files[2023].items():
        (tmp_path / member).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / member).write_bytes(data)
    assert check_submission(tmp_path / "task2", year=2023) == []
    assert check_submission(tmp_path, year=2023) == []


def test_more_than_four_systems(valid_files: dict[int, Files], save: Save) -> None:
    files = dict(valid_files[2023])
    for number in ("3", "4", "5"):
        for name in [n for n in valid_files[2023] if "_task2_1/" in n]:
            files[name.replace("_task2_1", f"_task2_{number}")] = valid_files[2023][name].replace(
                b"_task2_1", f"_task2_{number}".encode()
            )
    path = save(files)
    problems = check_submission(path, year=2023)
    assert [(p.code, p.file) for p in problems] == [("too-many-systems", "task2/Doe-Ray_XYZ-Lab_task2_5")]


def test_two_labels_in_one_package(valid_files: dict[int, Files], save: Save) -> None:
    files = {
        n.replace("Doe-Ray_XYZ-Lab_task2_2", "Roe_XYZ-Lab_task2_2"): d.replace(b"Doe-Ray_XYZ-Lab_task2_2", b"Roe_XYZ-Lab_task2_2")
        for n, d in valid_files[2023].items()
    }
    path = save(files)
    assert [(p.code, p.file) for p in check_submission(path, year=2023)] == [("label-mismatch", "task2/Roe_XYZ-Lab_task2_2")]


def test_without_file_lists_scores_and_decisions_are_compared(valid_files: dict[int, Files], save: Save) -> None:
    files = dict(valid_files[2022])
    DEFECTS["missing row"][0](files)
    path = save(files)
    assert [(p.code, p.file, p.value) for p in check_submission(path, year=2022)] == [
        ("missing-row", SCORES, "section_04_0003.wav")
    ]


def test_fractions_of_2020_are_found(valid_files: dict[int, Files], save: Save) -> None:
    files = {n: d.replace(b"61.25", b"0.6125") for n, d in valid_files[2020].items()}
    path = save(files)
    assert Counter(p.code for p in check_submission(path, year=2020)) == {"fraction": 2 * 6 * 2}


def test_decisions_in_2020_are_not_asked_for(valid_files: dict[int, Files], save: Save) -> None:
    name = "task2/Doe-Ray_XYZ-Lab_task2_1/decision_result_fan_id_01.csv"
    path = save({**valid_files[2020], name: b"id_01_00000000.wav,1\n"})
    assert [(p.severity, p.code, p.file) for p in check_submission(path, year=2020)] == [(W, "stray-file", name)]


def test_other_result_spelling_is_accepted(valid_files: dict[int, Files], save: Save) -> None:
    files = {
        n: d.replace(b" auc_", b" harmonic_mean_auc_").replace(b" pauc", b" harmonic_mean_pauc")
        for n, d in valid_files[2025].items()
    }
    path = save(files)
    assert check_submission(path, year=2025) == []


def test_list_of_problems_is_bounded_and_says_how_many_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "anomaly_score_fan_id_01.csv").write_bytes(b"id_01_00000000.wav,nan\n" + b"\n" * 3000)
    blank = [p for p in check_score_folder(tmp_path, year=2020) if p.code == "blank-line"]
    assert len(blank) == 1001
    assert [p.value for p in blank if p.row is None] == ["2000"]


def test_list_of_problems_is_bounded_over_all_files() -> None:
    report = Report()
    for i in range(MAX_PROBLEMS + 7):
        report.warning("blank-line", f"{i}.csv", "a blank line", "Remove it.")
    found = report.finish()
    assert len(found) == MAX_PROBLEMS + 1
    assert (found[0].code, found[0].value) == ("more", "7")


@pytest.mark.parametrize(
    ("year", "name", "code", "part"),
    [
        (2020, "anomaly_score_fan_section_01_test.csv", "misnamed-file", "Name it anomaly_score_fan_id_01.csv."),
        (2020, "anomaly_score_ToyCar_id_01.csv", "development-part", "evaluation part"),
        (2020, "anomaly_score_gearbox_id_01.csv", "unknown-machine", "ToyConveyor"),
        (2021, "anomaly_score_fan_section_03_test.csv", "misnamed-file", "_source_test.csv"),
        (
            2021,
            "anomaly_score_fan_section_03_source.csv",
            "misnamed-file",
            "Name it anomaly_score_fan_section_03_source_test.csv.",
        ),
        (2022, "anomaly_score_fan_section_03_target_test.csv", "misnamed-file", "Name it anomaly_score_fan_section_03_test.csv."),
        (2023, "anomaly_score_bearing_section_00_test.csv", "development-part", "evaluation part"),
        (2024, "anomaly_score_3dprinter_section_00_test.csv", "unknown-machine", "did you mean '3DPrinter'"),
        (2026, "anomaly_score_ToyDrone_section_01_test.csv", "unknown-section", "Use 00."),
        (2026, "ToyDrone_section_00_test.csv", "unknown-file", "did you mean"),
    ],
)
def test_wrong_file_names_by_year(year: int, name: str, code: str, part: str) -> None:
    members = memory_members({f"task2/A_B_task2_1/{name}": b"a.wav,1\nb.wav,2\n"})
    problems = [p for p in check_members(members, year=year) if p.file.endswith(f"/{name}") and not p.code.endswith("-row")]
    assert [p.code for p in problems] == [code]
    assert part in problems[0].remedy


def test_file_lists_of_a_manifest() -> None:
    def clip(path: str, subset: str = "eval", split: str = "test") -> dict[str, object]:
        numbers = dict.fromkeys(["n_samples", "n_channels", "sample_rate_hz"], 1)
        place = {"machine": "fan", "section": "03", "domain": "unknown", "kind": "audio", "sha256": "0"}
        return {"clip_id": path, "path": path, "subset": subset, "split": split, **place, **numbers}

    names = ["section_03_0001.wav", "section_03_0000.wav"]
    rows = [
        *(clip(f"raw/fan/test/{n}") for n in names),
        clip("raw/fan/train/x.wav", split="train"),
        clip("dev/y.wav", subset="dev"),
    ]
    assert manifest_file_lists(Manifest.from_rows(rows)) == {("fan", "03"): sorted(names)}


def test_unknown_year_and_missing_path(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="2019"):
        check_submission(tmp_path, year=2019)
    assert [p.code for p in check_submission(tmp_path / "none.zip", year=2022)] == ["not-found"]
    assert [p.code for p in check_score_folder(tmp_path / "none", year=2022)] == ["not-found"]
    (tmp_path / "empty").mkdir()
    assert [p.code for p in check_submission(tmp_path / "empty", year=2022)] == ["no-system"]


def test_what_lies_beside_the_top_folder_counts_in_a_zip_only(valid_files: dict[int, Files], save: Save) -> None:
    files = {**valid_files[2025], "__MACOSX/._x.csv": b"", "notes.txt": b""}
    assert [(p.code, p.file) for p in check_submission(save(files), year=2025)] == [
        ("stray-file", "__MACOSX/._x.csv"),
        ("stray-file", "notes.txt"),
    ]


def test_a_working_folder_may_hold_other_things(valid_files: dict[int, Files], save: Save) -> None:
    files = {**valid_files[2025], "notes.txt": b"", "old/scores.csv": b""}
    assert check_submission(save(files, as_folder=True), year=2025) == []
