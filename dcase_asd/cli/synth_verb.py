"""``dcase-asd synth``: synthesise a corpus of machine recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["command"]


@click.command(name="synth", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", default="mini", show_default=True, help="mini, demo or full.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--machines", default="", metavar="A,B", help="Only these machine types.")
@click.option("--difficulty", type=float, default=None, help="How faint the anomalies are.")
@click.option("--layout", default="dcase2023", show_default=True, help="dcase2023, dcase2020 (slider), or textures (pictures).")
@click.option("--nj", default=1, show_default=True, help="Processes at once; never changes a byte.")
def command(out: Path, *, size: str, seed: int, machines: str, difficulty: float | None, layout: str, nj: int) -> None:
    """Synthesise a corpus into OUT in the layout of the DCASE challenge."""
    from dcase_asd.synthesis import synthesise

    chosen = [part for part in machines.replace(",", " ").split() if part]
    options: dict[str, Any] = {} if difficulty is None else {"difficulty": difficulty}
    root = synthesise(out, size=size, seed=seed, machines=chosen, layout=layout, nj=nj, **options)
    click.echo(f"corpus at {root}")
