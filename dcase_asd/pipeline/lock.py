"""One runner per output folder: an advisory lock that the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from dcase_asd.errors import LockedError

__all__ = ["stage_lock"]


@contextlib.contextmanager
def stage_lock(out: Path) -> Iterator[None]:
    """Hold the lock of an output folder, or raise ``LockedError`` naming the process that holds it."""
    # never removed: a lock file that vanishes between another process's open and flock would be held twice
    path = out.with_name(f".{out.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise LockedError(
                f"{out}: {holder} is writing here; wait for it (another experiment: choose another --tag)"
            ) from error
        stream.seek(0)
        stream.truncate()
        stream.write(f"process {os.getpid()} on {platform.node()}")
        stream.flush()
        yield
