"""The real submission of 2022 (``liuyoude/DCASE2022Task2-Record``) against its ground truth's clip names."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from dcase_asd.submission.validator import check_score_folder

SHARED = Path(os.environ.get("DCASE_ASD_SHARED", Path(__file__).resolve().parents[4] / "shared"))
DATA = SHARED / "data" / "conformance2022"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set DCASE_ASD_SHARED")


@pytest.fixture(scope="module")
def file_lists() -> dict[tuple[str, str], list[str]]:
    lists = {}
    for path in sorted((DATA / "ground_truth_data").glob("*.csv")):
        machine, section = path.stem.removeprefix("ground_truth_").removesuffix("_test").split("_section_")
        with path.open(newline="") as stream:
            lists[machine, section] = [row[0] for row in csv.reader(stream)]
    assert len(lists) == 21
    return lists


@pytest.mark.parametrize("system", [1, 3])
def test_the_only_defect_is_the_missing_test_in_the_names(system: int, file_lists: dict[tuple[str, str], list[str]]) -> None:
    problems = check_score_folder(DATA / f"system_{system}", year=2022, file_lists=file_lists)
    assert Counter((p.severity, p.code) for p in problems) == {("error", "misnamed-file"): 42}
    assert all(p.remedy == f"Name it {p.file.removesuffix('.csv')}_test.csv." for p in problems)


def test_renamed_it_passes(tmp_path: Path, file_lists: dict[tuple[str, str], list[str]]) -> None:
    for path in (DATA / "system_1").glob("*.csv"):
        (tmp_path / f"{path.stem}_test.csv").write_bytes(path.read_bytes())
    assert check_score_folder(tmp_path, year=2022, file_lists=file_lists) == []


def test_in_another_year_it_is_the_wrong_part() -> None:
    codes = Counter(p.code for p in check_score_folder(DATA / "system_1", year=2023))
    assert codes == {"unknown-machine": 42, "missing-file": 14}
