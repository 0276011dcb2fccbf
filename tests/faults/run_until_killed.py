"""Run the tiny recipe and kill this process with SIGKILL: python run_until_killed.py RECIPE DATA STAGE POINT.

Points: ``unit`` (a unit has written its files and is not marked yet), ``finish``, ``check``, ``swap`` (between the two renames).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "recipes")]

import tiny  # noqa: E402

from dcase_asd.pipeline import jobs, runner  # noqa: E402
from dcase_asd.pipeline.stages import all_stages  # noqa: E402


def main(recipe: Path, data: Path, stage: str, point: str) -> None:
    kind = next(type(s) for s in all_stages() if s.name == stage)

    def die(*args: Any, **options: Any) -> None:
        del args, options
        os.kill(os.getpid(), signal.SIGKILL)

    if point == "unit":
        original = jobs.mark_done
        seen: list[str] = []

        def mark(partial: Path, unit: str, parts: Any, **options: Any) -> None:
            if _stage_of(partial) == stage:
                seen.append(unit)
                if len(seen) == 2 or unit in ("", "0"):  # the second unit; the only one where there is but one
                    die()
            original(partial, unit, parts, **options)

        jobs.mark_done = mark
    elif point == "swap":
        before = runner._swap

        def swap(partial: Path, out: Path) -> None:
            if _stage_of(out) == stage:
                if out.exists():
                    out.rename(out.with_name(out.name + ".old"))
                die()
            before(partial, out)

        runner._swap = swap
    else:
        setattr(kind, point, die)
    tiny.run(recipe, data)


def _stage_of(folder: Path) -> str:
    """Return the name of the stage whose (partial) output folder this is."""
    shared = {"downloads": "raw", "data": "manifests", "dump": "features"}
    return shared.get(folder.parent.name) or folder.name.removesuffix(".partial").split("_", 1)[1]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:5])
