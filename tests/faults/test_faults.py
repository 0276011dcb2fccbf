"""What happens when things break: no fault loses finished work, and none leaves something half-written that passes for done."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from dcase_asd.detectors import knn
from dcase_asd.errors import DataError, DcaseAsdError, LockedError, StageError, TrainingError
from dcase_asd.features import build
from dcase_asd.io import atomic, workers
from dcase_asd.pipeline.executors import local
from dcase_asd.pipeline.lock import stage_lock
from dcase_asd.pipeline.stage import Resources

STAGES = ("manifests", "features", "extractor", "embeddings", "detectors", "scores", "ensemble", "evaluate", "submit")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole é")
    tiny.make_corpus(root / "data")
    tiny.run(tiny.make_recipe(root / "recipe"), root / "data")
    return root


@pytest.fixture
def fresh(whole: Path, tmp_path: Path) -> Path:
    """The same corpus and recipe, nothing run yet, elsewhere: where it lies must not show in any byte."""
    root = tmp_path / "elsewhere ü"
    shutil.copytree(whole / "data", root / "data")
    tiny.make_recipe(root / "recipe")
    return root


@pytest.fixture
def done(whole: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    root = tmp_path / "copy"
    shutil.copytree(whole, root)
    return root


def run(root: Path, *overrides: str, **options: object) -> None:
    tiny.run(root / "recipe", root / "data", *overrides, **options)  # type: ignore[arg-type]


def assert_same(root: Path, whole: Path) -> None:
    found, wanted = tiny.outputs(root / "recipe"), tiny.outputs(whole / "recipe")
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    left = [p for p in (root / "recipe").rglob("*") if p.name.endswith((".partial", ".old", ".units"))]
    assert left == []


def no_space(path: object) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


# --- SIGKILL ----------------------------------------------------------------------------------------------------------


def kill_in(root: Path, stage: str, point: str) -> None:
    script = Path(__file__).with_name("run_until_killed.py")
    line = [sys.executable, str(script), str(root / "recipe"), str(root / "data"), stage, point]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300, env=tiny.environment())
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.slow
def test_kill_9_in_every_stage(fresh: Path, whole: Path) -> None:
    """One run after another, each killed one stage further on; the last goes through and equals an undisturbed one."""
    for stage in STAGES:
        kill_in(fresh, stage, "unit")
    run(fresh)
    assert_same(fresh, whole)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["finish", "check", "swap"])
def test_kill_9_while_a_stage_is_committed(fresh: Path, whole: Path, point: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All units are done: none is done again, however late the kill came."""
    for stage in ("features", "evaluate"):
        kill_in(fresh, stage, point)
        capsys.readouterr()
        run(fresh, stop_stage=stage)
        n_units = {"features": 3, "evaluate": 1}[stage]
        assert f"{n_units} of {n_units} units are done already" in capsys.readouterr().out
    run(fresh)
    assert_same(fresh, whole)


@pytest.mark.slow
def test_kill_9_from_outside_while_units_run(fresh: Path, whole: Path) -> None:
    """With two worker processes, at a time that nobody chose."""
    line = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(fresh / "recipe"), "--conf", "conf.yaml", "--nj=2"]
    running = subprocess.Popen([*line, "--data_root", str(fresh / "data")], env=tiny.environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list(fresh.glob("recipe/exp/conf/3_extractor.partial/.units/*.json")) and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.wait()
    run(fresh)
    assert_same(fresh, whole)


def sleep_as(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(120)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker_ends_the_stage_cleanly() -> None:
    finished: list[Any] = []
    with pytest.raises(StageError, match=r"a worker process died, killed or out of memory.*same command to go on"):
        local.run([(die, ()), (die, ())], resources=Resources(nj=2), done=finished.append)
    local.run([(abs, (-1,)), (abs, (-2,))], resources=Resources(nj=2), done=finished.append)
    assert sorted(finished) == [1, 2]


def test_workers_end_with_their_runner(tmp_path: Path) -> None:
    """An orphan that went on would write into what the next runner is working on."""
    code = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(tiny.__file__).parent)]!r}\n"
        "from pathlib import Path\nfrom test_faults import sleep_as\nfrom dcase_asd.pipeline.executors import local\n"
        "from dcase_asd.pipeline.stage import Resources\n"
        f"jobs = [(sleep_as, (Path({str(tmp_path)!r}) / name,)) for name in 'ab']\n"
        "local.run(jobs, resources=Resources(nj=2), done=print)"
    )
    running = subprocess.Popen([sys.executable, "-c", code], env=tiny.environment())
    deadline = time.monotonic() + 100
    while sum(p.stat().st_size > 0 for p in tmp_path.iterdir()) < 2 and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.wait()
    pids = [int(p.read_text()) for p in tmp_path.iterdir()]
    assert len(pids) == 2
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


