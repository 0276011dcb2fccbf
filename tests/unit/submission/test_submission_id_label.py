"""Two-column answers: what is written can be read, and every defect is found with its row."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from dcase_asd.cli.submit_verb import command
from dcase_asd.errors import FormatError
from dcase_asd.submission.id_label import check_id_label, sample_ids, write_id_label

IDS = ["b é.jpg", "a.jpg", "c.jpg"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Abgabe é").mkdir()
    return tmp_path / "Abgabe é"


def test_what_is_written_is_valid_and_sorted(folder):
    path = folder / "out.csv"
    write_id_label(path, dict(zip(IDS, (1, 0, 1), strict=True)))
    assert path.read_bytes().decode() == "id,label\na.jpg,0\nb é.jpg,1\nc.jpg,1\n"
    assert check_id_label(path, ids=IDS) == []
    write_id_label(path, {"x.jpg": 1}, columns=("id", "has_cactus"))
    assert path.read_text().startswith("id,has_cactus\n")
    assert check_id_label(path, ids=["x.jpg"], columns=("id", "has_cactus")) == []


@pytest.mark.parametrize("labels", [{}, {"a,b.jpg": 1}, {"a.jpg": 2}, {"": 1}, {'"': 0}])
def test_what_cannot_be_written_is_refused(folder, labels):
    with pytest.raises(FormatError):
        write_id_label(folder / "out.csv", labels)
    assert not (folder / "out.csv").exists()


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", [("header", 1), *[("missing", None)] * 3]),
        ("name,label\na.jpg,0\nb é.jpg,1\nc.jpg,0\n", [("header", 1)]),
        ("id,label\na.jpg,0\nb é.jpg,1\n", [("missing", None)]),
        ("id,label\na.jpg,0\nb é.jpg,1\nc.jpg,0\na.jpg,0\n", [("twice", 5)]),
        ("id,label\na.jpg,0\nb é.jpg,1\nc.jpg,0\nd.jpg,0\n", [("unknown", 5)]),
        ("id,label\na.jpg,0.7\nb é.jpg,1\nc.jpg,0\n", [("label", 2)]),
        ("id,label\na.jpg,0\nb é.jpg,1\nc.jpg,\n", [("label", 4)]),
        ("id,label\na.jpg,0,1\nb é.jpg,1\nc.jpg,0\n", [("missing", None), ("cells", 2)]),
        ("id,label\r\na.jpg, 0\r\nb é.jpg,1\r\nc.jpg,0\r\n", []),
    ],
)
def test_every_defect_is_found_with_its_row(folder, text, codes):
    path = folder / "out.csv"
    path.write_text(text, encoding="utf-8")
    found = check_id_label(path, ids=IDS)
    assert sorted((p.code, p.row or 0) for p in found) == sorted((code, row or 0) for code, row in codes)
    assert all(p.severity == "error" and p.remedy for p in found)


def test_a_file_that_is_no_table_is_one_problem(folder):
    path = folder / "out.csv"
    path.write_bytes(b"id,label\n\xff\xfe\n")
    assert [p.code for p in check_id_label(path, ids=IDS)] == ["unreadable"]
    assert [p.code for p in check_id_label(folder / "gone.csv", ids=IDS)] == ["unreadable"]


def test_the_command_checks_by_a_sample(folder):
    sample, answer = folder / "sample_submission.csv", folder / "answer.csv"
    sample.write_text("id,has_cactus\n" + "".join(f"{name},0.5\n" for name in IDS), encoding="utf-8")
    assert sample_ids(sample) == (("id", "has_cactus"), IDS)
    write_id_label(answer, dict.fromkeys(IDS, 1), columns=("id", "has_cactus"))
    done = CliRunner().invoke(command, ["check", str(answer), "--like", str(sample)])
    assert (done.exit_code, done.output) == (0, "0 errors, 0 warnings\n")
    answer.write_text(answer.read_text(encoding="utf-8").replace("c.jpg,1", "c.jpg,maybe"), encoding="utf-8")
    done = CliRunner().invoke(command, ["check", str(answer), "--like", str(sample)])
    assert done.exit_code == 1
    assert "answer.csv:4: the label is neither 0 nor 1 (found 'maybe')" in done.output
    assert CliRunner().invoke(command, ["check", str(answer)]).exit_code == 2
    assert CliRunner().invoke(command, ["check", str(answer), "--like", str(sample), "--year", "2023"]).exit_code == 2
    sample.write_text("id\n", encoding="utf-8")
    with pytest.raises(FormatError, match="not a sample answer"):
        sample_ids(sample)
