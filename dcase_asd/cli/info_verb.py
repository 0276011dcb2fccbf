"""``dcase-asd info``: versions and devices, or everything about one plug-in or bundle."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="info", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False, default="")
def command(name: str) -> None:
    """Show interpreter, versions and devices; with NAME (detectors/gmm, gmm, or a bundle's path) what it is."""
    if name and (Path(name).exists() or Path(name).suffix in {".bundle", ".zip"}):  # such a name is meant as a bundle's
        from dcase_asd.serving.commands import info_command

        info_command(name)
    elif name:
        _plugin(name)
    else:
        _environment()


def _environment() -> None:
    import sys

    import torch

    from dcase_asd.pipeline.records import provenance

    known = provenance("", seconds=0.0)
    click.echo(f"interpreter {sys.executable}")
    for package, version in known["versions"].items():
        click.echo(f"  {package:<14}{version}")
    click.echo(f"git {known['git'] or 'not a checkout'}")
    click.echo(f"cpu threads {torch.get_num_threads()}, capability {torch.backends.cpu.get_cpu_capability()}")
    count = torch.cuda.device_count()
    click.echo("gpu none" if not count else "\n".join(f"gpu {i} {torch.cuda.get_device_name(i)}" for i in range(count)))


def _plugin(name: str) -> None:
    import dataclasses

    from dcase_asd import registry
    from dcase_asd.errors import UnknownNameError

    found = [
        (kind, key) for kind in registry.KINDS for key in registry.names(kind) if name in (key, f"{kind}/{key}", f"{kind}.{key}")
    ]
    if not found:
        known = [key for kind in registry.KINDS for key in registry.names(kind)]
        raise UnknownNameError("plug-in (and there is no bundle of that path)", name, known)
    for kind, key in found:
        plugin = registry.load(kind, key)
        click.echo(f"{kind}/{key}: {plugin.info.summary}")
        for field in ("source", "input", "cost", "strengths", "weaknesses"):
            if getattr(plugin.info, field):
                click.echo(f"  {field:<11}{getattr(plugin.info, field)}")
        click.echo("  options:")
        for option in dataclasses.fields(plugin.config):
            default = option.default if option.default is not dataclasses.MISSING else "(see documentation)"
            click.echo(f"    {option.name} = {default!r}  ({option.type})")
        if plugin.config.__doc__:
            click.echo("\n".join(f"  {line}" for line in plugin.config.__doc__.strip().splitlines()))
