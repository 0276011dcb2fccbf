"""A zip whose table of contents cannot be read to its end is damaged, whatever zipfile makes of it."""

import io
import zipfile

import pytest

from dcase_asd.io.archives import check_directory


def packed(n: int, *, comment: bytes = b"") -> bytearray:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(n):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
        archive.comment = comment
    return bytearray(stream.getvalue())


def check(content: bytes | bytearray) -> int:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        check_directory(archive)
        return len(archive.namelist())


@pytest.mark.parametrize("comment", [b"", b"two pumps, PK\x05\x04", b"x" * 0xFFFF])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_whole_archives(n, comment):
    assert check(packed(n, comment=comment)) == n


@pytest.mark.parametrize("n", [0xFFFE, 0xFFFF, 0x10001])
def test_more_entries_than_sixteen_bits_count(n):
    assert check(packed(n)) == n
    content = packed(n)
    content[content.index(b"PK\x01\x02") + 32] = 60  # length of the first entry's comment: the second begins later
    with pytest.raises(zipfile.BadZipFile):
        check(content)


@pytest.mark.parametrize("comment", [b"", b"pumps"])
def test_an_entry_swallowed_by_another_is_noticed(comment):
    content = packed(3, comment=comment)
    entry = content.index(b"PK\x01\x02")
    length = content.index(b"PK\x01\x02", entry + 1) - entry
    content[entry + 32] = length  # the first entry's comment is the second entry
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["0", "2"]
    with pytest.raises(zipfile.BadZipFile, match="2 entries can be read, there are 3"):
        check(content)


def test_the_archive_can_be_read_after_the_check():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"1" * 1000)
    with zipfile.ZipFile(stream) as archive:
        check_directory(archive)
        assert archive.read("a") == b"1" * 1000
