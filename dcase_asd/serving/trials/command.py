"""What ``dcase-asd trial`` does and prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import UsageError
from dcase_asd.serving.trials.machine import Outcome, split, try_machine
from dcase_asd.serving.trials.tables import alarm_table, auc_table
from dcase_asd.serving.trials.variants import parse_variant

__all__ = ["Options", "trial_command"]


@dataclass(frozen=True)
class Options:
    """The options of ``dcase-asd trial``; see its help.

    Attributes
    ----------
    corpus, weights : str
    false_alarms, hold_out : float
    normals : int
    others, first_only, alarms : bool
    """

    corpus: str
    false_alarms: float
    weights: str
    others: bool
    hold_out: float
    normals: int
    first_only: bool
    alarms: bool


def trial_command(
    root: Path, *, overrides: Sequence[str], machines: Sequence[str], variants: Sequence[str], seeds: str, options: Options
) -> None:
    """Scan a corpus, try every variant on every machine with labels, and print the tables."""
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {seeds}: expected whole numbers such as 0,1,2") from error
    chosen = [parse_variant(text) for text in variants]
    plugin = registry.load("corpora", options.corpus)
    config: object = configs.build(plugin.config, configs.apply_overrides({}, overrides), where=options.corpus)
    manifest, labels = plugin.implementation(config).scan(root, nj=1)
    truth = set(labels.table["clip_id"])
    outcomes: list[Outcome] = []
    for machine in machines or manifest.machines:
        tested = manifest.select(machine=machine, split="test").table["clip_id"]
        if not machines and not (len(tested) and set(tested) <= truth):
            click.echo(f"{machine}: no labelled test recordings, left out", err=True)
            continue
        clips = split(
            manifest,
            labels,
            machine,
            root=root,
            hold_out=options.hold_out,
            n_normals=options.normals,
            first_only=options.first_only,
        )
        click.echo(f"{machine}: {len(clips.source)} + {len(clips.target)} normals, {len(clips.test)} to score", err=True)
        outcomes += try_machine(
            machine, clips, chosen, seeds=numbers, rate=options.false_alarms, weights=options.weights, others=options.others
        )
    if not outcomes:
        raise UsageError(f"{root}: no machine with labelled test recordings; check --corpus and its settings")
    click.echo(auc_table(outcomes))
    if options.alarms:
        click.echo("\n" + alarm_table(outcomes))
