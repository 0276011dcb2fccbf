import io
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zenodo_server import make_zip

from dcase_asd.download import archives
from dcase_asd.download.archives import unpack
from dcase_asd.errors import DataError


def write(root: Path, content: bytes) -> Path:
    path = root / "a.zip"
    path.write_bytes(content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_members_arrive_and_what_is_there_stays(root):
    files = {"fan/train/ä b.wav": b"1" * 1000, "fan/attributes_00.csv": b"x", "fan/empty.txt": b""}
    (root / "raw" / "fan" / "test").mkdir(parents=True)
    (root / "raw" / "fan" / "test" / "old.wav").write_bytes(b"old")
    seen = []
    sizes = unpack(write(root, make_zip(files)), root / "raw", progress=lambda *a: seen.append(a))
    assert sizes == {name: len(content) for name, content in files.items()}
    assert tree(root / "raw") == {**files, "fan/test/old.wav": b"old"}
    assert seen[-1] == (1001, 1001)


def test_unpacking_twice_and_after_a_kill_gives_the_same(root):
    archive = write(root, make_zip({"fan/a": b"new"}))
    partial = root / "raw" / ".a.zip.partial" / "fan"
    partial.mkdir(parents=True)
    (partial / "half").write_bytes(b"h")
    (root / "raw" / "fan").mkdir()
    (root / "raw" / "fan" / "a").write_bytes(b"half of an older one")
    for _ in range(2):
        unpack(archive, root / "raw")
        assert tree(root / "raw") == {"fan/a": b"new"}


def member(name: str, *, mode: int = 0, content: bytes = b"x") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("fan/good.wav", b"good")
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = name
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (member("../evil"), "leads outside"),
        (member("fan/../../evil"), "leads outside"),
        (member("/evil"), "absolute path"),
        (member("C:/evil"), "drive letter"),
        (member("c:evil"), "drive letter"),
        (member("fan\\..\\evil"), "backslash"),
        (member("fan/link", mode=stat.S_IFLNK | 0o777, content=b"/etc"), "link or special"),
        (member("fan/pipe", mode=stat.S_IFIFO | 0o644), "link or special"),
    ],
)
def test_members_that_lead_elsewhere_are_refused_and_nothing_is_written(root, content, message):
    with pytest.raises(DataError, match=message):
        unpack(write(root, content), root / "raw")
    assert tree(root) == {"a.zip": content}


def test_a_name_that_stands_twice_is_refused(root):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(DataError, match="stands twice"):
        unpack(write(root, stream.getvalue()), root / "raw")


@pytest.mark.parametrize("name", ["fan//good.wav", "./fan/good.wav"])
def test_two_names_of_one_file_are_refused_and_nothing_is_written(root, name):
    with pytest.raises(DataError, match=r"a name that stands twice.*nothing was unpacked"):
        unpack(write(root, member(name)), root / "raw")
    assert not tree(root / "raw")


def test_an_encrypted_member_is_refused(root):
    content = bytearray(make_zip({"a": b"1"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="encrypted"):
        unpack(write(root, bytes(content)), root / "raw")


def test_a_zip_bomb_is_refused_by_its_own_promise(root, monkeypatch):
    monkeypatch.setattr(archives, "_RATIO_FREE", 1000)
    with pytest.raises(DataError, match="a zip bomb"):
        unpack(write(root, make_zip({"a": b"0" * 1_000_000})), root / "raw")


def test_more_than_the_disk_holds_is_refused(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 95, 5))
    with pytest.raises(DataError, match="needs 6 bytes, 5 are free"):
        unpack(write(root, make_zip({"a": b"123456"})), root / "raw")


def test_a_member_that_lies_about_its_size_is_refused(root):
    content = bytearray(make_zip({"fan/a": b"0" * 5000}))
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", 50)
    with pytest.raises(DataError):
        unpack(write(root, bytes(content)), root / "raw")
    assert tree(root / "raw") == {}


def test_a_link_in_the_way_is_refused(root):
    (root / "elsewhere").mkdir()
    (root / "raw").mkdir()
    (root / "raw" / "fan").symlink_to(root / "elsewhere", target_is_directory=True)
    with pytest.raises(DataError, match="is a link"):
        unpack(write(root, make_zip({"fan/train/a": b"1"})), root / "raw")
    assert tree(root / "elsewhere") == {}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.integers(0, 400))
def test_a_damaged_zip_is_a_clear_error_or_unpacks_unharmed(root, position, flip, cut):
    files = {"fan/a": bytes(range(256)) * 8, "fan/b": b"b" * 100}
    content = bytearray(make_zip(files))
    content[position % len(content)] ^= flip
    shutil.rmtree(root / "raw", ignore_errors=True)
    try:
        unpack(write(root, bytes(content[: len(content) - cut])), root / "raw")
    except DataError:
        assert not (root / "raw").exists() or tree(root / "raw") == {}
    else:
        # a flipped bit in a time stamp or name harms no content
        assert sorted(tree(root / "raw").values()) == sorted(files.values())
    assert sorted(p.name for p in root.iterdir()) in (["a.zip"], ["a.zip", "raw"])
