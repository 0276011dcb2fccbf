"""The ``local`` executor: worker processes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dcase_asd.io.workers import run_in_processes
from dcase_asd.pipeline.stage import Resources

__all__ = ["run"]

Job = tuple[Callable[..., Any], tuple[Any, ...]]


def run(jobs: Sequence[Job], *, resources: Resources, done: Callable[[Any], None]) -> None:
    """Run jobs, at most ``resources.nj`` at once, and hand each result to ``done`` as it comes.

    With one job or ``nj`` 1 everything happens in this process. The first exception of a job is raised here after the
    running ones have ended.

    Raises
    ------
    StageError
        If a worker process dies (killed, or out of memory). Units that are marked done stay done.
    """
    for result in run_in_processes(_call, jobs, nj=resources.nj, threads=resources.threads):
        done(result)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)
