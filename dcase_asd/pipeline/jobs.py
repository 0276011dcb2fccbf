"""Units of work as jobs: where they write, how they are logged, and which are done already.

Inside ``<out>.partial``: ``<unit>/`` holds what a unit wrote, ``.units/<unit>.json`` says that it is whole (written after it),
``.work/<unit>/`` keeps checkpoints that survive an interruption, ``.work/<unit>.json`` says for which settings. Before the
stage is committed ``.work`` is removed and ``.units`` moved beside the folder, where it stays until the commit is through.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial as partial_call
from importlib import import_module
from pathlib import Path
from typing import Any

from dcase_asd.errors import DcaseAsdError, StageError, UnknownNameError
from dcase_asd.io.atomic import remove_tree, write_json
from dcase_asd.io.hashing import sha256_tree
from dcase_asd.pipeline.stage import Context, Resources, Stage, Unit

__all__ = [
    "bring_marks_back",
    "discard_foreign",
    "execute",
    "executors",
    "forget_marks",
    "is_done",
    "job",
    "mark_done",
    "reuse",
    "run_unit",
    "set_marks_aside",
    "take_over",
]

_MARKS, _WORK = ".units", ".work"
#: Beside the marks: which runner the partial folder belongs to.
_OWNER = "owner"


def _mark(partial: Path, unit: str) -> Path:
    return partial / _MARKS / f"{unit.replace('/', '~') or '~'}.json"


def is_done(partial: Path, unit: str, parts: Mapping[str, Any]) -> bool:
    """Return whether a unit with exactly this fingerprint is whole in the partial folder."""
    try:
        mark = json.loads(_mark(partial, unit).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    owner = _owner(partial)
    return mark in [{"parts": parts, "runner": runner} for runner in (owner["runner"], owner["earlier"].get(unit)) if runner]


def mark_done(partial: Path, unit: str, parts: Mapping[str, Any], *, runner: str | None = None) -> None:
    """Record that a unit is whole, made for a runner (by default the one that the folder belongs to)."""
    write_json(_mark(partial, unit), {"parts": parts, "runner": runner or _owner(partial)["runner"]})


def take_over(partial: Path, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Make the partial folder this runner's, with the finished units that are wanted.

    Workers of a cluster outlive a runner that was ended. What they write from now on may lie beside what is cleared for doing it
    again, so their marks count no more. Who made a mark stands in it: a worker on another machine may read old files for a while.
    """
    owner = _owner(partial)
    whole = {name: owner["earlier"].get(name, owner["runner"]) for name, parts in wanted.items() if is_done(partial, name, parts)}
    runner = f"{platform.node()} {os.getpid()} {os.urandom(8).hex()}"
    write_json(partial / _MARKS / _OWNER, {"runner": runner, "earlier": whole})


