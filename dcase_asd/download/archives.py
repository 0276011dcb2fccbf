"""Unpack a zip that came from elsewhere: every member is judged before the first byte is written."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from dcase_asd.errors import DataError
from dcase_asd.io.archives import ZIP_ERRORS, check_directory
from dcase_asd.io.atomic import remove_tree

__all__ = ["unpack"]

_BLOCK = 1 << 18
#: PCM audio shrinks by less than 10 in a zip; small archives of silence may shrink more, so the ratio counts from 64 MiB on.
_MAX_RATIO = 100
_RATIO_FREE = 64 << 20


def unpack(archive: Path, folder: Path, *, progress: Callable[[int, int], None] | None = None) -> dict[str, int]:
    """Unpack a zip into ``folder``, merging with what is there.

    The members go to a hidden folder inside ``folder`` first and are moved, file by file, when all of them are whole; a call
    that was killed leaves nothing half-written behind that the next call does not replace.

    Parameters
    ----------
    archive : Path
        The zip.
    folder : Path
        Where its content goes.
    progress : callable, optional
        Called with (bytes written, bytes in all).

    Returns
    -------
    dict of str to int
        Path of every file relative to ``folder`` (with ``/``) to its size.

    Raises
    ------
    DataError
        If the zip is damaged, encrypted, names a place outside ``folder``, holds links or special files, promises more than
        fits on the disk or can be true of its size, or holds more than it promises. Nothing of it is left then.
    """
    partial = folder / f".{archive.name}.partial"
    remove_tree(partial)
    try:
        with zipfile.ZipFile(archive) as source:
            check_directory(source)
            members = [item for item in source.infolist() if not item.is_dir()]
            _judge(source.infolist(), archive, folder)
            total, done = sum(item.file_size for item in members), 0
            for item in members:
                _write(source, item, partial / item.filename, archive)
                done += item.file_size
                if progress is not None:
                    progress(done, total)
        return _merge(partial, folder, members, archive)
    except ZIP_ERRORS as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); remove it and fetch it again") from error
    finally:
        remove_tree(partial)


def _judge(items: Sequence[zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    seen: set[str] = set()
    for item in items:
        fault, place = _fault(item), PurePosixPath(item.filename).as_posix()  # a//b and ./a/b are the same file
        if not fault and place in seen:
            fault = "a name that stands twice"
        seen.add(place)
        if fault:
            raise DataError(f"{archive}: member {item.orig_filename!r}: {fault}; this is no corpus archive, nothing was unpacked")
    total, packed = sum(item.file_size for item in items), archive.stat().st_size
    if total > max(_RATIO_FREE, _MAX_RATIO * packed):
        raise DataError(f"{archive}: promises {total} bytes in {packed}: a zip bomb; nothing was unpacked")
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DataError(f"{archive}: needs {total} bytes, {free} are free in {folder}; make room and call again")


def _fault(item: zipfile.ZipInfo) -> str:
    name, path = item.filename, PurePosixPath(item.filename)
    mode = item.external_attr >> 16
    if "\0" in item.orig_filename or not path.parts or not name.strip("/"):
        return "an empty name or a zero byte in it"
    if path.is_absolute() or "\\" in name or re.match(r"[A-Za-z]:", name):
        return "an absolute path, a drive letter or a backslash"
    if ".." in path.parts:
        return "a path that leads outside"
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "a link or special file"
    if item.flag_bits & 0x1:
        return "encrypted"
    return ""


def _write(source: zipfile.ZipFile, item: zipfile.ZipInfo, path: Path, archive: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    n_bytes = 0
    with source.open(item) as packed, path.open("wb") as stream:
        while block := packed.read(_BLOCK):
            n_bytes += len(block)
            if n_bytes > item.file_size:
                break
            stream.write(block)
    if n_bytes != item.file_size:
        raise DataError(
            f"{archive}: member {item.filename!r} has {n_bytes} bytes or more, promises {item.file_size}; fetch it again"
        )


def _merge(partial: Path, folder: Path, members: Sequence[zipfile.ZipInfo], archive: Path) -> dict[str, int]:
    for item in members:
        target = folder / item.filename
        # a link that stands where a folder of the archive goes would lead the files elsewhere
        if any(parent.is_symlink() for parent in target.parents if parent != folder and folder in parent.parents):
            raise DataError(f"{archive}: {target.parent} is a link; unpacking would write elsewhere: remove it")
        target.parent.mkdir(parents=True, exist_ok=True)
        (partial / item.filename).replace(target)
    return {PurePosixPath(item.filename).as_posix(): item.file_size for item in members}
