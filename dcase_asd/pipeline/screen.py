"""What the user sees: one line per event, a bar on long work, the tail of the log on failure."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcase_asd.pipeline.stage import Stage

__all__ = ["Screen"]

_LAST_STAGE = 9
_TAIL = 20


@dataclass
class Screen:
    """Prints events.

    Attributes
    ----------
    verbose : int
        0 prints warnings and errors only, 1 events, 2 also what units log.
    clock : bool
        Put the time before each event.
    """

    verbose: int = 1
    clock: bool = True

    def event(self, stage: Stage, text: str) -> None:
        """Print ``<time> [2/9 features] text``."""
        time = f"{datetime.now().astimezone().strftime('%Y-%m-%dT%H:%M:%S')} " if self.clock else ""
        self.line(f"{time}[{stage.number}/{_LAST_STAGE} {stage.name}] {text}")

    def line(self, text: str) -> None:
        """Print a line unless silenced."""
        if self.verbose > 0:
            print(text, flush=True)

    @contextlib.contextmanager
    def progress(self, stage: Stage, *, total: int) -> Iterator[Callable[[str], None]]:
        """Yield a callable to call with the name of each unit as it ends."""
        if total <= 1 or self.verbose == 0:
            yield _ignore
        elif sys.stderr.isatty():
            from tqdm import tqdm

            with tqdm(total=total, desc=f"    {stage.name}", unit="unit", leave=False) as bar:
                yield lambda name: (bar.set_postfix_str(name), bar.update())[1]
        else:
            yield self._tenths(total)

    def failure(self, stage: Stage, error: Exception, log_folder: Path, resume: str) -> None:
        """Print what failed, the end of the newest log of the stage, and how to go on, to standard error."""
        print(f"[{stage.number}/{_LAST_STAGE} {stage.name}] FAILED: {error}", file=sys.stderr)
        logs = sorted((log_folder / f"{stage.number}_{stage.name}").glob("*.log"), key=lambda p: p.stat().st_mtime)
        failed = [p for p in logs if "# Ended (code 1)" in p.read_text(encoding="utf-8", errors="replace")[-200:]]
        if failed:
            lines = failed[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
            print(f"  last lines of {failed[-1]}:", *(f"  | {text}" for text in lines), sep="\n", file=sys.stderr)
        print(f"  when mended, go on with: {resume}", file=sys.stderr, flush=True)

    def _tenths(self, total: int) -> Callable[[str], None]:
        count = 0

        def step(name: str) -> None:
            nonlocal count
            count += 1
            if count == total or count * 10 // total > (count - 1) * 10 // total:
                self.line(f"    {count}/{total} {name}")

        return step


def _ignore(name: str) -> None:
    del name
