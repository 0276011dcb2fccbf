"""Benchmarks: what the program claims about speed, measured against the peer that the claim names.

``python -m tests.benchmarks --list`` names them, ``python -m tests.benchmarks frontend stage2`` runs some (all without names).
A benchmark is one module here with ``DESCRIPTION`` and ``run() -> list[Row]``. Nothing here runs in the test tier: a
ratio is printed beside its target and never asserted, since a busy machine is no bug. ``--record`` keeps the rows in
``results.json`` with machine, versions and date, and writes ``BENCHMARKS.md`` from it.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Race", "Row", "Spent", "alternate", "one_thread", "peak_mb", "race", "spent"]


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
    spread : tuple of float, optional
        Lowest and highest ratio of a round.
    peak_mb : float, optional
        Peak memory of ours [MB].
    limit : str
        What ours cannot go below, and how many times that it takes, measured in the same rounds.
    """

    name: str
    ours_s: float
    peer_s: float
    ratio: float
    target: str = ""
    unit: str = "s"
    spread: tuple[float, float] | None = None
    peak_mb: float | None = None
    limit: str = ""

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


@dataclass(frozen=True)
class Race:
    """Seconds of several functions, one of each a round."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Return the median seconds of a function."""
        return statistics.median(self.seconds[name])

    def row(self, name: str, ours: str, peer: str, *, target: str = "", limit: str = "", peak_mb: float | None = None) -> Row:
        """Return a row: how many times faster ours is than the peer, and how far from ``limit`` (another of the functions)."""
        ratios = [theirs / own for own, theirs in zip(self.seconds[ours], self.seconds[peer], strict=True)]
        far = f"{self.median(ours) / self.median(limit):.2f} x {limit}" if limit else ""
        return Row(
            name=name,
            ours_s=self.median(ours),
            peer_s=self.median(peer),
            ratio=statistics.median(ratios),
            target=target,
            spread=(min(ratios), max(ratios)),
            peak_mb=peak_mb,
            limit=far,
        )


def race(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.process_time,
    warm: bool = False,
) -> Race:
    """Time functions in turn, after one call of each that does not count; every round measures all of them once.

    ``warm`` calls each once more before it is measured, for functions that need much memory: on a virtual machine, pages that
    nobody held for two seconds may have gone back to the host, and cost more to get again than the work on them.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            if warm:
                function()
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return Race(seconds)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch, BLAS and FFT to one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds on the clock, CPU seconds with those of its ended children, and the peak memory [MB].

    The peak is the largest of the process and of each child that ended before it.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


def spent(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Spent:
    """Run a command to its end and return what it took.

    Raises
    ------
    RuntimeError
        If it fails; the message ends with its output.
    """
    start = time.perf_counter()
    running = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
    )
    output = running.stdout.read() if running.stdout is not None else b""
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} ended with {running.returncode}: {output.decode()[-2000:]}")
    return Spent(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)  # Linux gives kB


def peak_mb(code: str) -> float:
    """Return the peak memory of Python code in a process of its own [MB]."""
    return spent([sys.executable, "-c", code]).peak_mb
