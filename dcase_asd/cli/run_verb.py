"""``dcase-asd run``: run the stages of a recipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from dcase_asd.errors import UsageError

__all__ = ["command"]


def _names(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    del ctx, param
    return [part for part in (value or "").replace(",", " ").split() if part]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command(name="run", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--recipe", default=".", show_default="current folder", help="The recipe's folder.")
@click.option("--conf", "--config", "conf", required=True, help="YAML configuration, relative to the recipe.")
@click.option("--stage", default="", metavar="N|NAME", help="First stage; it runs again. Default: whatever is stale.")
@click.option("--stop-stage", default="", metavar="N|NAME", help="Last stage.")
@click.option("--stages", default="", callback=_names, metavar="A,B", help="Exactly these stages.")
@click.option("--skip-stages", default="", callback=_names, metavar="A,B", help="Leave these out; use their last output.")
@click.option("--list", "list_", is_flag=True, help="Show the stages and their state, run nothing.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would run and why, run nothing.")
@click.option("--force", is_flag=True, help="Run every stage asked for, up to date or not.")
@click.option("--allow-stale", is_flag=True, help="Use outdated outputs of earlier stages.")
@click.option("--verify", is_flag=True, help="Hash the outputs on disk again and redo what was changed.")
@click.option("--tag", default="", help="Name of the experiment. Default: the configuration's file name.")
@click.option("--machines", default="", callback=_names, metavar="A,B", help="Build systems for these machines only.")
@click.option("--sections", default="", callback=_names, metavar="00,01", help="Only these sections.")
@click.option("--seeds", default="", callback=_names, metavar="0,1,2", help="Repeat with these seeds.")
@click.option("--seed", default="", callback=_names, metavar="N", help="One seed.")
@click.option("--nj", "--n-jobs", default=0, show_default="all cores", help="Jobs at once; never changes a result.")
@click.option("--ngpu", "--n-gpus", default=0, show_default=True, help="0 uses the CPU, 1 the first GPU.")
@click.option("--device", default="", help="Torch device, e.g. cuda:1; overrides --ngpu.")
@click.option("--executor", "--cmd", default="local", show_default=True, help="Who runs the jobs.")
@click.option("--address", default="", help="Scheduler address for executors that need one.")
@click.option("--data-root", default="", show_default="$DCASE_ASD_DATA", help="Where raw data lie; relative to the recipe.")
@click.option("--expdir", default="", show_default="exp", help="Where experiments go.")
@click.option("--dumpdir", default="", show_default="dump", help="Where features go.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where an interrupted run stopped.")
@click.option("--verbose", "-v", default=1, show_default=True, type=click.IntRange(0, 2), help="0 errors, 1 events, 2 more.")
@click.argument("overrides", nargs=-1)
def command(recipe: str, conf: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Run the stages of a recipe; OVERRIDES are configuration values such as detectors.oe_knn.n_neighbors=[1,2]."""
    from dcase_asd.pipeline.command import run_recipe
    from dcase_asd.pipeline.recipe import RunOptions, plan_from

    for text in overrides:
        if "=" not in text:
            raise UsageError(f"argument {text!r} is neither an option nor an override of the form a.b=value")
    seeds = options["seed"] or options["seeds"]
    if not all(text.isascii() and text.isdigit() for text in seeds):
        raise UsageError(f"--seeds {','.join(seeds)}: whole numbers are needed")
    run_options = RunOptions(
        recipe=Path(recipe),
        conf=Path(conf),
        overrides=overrides,
        seeds=[int(text) for text in seeds],
        **{key: options[key] for key in ("tag", "expdir", "dumpdir", "data_root", "machines", "sections")},
    )
    keys = ("stage", "stop_stage", "stages", "skip_stages", "force", "dry_run", "allow_stale", "verify")
    run_recipe(
        run_options,
        plan=plan_from(**{key: options[key] for key in keys}),
        nj=options["nj"] or _cores(),
        device=options["device"] or ("cuda" if options["ngpu"] else "cpu"),
        executor=options["executor"],
        address=options["address"],
        list_only=options["list_"],
        resume=options["resume"],
        verbose=options["verbose"],
        argv=click.get_current_context().find_root().obj or sys.argv[1:],
    )
