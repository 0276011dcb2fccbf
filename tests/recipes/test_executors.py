"""Who runs the units never changes a byte of what they write."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny

from dcase_asd.errors import StageError, UnknownNameError, UsageError
from dcase_asd.pipeline.executors import dask, slurm
from dcase_asd.pipeline.stage import Resources


@pytest.mark.parametrize(("module", "executor", "extra"), [("distributed", dask, "dask"), ("submitit", slurm, "slurm")])
def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str, executor: Any, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs the package `{module}`; install dcase_asd\[{extra}\]"):
        executor.run([(abs, (-1,))], resources=Resources(nj=1), done=print)


def test_options_of_slurm_jobs() -> None:
    assert slurm._options("partition=gpu,time=120") == {"slurm_partition": "gpu", "slurm_time": 120}
    with pytest.raises(UsageError, match="found 'gpu'"):
        slurm._options("gpu")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("one process")
    tiny.make_corpus(root / "data")
    tiny.run(tiny.make_recipe(root / "recipe"), root / "data")
    return root


class Cluster(NamedTuple):
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextlib.contextmanager
def cluster(folder: Path, *worker_options: str) -> Iterator[Cluster]:
    """A real scheduler and two worker processes on loopback, started in a folder of their own."""
    options = {"cwd": folder, "env": tiny.environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    python = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    file = folder / "scheduler.json"
    running = [subprocess.Popen([*python, "--scheduler-file", str(file)], **options)]  # type: ignore[call-overload]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    worker += ["--scheduler-file", str(file), *worker_options]
    running += [subprocess.Popen(worker, **options) for _ in range(2)]  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 100
        while not (file.is_file() and file.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield Cluster(json.loads(file.read_text())["address"], running[0], running[1:])
    finally:
        for process in reversed(running):  # a worker says goodbye to its scheduler
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:  # and waits for an answer for ever, if there is none
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started.address


CASES = [("local", ""), ("dask", ""), ("dask", "scheduler"), ("slurm", "local")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # distributed warns of ports and sockets of its own
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_same_bytes(
    reference: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str]
) -> None:
    executor, address = case
    if executor != "local":
        pytest.importorskip({"dask": "distributed", "slurm": "submitit"}[executor])
    where = request.getfixturevalue("scheduler") if address == "scheduler" else address
    monkeypatch.chdir(tmp_path)
    tiny.make_corpus(tmp_path / "data")
    recipe = tiny.make_recipe(tmp_path / "recipe")
    tiny.run(recipe, tmp_path / "data", nj=2, executor=executor, address=where)
    found, wanted = tiny.outputs(recipe), tiny.outputs(reference / "recipe")
    assert found == wanted
    assert any("6_scores" in name for name in found)
    assert any("8_evaluate" in name and name.endswith("metrics.json") for name in found)


def fail() -> None:
    raise UnknownNameError("detector", "knm", ["knn"])


def die_once(path: Path) -> str:
    if not path.exists():
        path.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_worker_that_dies_is_replaced_and_errors_come_back(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    results: list[Any] = []
    dask.run([(die_once, (tmp_path / "a",)), (abs, (-2,))], resources=Resources(nj=2), done=results.append)
    assert set(results) == {"lived", 2}
    with pytest.raises(UnknownNameError, match="did you mean 'knn'"):
        dask.run([(fail, ())], resources=Resources(nj=1), done=results.append)


def run_and_kill(root: Path, address: str, kill: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    """Run the tiny recipe through a scheduler; call ``kill`` while extractors are being trained."""
    line = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(root / "recipe"), "--conf", "conf.yaml", "--nj=2"]
    line += ["--data_root", str(root / "data"), "--executor", "dask", "--address", address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(line, env=tiny.environment(), **pipes)  # type: ignore[call-overload]
    deadline = time.monotonic() + 200
    while not list(root.glob("recipe/exp/conf/3_extractor.partial/.work/oe~*")) and time.monotonic() < deadline:
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    kill()
    out, err = running.communicate(timeout=300)
    return subprocess.CompletedProcess(line, running.returncode, out, err)


def small(root: Path) -> Path:
    tiny.make_corpus(root / "data")
    return tiny.make_recipe(root / "recipe")


def assert_same(recipe: Path, reference: Path) -> None:
    found, wanted = tiny.outputs(recipe), tiny.outputs(reference)
    assert found.keys() == wanted.keys()
    # it names the command, which is another one
    assert [name for name in wanted if found[name] != wanted[name] and not name.endswith("RESULTS.md")] == []


@pytest.mark.slow
def test_dask_worker_killed_within_a_unit(reference: Path, tmp_path: Path) -> None:
    """The other worker does it again; the same bytes."""
    pytest.importorskip("distributed")
    recipe = small(tmp_path)
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster", "--no-nanny") as started:
        done = run_and_kill(tmp_path, started.address, started.workers[0].kill)
    assert done.returncode == 0, done.stderr
    assert_same(recipe, reference / "recipe")


@pytest.mark.slow
def test_dask_scheduler_killed_within_a_stage(reference: Path, tmp_path: Path) -> None:
    """One clean error, and the next run goes on, with another executor even."""
    pytest.importorskip("distributed")
    recipe = small(tmp_path)
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster", "--no-nanny") as started:

        def kill() -> None:
            started.scheduler.kill()
            for worker in started.workers:  # as the table says: they write on until their unit ends
                worker.kill()

        done = run_and_kill(tmp_path, started.address, kill)
    assert done.returncode == 1
    assert re.search(r"the dask scheduler went away .*finished units are kept: run the same command to go on", done.stderr)
    assert "Traceback" not in done.stderr
    tiny.run(recipe, tmp_path / "data")
    assert_same(recipe, reference / "recipe")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_slurm_job_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    here = Path(__file__).resolve()
    # jobs start in an interpreter of their own: what they are made of must be importable there
    monkeypatch.setenv("PYTHONPATH", f"{here.parents[2]}{os.pathsep}{here.parent}")
    with pytest.raises(StageError, match="ended without a result"):
        slurm.run([(die, ())], resources=Resources(nj=1, address="local"), done=print)
    with pytest.raises(UnknownNameError, match="did you mean 'knn'"):
        slurm.run([(fail, ())], resources=Resources(nj=1, address="local"), done=print)


@pytest.mark.slow
def test_no_scheduler_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask, "_CONNECT_S", 2)
    with pytest.raises(UsageError, match=r"no dask scheduler answers"):
        dask.run([(abs, (-1,))], resources=Resources(nj=1, address="tcp://127.0.0.1:9"), done=print)
