"""The ``slurm`` executor: one job array a stage, through submitit; ``--address local`` runs the same jobs as local processes.

``--address`` holds the options of the jobs, such as ``partition=gpu,time=120,mem_gb=16,gpus_per_node=1`` (submitit's names
without ``slurm_``; ``time`` in minutes); ``--nj`` is how many run at once. Jobs read and write the same folders as the runner, so
the recipe must lie on shared storage. Their logs lie in ``.slurm/`` of the current folder and go away when all is well.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dcase_asd.errors import DcaseAsdError, StageError, UsageError
from dcase_asd.io.atomic import remove_tree
from dcase_asd.pipeline.stage import Resources

__all__ = ["run"]

Job = tuple[Callable[..., Any], tuple[Any, ...]]

_LOCAL = "local"


def run(jobs: Sequence[Job], *, resources: Resources, done: Callable[[Any], None]) -> None:
    """Submit jobs as one array, wait for them, and hand each result to ``done`` in order.

    Raises
    ------
    UsageError
        If submitit is not installed, Slurm is not there, or an option has no value.
    StageError
        If a job ends without a result (killed, out of memory or time).
    """
    try:
        import submitit
    except ImportError as error:
        raise UsageError("--executor slurm needs the package `submitit`; install dcase_asd[slurm]") from error
    top = Path.cwd() / ".slurm"
    top.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=top))
    local = resources.address == _LOCAL
    options = {} if local else _options(resources.address)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=_LOCAL if local else "slurm")
    except RuntimeError as error:
        raise UsageError(f"--executor slurm: {error}; on a machine without Slurm use --executor local") from error
    executor.update_parameters(**({"timeout_min": 60 * 24} if local else {"slurm_array_parallelism": resources.nj, **options}))
    size = resources.nj if local else len(jobs)  # locally nothing else would hold the number of processes down
    for start in range(0, len(jobs), size):
        submitted = executor.map_array(
            _in_job, *zip(*((_import_path(), *job) for job in jobs[start : start + size]), strict=True)
        )
        try:
            for each in submitted:
                done(_result(each, folder))
        finally:
            for each in submitted:
                if not each.done():
                    each.cancel()
    remove_tree(folder)


def _options(address: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in filter(None, address.split(",")):
        name, sign, value = text.partition("=")
        if not sign or not value:
            raise UsageError(
                f"--address {address!r}: expected options of the jobs such as partition=gpu,time=120, found {text!r}"
            )
        found[f"slurm_{name}"] = int(value) if value.isascii() and value.isdigit() else value
    return found


def _result(job: Any, folder: Path) -> Any:
    from submitit.core.utils import UncompletedJobError

    try:
        outcome = job.result()
    except UncompletedJobError as error:
        raise StageError(
            f"job {job.job_id} ended without a result (killed, out of memory or time; logs in {folder}); finished units are "
            "kept: run the same command to go on"
        ) from error
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _import_path() -> tuple[str, ...]:
    return (os.getcwd(), *(path for path in sys.path if path))  # noqa: PTH109 - text, to be sent


def _in_job(import_path: tuple[str, ...], function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Do a unit in a job; errors of this package come back as values, because submitit would turn them into text."""
    os.chdir(import_path[0])
    sys.path += [path for path in import_path[1:] if path not in sys.path]
    try:
        return function(*arguments)
    except (DcaseAsdError, OSError) as error:
        return error
