"""Benchmarks: what the program claims about speed, measured against the peer that the claim names.

``python -m tests.benchmarks --list`` names them, ``python -m tests.benchmarks frontend stage2`` runs some (all without names).
A benchmark is one module here with ``DESCRIPTION`` and ``run() -> list[Row]``. Nothing here runs in the test tier: a
ratio is printed beside its target and never asserted, since a busy machine is no bug.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Row", "alternate"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a benchmark.

    Attributes
    ----------
    name : str
        What is compared with what.
    ours_s, peer_s : float
        Median seconds over alternating rounds (of another ``unit`` where that says so).
    ratio : float
        As the name defines it.
    target : str
        ``">= 3"``, ``"<= 2"`` or ``""`` where there is none.
    unit : str
        Of ``ours_s`` and ``peer_s``.
    """

    name: str
    ours_s: float
    peer_s: float
    ratio: float
    target: str = ""
    unit: str = "s"

    @property
    def met(self) -> bool | None:
        """Whether the ratio meets the target (None without one)."""
        if not self.target:
            return None
        sign, value = self.target.split()
        return {">=": self.ratio >= float(value), "<=": self.ratio <= float(value)}[sign]


def alternate(
    functions: Mapping[str, Callable[[], object]], *, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time functions in turn, so that a busy spell hits all alike; return the median seconds of each.

    Every measured call follows an unmeasured one of the same function: caches and buffers are warm, whoever ran before.
    With ``time.process_time`` as the clock, time that other programs take does not count, and every thread of ours does.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            function()
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
