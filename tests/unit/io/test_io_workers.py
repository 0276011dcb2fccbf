"""Worker processes: order, number at once, what a mishap leaves behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from dcase_asd.errors import ManifestError, StageError
from dcase_asd.io import workers
from dcase_asd.io.workers import run_in_processes


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    workers.stop_workers()


def slow_first(number: int, folder: Path) -> int:
    """The first call ends after the last began: only an unordered caller sees that."""
    if number == 0:
        deadline = time.monotonic() + 60
        while not (folder / "5").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    (folder / str(number)).touch()
    return number


def fail(number: int, folder: Path) -> int:
    if number == 0:
        raise ManifestError("row 7")
    time.sleep(0.3)
    (folder / f"ended {number}").touch()
    return number


def die(number: int) -> int:
    if number:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def process(number: int) -> tuple[int, str]:
    del number
    time.sleep(0.05)
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def test_results_come_as_they_finish_or_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    early = list(run_in_processes(slow_first, [(i, tmp_path) for i in range(6)], nj=2))
    assert sorted(early) == list(range(6))
    assert early.index(0) > early.index(5) - 2
    assert early[0] != 0
    assert list(run_in_processes(slow_first, [(i, tmp_path / "b") for i in range(6)], nj=2, ordered=True)) == list(range(6))


def test_one_call_stays_in_this_process() -> None:
    assert next(run_in_processes(process, [(0,)], nj=8))[0] == os.getpid()
    assert {pid for pid, _ in run_in_processes(process, [(0,), (1,)], nj=1)} == {os.getpid()}


def test_workers_are_kept_and_replaced_when_more_are_wanted() -> None:
    calls = [(i,) for i in range(8)]
    first = set(run_in_processes(process, calls, nj=2, threads=3))
    assert {threads for _, threads in first} == {"3"}
    assert len(first) == 2
    assert set(run_in_processes(process, calls, nj=2, threads=3)) == first
    assert not set(run_in_processes(process, calls, nj=3, threads=3)) & first


def test_first_error_comes_after_the_running_calls_and_workers_go_on(tmp_path: Path) -> None:
    pids = {pid for pid, _ in run_in_processes(process, [(0,)] * 6, nj=2)}
    with pytest.raises(ManifestError, match="row 7"):
        list(run_in_processes(fail, [(i, tmp_path) for i in range(6)], nj=2))
    assert [p.name for p in tmp_path.iterdir()] == ["ended 1"]  # neither left running nor handed out in vain
    assert {pid for pid, _ in run_in_processes(process, [(0,)] * 6, nj=2)} == pids


def test_dead_worker_is_an_error_and_the_next_call_has_new_ones() -> None:
    with pytest.raises(StageError, match=r"a worker process died, killed or out of memory"):
        list(run_in_processes(die, [(i,) for i in range(4)], nj=2))
    assert len(set(run_in_processes(process, [(0,)] * 6, nj=2))) == 2


def test_worker_killed_while_idle_is_not_held_against_the_next_call() -> None:
    idle = {pid for pid, _ in run_in_processes(process, [(0,)] * 6, nj=2)}
    os.kill(min(idle), signal.SIGKILL)
    time.sleep(1)  # until it is known; at once the death would count as one of the call's own
    assert len(set(run_in_processes(process, [(0,)] * 6, nj=2))) == 2


def test_abandoned_call_leaves_no_worker_and_the_next_call_works(tmp_path: Path) -> None:
    results = run_in_processes(slow_first, [(i, tmp_path) for i in (1, 0, 0, 0)], nj=2)
    next(results)
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 30  # the other call would have waited a minute
    assert len(set(run_in_processes(process, [(0,)] * 6, nj=2))) == 2


class Deserted:
    """A pool whose own thread has ended: nobody will ever answer."""

    _executor_manager_thread = None

    def submit(self, *_: object) -> Future[None]:
        return Future()


def test_lost_pool_thread_is_an_error_and_no_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen once with joblib's shared pool."""
    monkeypatch.setattr(workers, "_workers", lambda *_: Deserted())
    with pytest.raises(StageError, match="a worker process died"):
        list(run_in_processes(process, [(0,), (1,)], nj=2))
