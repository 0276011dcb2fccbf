"""``dcase-asd trial``: how ``fit`` does on recordings with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dcase_asd.cli.fit_verb import rate

__all__ = ["command"]


@click.command(name="trial", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("root", type=click.Path(path_type=Path, exists=True))
@click.argument("overrides", nargs=-1)
@click.option("--corpus", default="folder", show_default=True, help="Registered corpus; see dcase-asd list corpora.")
@click.option("--machines", default="", metavar="A,B", help="Only these; default: all.")
@click.option("--variant", "variants", multiple=True, metavar="NAME:K=V,...", help="A change of the advised model; repeat.")
@click.option("--seeds", default="0", show_default=True, metavar="0,1,2", help="Seeds; AUCs are averaged over them.")
@click.option("--false-alarms", default="1/20", show_default=True, callback=rate, help="As of fit.")
@click.option("--weights", default="", metavar="PATH", show_default="$DCASE_ASD_WEIGHTS", help="Pretrained checkpoint.")
@click.option("--others/--no-others", default=False, help="Train against the other machines of the corpus.")
@click.option("--hold-out", default=0.0, type=click.FloatRange(0, 0.9), help="Share of normal training clips to test with.")
@click.option("--normals", default=0, type=click.IntRange(0), help="Train on so many normal clips only, evenly spread.")
@click.option("--first-only", is_flag=True, help="Leave the second condition (domain target) out of training.")
@click.option("--alarms/--no-alarms", default=True, help="Print the table of false alarms too.")
def command(
    *, root: Path, overrides: tuple[str, ...], machines: str, variants: tuple[str, ...], seeds: str, **options: Any
) -> None:
    """Fit on the training recordings of the corpus at ROOT, score its labelled test recordings, and print tables (Markdown).

    OVERRIDES are settings of the corpus such as year=2023.
    """
    from dcase_asd.serving.trials.command import Options, trial_command

    trial_command(
        root,
        overrides=overrides,
        machines=[m for m in machines.split(",") if m],
        variants=variants or ("default",),
        seeds=seeds,
        options=Options(**options),
    )
