"""The runner: staleness with reasons, early cut-off, resume by unit, commits that are whole or absent."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_stages import Last, Numbers, Sums

from dcase_asd.errors import DataError, LockedError, StageError, StaleInputError
from dcase_asd.pipeline import runner
from dcase_asd.pipeline.layout import Layout
from dcase_asd.pipeline.lock import stage_lock
from dcase_asd.pipeline.recipe import plan_from
from dcase_asd.pipeline.runner import Plan, Runner
from dcase_asd.pipeline.screen import Screen
from dcase_asd.pipeline.stage import Context, Resources, Unit

VALUES = {"a": 1, "b": 22, "c": 333}


def make_runner(root: Path, *, values=None, title="t", nj=1) -> Runner:
    layout = Layout(root, "exp é", None, root / "exp", root / "dump")
    config = {"values": values or VALUES, "title": title}
    return Runner([Numbers(), Sums(), Last()], config, layout, Resources(nj=nj), Screen(clock=False), command="test")


def files(root: Path) -> dict[str, str]:
    keep = (p for p in sorted((root / "exp").rglob("*.txt")) if ".partial" not in str(p))
    return {str(p.relative_to(root)): p.read_text() for p in keep}


def calls(root: Path) -> dict[str, int]:
    return {p.name[-1]: int(p.read_text()) for p in (root / "exp" / "exp é" / "calls").iterdir()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a folder with é"


def test_runs_all_then_is_up_to_date(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runner(root).run(Plan())
    made = files(root)
    assert made["exp/exp é/4_sums/total/sum.txt"] == "6"
    capsys.readouterr()
    make_runner(root).run(Plan())
    assert capsys.readouterr().out.splitlines() == [
        f"[{n}/9 {s}] up to date" for n, s in ((3, "numbers"), (4, "sums"), (5, "last"))
    ]
    assert files(root) == made
    assert set(calls(root).values()) == {1}


def test_changed_value_reruns_only_its_unit_and_says_why(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runner(root).run(Plan())
    capsys.readouterr()
    make_runner(root, values={**VALUES, "b": 4444}).run(Plan())
    out = capsys.readouterr().out
    assert "[3/9 numbers] run: value: 22 -> 4444" in out
    assert calls(root) == {"a": 1, "b": 2, "c": 1}
    assert files(root)["exp/exp é/5_last/copy.txt"] == "8"


def test_early_cut_off_where_bytes_stay_the_same(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runner(root).run(Plan())
    capsys.readouterr()
    make_runner(root, values={**VALUES, "b": 55}).run(Plan())  # another number of the same length: the same sum
    out = capsys.readouterr().out
    assert "[4/9 sums] run" in out
    assert "[5/9 last] up to date" in out


def test_unit_added_and_removed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runner(root).run(Plan())
    make_runner(root, values={"a": 1, "d": 7}).run(Plan())
    out = capsys.readouterr().out
    assert "gone: unit/b" in out
    assert "new: unit/d" in out
    assert sorted(p.name for p in (root / "exp/exp é/3_numbers/unit").iterdir()) == ["a", "d"]
    assert calls(root)["a"] == 1


def test_stage_is_run_again_on_request(root: Path) -> None:
    make_runner(root).run(Plan())
    make_runner(root).run(plan_from(stage="3"))
    assert calls(root) == {"a": 2, "b": 2, "c": 2}


def test_finish_keys_make_stale(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runner(root).run(Plan())
    capsys.readouterr()
    make_runner(root, title="u").run(Plan())
    assert "[4/9 sums] run: title: t -> u" in capsys.readouterr().out
    assert files(root)["exp/exp é/4_sums/title.txt"] == "u"


def test_stale_input_is_refused_with_key_and_command(root: Path) -> None:
    make_runner(root).run(Plan())
    with pytest.raises(StaleInputError, match=r"stage 3 numbers is stale: value: 22 -> 9.*--stage 3.*--allow-stale"):
        make_runner(root, values={**VALUES, "b": 9}).run(plan_from(stage="4"))
    make_runner(root, values={**VALUES, "b": 9}).run(plan_from(stage="4", allow_stale=True))
    assert calls(root)["b"] == 1


def test_missing_input_is_refused(root: Path) -> None:
    with pytest.raises(StaleInputError, match="stage 3 numbers is missing"):
        make_runner(root).run(plan_from(stage="4"))


def test_failure_shows_log_and_keeps_finished_units(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="give a number"):
        make_runner(root, values={"a": 1, "b": "fail", "c": 3}).run(Plan())
    err = capsys.readouterr().err
    assert "[3/9 numbers] FAILED" in err
    assert "| writing fail" in err
    assert "--stage 3" in err
    assert not (root / "exp/exp é/3_numbers").exists()
    make_runner(root, values={"a": 1, "b": 2, "c": 3}).run(Plan())
    assert calls(root) == {"a": 1, "b": 2, "c": 1}


def test_too_little_memory_is_told_with_the_unit_and_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object) -> None:
        raise MemoryError("Unable to allocate 458. MiB")

    monkeypatch.setattr(Last, "run", greedy)
    with pytest.raises(StageError, match=r"stage 5 last.*Unable to allocate 458\. MiB; run fewer jobs at once \(--nj\)"):
        make_runner(root).run(Plan())


def test_failed_check_commits_nothing(root: Path) -> None:
    make_runner(root).run(Plan())
    before = files(root)
    with pytest.raises(StageError, match="title is bad"):
        make_runner(root, title="bad").run(Plan())
    assert files(root) == before
    make_runner(root).run(Plan())
    assert files(root) == before


def test_verify_notices_a_changed_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runner(root).run(Plan())
    (root / "exp/exp é/3_numbers/unit/a/number.txt").write_text("999")
    make_runner(root).run(Plan())  # records only: not noticed, as documented
    assert calls(root)["a"] == 1
    capsys.readouterr()
    make_runner(root).run(Plan(verify=True))
    assert "file changed on disk: unit/a/number.txt" in capsys.readouterr().out
    assert (root / "exp/exp é/3_numbers/unit/a/number.txt").read_text() == "1"


def test_dry_run_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runner(root).run(Plan(dry_run=True))
    assert "would run: no output yet" in capsys.readouterr().out
    assert not (root / "exp").exists()


def test_second_runner_is_refused(root: Path) -> None:
    with stage_lock(root / "exp" / "exp é" / "3_numbers"), pytest.raises(LockedError, match=r"process \d+ on"):
        make_runner(root).run(Plan())


def test_worker_of_a_runner_that_is_gone_marks_nothing_for_the_next_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cluster workers outlive their runner: the next one clears the unit's folder, and the rest that they write is not whole."""
    run = Numbers.run

    def overtaken(self: Numbers, context: Context, unit: Unit, out: Path, work: Path) -> None:
        run(self, context, unit, out, work)
        if unit.name == "unit/b":  # meanwhile another runner begins, and is ended before it comes to this unit
            with monkeypatch.context() as patch:
                patch.setattr(Runner, "_run_units", _interrupt)
                patch.setattr(runner, "stage_lock", lambda _: contextlib.nullcontext())
                with pytest.raises(KeyboardInterrupt):
                    make_runner(root).run(Plan())
            out.mkdir(parents=True)
            (out / "last.txt").write_text("what is left to write")

    monkeypatch.setattr(Numbers, "run", overtaken)
    monkeypatch.setattr(Numbers, "finish", _interrupt)  # the first runner ends here
    with pytest.raises(KeyboardInterrupt):
        make_runner(root).run(Plan())
    monkeypatch.undo()
    make_runner(root).run(Plan())
    assert files(root)["exp/exp é/3_numbers/unit/b/number.txt"] == "22"
    assert "exp/exp é/3_numbers/unit/b/last.txt" not in files(root)
    assert calls(root)["b"] == 2


