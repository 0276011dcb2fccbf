"""The ``local`` executor: worker processes on this machine through joblib (loky)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from dcase_asd.errors import StageError
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
    if resources.nj <= 1 or len(jobs) <= 1:
        for function, arguments in jobs:
            done(function(*arguments))
        return
    import warnings
    from concurrent.futures.process import BrokenProcessPool

    import joblib

    # loky replaces a worker that has grown; the job is not lost, the message only frightens
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    # one start-up of the heavy libraries per worker, not per job: loky keeps its workers between calls
    with joblib.parallel_config(backend="loky", inner_max_num_threads=resources.threads):
        parallel = joblib.Parallel(n_jobs=min(resources.nj, len(jobs)), return_as="generator_unordered", pre_dispatch="n_jobs")
        try:
            for result in parallel(joblib.delayed(_watched)(os.getpid(), *job) for job in jobs):
                done(result)
        except BrokenProcessPool as error:
            raise StageError(
                f"a worker process died, killed or out of memory, while up to {resources.nj} units ran at once; finished units "
                "are kept: run the same command to go on, with a smaller --nj if memory was short"
            ) from error


_watching = False


def _watched(runner: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Do a job in a worker process that ends when the runner does."""
    global _watching  # noqa: PLW0603 - one watch a process, which does many jobs
    if not _watching:
        _watching = True
        threading.Thread(target=_end_with, args=(runner,), daemon=True).start()
    return function(*arguments)


def _end_with(runner: int) -> None:
    # an orphan that went on would write into the folder the next runner is working on
    while os.getppid() == runner:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
