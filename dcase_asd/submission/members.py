"""The files of a submission, from a zip, a folder or memory, read within bounds and never extracted."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.errors import FormatError
from dcase_asd.io.archives import ZIP_ERRORS, check_directory
from dcase_asd.submission.problems import Report

__all__ = ["MAX_CSV_BYTES", "MAX_META_BYTES", "MAX_REPORT_BYTES", "Members", "memory_members", "open_members"]

# Bounds: an official score file is about 10 kB, a meta.yaml 8 kB, a whole package has at most 4 x 85 files and a report.
MAX_CSV_BYTES = 2 * 2**20
MAX_META_BYTES = 2**18
MAX_REPORT_BYTES = 32 * 2**20
_MAX_MEMBERS = 5000
_MAX_TEXT_BYTES = 16 * 2**20  # everything but the report; four systems of 2021 have about 4 MB
_MAX_ZIP_BYTES = 128 * 2**20
_MAX_DIRECTORY_BYTES = 2**20
_MAX_NAME = 500
_CHUNK = 2**16
_END_RECORD = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"


@dataclass(frozen=True)
class Members:
    """The files of a submission.

    Attributes
    ----------
    sizes : mapping of str to int
        Path inside the submission, with ``/``, to its declared size [byte].
    reader : callable
        ``reader(path, limit)`` returns at most ``limit`` bytes.
    """

    sizes: Mapping[str, int]
    reader: Callable[[str, int], bytes]

    def read(self, name: str, limit: int, report: Report) -> bytes | None:
        """Return the content of a file of at most ``limit`` bytes; else note the problem and return None."""
        if self.sizes[name] > limit:
            _too_large(report, name, self.sizes[name], limit)
            return None
        try:
            data = self.reader(name, limit + 1)
        except ZIP_ERRORS as error:
            report.error("unreadable", name, "the file cannot be read", "Make the package again.", value=error)
            return None
        if len(data) > limit:
            _too_large(report, name, f"more than {limit}", limit)
            return None
        return data


def memory_members(files: Mapping[str, bytes]) -> Members:
    """Return files that are in memory as members."""
    return Members({name: len(data) for name, data in files.items()}, lambda name, limit: files[name][:limit])


@contextlib.contextmanager
def open_members(path: str | os.PathLike[str], report: Report, *, prefix: str = "") -> Iterator[Members]:
    """Open a zip or a folder; what is unsafe in it is noted in ``report`` and left out.

    Parameters
    ----------
    path : path-like
        The zip or the folder.
    report : Report
        Where problems go.
    prefix : str
        What comes before the paths inside a folder, with ``/`` at its end.

    Yields
    ------
    Members
        The files, open as long as the block runs.
    """
    source = Path(path)
    if source.is_dir():
        yield _bounded(_folder_members(source, prefix, report), report)
        return
    with contextlib.ExitStack() as stack:
        archive = _open_zip(source, report, stack)
        yield memory_members({}) if archive is None else _bounded(_zip_members(archive, report), report)


def _too_large(report: Report, name: str, found: object, limit: int) -> None:
    report.error("too-large", name, f"larger than {limit} bytes", "A submission needs far less; check it.", value=found)


def _bounded(members: Members, report: Report) -> Members:
    """Return the members, or none of them if their declared sizes (no member yields more) go beyond any submission."""
    size = sum(n for name, n in members.sizes.items() if not name.lower().endswith(".pdf"))
    if size <= _MAX_TEXT_BYTES:
        return members
    _too_large(report, ".", size, _MAX_TEXT_BYTES)
    return memory_members({})


def _folder_members(root: Path, prefix: str, report: Report) -> Members:
    sizes: dict[str, int] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder) / name
            inside = prefix + path.relative_to(root).as_posix()
            if path.is_symlink():
                report.error("link", inside, "is a symbolic link", "Put the file itself there.")
            elif path.is_file():
                sizes[inside] = path.stat().st_size
        if len(sizes) > _MAX_MEMBERS:
            report.error("too-many-members", ".", f"more than {_MAX_MEMBERS} files", "Give the folder of one submission.")
            return memory_members({})

    def read(name: str, limit: int) -> bytes:
        with (root / name.removeprefix(prefix)).open("rb") as stream:
            return stream.read(limit)

    return Members(sizes, read)


def _open_zip(source: Path, report: Report, stack: contextlib.ExitStack) -> zipfile.ZipFile | None:
    try:
        _check_directory_size(source)
        archive = stack.enter_context(zipfile.ZipFile(source))
        check_directory(archive)
    except FileNotFoundError:
        report.error("not-found", source.name, "no such file or folder", "Give the zip or the folder of a submission.")
    except (FormatError, *ZIP_ERRORS) as error:
        report.error("bad-zip", source.name, "not a readable zip archive", "Make the package again.", value=error)
    else:
        return archive
    return None


def _check_directory_size(source: Path) -> None:
    """Refuse what would make ``zipfile`` read a huge table of contents into memory."""
    size = source.stat().st_size
    if size > _MAX_ZIP_BYTES:
        raise FormatError(f"{size} bytes, more than {_MAX_ZIP_BYTES}")
    with source.open("rb") as stream:
        stream.seek(max(0, size - 2**16 - 22))  # the end record is 22 bytes and a comment of at most 64 KiB
        tail = stream.read()
    if _ZIP64_LOCATOR in tail:
        raise FormatError("ZIP64 archive; a submission is small")
    for match in re.finditer(re.escape(_END_RECORD), tail):
        record = tail[match.start() + 12 : match.start() + 16]  # size of the central directory
        if len(record) == 4 and int.from_bytes(record, "little") > _MAX_DIRECTORY_BYTES:
            raise FormatError(f"table of contents larger than {_MAX_DIRECTORY_BYTES} bytes")


def _zip_members(archive: zipfile.ZipFile, report: Report) -> Members:
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if not _is_safe(info, report) or info.is_dir():
            continue
        if info.filename in infos:
            report.error("duplicate-member", info.filename, "stands twice in the archive", "Keep one.")
            continue
        infos[info.filename] = info
    if len(infos) > _MAX_MEMBERS:
        report.error("too-many-members", ".", f"more than {_MAX_MEMBERS} files", "Pack one submission only.", value=len(infos))
        return memory_members({})

    def read(name: str, limit: int) -> bytes:
        data = bytearray()
        with archive.open(infos[name]) as stream:
            while len(data) < limit and (chunk := stream.read(min(_CHUNK, limit - len(data)))):
                data += chunk
        return bytes(data)

    return Members({name: info.file_size for name, info in infos.items()}, read)


def _is_safe(info: zipfile.ZipInfo, report: Report) -> bool:
    name = info.orig_filename
    parts = name.rstrip("/").split("/")
    shown = name.encode("unicode_escape").decode()[:_MAX_NAME]
    if len(name) > _MAX_NAME or re.search(r"[\\:\x00-\x1f\x7f]", name) or {"", ".", ".."} & set(parts):
        report.error("path-escape", shown, "the path leaves the archive or has odd characters", "Use plain relative paths.")
        return False
    if stat.S_ISLNK(info.external_attr >> 16):
        report.error("link", shown, "is a symbolic link", "Pack the file itself.")
        return False
    if info.flag_bits & 0x1:  # bit 0: encrypted (PKWARE APPNOTE 4.4.4)
        report.error("unreadable", shown, "is encrypted", "Pack without a password.")
        return False
    # bzip2 and LZMA members are inflated without a bound by the standard library
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        report.error("unreadable", shown, "odd compression", "Pack with deflate.", value=info.compress_type)
        return False
    return True
