"""Worker processes: a pool of this package's own, started once, kept between calls, given up after any mishap.

joblib's shared pool is torn down in the background when a call is abandoned, and a later call may then wait for it for ever.
Here a call that ends early waits for its running jobs or kills the workers, and a pool that lost a worker is never used again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from dcase_asd.errors import StageError

__all__ = ["run_in_processes", "stop_workers"]

#: Seconds without a result after which the pool's own thread is looked at.
_LOOK_S = 5.0
#: Seconds an idle worker may take to answer before the next call starts new ones.
_ANSWER_S = 60.0
#: How often a worker looks whether its runner is still there.
_WATCH_S = 0.2
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class _Pool:
    executor: Any
    n_workers: int
    threads: int


#: The pool of this process, under its process id: a forked child must not use its parent's.
_pools: dict[int, _Pool] = {}


def run_in_processes(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, nj: int, threads: int = 1, ordered: bool = False
) -> Iterator[Any]:
    """Yield the result of every call, at most ``nj`` running at once; with one call or ``nj`` 1, all in this process.

    Parameters
    ----------
    function : callable
        Importable in a worker.
    calls : sequence of tuple
        Arguments of each call.
    nj : int
        Processes.
    threads : int
        Numerical threads that a worker starts with.
    ordered : bool
        In the order of ``calls``; otherwise as they finish.

    Raises
    ------
    StageError
        If a worker dies (killed, or out of memory). The first exception of a call is raised after the running ones have ended.
    """
    if nj <= 1 or len(calls) <= 1:
        for arguments in calls:
            yield function(*arguments)
        return
    finished = _finished(function, calls, n_workers=min(nj, len(calls)), threads=threads)
    with contextlib.closing(finished):
        yield from _sorted(finished) if ordered else (result for _, result in finished)


def stop_workers() -> None:
    """End the idle workers, if there are any; the next call starts new ones."""
    _give_up(kill=False)


def _sorted(finished: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    early: dict[int, Any] = {}
    wanted = 0
    for number, result in finished:
        early[number] = result
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _finished(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, n_workers: int, threads: int
) -> Generator[tuple[int, Any]]:
    """Yield (number of the call, result) as calls finish; no call is handed out before a worker is free for it."""
    # a worker that has grown is replaced after its job; nothing is lost, the message only frightens
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    executor = _workers(n_workers, threads)
    left = enumerate(calls)
    running: dict[Future[Any], int] = {}
    try:
        for number, arguments in itertools.islice(left, n_workers):
            running[executor.submit(function, *arguments)] = number
        while running:
            for future in _next_done(running, executor):
                number = running.pop(future)
                result = future.result()
                for after, arguments in itertools.islice(left, 1):
                    running[executor.submit(function, *arguments)] = after
                yield number, result
    except BrokenProcessPool as error:
        _give_up(kill=True)
        raise StageError(
            f"a worker process died, killed or out of memory, while up to {n_workers} jobs ran at once; finished units are "
            "kept: run the same command to go on, with a smaller --nj if memory was short"
        ) from error
    except Exception:
        _wait_out(running)
        raise
    except BaseException:  # interrupted, or the caller wants no more: nobody waits for what is running
        _give_up(kill=True)
        raise


def _next_done(running: Mapping[Future[Any], int], executor: Any) -> set[Future[Any]]:
    while True:
        # the thread first: what it delivered before its end is then seen by the wait
        thread = executor._executor_manager_thread
        lost = thread is None or not thread.is_alive()
        done, _ = wait(running, timeout=0 if lost else _LOOK_S, return_when=FIRST_COMPLETED)
        if done:
            return done
        if lost:
            raise BrokenProcessPool("the pool's own thread has ended")


def _wait_out(running: Mapping[Future[Any], int]) -> None:
    wait(running)
    if any(isinstance(future.exception(), BrokenProcessPool) for future in running):
        _give_up(kill=True)


def _workers(n_workers: int, threads: int) -> Any:
    from joblib.externals.loky import ProcessPoolExecutor

    kept = _pools.get(os.getpid())
    if kept is not None:
        if kept.n_workers >= n_workers and kept.threads == threads and _answers(kept.executor):
            return kept.executor
        _give_up(kill=False)
    executor = ProcessPoolExecutor(
        max_workers=n_workers,
        initializer=_begin,
        initargs=(os.getpid(),),
        env=dict.fromkeys(_THREADS, str(threads)),
    )
    _pools[os.getpid()] = _Pool(executor, n_workers, threads)
    return executor


def _answers(executor: Any) -> bool:
    """Return whether idle workers still work: one may have been killed since the last call."""
    try:
        executor.submit(abs, 0).result(timeout=_ANSWER_S)
    except (BrokenProcessPool, RuntimeError, TimeoutError):
        return False
    return True


def _give_up(*, kill: bool) -> None:
    kept = _pools.pop(os.getpid(), None)
    if kept is None:
        return
    if kill:
        # not loky's own kill_workers: with calls in flight its thread then dies of a KeyError, and nobody ever answers (3.6.0)
        for worker in list((kept.executor._processes or {}).values()):
            if worker.is_alive():
                os.kill(worker.pid, signal.SIGKILL)
    kept.executor.shutdown(wait=True)


def _begin(runner: int) -> None:
    """Make a worker end when the runner does."""
    threading.Thread(target=_end_with, args=(runner,), daemon=True).start()


def _end_with(runner: int) -> None:
    # an orphan that went on would write into the folder the next runner is working on
    while os.getppid() == runner:
        time.sleep(_WATCH_S)
    os.kill(os.getpid(), signal.SIGKILL)
