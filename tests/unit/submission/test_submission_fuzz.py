"""Whatever the bytes are, the answer is a list of problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcase_asd.submission.formats import FileKey, year_format
from dcase_asd.submission.members import memory_members
from dcase_asd.submission.meta import check_meta
from dcase_asd.submission.problems import Report
from dcase_asd.submission.score_files import check_rows
from dcase_asd.submission.validator import Problem, check_members, check_submission

Files = dict[str, bytes]
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CSV_TEXT = st.text(alphabet=st.sampled_from('section_0_1.wav,;"\r\n\t\x00 nanif-e5\ufeffé'), max_size=200)
YAML_TEXT = st.text(alphabet=st.sampled_from("ab1:-[]{}&*!|>'\"\n\t #%@,?.~<=0x"), max_size=120)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.just(10**400)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=8
)
NAMES = st.lists(
    st.sampled_from(
        ["task2", "A_B_task2_1", "A_B_task2_9", "..", "x", "anomaly_score_fan_section_00_test.csv", "a.meta.yaml", "a.pdf", ".y"]
    ),
    min_size=1,
    max_size=4,
).map("/".join)


def all_problems(found: list[Problem]) -> bool:
    return all(isinstance(p, Problem) and p.what and p.remedy and p.code and str(p) for p in found)


@pytest.fixture(scope="module")
def package(valid_files: dict[int, Files], pack: Callable[[Files], bytes]) -> bytes:
    return pack(valid_files[2026])


@FUZZ
@given(data=st.binary(max_size=400), head=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02"]))
def test_random_bytes_as_a_zip(data: bytes, head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    path.write_bytes(head + data)
    found = check_submission(path, year=2026)
    assert found
    assert all_problems(found)


@FUZZ
@given(data=st.data())
def test_mutated_zip(data: st.DataObject, package: bytes, tmp_path: Path) -> None:
    size = len(package)
    position = st.integers(0, size - 1) | st.integers(package.index(b"PK\x01\x02"), size - 1)
    changes = data.draw(st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=6))
    bad = bytearray(package)
    for where, value in changes:
        bad[where] = value
    end = data.draw(st.just(size) | st.integers(0, size))
    path = tmp_path / "s.zip"
    path.write_bytes(bad[:end])
    assert all_problems(check_submission(path, year=2026))


@FUZZ
@given(data=st.binary(max_size=200) | CSV_TEXT.map(str.encode), kind=st.sampled_from(["anomaly_score", "decision_result"]))
def test_random_score_file(data: bytes, kind: str) -> None:
    report = Report()
    check_rows(data, "a.csv", key=FileKey(kind, "fan", "00", None), rules=year_format(2022), report=report)
    assert all_problems(report.finish())
    assert report.has_errors  # no random text is a valid file of section 00 of 2022: that is a development section


@FUZZ
@given(data=st.binary(max_size=200) | YAML_TEXT.map(str.encode))
def test_random_meta(data: bytes) -> None:
    report = Report()
    check_meta(data, "a.meta.yaml", label="A_B_task2_1", rules=year_format(2022), report=report)
    assert all_problems(report.finish())
    assert report.has_errors


@FUZZ
@given(where=st.sampled_from([(), (0,), (1,), (2,), (0, "label"), (0, "authors"), (1, "complexity"), (2, "fan")]), value=VALUES)
def test_meta_with_a_random_value_somewhere(where: tuple[object, ...], value: object) -> None:
    meta: dict[str, object] = {
        "submission": {"label": "A_B_task2_1", "name": "n", "abbreviation": "n", "authors": [{}]},
        "system": {"description": {}, "complexity": {"total_parameters": value}},
        "results": {"development_dataset": {"fan": {"harmonic_mean_pauc": value}}},
    }
    names = list(meta)
    if len(where) == 1:
        meta[names[where[0]]] = value  # type: ignore[index]
    elif len(where) == 2:
        part = meta[names[where[0]]]  # type: ignore[index]
        inner = part["development_dataset"] if where[1] == "fan" else part  # type: ignore[index]
        inner[where[1]] = value
    report = Report()
    text = yaml.safe_dump(meta, allow_unicode=True).encode("utf-8", "replace")
    check_meta(text, "a.meta.yaml", label="A_B_task2_1", rules=year_format(2022), report=report)
    assert all_problems(report.finish())


@pytest.mark.parametrize(
    "number", ["0x" + "f" * 9000, "9" * 5000, ".nan", "-.inf", "1:1:1:1", "!!int ''", "!!bool x", "!!float x", "2020-99-99"]
)
def test_numbers_that_python_refuses(number: str) -> None:
    report = Report()
    text = f"submission: {number}\nsystem:\n  complexity: {{total_parameters: {number}}}\nresults: {number}\n"
    check_meta(text.encode(), "a.meta.yaml", label=None, rules=year_format(2022), report=report)
    assert report.has_errors
    assert all_problems(report.finish())


@FUZZ
@given(files=st.dictionaries(NAMES, st.binary(max_size=40), max_size=8), year=st.integers(2020, 2026))
def test_random_trees(files: dict[str, bytes], year: int) -> None:
    found = check_members(memory_members(files), year=year)
    assert any(p.severity == "error" for p in found)
    assert all_problems(found)