# --- disk -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "stage"),
    [
        pytest.param(".work/oe~0~fan/last.safetensors", "3_extractor", id="checkpoint"),
        pytest.param("6_scores.partial/oe_knn/0/shaker/scores.csv", "6_scores", id="scores", marks=pytest.mark.slow),
        pytest.param("9_submit.partial/submission.json", "9_submit", id="submission", marks=pytest.mark.slow),
    ],
)
def test_full_disk(
    fresh: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, where: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flush: Callable[[Path], None] = atomic._flush

    def full(path: Path) -> None:
        folder, name = where.rsplit("/", 1)
        if str(path.parent).endswith(folder) and path.name.startswith(f".{name}."):  # a temporary file is .<name>.<random>
            path.write_bytes(path.read_bytes()[:7])
            raise no_space(path)
        flush(path)

    monkeypatch.setattr(atomic, "_flush", full)
    with pytest.raises(StageError, match="No space left on device"):
        run(fresh)
    assert "go on with: bash" in capsys.readouterr().err
    assert not (fresh / "recipe/exp/conf" / stage).exists()
    monkeypatch.undo()
    run(fresh)
    assert_same(fresh, whole)


def test_full_disk_while_features_are_written(fresh: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = build._Rows.write
    count = 0

    def full(self: Any, clip: Any, rows: Any) -> None:
        nonlocal count
        count += 1
        if count == 30:  # within the second machine
            self._stream.write(b"half")
            raise no_space(self.path)
        write(self, clip, rows)

    monkeypatch.setattr(build._Rows, "write", full)
    with pytest.raises(StageError, match="No space left on device"):
        run(fresh, stop_stage="2")
    assert not list((fresh / "recipe/dump").glob("log_mel-????????"))
    monkeypatch.undo()
    run(fresh)
    assert_same(fresh, whole)


def test_output_that_cannot_be_written(fresh: Path) -> None:
    """Under /proc nobody can make a folder, root included."""
    ended = tiny.command(fresh / "recipe", fresh / "data", "--expdir", "/proc/exp")
    assert ended.returncode == 1
    assert re.match(r"error: .+: /proc/exp", ended.stderr)
    assert "Traceback" not in ended.stderr


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGED = {
    "1_manifests": "data/*/machines.json",
    "2_features": "dump/*/fan/train.npy",
    "3_extractor": "exp/conf/3_extractor/oe/0/fan/tensors.safetensors",
    "4_embeddings": "exp/conf/4_embeddings/oe/0/fan/test/vector.npy",
    "5_detectors": "exp/conf/5_detectors/oe_knn/0/fan/00/main/tensors.safetensors",
    "7_ensemble": "exp/conf/7_ensemble/0/scores.csv",
}


@pytest.mark.parametrize("damage", [flip, truncate])
def test_verify_finds_and_mends_damage(
    done: Path, whole: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for pattern in DAMAGED.values():
        damage(next((done / "recipe").glob(pattern)))
    if damage is truncate:  # the index that says what there is cannot be read without being mended first
        shutil.copy(next((whole / "recipe").glob(DAMAGED["1_manifests"])), next((done / "recipe").glob(DAMAGED["1_manifests"])))
    capsys.readouterr()
    run(done, verify=True)
    told = capsys.readouterr().out
    for name, pattern in DAMAGED.items():
        if name != "1_manifests":
            assert f"file changed on disk: {pattern.split(name + '/')[-1].replace('dump/*/', '')}" in told
    assert_same(done, whole)


@pytest.mark.parametrize("stage", DAMAGED)
def test_truncated_file_is_an_error_of_its_reader(done: Path, stage: str) -> None:
    path = next((done / "recipe").glob(DAMAGED[stage]))
    truncate(path)
    with pytest.raises(DcaseAsdError, match=f"{re.escape(path.name)}|scores lack the clips") as refused:
        run(done, stage={"4_embeddings": "6"}.get(stage, str(int(stage[0]) + 1)))  # test clips are read by stage 6
    assert isinstance(refused.value, (DataError, StageError))


def test_upstream_damage_is_refused_by_a_later_stage_with_verify(done: Path) -> None:
    flip(next((done / "recipe").glob(DAMAGED["4_embeddings"])))
    with pytest.raises(StageError, match=r"stage 4 embeddings is stale: file changed on disk: oe/0/fan/test/vector.npy"):
        run(done, stage="5", verify=True)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_unit_that_runs_out_of_memory(
    fresh: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def greedy(self: Any, batches: Any, *, seed: int) -> None:
        np.ones(2**50)  # 8 PiB: no machine gives them

    monkeypatch.setattr(knn.Knn, "fit", greedy)
    with pytest.raises(StageError, match=r"stage 5 detectors, unit mean_knn/0/fan: .*MemoryError.*\(log: .*\.log\)"):
        run(fresh)
    assert "go on with: bash" in capsys.readouterr().err
    monkeypatch.undo()
    run(fresh)
    assert_same(fresh, whole)


def eat(path: Path) -> None:
    """Take memory until the limit of this process stops it."""
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**27, size + 2**27))
    path.touch()
    kept = [bytearray(2**20) for _ in range(2**20)]
    path.write_bytes(kept[0])


def test_worker_that_hits_its_memory_limit(tmp_path: Path) -> None:
    """Neither the runner nor the next call suffers from it."""
    try:
        with pytest.raises((MemoryError, StageError)):
            local.run([(eat, (tmp_path / "a",)), (abs, (-1,)), (abs, (-2,))], resources=Resources(nj=2), done=lambda _: None)
        assert (tmp_path / "a").stat().st_size == 0
    finally:
        workers.stop_workers()  # that one is under the limit for good
    finished: list[Any] = []
    local.run([(abs, (-1,)), (abs, (-2,))], resources=Resources(nj=2), done=finished.append)
    assert sorted(finished) == [1, 2]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_second_runner_is_refused(done: Path) -> None:
    with (
        stage_lock(done / "recipe" / "exp" / "conf"),
        pytest.raises(LockedError, match=rf"process {os.getpid()} on .* is writing here"),
    ):
        run(done)


def test_nan_loss_then_other_settings(fresh: Path, whole: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss .* is (nan|inf) at step"):
        run(fresh, "extractors.oe.learning_rate=1e30", "extractors.oe.epochs=3")
    assert not (fresh / "recipe/exp/conf/3_extractor").exists()
    run(fresh)
    assert_same(fresh, whole)


def test_checkpoint_of_other_settings_is_left_behind(fresh: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that was interrupted and is started again with another learning rate starts from the beginning."""
    from dcase_asd.pipeline.stages import extractor

    save = extractor.save_extractor

    def stop(out: Path, name: str, fitted: Any) -> None:
        if name == "outlier_exposure":
            raise KeyboardInterrupt
        save(out, name, fitted)

    monkeypatch.setattr(extractor, "save_extractor", stop)
    with pytest.raises(KeyboardInterrupt):
        run(fresh, "extractors.oe.learning_rate=0.01")
    assert list((fresh / "recipe").rglob("3_extractor.partial/.work/oe~0~fan/last.safetensors"))
    monkeypatch.undo()
    run(fresh)
    assert_same(fresh, whole)


def test_clock_that_jumps_back(
    done: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No decision rests on the time of day: neither of files nor of the system."""
    for i, path in enumerate(sorted(p for p in done.rglob("*") if p.is_file())):
        os.utime(path, (4_000_000_000 - 1000 * i, 4_000_000_000 - 1000 * i))
    ticks = iter(np.arange(2e9, 0, -1e3))
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    capsys.readouterr()
    run(done)
    assert capsys.readouterr().out.count("up to date") == 10
    run(done, stages=["6", "7", "8"])
    assert_same(done, whole)
