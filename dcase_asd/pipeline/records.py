"""Completion records: what was asked of a stage, what its inputs were, what it wrote.

The record ``stage.json`` is the last file written into ``<out>.partial``; the rename to ``<out>`` commits both at once, so a
folder of that name is always whole. A folder without a record is garbage.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import dcase_asd
from dcase_asd.io.atomic import write_json
from dcase_asd.io.hashing import sha256_json, sha256_tree
from dcase_asd.pipeline.stage import Stage, Unit

__all__ = ["RECORD", "StageRecord", "changes", "commit_record", "provenance", "read_record", "unit_parts"]

RECORD = "stage.json"


@dataclass(frozen=True)
class StageRecord:
    """The content of ``stage.json``.

    Attributes
    ----------
    stage, version : str, int
    units : mapping of str to mapping
        Per unit the parts of its fingerprint (see :func:`unit_parts`).
    finish : mapping
        The parts of the fingerprint of the stage's closing step.
    files : mapping of str to str
        SHA-256 of every file written.
    provenance : mapping
        Versions, host, seconds, command line; never compared.
    """

    stage: str
    version: int
    units: Mapping[str, Mapping[str, Any]]
    finish: Mapping[str, Any]
    files: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def digest(self, prefixes: Sequence[str] = ("",)) -> str:
        """Return one hash over the files below the given sub-folders (or equal to the given files)."""
        chosen = {
            name: value
            for name, value in self.files.items()
            if any(p in ("", name) or name.startswith(p.rstrip("/") + "/") for p in prefixes)
        }
        return sha256_json(chosen)


def read_record(out: Path) -> StageRecord | None:
    """Read the record of a finished stage; ``None`` where there is none or it cannot be read."""
    try:
        record = StageRecord(**json.loads((out / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    tables = (record.units, record.finish, record.files, *(record.units.values() if isinstance(record.units, dict) else ()))
    return record if all(isinstance(table, dict) for table in tables) else None


def commit_record(out: Path, record: StageRecord) -> None:
    """Write ``stage.json`` into a partial output folder, atomically."""
    write_json(out / RECORD, asdict(record))


def hash_outputs(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of an output folder but the record."""
    return sha256_tree(out, exclude={RECORD})


def unit_parts(stage: Stage, unit: Unit, upstream: Mapping[str, StageRecord]) -> dict[str, Any]:
    """Return the parts of a unit's fingerprint: stage version, declared configuration, digests of the declared inputs."""
    inputs = {name: upstream[name].digest(prefixes) for name, prefixes in unit.inputs.items() if name in upstream}
    return {"version": stage.version, "config": _plain(unit.config), "inputs": inputs}


def changes(old: Any, new: Any, *, path: str = "") -> list[str]:
    """List the differences of two JSON values as ``a.b: 1 -> 2``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [c for k in keys for c in changes(old.get(k), new.get(k), path=f"{path}.{k}" if path else k)]
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "dcase_asd": dcase_asd.__version__}
    for name in ("numpy", "scipy", "torch", "torchaudio", "librosa", "scikit-learn", "pandas", "nflows"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def provenance(command: str, *, seconds: float) -> dict[str, Any]:
    """Return what is worth knowing of a run and must not enter a fingerprint."""
    return {
        "command": command,
        "seconds": round(seconds, 3),
        "host": platform.node(),
        "platform": sys.platform,
        "versions": _versions(),
        "git": git_state(),
    }


@cache
def git_state() -> str:
    """Return the commit this package is checked out at, with ``+changes`` if files differ; empty outside a checkout."""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        status = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, sort_keys=True))


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True) if not isinstance(value, str) else value
    if value is None:
        return "nothing"
    return text if len(text) <= 40 else text[:37] + "..."
