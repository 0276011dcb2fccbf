"""``dcase-asd submit write|check``: a challenge submission."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.group(name="submit", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Write or check a challenge submission."""


@command.command()
@click.option("--recipe", default=".", show_default="current folder", help="The recipe's folder.")
@click.option("--conf", required=True, help="Configuration of a finished experiment.")
@click.argument("overrides", nargs=-1)
def write(recipe: str, conf: str, overrides: tuple[str, ...]) -> None:
    """Run stage 9 of a finished experiment; OVERRIDES such as submit.label=Doe_XYZ_task2."""
    from dcase_asd.cli import main

    main(["run", "--recipe", recipe, "--conf", conf, "--stage", "submit", *overrides])


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--year", type=int, help="Challenge year.")
@click.option(
    "--like", type=click.Path(path_type=Path), help="Sample of a two-column answer (id, label) that PATH is checked by."
)
@click.option("--machines", default="", metavar="A,B", help="Only these evaluation machines are expected.")
@click.option("--scores-only", is_flag=True, help="PATH is a bare folder of score files.")
def check(path: Path, *, year: int | None, like: Path | None, machines: str, scores_only: bool) -> None:
    """Check a zip, a folder or a table of answers; every problem with file, row and remedy; exit code 1 if there is an error."""
    from dcase_asd.submission.id_label import check_id_label, sample_ids
    from dcase_asd.submission.validator import check_score_folder, check_submission

    if (year is None) == (like is None):
        raise click.UsageError("give either --year (a challenge submission) or --like (a table of ids and labels)")
    chosen = [part for part in machines.replace(",", " ").split() if part]
    checker = check_score_folder if scores_only else check_submission
    if like is not None:
        columns, ids = sample_ids(like)
        problems = check_id_label(path, ids=ids, columns=columns)
    elif year is not None:
        problems = checker(path, year=year, machines=chosen)
    for problem in problems:
        click.echo(str(problem))
    errors = sum(problem.severity == "error" for problem in problems)
    click.echo(f"{errors} errors, {len(problems) - errors} warnings")
    sys.exit(1 if errors else 0)
