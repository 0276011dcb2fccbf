"""``dcase-asd manifest make|check``: the table of clips of a corpus."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.group(name="manifest", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make or check the table of clips of a corpus."""


@command.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--corpus", default="folder", show_default=True, help="Registered corpus; see dcase-asd list corpora.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), show_default="current folder", help="Where the tables go."
)
@click.option("--nj", default=2, show_default=True, help="Files read at once.")
@click.argument("overrides", nargs=-1)
def make(root: Path, corpus: str, out: Path, nj: int, overrides: tuple[str, ...]) -> None:
    """Scan ROOT and write manifest.csv and labels.csv; OVERRIDES are corpus settings such as year=2024."""
    from dcase_asd import config as configs
    from dcase_asd import registry

    plugin = registry.load("corpora", corpus)
    config: object = configs.build(plugin.config, configs.apply_overrides({}, overrides), where=corpus)
    manifest, labels = plugin.implementation(config).scan(root, nj=nj)
    manifest.write(out / "manifest.csv")
    labels.write(out / "labels.csv")
    click.echo(f"{len(manifest)} clips of {len(manifest.machines)} machines, {len(labels)} labels -> {out / 'manifest.csv'}")


@command.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--root", type=click.Path(path_type=Path), required=True, help="What the manifest's paths are relative to.")
@click.option("--read", is_flag=True, help="Read every sample, not headers only.")
@click.option("--nj", default=2, show_default=True, help="Files read at once.")
def check(manifest: Path, root: Path, *, read: bool, nj: int) -> None:
    """List every problem of MANIFEST and its files at once; exit code 1 if there is an error."""
    from dcase_asd.manifests.check import check_manifest
    from dcase_asd.manifests.schema import Manifest

    problems = check_manifest(Manifest.read(manifest), root, read=read, nj=nj)
    for problem in problems:
        place = problem.path or problem.clip_id or "corpus"
        click.echo(f"{problem.severity}: {place}: {problem.what}; {problem.remedy}")
    errors = sum(problem.severity == "error" for problem in problems)
    click.echo(f"{errors} errors, {len(problems) - errors} warnings")
    sys.exit(1 if errors else 0)
