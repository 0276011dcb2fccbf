"""``dcase-asd download``: fetch a challenge year's recordings."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="download", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("year", type=int)
@click.option("--dest", type=click.Path(path_type=Path), required=True, help="Data root to unpack into.")
@click.option("--machines", default="", metavar="A,B", help="Only these machine types.")
@click.option("--subsets", default="dev,eval", show_default=True, help="dev, eval or both.")
@click.option("--nj", default=4, show_default=True, help="Files fetched at once.")
@click.option("--keep-archives", is_flag=True, help="Keep the zip files.")
@click.option("--base-url", default="", help="Another server with the same interface (default: the public archive).")
def command(year: int, *, dest: Path, machines: str, subsets: str, nj: int, keep_archives: bool, base_url: str) -> None:
    """Download the recordings of challenge YEAR: resumable, verified by checksum, unpacked safely."""
    from dcase_asd.download.corpus import download

    download(
        year,
        machines=machines.replace(",", " ").split(),
        subsets=subsets.replace(",", " ").split(),
        dest=dest,
        nj=nj,
        keep_archives=keep_archives,
        base_url=base_url or None,
    )
    click.echo(f"recordings of {year} in {dest}")
