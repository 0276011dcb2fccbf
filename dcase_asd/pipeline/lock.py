"""One runner per output folder: an advisory lock that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from dcase_asd.errors import LockedError, StageError

__all__ = ["stage_lock"]


@contextlib.contextmanager
def stage_lock(out: Path) -> Iterator[None]:
    """Hold the lock of an output folder.

    Raises
    ------
    LockedError
        If another process holds it (named).
    StageError
        If the file system knows no locks.
    """
    # never removed: a lock file that vanishes between another process's open and flock would be held twice
    path = out.with_name(f".{out.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise LockedError(
                f"{out}: {holder} is writing here; wait for it (another experiment: choose another --tag)"
            ) from error
        except OSError as error:  # nobody is there, but nobody could be kept away either
            raise StageError(
                f"{path}: cannot be locked ({error.strerror}): this file system knows no locks, so a second runner could write "
                "into the first one's output; put --expdir, --dumpdir and the recipe on another"
            ) from error
        stream.seek(0)
        stream.truncate()
        stream.write(f"process {os.getpid()} on {platform.node()}")
        stream.flush()
        yield
