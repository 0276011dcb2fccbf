"""``dcase-asd fit``: a detector for one's own machine from recordings of it running normally."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import click

__all__ = ["command"]


def rate(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """Read ``1/100`` or ``0.01``."""
    try:
        value = float(Fraction(text.replace(" in ", "/").strip()))
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not 1e-6 <= value < 1.0:  # as of the parameter of Scorer
        raise click.BadParameter(f"{text!r}: give a share such as 1/100 or 0.01, of at least 1/1000000")
    return value


@click.command(name="fit", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("normals", nargs=-1, required=True)
@click.option("--out", "-o", required=True, metavar="PATH", help="The bundle: a folder, or a zip if the name ends in .zip.")
@click.option("--also", multiple=True, metavar="PATH", help="Normal recordings under a second condition, even few; repeat.")
@click.option("--others", multiple=True, metavar="PATH", help="Recordings of other machines, to learn against; repeat.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Time fitting may take; decides what is trained.")
@click.option("--false-alarms", default="1/100", show_default=True, callback=rate, help="False alarms per normal recording.")
@click.option("--channel", default="mean", show_default=True, help="mean, or a channel's number from 0.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of what is random.")
@click.option("--weights", default="", metavar="PATH", show_default="$DCASE_ASD_WEIGHTS", help="Pretrained checkpoint.")
@click.option("--conf", default="", metavar="YAML", help="A model of one's own instead of the advised one.")
def command(
    *,
    normals: tuple[str, ...],
    out: str,
    also: tuple[str, ...],
    others: tuple[str, ...],
    minutes: float | None,
    conf: str,
    **parameters: Any,
) -> None:
    """Fit a detector to NORMALS (recordings, or folders of them) and write it as a bundle."""
    from dcase_asd.serving.commands import fit_command

    fit_command(normals, out=out, also=also, others=others, minutes=minutes, conf=conf, parameters=parameters)
