"""How much memory is free, so that what cannot fit is refused by name and not ended by the system without a word."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_bytes"]

_MEMINFO = Path("/proc/meminfo")
#: Limit and statistics of the process's container, and the line with the memory that cannot be given back (files that were read
#: can): control groups of version 2, then 1.
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.stat"), "anon "),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.stat"), "total_rss "),
)


def free_bytes() -> int | None:
    """Return the bytes that a program may still take before the system ends it; None where the system does not tell (no Linux).

    The least of what the machine has left (``MemAvailable``: free or quickly freed) and what the container may still take.
    """
    known = [value for value in (_of_machine(), *(_of_group(*group) for group in _GROUPS)) if value is not None]
    return max(min(known), 0) if known else None


def _of_machine() -> int | None:
    try:
        return 1024 * _line(_MEMINFO, "MemAvailable:")
    except (OSError, ValueError):
        return None


def _of_group(limit: Path, statistics: Path, used: str) -> int | None:
    try:
        return int(limit.read_text(encoding="ascii")) - _line(statistics, used)
    except (OSError, ValueError):  # no such group, or the word "max"
        return None


def _line(path: Path, start: str) -> int:
    lines = path.read_text(encoding="ascii").splitlines()
    found = [line.split()[1] for line in lines if line.startswith(start)]
    if not found:
        raise ValueError(f"{path}: no line {start!r}")
    return int(found[0])
