"""Write to a temporary neighbour, flush to disk, rename: a reader sees the old file or the new one, never half of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dcase_asd.errors import UsageError

__all__ = ["atomic_path", "open_atomic", "refuse_unwritable", "remove_tree", "write_json", "write_text"]


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` if the block ends without an error.

    Parameters
    ----------
    path : path-like
        The file to create or replace. Missing parent folders are created.

    Yields
    ------
    pathlib.Path
        The path to write to. It is removed if the block raises.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def open_atomic(path: str | os.PathLike[str], mode: str = "w", *, newline: str | None = "") -> Iterator[IO[Any]]:
    """Open ``path`` for writing (text is UTF-8); the file appears only when the block ends without an error."""
    with atomic_path(path) as temporary:
        options: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": newline}
        with temporary.open(mode, **options) as stream:
            yield stream


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with open_atomic(path) as stream:
        stream.write(text)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write JSON atomically: sorted keys, two-space indent, non-finite numbers refused with ``ValueError``."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def refuse_unwritable(path: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Find out before the work, not after it, whether its result can be written; nothing is left behind.

    Parameters
    ----------
    path : path-like
        The file, or with ``folder`` the folder, to be written; missing parent folders would be created.

    Raises
    ------
    UsageError
        If a folder stands where the file should, or the nearest folder that exists cannot be written to.
    """
    target = Path(path)
    if target.is_dir() and not folder:
        raise UsageError(f"{target}: is a folder; name a file in it")
    place = next(parent for parent in target.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({place}: {error.strerror}); choose another place") from error


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a folder and what is in it; a missing folder is fine."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
