"""``dcase-asd update``: add normal recordings to a bundle."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command(name="update", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle")
@click.argument("normals", nargs=-1)
@click.option("--also", multiple=True, metavar="PATH", help="Normal recordings under a second condition; repeat.")
@click.option("--out", "-o", default="", metavar="PATH", show_default="BUNDLE itself", help="Write the new bundle here.")
def command(*, bundle: str, normals: tuple[str, ...], also: tuple[str, ...], out: str) -> None:
    """Fit BUNDLE again with NORMALS added; the recordings it was made from are not needed."""
    from dcase_asd.serving.commands import update_command

    update_command(bundle, normals, also=also, out=out)
