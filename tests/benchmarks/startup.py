"""What a command costs before it does anything: wall-clock seconds of whole processes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.benchmarks import Race, Row, race, spent

DESCRIPTION = "start-up: --help, import, a listing and a bare interpreter, whole processes on the clock"

#: The house's limit for --help [s].
LIMIT_S = 0.2
_ROOT = str(Path(__file__).resolve().parents[2])


def run() -> list[Row]:
    """Time them in turn; the rows compare with the limit, and say how far a bare interpreter is."""
    commands = {
        "a bare interpreter": ["-c", "pass"],
        "import dcase_asd": ["-c", "import dcase_asd"],
        "dcase-asd --help": ["-m", "dcase_asd", "--help"],
        "dcase-asd run --help": ["-m", "dcase_asd", "run", "--help"],
        "dcase-asd list detectors": ["-m", "dcase_asd", "list", "detectors"],
        "import torch": ["-c", "import torch"],
    }
    peak: dict[str, float] = {}

    def start(name: str) -> None:
        peak[name] = spent([sys.executable, *commands[name]], environment={"PYTHONPATH": _ROOT}).peak_mb

    found = race({name: (lambda name=name: start(name)) for name in commands}, rounds=7, clock=time.perf_counter)
    return [_row(found, name, peak[name]) for name in list(commands)[1:4]] + [
        found.row(
            "dcase-asd list detectors (imports every plug-in), times faster than the same",
            "dcase-asd list detectors",
            "import torch",
        ),
        found.row("dcase-asd --help, times faster than import torch alone", "dcase-asd --help", "import torch"),
    ]


def _row(found: Race, name: str, peak_mb: float) -> Row:
    own = found.median(name)
    shares = [seconds / LIMIT_S for seconds in found.seconds[name]]
    return Row(
        name=f"{name} over the limit of {1000 * LIMIT_S:.0f} ms",
        ours_s=own,
        peer_s=LIMIT_S,
        ratio=own / LIMIT_S,
        target="<= 1",
        spread=(min(shares), max(shares)),
        peak_mb=peak_mb,
        limit=f"{own / found.median('a bare interpreter'):.2f} x a bare interpreter",
    )