def _owner(partial: Path) -> dict[str, Any]:
    """Return the runner that the folder belongs to, and of each unit that was whole when it began, who made it."""
    try:
        return dict(json.loads((partial / _MARKS / _OWNER).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {"runner": "", "earlier": {}}


def discard_foreign(partial: Path, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Leave in the partial folder the finished units that are wanted, and nothing else that an interrupted run wrote there.

    Not only marked units: one that was cut short has no mark, and a closing step may have written files of other settings.
    """
    whole = {name for name in wanted if is_done(partial, name, wanted[name])}
    marks = {_mark(partial, name).name for name in whole}
    for path in (partial / _MARKS).glob("*.json"):
        if path.name not in marks:
            path.unlink()
    if "" not in whole:
        _prune(partial, partial, {tuple(name.split("/")) for name in whole})


def _prune(partial: Path, folder: Path, whole: set[tuple[str, ...]]) -> None:
    """Remove what is below ``folder`` but the units ``whole`` (their paths in parts), marks and work folders."""
    for path in sorted(folder.iterdir()):
        place = path.relative_to(partial).parts
        if place in whole or place in {(_MARKS,), (_WORK,)}:
            continue
        if not path.is_dir() or path.is_symlink():
            path.unlink()
        elif any(unit[: len(place)] == place for unit in whole):
            _prune(partial, path, whole)
        else:
            remove_tree(path)


def reuse(out: Path, partial: Path, unit: str, *, files: Mapping[str, str]) -> bool:
    """Take over an unchanged unit of the last committed output by hard links (nothing is ever written in place).

    ``files`` are the hashes in the stage's record: a unit whose files were changed on disk since is not taken over.
    """
    source, target = out / unit, partial / unit
    if not unit or not source.is_dir():
        return False
    recorded = {name.removeprefix(f"{unit}/"): value for name, value in files.items() if name.startswith(f"{unit}/")}
    if sha256_tree(source) != recorded:
        return False
    remove_tree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, copy_function=_link)
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def set_marks_aside(partial: Path) -> None:
    """Remove work folders and move the marks beside the folder, which then holds nothing but the stage's output."""
    remove_tree(partial / _WORK)
    forget_marks(partial)
    if (partial / _MARKS).is_dir():
        (partial / _MARKS).rename(_aside(partial))


def bring_marks_back(partial: Path) -> None:
    """Undo :func:`set_marks_aside` after a commit that was interrupted, so that no finished unit is done again."""
    if partial.is_dir() and _aside(partial).is_dir() and not (partial / _MARKS).exists():
        _aside(partial).rename(partial / _MARKS)
    forget_marks(partial)


def forget_marks(partial: Path) -> None:
    """Remove the marks that were set aside."""
    remove_tree(_aside(partial))


def _aside(partial: Path) -> Path:
    return partial.with_name(f".{partial.name}{_MARKS}")


def job(
    stage: Stage, context: Context, unit: Unit, partial: Path, *, parts: Mapping[str, Any], log_path: Path
) -> tuple[Callable[..., str], tuple[Any, ...]]:
    """Return a picklable call that does one unit."""
    plain = replace(context, log=_drop)
    return partial_call(run_unit, runner=_owner(partial)["runner"]), (stage, plain, unit, partial, dict(parts), log_path)


def execute(work: Sequence[Any], *, resources: Resources, done: Callable[[str], None]) -> None:
    """Hand jobs to the executor named in ``resources``."""
    names = executors()
    if resources.executor not in names:
        raise UnknownNameError("executor", resources.executor, names)
    import_module(f"dcase_asd.pipeline.executors.{resources.executor}").run(work, resources=resources, done=done)


def executors() -> list[str]:
    """List the executors: the modules of ``pipeline/executors``."""
    return sorted(p.stem for p in (Path(__file__).parent / "executors").glob("*.py") if not p.stem.startswith("_"))


def run_unit(
    stage: Stage, context: Context, unit: Unit, partial: Path, parts: dict[str, Any], log_path: Path, *, runner: str = ""
) -> str:
    """Do one unit in this process for a runner: clear its folder, run it under its log, mark it done; return its name."""
    _clear(partial, unit.name)
    out = partial / unit.name
    out.mkdir(parents=True, exist_ok=True)
    work = _work_folder(partial, unit.name, parts)
    limit_threads(context.resources.threads)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log_path.open("w", encoding="utf-8", buffering=1) as stream:
        stream.write(f"# {context.command}\n# stage {stage.number} {stage.name}, unit {unit.name or 'all'}, ")
        stream.write(
            f"{platform.node()}, process {os.getpid()}, started {datetime.now().astimezone().isoformat('T', 'seconds')}\n"
        )
        try:
            stage.run(replace(context, log=lambda text: print(text, file=stream)), unit, out, work)
        except BaseException as error:
            traceback.print_exc(file=stream)
            stream.write(f"# Ended (code 1), elapsed {time.monotonic() - started:.1f} s\n")
            if isinstance(error, (DcaseAsdError, OSError)) or not isinstance(error, Exception):
                raise
            if isinstance(error, MemoryError):
                error = MemoryError(f"{error}; run fewer jobs at once (--nj), or take smaller pictures, segments or batches")
            message = f"stage {stage.number} {stage.name}, unit {unit.name}: {type(error).__name__}: {error} (log: {log_path})"
            raise StageError(message) from error
        stream.write(f"# Ended (code 0), elapsed {time.monotonic() - started:.1f} s\n")
    mark_done(partial, unit.name, parts, runner=runner)
    return unit.name


def _work_folder(partial: Path, unit: str, parts: Mapping[str, Any]) -> Path:
    """Return the unit's work folder; emptied if an interrupted run with other settings or inputs left it."""
    work = partial / _WORK / (unit.replace("/", "~") or "~")
    owner = work.with_name(f"{work.name}.json")
    try:
        same = json.loads(owner.read_text(encoding="utf-8")) == parts
    except (OSError, ValueError):
        same = False
    if not same:
        remove_tree(work)
        write_json(owner, parts)
    work.mkdir(parents=True, exist_ok=True)
    return work


def limit_threads(n_threads: int) -> None:
    """Give numerical libraries a fixed number of threads in this process, loaded or yet to be loaded."""
    import threadpoolctl

    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[variable] = str(n_threads)
    threadpoolctl.threadpool_limits(limits=n_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)


def _clear(partial: Path, unit: str) -> None:
    if unit:
        remove_tree(partial / unit)
        return
    for path in partial.iterdir():
        if path.name in (_MARKS, _WORK):
            continue
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()


def _drop(text: str) -> None:
    """Stand in for a log until the worker opens the unit's own."""
    del text
