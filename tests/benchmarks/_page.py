"""What was measured, where and when: ``results.json``, and ``BENCHMARKS.md`` made from it."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks import Row

__all__ = ["record"]

_RESULTS = Path(__file__).with_name("results.json")
_PAGE = Path(__file__).with_name("BENCHMARKS.md")
_PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "librosa", "scikit-learn", "nflows")
_HEAD = """# Benchmarks

Written by `python -m tests.benchmarks --record`, never by hand. Every row compares ours with a named peer on the same work, in
turn, in one process or in processes started in turn; a time is the median of the rounds, the spread is the lowest and highest
ratio of a round. Targets are what the project set out to reach; one that is not met says so. Times are CPU seconds on one thread
unless the row says otherwise. The machine is shared with other work: ratios hold, absolute times are upper bounds.
"""


def record(name: str, description: str, rows: list[Row]) -> None:
    """Keep a benchmark's rows, in place of its last ones, and write the page."""
    results = json.loads(_RESULTS.read_text(encoding="utf-8")) if _RESULTS.is_file() else {}
    results[name] = {
        "description": description,
        "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows],
        "date": datetime.now(UTC).date().isoformat(),
        "load": round(os.getloadavg()[0], 1),
        "machine": _machine(),
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in _PACKAGES}},
    }
    _RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    _PAGE.write_text(page(results), encoding="utf-8")


def page(results: dict[str, Any]) -> str:
    """Return the page of all recorded benchmarks."""
    from tests.benchmarks.__main__ import cells

    parts = [_HEAD]
    for name, entry in sorted(results.items()):
        rows = [Row(**{k: tuple(v) if k == "spread" and v else v for k, v in row.items() if k != "met"}) for row in entry["rows"]]
        lines = cells(rows)
        table = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
        rule = "|".join(["---"] + ["---:"] * 3 + ["---"] * (len(lines[0]) - 4))
        versions = ", ".join(f"{package} {version}" for package, version in entry["versions"].items())
        told = f"{entry['date']}, {entry['machine']}, load {entry['load']}; {versions}"
        body = "\n".join(f"| {line} |" for line in (table[0],)) + f"\n|{rule}|\n" + "\n".join(f"| {line} |" for line in table[1:])
        parts.append(f"## {name}\n\n{entry['description'].capitalize()}.\n\n{body}\n\n{told}.\n")
    return "\n".join(parts)


def _machine() -> str:
    model = next((line.split(":", 1)[1].strip() for line in _cpu_info() if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores"


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
