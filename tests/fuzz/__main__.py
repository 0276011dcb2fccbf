"""``python -m tests.fuzz [--list] [--cases N] [--seconds S] [--seed K] [--markdown] [TARGET ...]``; exit code 1 with findings."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz import CASE_S
from tests.fuzz.targets import TARGETS

_START_S = 120.0


def run(name: str, *, n_cases: int, seconds: float, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run one target in a process of its own; return its counts and its findings."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(n_cases), str(seconds), str(seed)]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    limit_s = _START_S + seconds + 3 * CASE_S
    try:
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=limit_s)
        output, error = done.stdout, f"ended with code {done.returncode}: {done.stderr.strip()[-300:]}"
    except subprocess.TimeoutExpired as stopped:
        output, error = _text(stopped.stdout), f"did not come back within {limit_s:.0f} s: hangs where no signal is heard"
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    findings = [line for line in lines if "what" in line]
    counts = next((line for line in lines if "cases" in line), None)
    if counts is None:
        findings.append({"target": name, "seed": seed, "case": None, "what": error})
        counts = {"target": name, "cases": 0, "read": 0, "refused": 0, "findings": len(findings), "slowest_s": 0.0}
    return counts, findings


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _line(cells: list[object], *, markdown: bool) -> str:
    return (
        f"| {' | '.join(map(str, cells))} |"
        if markdown
        else "  ".join(f"{c!s:<{w}}" for c, w in zip(cells, _WIDTHS, strict=True))
    )


_WIDTHS = (18, 9, 9, 9, 9, 9)
_HEAD = ["target", "cases", "read", "refused", "findings", "slowest"]


def main(arguments: list[str] | None = None) -> int:
    """Run targets one after another."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--list", action="store_true", help="name the targets and leave")
    parser.add_argument("--cases", type=int, default=1000, help="cases a target at most (1000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds a target at most (20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(TARGETS))
        return 0
    unknown = sorted(set(options.targets) - set(TARGETS))
    if unknown:
        parser.error(f"unknown target {', '.join(unknown)}; known: {', '.join(TARGETS)}")
    started, total, found = time.monotonic(), 0, []
    print(_line(list(_HEAD), markdown=options.markdown), flush=True)
    if options.markdown:
        print("|---" + "|---:" * (len(_HEAD) - 1) + "|")
    for name in options.targets or TARGETS:
        counts, findings = run(name, n_cases=options.cases, seconds=options.seconds, seed=options.seed)
        cells = [name, *(counts[key] for key in ("cases", "read", "refused", "findings")), f"{counts['slowest_s']:.2f} s"]
        print(_line(cells, markdown=options.markdown), flush=True)
        total += counts["cases"]
        found += findings
    print(f"\n{total} cases, {len(found)} findings, {time.monotonic() - started:.0f} s, seed {options.seed}")
    for finding in found:
        print(f"{finding['target']} case {finding['case']}: {finding['what']}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
