"""``dcase-asd list``: what there is, by name."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command(name="list", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind", required=False, default="")
@click.option("--names", is_flag=True, help="Names only, one a line; imports nothing.")
def command(kind: str, *, names: bool) -> None:
    """List plug-ins of KIND: corpora, features, extractors, detectors, ensembles, executors or rules; all without KIND."""
    from dcase_asd import registry
    from dcase_asd.errors import UnknownNameError

    others = {"executors": _executors, "rules": _rules}
    kinds = [*registry.KINDS, *others]
    if kind and kind not in kinds:
        raise UnknownNameError("kind", kind, kinds)
    for each in [kind] if kind else kinds:
        if not kind:
            click.echo(f"{each}:")
        for name in others[each]() if each in others else registry.names(each):
            summary = "" if names or each in others else registry.load(each, name).info.summary
            click.echo(name if names else f"  {name:<22}{summary}".rstrip())


def _executors() -> list[str]:
    from dcase_asd.pipeline.jobs import executors

    return executors()


def _rules() -> list[str]:
    from dcase_asd.evaluation.rules import RULES

    return list(RULES)
