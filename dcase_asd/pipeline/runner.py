"""The runner: decides what is stale and why, runs units, commits stages, resumes after any interruption."""

from __future__ import annotations

import shlex
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dcase_asd.errors import DcaseAsdError, StageError, StaleInputError
from dcase_asd.io.atomic import remove_tree
from dcase_asd.pipeline import jobs, records
from dcase_asd.pipeline.layout import Layout
from dcase_asd.pipeline.lock import stage_lock
from dcase_asd.pipeline.plan import Plan, StageState
from dcase_asd.pipeline.records import StageRecord, changes
from dcase_asd.pipeline.screen import Screen
from dcase_asd.pipeline.stage import Context, Resources, Stage, Unit

__all__ = ["Plan", "Runner", "StageState"]


@dataclass
class Runner:
    """Runs the stages of one experiment.

    Attributes
    ----------
    stages : sequence of Stage
        In order.
    config : mapping
        The whole resolved configuration.
    layout : Layout
        Where outputs go.
    resources : Resources
    screen : Screen
        Where lines are shown.
    command : str
        The command line, for provenance and for the hint to resume.
    before_work : callable
        Called once, before the first stage that really runs.
    """

    stages: Sequence[Stage]
    config: Mapping[str, Any]
    layout: Layout
    resources: Resources
    screen: Screen
    command: str = ""
    before_work: Callable[[], None] = lambda: None
    _records: dict[str, StageRecord] = field(default_factory=dict)
    _begun: bool = False

    def run(self, plan: Plan) -> None:
        """Run what the plan asks for; stop at the first failure.

        Raises
        ------
        StaleInputError
            If a stage before the first wanted one is missing or stale.
        StageError
            If a stage fails or its output is not sound, or a later one will miss a file from outside.
        """
        needed = plan.needed(self.stages)
        for stage in self.stages:  # before any work: what is left out and was never made will not be there later either
            if stage.name in needed and records.read_record(self._out(stage)) is None:
                self._refuse(stage, StageState("missing", ["no output yet"]), plan)
        blocked = foreseen = False
        for stage in self.stages:
            state = StageState("blocked") if blocked else self.state(stage)
            if plan.verify and state.state == "done" and (plan.wants(stage.number) or stage.name in needed):
                state = self._verified(stage)
            if not plan.wants(stage.number):
                if state.state != "done" and not blocked and stage.name in needed:
                    self._refuse(stage, state, plan)
                continue
            if state.state == "done" and stage.number not in plan.redo:
                self.screen.event(stage, "up to date")
                continue
            if not foreseen:
                self._foresee(plan)
                foreseen = True
            reasons = state.reasons or (["asked for again"] if stage.number in plan.redo else [])
            if plan.dry_run:
                self.screen.event(stage, f"would run: {'; '.join(reasons) or 'an earlier stage would run'}")
                blocked = True
                continue
            self._run_stage(stage, reasons, redo=stage.number in plan.redo)

    def _foresee(self, plan: Plan) -> None:
        """Ask the stages to come that have no output yet what they will miss, before the first of them works for an hour."""
        for stage in self.stages:
            if plan.wants(stage.number) and records.read_record(self._out(stage)) is None:
                try:
                    stage.foresee(self.config)
                except DcaseAsdError as error:
                    message = f"stage {stage.number} {stage.name} will not be able to run: {error}; no stage was run"
                    raise StageError(message) from error

    def state(self, stage: Stage) -> StageState:
        """Compare what a stage would be asked now with the record of what it did."""
        missing = [name for name in stage.upstream if name not in self._records]
        if missing:
            return StageState("blocked", [f"stage {name} has no output yet" for name in missing])
        units = stage.units(self._context())
        record = records.read_record(self._out(stage))
        if record is None:
            return StageState("missing", ["no output yet"])
        reasons = self._differences(stage, units, record)
        if reasons:
            return StageState("stale", reasons)
        self._records[stage.name] = record
        return StageState("done")

    def table(self) -> list[tuple[Stage, StageState]]:
        """Return every stage with its state, for ``--list``; one that cannot even say what it would do is ``blocked``."""
        found = []
        for stage in self.stages:
            try:
                state = self.state(stage)
            except DcaseAsdError as error:
                state = StageState("blocked", [str(error)])
            found.append((stage, state))
        return found

    def forget_partial_work(self) -> None:
        """Remove what interrupted runs left; ``LockedError`` if another experiment is just writing features both share."""
        for stage in self.stages:
            out = self._out(stage)
            if _partial(out).is_dir():
                with stage_lock(out):
                    remove_tree(_partial(out))

    def _out(self, stage: Stage) -> Path:
        return self.layout.folder(stage, self.config, self._records)

    def _context(self) -> Context:
        folders = {s.name: self._out(s) for s in self.stages if s.name in self._records}
        if self.layout.data_root is not None:
            folders["data_root"] = self.layout.data_root
        return Context(self.config, folders, self.resources, self.screen.line, self.command)

    def _differences(self, stage: Stage, units: Sequence[Unit], record: StageRecord) -> list[str]:
        if record.version != stage.version:
            return [f"stage version {record.version} -> {stage.version}"]
        want = {unit.name: records.unit_parts(stage, unit, self._records) for unit in units}
        found: list[str] = []
        for name in sorted({*want, *record.units}):
            if name not in record.units:
                found.append(f"new: {name}")
            elif name not in want:
                found.append(f"gone: {name}")
            else:
                found += [c.removeprefix("config.") for c in changes(record.units[name], want[name])]
        found += changes(record.finish, self._finish_parts(stage))
        return list(dict.fromkeys(found))

    def _finish_parts(self, stage: Stage) -> dict[str, Any]:
        return {key: self.config[key] for key in stage.finish_keys}

    def _run_stage(self, stage: Stage, reasons: Sequence[str], *, redo: bool) -> None:
        out = self._out(stage)
        partial = _partial(out)
        started = time.monotonic()
        if not self._begun:
            self._begun = True
            self.before_work()
        self.screen.event(stage, f"run: {_summary(reasons)}")
        with stage_lock(out):
            units = stage.units(self._context())
            todo = self._prepare(stage, units, out, partial, redo=redo)
            try:
                self._run_units(stage, todo, partial)
                self._close(stage, units, partial, started)
            except DcaseAsdError as error:
                self.screen.failure(stage, error, self.layout.log_folder, self.resume_command(stage))
                raise
            except OSError as error:
                wrapped = StageError(f"stage {stage.number} {stage.name}: {error.strerror or error}: {error.filename or partial}")
                self.screen.failure(stage, wrapped, self.layout.log_folder, self.resume_command(stage))
                raise wrapped from error
            except Exception as error:  # a defect, or a worker's death: as clean an end as any other failure
                self._log_failure(stage)
                wrapped = StageError(f"stage {stage.number} {stage.name}: {type(error).__name__}: {error}")
                self.screen.failure(stage, wrapped, self.layout.log_folder, self.resume_command(stage))
                raise wrapped from error
            _swap(partial, out)
            jobs.forget_marks(partial)
        record = records.read_record(out)
        if record is None:
            raise StageError(f"{out}: the record just written cannot be read")
        self._records[stage.name] = record
        self.screen.event(stage, f"done in {time.monotonic() - started:.1f} s -> {self.layout.shown(out)}")

    def _prepare(self, stage: Stage, units: Sequence[Unit], out: Path, partial: Path, *, redo: bool) -> list[Unit]:
        """Keep finished units of an interrupted run and unchanged units of the last one; return what is left to do."""
        wanted = {unit.name: records.unit_parts(stage, unit, self._records) for unit in units}
        jobs.bring_marks_back(partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / records.RECORD).unlink(missing_ok=True)  # of a commit that was interrupted
        jobs.take_over(partial, wanted)
        jobs.discard_foreign(partial, wanted)
        old = None if redo else records.read_record(out)
        todo: list[Unit] = []
        for unit in units:
            if jobs.is_done(partial, unit.name, wanted[unit.name]):
                continue
            unchanged = old is not None and old.units.get(unit.name) == wanted[unit.name]
            if unchanged and old is not None and jobs.reuse(out, partial, unit.name, files=old.files):
                jobs.mark_done(partial, unit.name, wanted[unit.name])
                continue
            todo.append(unit)
        if len(todo) < len(units):
            self.screen.line(f"    {len(units) - len(todo)} of {len(units)} units are done already")
        return todo

    def _run_units(self, stage: Stage, todo: Sequence[Unit], partial: Path) -> None:
        if not todo:
            return
        context = self._context()
        shared = 1 if len(todo) > 1 else self.resources.nj
        work = [
            jobs.job(
                stage,
                replace(context, config=unit.config, resources=replace(self.resources, nj=shared), log=print),
                unit,
                partial,
                parts=records.unit_parts(stage, unit, self._records),
                log_path=self.layout.log_folder / f"{stage.number}_{stage.name}" / f"{unit.name.replace('/', '.') or 'all'}.log",
            )
            for unit in todo
        ]
        with self.screen.progress(stage, total=len(work)) as bar:
            jobs.execute(work, resources=self.resources, done=bar)

    def _close(self, stage: Stage, units: Sequence[Unit], partial: Path, started: float) -> None:
        context = self._context()
        stage.finish(context, partial)
        jobs.set_marks_aside(partial)
        try:
            stage.check(context, partial)
        except DcaseAsdError:
            jobs.forget_marks(partial)  # something of it is not sound: nothing of it is taken for done
            raise
        records.commit_record(
            partial,
            StageRecord(
                stage=stage.name,
                version=stage.version,
                units={unit.name: records.unit_parts(stage, unit, self._records) for unit in units},
                finish=self._finish_parts(stage),
                files=records.hash_outputs(partial),
                provenance=records.provenance(self.command, seconds=time.monotonic() - started),
            ),
        )

    def _verified(self, stage: Stage) -> StageState:
        out = self._out(stage)
        record = self._records.pop(stage.name)
        found = records.hash_outputs(out)
        bad = changes(record.files, found)
        if bad:
            return StageState("stale", [f"file changed on disk: {b.split(': ')[0]}" for b in bad])
        self._records[stage.name] = record
        return StageState("done")

    def _log_failure(self, stage: Stage) -> None:
        path = self.layout.log_folder / f"{stage.number}_{stage.name}" / "runner.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{traceback.format_exc()}# Ended (code 1)\n", encoding="utf-8")

    def _refuse(self, stage: Stage, state: StageState, plan: Plan) -> None:
        record = records.read_record(self._out(stage)) if state.state == "stale" else None
        if record is not None and (plan.allow_stale or stage.number in plan.skip):
            self.screen.event(stage, f"stale ({_summary(state.reasons)}), used all the same as asked")
            self._records[stage.name] = record
            return
        mend = f"--stage {stage.number}"
        raise StaleInputError(
            f"stage {stage.number} {stage.name} is {state.state}: {_summary(state.reasons)}. Run with {mend} first"
            + (", or --allow-stale." if record is not None else ".")
        )

    def resume_command(self, stage: Stage) -> str:
        """Return the command that goes on where a stage failed."""
        return f"bash {shlex.quote(self.layout.shown(self.layout.experiment / 'run.sh'))} --stage {stage.number}"


def _summary(reasons: Sequence[str], *, most: int = 4) -> str:
    more = f" (+{len(reasons) - most} more)" if len(reasons) > most else ""
    return "; ".join(reasons[:most]) + more if reasons else "asked for"


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _swap(partial: Path, out: Path) -> None:
    """Put a complete partial folder in place; the rename is the commit."""
    old = out.with_name(out.name + ".old")
    remove_tree(old)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    remove_tree(old)
