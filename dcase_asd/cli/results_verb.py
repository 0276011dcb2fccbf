"""``dcase-asd results``: the result tables of experiments."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="results", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("experiments", type=click.Path(path_type=Path), nargs=-1, required=True)
def command(experiments: tuple[Path, ...]) -> None:
    """Print the result pages of EXPERIMENTS (folders such as exp/oe, or exp for all of them), one after another."""
    from dcase_asd.errors import FormatError

    pages = sorted({page for folder in experiments for page in folder.glob("**/8_evaluate/RESULTS.md")})
    if not pages:
        raise FormatError(
            f"{', '.join(map(str, experiments))}: no 8_evaluate/RESULTS.md below; run a recipe through stage 8 first"
        )
    for page in pages:
        click.echo(page.read_text(encoding="utf-8"))