def test_file_system_without_locks_is_named_as_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with pytest.raises(StageError, match=r"3_numbers\.lock: cannot be locked \(No locks available\).*put --expdir") as refused:
        make_runner(root).run(Plan())
    assert not isinstance(refused.value, LockedError)


def test_partial_work_of_a_runner_at_work_is_left_alone(root: Path) -> None:
    """Features are shared by experiments, so the lock of one's own experiment is not enough."""
    partial = root / "exp" / "exp é" / "3_numbers.partial"
    partial.mkdir(parents=True)
    with stage_lock(root / "exp" / "exp é" / "3_numbers"), pytest.raises(LockedError, match=r"process \d+ on"):
        make_runner(root).forget_partial_work()
    assert partial.is_dir()
    make_runner(root).forget_partial_work()
    assert not partial.exists()


def test_processes_give_the_same_files(root: Path, tmp_path: Path) -> None:
    make_runner(root).run(Plan())
    other = tmp_path / "other"
    make_runner(other, nj=2).run(Plan())
    assert files(root) == files(other)


def test_kill_9_loses_only_the_work_in_flight(root: Path) -> None:
    values = {"a": 1, "b": "kill", "c": 333}
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from test_pipeline_runner import make_runner\nfrom dcase_asd.pipeline.runner import Plan\nfrom pathlib import Path\n"
        f"make_runner(Path({str(root)!r}), values={values!r}).run(Plan())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert not (root / "exp/exp é/3_numbers").exists()
    make_runner(root, values=values).run(Plan())
    assert calls(root) == {"a": 1, "b": 2, "c": 1}
    assert files(root)["exp/exp é/3_numbers/unit/b/number.txt"] == "kill"
    assert not list((root / "exp/exp é").glob("*.partial"))


