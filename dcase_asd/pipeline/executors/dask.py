"""The ``dask`` executor: a running scheduler by ``--address``, or ``--nj`` worker processes on this machine without one.

Workers read and write the same folders as the runner, under the same paths: on several machines that takes shared storage and
the same installation, importable by scheduler and workers (installed, or the checkout on their PYTHONPATH). A unit lost with its
worker is done again elsewhere; units that are marked done stay done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dcase_asd.errors import DcaseAsdError, StageError, UsageError
from dcase_asd.pipeline.stage import Resources

__all__ = ["run"]

Job = tuple[Callable[..., Any], tuple[Any, ...]]

#: Seconds to wait for a scheduler that was named; one that does not answer by then is not there.
_CONNECT_S = 30
#: A unit whose worker dies this often brings workers down by itself (distributed's own default).
_LOSSES = 3


def run(jobs: Sequence[Job], *, resources: Resources, done: Callable[[Any], None]) -> None:
    """Run jobs as tasks and hand each result to ``done`` as it comes.

    Raises
    ------
    UsageError
        If ``distributed`` is not installed, or no scheduler answers at the address.
    StageError
        If the scheduler goes away, or a unit brings its worker down again and again.
    """
    try:
        import distributed
    except ImportError as error:
        raise UsageError("--executor dask needs the package `distributed`; install dcase_asd[dask]") from error
    from distributed.comm.core import CommClosedError

    # a client that lost its scheduler logs a traceback, and then we say it in a line
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with _client(resources) as client:
        tasks = [client.submit(_in_worker, _places(), *job, pure=False, retries=0) for job in jobs]
        try:
            for task in distributed.as_completed(tasks):
                done(task.result())
        except distributed.KilledWorker as error:
            raise StageError(
                f"a unit brought {_LOSSES + 1} dask workers down ({error}); give the workers more memory, or see the unit's log; "
                "finished units are kept"
            ) from error
        except (distributed.CancelledError, CommClosedError, TimeoutError) as error:
            # what its client logs while it closes without a scheduler is a page of tracebacks that say no more than this
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise StageError(
                f"the dask scheduler went away ({reason}); finished units are kept: run the same command to go on"
            ) from error
        finally:
            with contextlib.suppress(Exception):
                client.cancel(tasks)


@contextlib.contextmanager
def _client(resources: Resources) -> Iterator[Any]:
    import dask
    import distributed

    settings = {"distributed.scheduler.allowed-failures": _LOSSES, "distributed.worker.daemon": False}
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        if resources.address:
            try:
                client = distributed.Client(resources.address, timeout=_CONNECT_S)
            except (OSError, ValueError, TimeoutError) as error:
                raise UsageError(
                    f"--address {resources.address}: no dask scheduler answers ({error}); expected tcp://<host>:<port>"
                ) from error
            yield stack.enter_context(client)
            return
        cluster = distributed.LocalCluster(
            n_workers=resources.nj, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        )
        stack.enter_context(cluster)
        yield stack.enter_context(distributed.Client(cluster))


def _places() -> tuple[str, tuple[str, ...]]:
    """Return the runner's folder and import path; a worker that was started elsewhere takes them over."""
    return os.getcwd(), tuple(path for path in sys.path if path)  # noqa: PTH109 - text, to be sent


def _in_worker(places: tuple[str, tuple[str, ...]], function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    folder, import_path = places
    if Path(folder).is_dir():
        os.chdir(folder)
    sys.path += [path for path in import_path if path not in sys.path]
    try:
        return function(*arguments)
    except DcaseAsdError:
        raise
    except OSError as error:
        # distributed takes some of them for a lost connection and would try the unit again
        raise StageError(f"{error.strerror or error}: {error.filename or folder}") from error
