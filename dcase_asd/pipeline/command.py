"""What ``dcase-asd run`` does, apart from reading its options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from dcase_asd.errors import UsageError
from dcase_asd.pipeline.jobs import executors
from dcase_asd.pipeline.lock import stage_lock
from dcase_asd.pipeline.recipe import RunOptions, make_runner, record_experiment
from dcase_asd.pipeline.runner import Plan, Runner
from dcase_asd.pipeline.screen import Screen
from dcase_asd.pipeline.stage import Resources

__all__ = ["run_recipe"]


def run_recipe(
    options: RunOptions,
    *,
    plan: Plan,
    nj: int,
    device: str,
    executor: str,
    address: str,
    list_only: bool,
    resume: bool,
    verbose: int,
    argv: Sequence[str],
) -> None:
    """Check the configuration, run the plan, and print where the results are."""
    if executor not in executors():
        from dcase_asd.errors import UnknownNameError

        raise UnknownNameError("executor", executor, executors())
    if nj < 1:
        raise UsageError(f"--nj {nj}: at least 1 is needed")
    _require_device(device)
    resources = Resources(nj=nj, device=device, executor=executor, address=address)
    runner = make_runner(options, resources=resources, screen=Screen(verbose=verbose), argv=argv)
    if list_only:
        _print_stages(runner)
        return
    if plan.dry_run:
        runner.run(plan)
        return
    # one runner an experiment: a stage's own lock would let a second one replace what the first is reading
    with stage_lock(runner.layout.experiment):
        if not resume:
            runner.forget_partial_work()
        runner.before_work = partial(record_experiment, runner, argv)
        runner.run(plan)
        _print_results(runner)


def _require_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["not available"])[0]
        raise UsageError(f"--device {device}: torch cannot use it here ({reason}); leave it out to use the CPU") from error


def _print_stages(runner: Runner) -> None:
    for stage, state in runner.table():
        why = f" ({'; '.join(list(state.reasons)[:3])})" if state.reasons else ""
        print(f"{stage.number} {stage.name:<11} {stage.reads} -> {stage.writes}: {state.state}{why}")


def _print_results(runner: Runner) -> None:
    folder = runner.layout.experiment
    table = folder / "8_evaluate" / "table.txt"
    if table.is_file():
        runner.screen.line("")
        runner.screen.line(table.read_text(encoding="utf-8").rstrip())
    for name in ("8_evaluate/report.html", "8_evaluate/RESULTS.md"):
        if (folder / name).is_file():
            runner.screen.line(f"{name.rsplit('/', 1)[1]}: {runner.layout.shown(folder / name)}")
    made = folder / "9_submit" / "submission.json"
    if made.is_file():
        record = json.loads(made.read_text(encoding="utf-8"))
        for path in [*record["archives"], *record.get("predictions", [])]:
            runner.screen.line(f"submission: {runner.layout.shown(folder / '9_submit' / path)}")