def test_unit_cut_short_that_is_no_longer_wanted_is_not_committed(root: Path) -> None:
    """A unit that was never marked leaves nothing behind, nor does a closing step with other settings."""
    with pytest.raises(DataError):
        make_runner(root, values={"a": 1, "b": "fail"}).run(Plan())
    assert (root / "exp/exp é/3_numbers.partial/unit/b/half.txt").is_file()
    (root / "exp/exp é/3_numbers.partial/title of another run.txt").write_text("left by an interrupted finish")
    make_runner(root, values={"a": 1}).run(Plan())
    assert [name for name in files(root) if "3_numbers" in name] == ["exp/exp é/3_numbers/unit/a/number.txt"]
    assert calls(root)["a"] == 1
    assert not list((root / "exp/exp é").rglob("unit/b"))


@pytest.mark.parametrize("point", ["after_rename_of_old", "partial_with_record"])
def test_interrupted_commit_is_finished(root: Path, point: str) -> None:
    make_runner(root).run(Plan())
    before = files(root)
    out = root / "exp/exp é/3_numbers"
    if point == "after_rename_of_old":  # killed between the two renames of the commit
        out.rename(out.with_name("3_numbers.partial"))
    else:
        (out / "stage.json").rename(out / "stage.json.bak")  # a folder without a record is garbage
    make_runner(root).run(Plan())
    assert files(root) == before
    assert json.loads((out / "stage.json").read_text())["stage"] == "numbers"


def test_kill_during_the_commit_does_no_unit_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks of finished units outlive the check, the hashing and the two renames."""
    from dcase_asd.pipeline import records

    for module, name in ((records, "commit_record"), (runner, "_swap")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, _interrupt)
            with pytest.raises(KeyboardInterrupt):
                make_runner(root).run(plan_from(stop_stage="3"))
    make_runner(root).run(Plan())
    assert set(calls(root).values()) == {1}
    assert not list((root / "exp/exp é").glob(".*.units"))


def test_work_folder_of_other_settings_is_emptied(root: Path) -> None:
    """A checkpoint of another configuration would be refused, or worse, taken up."""
    from dcase_asd.pipeline.jobs import _work_folder

    (_work_folder(root, "oe/0/fan", {"config": 1}) / "last.safetensors").write_text("old")
    assert list(_work_folder(root, "oe/0/fan", {"config": 1}).iterdir())
    assert not list(_work_folder(root, "oe/0/fan", {"config": 2}).iterdir())


def test_left_out_stage_that_was_never_made_is_refused_before_any_work(root: Path) -> None:
    with pytest.raises(StaleInputError, match=r"stage 4 sums is missing.*--stage 4"):
        make_runner(root).run(plan_from(stages=["3", "5"]))
    assert not (root / "exp").exists()


def _interrupt(*args: object) -> None:
    del args
    raise KeyboardInterrupt


def test_what_a_later_stage_will_miss_is_said_before_any_work(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(self: Sums, config: dict) -> None:
        raise DataError(f"no weights for {sorted(config['values'])}; fetch them")

    monkeypatch.setattr(Sums, "foresee", missing)
    for dry_run in (True, False):
        with pytest.raises(StageError, match=r"stage 4 sums will not be able to run: no weights for .*; no stage was run"):
            make_runner(root).run(Plan(dry_run=dry_run))
    assert files(root) == {}
    make_runner(root).run(Plan(first=3, last=3))  # not of a stage that is not asked for
    monkeypatch.undo()
    make_runner(root).run(Plan())
    monkeypatch.setattr(Sums, "foresee", missing)
    make_runner(root, values={**VALUES, "b": 4444}).run(Plan())  # nor of one that has its output: it need not read them again
    assert files(root)["exp/exp é/4_sums/total/sum.txt"] == "8"
