"""The ``local`` executor: worker processes on this machine through joblib (loky)."""

from __future__ import annotations

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
            for result in parallel(joblib.delayed(function)(*arguments) for function, arguments in jobs):
                done(result)
        except BrokenProcessPool as error:
            raise StageError(
                f"a worker process died, killed or out of memory, while up to {resources.nj} units ran at once; finished units "
                "are kept: run the same command to go on, with a smaller --nj if memory was short"
            ) from error
