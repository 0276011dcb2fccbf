from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dcase_asd.submission.members import Members
from dcase_asd.submission.validator import check_members, check_submission

Files = dict[str, bytes]
SCORES = "task2/Doe-Ray_XYZ-Lab_task2_1/anomaly_score_ToyPet_section_00_test.csv"


def with_member(packed: bytes, name: str, data: bytes = b"x", *, attr: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO(packed)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = attr
        archive.writestr(info, data, compress_type=method)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "/etc/evil.txt",
        "task2/../../evil.txt",
        "C:/evil.txt",
        "task2\\evil.txt",
        "task2//evil",
        "a/\x01",
        "x" * 501,
    ],
)
def test_path_escapes_are_reported_and_never_followed(
    name: str, valid_files: dict[int, Files], pack: Callable[[Files], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "in" / "s.zip"
    path.parent.mkdir()
    path.write_bytes(with_member(pack(valid_files[2025]), name))
    before = sorted(tmp_path.rglob("*"))
    assert [(p.severity, p.code) for p in check_submission(path, year=2025)] == [("error", "path-escape")]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_are_reported(
    valid_files: dict[int, Files], pack: Callable[[Files], bytes], save: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "s.zip"
    path.write_bytes(with_member(pack(valid_files[2025]), "task2/link", b"/etc/passwd", attr=(stat.S_IFLNK | 0o777) << 16))
    assert [(p.code, p.file) for p in check_submission(path, year=2025)] == [("link", "task2/link")]
    folder = save(valid_files[2025], as_folder=True)
    (folder / "task2" / "link").symlink_to("/etc")
    assert [(p.code, p.file) for p in check_submission(folder, year=2025)] == [("link", "task2/link")]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_inflates_without_bound_is_refused(
    method: int, valid_files: dict[int, Files], pack: Callable[[Files], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "s.zip"
    path.write_bytes(with_member(pack(valid_files[2025]), "task2/bomb.txt", b"0" * 10_000, method=method))
    assert [(p.code, p.file) for p in check_submission(path, year=2025)] == [("unreadable", "task2/bomb.txt")]


def test_encrypted_member_is_reported(valid_files: dict[int, Files], pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    data = bytearray(with_member(pack(valid_files[2025]), "task2/secret.txt"))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 8] |= 1
    path = tmp_path / "s.zip"
    path.write_bytes(data)
    assert [(p.code, p.file) for p in check_submission(path, year=2025)] == [("unreadable", "task2/secret.txt")]


def test_duplicate_member_is_reported(valid_files: dict[int, Files], pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    with pytest.warns(UserWarning, match="Duplicate"):
        path.write_bytes(with_member(pack(valid_files[2025]), SCORES, valid_files[2025][SCORES]))
    assert [(p.code, p.file) for p in check_submission(path, year=2025)] == [("duplicate-member", SCORES)]


@pytest.mark.parametrize("lie", [False, True])
def test_bombs_are_not_inflated(lie: bool, valid_files: dict[int, Files], pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    size = 64 * 2**20
    data = bytearray(pack({**valid_files[2025], SCORES: b"\n" * size}))
    if lie:  # the table of contents promises one kB
        data = bytearray(bytes(data).replace(struct.pack("<I", size), struct.pack("<I", 1000)))
    path = tmp_path / "s.zip"
    path.write_bytes(data)
    tracemalloc.start()
    problems = check_submission(path, year=2025)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    where = ("unreadable", SCORES) if lie else ("too-large", ".")  # honest: refused by the sum before anything is read
    assert next((p.code, p.file) for p in problems if p.severity == "error") == where
    assert peak < 16 * 2**20  # a quarter of what is promised or hidden


def test_huge_table_of_contents_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(3000):
            archive.writestr(f"task2/{i:0400d}", b"")
    problems = check_submission(path, year=2025)
    assert [p.code for p in problems] == ["bad-zip"]
    assert "table of contents" in str(problems[0])


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(5001):
            archive.writestr(f"t/{i}", b"")
    assert [p.code for p in check_submission(path, year=2025)] == ["too-many-members"]


def test_damaged_member_is_reported(valid_files: dict[int, Files], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in valid_files[2025].items():
            archive.writestr(name, data)
    path = tmp_path / "s.zip"
    path.write_bytes(buffer.getvalue().replace(valid_files[2025][SCORES][:30], b"?" * 30, 1))
    problems = check_submission(path, year=2025)
    assert {p.code for p in problems} == {"unreadable"}
    assert "CRC" in str(problems[0].value)


def test_unreadable_file_is_reported(valid_files: dict[int, Files]) -> None:
    files = valid_files[2025]

    def read(name: str, limit: int) -> bytes:
        if name == SCORES:
            raise PermissionError(13, "Permission denied")
        return files[name][:limit]

    members = Members({name: len(data) for name, data in files.items()}, read)
    problems = check_members(members, year=2025)
    assert [(p.code, p.file) for p in problems] == [("unreadable", SCORES)]
    assert "Permission denied" in str(problems[0].value)
