"""What a command costs before it does anything: CPU seconds of whole processes, on an idle machine those of the clock."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks import Race, Row, spent

DESCRIPTION = "start-up: --help, import, a listing and a bare interpreter, CPU seconds of whole processes"

#: The house's limit for --help [s].
LIMIT_S = 0.2
ROUNDS = 7
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
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peak: dict[str, float] = {}
    for number in range(ROUNDS + 1):
        for name, arguments in commands.items():
            took = spent([sys.executable, *arguments], environment={"PYTHONPATH": _ROOT})
            peak[name] = took.peak_mb
            if number:  # the first fills the disk's cache
                seconds[name].append(took.cpu_s)
    found = Race(seconds)
    return [_row(found, name, peak[name]) for name in list(commands)[1:4]] + [
        found.row(f"{name}, times faster than import torch alone", name, "import torch")
        for name in ("dcase-asd list detectors", "dcase-asd --help")
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
