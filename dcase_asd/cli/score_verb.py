"""``dcase-asd score``: scores and decisions for recordings, by a bundle."""

from __future__ import annotations

import sys

import click

__all__ = ["command"]


@click.command(name="score", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle")
@click.argument("recordings", nargs=-1, required=True)
@click.option("--csv", "csv_out", default="", metavar="FILE", show_default="standard output", help="Write the table here.")
@click.option("--report", default="", metavar="HTML", help="Write a page with the most anomalous recordings to see and hear.")
def command(*, bundle: str, recordings: tuple[str, ...], csv_out: str, report: str) -> None:
    """Score RECORDINGS (files, or folders of them) with BUNDLE; exit 1 if any could not be read, the others are scored."""
    from dcase_asd.serving.commands import score_command

    sys.exit(score_command(bundle, recordings, csv_out=csv_out, report=report))
