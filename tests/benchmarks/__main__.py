"""``python -m tests.benchmarks [--list] [--json FILE] [--record] [NAME ...]``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from types import ModuleType

from tests.benchmarks import Row, _page


def _names() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"tests.benchmarks.{name}")


def amount(value: float, unit: str) -> str:
    """Return a number with its unit, seconds below 1 as milliseconds."""
    return f"{value * 1e3:.2f} ms" if unit == "s" and value < 1 else f"{value:.2f} {unit}".rstrip()


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """Return the table of rows as text, heads first; columns that no row fills are left out."""
    lines = [("what", "ours", "peer", "ratio", "target", "", "spread", "peak", "distance to the limit")]
    for row in rows:
        verdict = {None: "", True: "met", False: "NOT met"}[row.met]
        spread = f"{row.spread[0]:.2f}..{row.spread[1]:.2f}" if row.spread else ""
        peak = f"{row.peak_mb:.0f} MB" if row.peak_mb is not None else ""
        amounts = (amount(row.ours_s, row.unit), amount(row.peer_s, row.unit))
        lines.append((row.name, *amounts, f"{row.ratio:.2f}", row.target, verdict, spread, peak, row.limit))
    used = [i for i in range(len(lines[0])) if i < 6 or any(line[i] for line in lines[1:])]
    return [tuple(line[i] for i in used) for line in lines]


def _table(rows: list[Row]) -> str:
    lines = cells(rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks and print a table of each; 0 whether or not targets are met."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and leave")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON too")
    parser.add_argument("--record", action="store_true", help="keep the rows in results.json and write BENCHMARKS.md")
    options = parser.parse_args(arguments)
    known = _names()
    if options.list:
        for name in known:
            print(f"{name:15} {_load(name).DESCRIPTION}")
        return 0
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(known)}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before the start", flush=True)
    results: dict[str, list[dict[str, object]]] = {}
    for name in options.names or known:
        module = _load(name)
        print(f"\n{name}: {module.DESCRIPTION}", flush=True)
        rows = module.run()
        print(_table(rows), flush=True)
        results[name] = [{**dataclasses.asdict(row), "met": row.met} for row in rows]
        if options.record:
            _page.record(name, module.DESCRIPTION, rows)
            if hasattr(module, "note"):  # what a benchmark has to say beside its rows
                (Path(__file__).parent / f"{name.upper()}.md").write_text(module.note(), encoding="utf-8")
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
