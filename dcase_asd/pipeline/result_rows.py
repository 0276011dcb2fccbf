"""The rows of the result tables: every system over all seeds, and what calling every clip an anomaly would score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dcase_asd.evaluation.intervals import Interval, mean_interval
from dcase_asd.evaluation.results import MachineMetrics, Metrics, SystemMetrics
from dcase_asd.evaluation.rules import rule_named
from dcase_asd.pipeline.stages.scores import LEVEL_SYSTEMS

if TYPE_CHECKING:
    from dcase_asd.evaluation.report.data import Group, SystemRow

__all__ = ["ALWAYS", "combined_ends", "system_rows"]

#: Name of the row whose precision and average precision are the base rate, and whose F1 is the trivial one.
ALWAYS = "always_anomaly"
#: Term keys of the rules to the short names the pages show.
_SHORT = {"auc_source": "AUC source", "auc_target": "AUC target", "auc": "AUC", "pauc": "pAUC"} | {
    "pauc_source": "pAUC source",
    "pauc_target": "pAUC target",
}


def system_rows(metrics: Sequence[Metrics], *, comparators: Sequence[str], order: Sequence[str] = ()) -> list[SystemRow]:
    """Average each system over seeds; the interval covers the choice of clips and of seeds.

    The half-width over clips (jackknife, mean over seeds) and the one over seeds (Student's t of the mean) add as squares:
    clips and seeds vary independently. With one seed it is the jackknife interval alone. A rule that has measures beside
    the score gets a last row, the system that calls every clip an anomaly.
    """
    from dcase_asd.evaluation.report.data import SystemRow

    beside = dict(rule_named(metrics[0].rule).beside)
    result = []
    for name in order or metrics[0].systems:
        runs = [m.systems[name] for m in metrics if name in m.systems]
        scores = [run.score for run in runs]
        mean = float(np.mean(scores))
        half = _half_width(runs)
        group: Group = "trivial" if name in LEVEL_SYSTEMS else "comparator" if name in comparators else "ours"
        result.append(
            SystemRow(
                system=name,
                group=group,
                score=mean,
                low=None if half is None else max(mean - half, 0.0),
                high=None if half is None else min(mean + half, 1.0),
                per_machine=_per_machine(runs),
                beside={m: _beside([r.machines[m] for r in runs], beside) for m in runs[0].machines} if beside else {},
                ranges={machine: _ranges([r.machines[machine] for r in runs], beside) for machine in runs[0].machines},
            )
        )
    return [*result, _always(metrics[0])] if beside else result


def combined_ends(runs: Sequence[Interval]) -> tuple[float, float]:
    """Return the ends of an interval over clips and seeds: both kinds of half-width add as squares."""
    mean = float(np.mean([r.estimate for r in runs]))
    seeds = mean_interval(np.array([r.estimate for r in runs])).half_width if len(runs) > 1 else 0.0
    below = math.hypot(float(np.mean([r.estimate - r.low for r in runs])), seeds)
    above = math.hypot(float(np.mean([r.high - r.estimate for r in runs])), seeds)
    return mean - below, mean + above


def _half_width(runs: Sequence[SystemMetrics]) -> float | None:
    clips = [run.interval.half_width for run in runs if run.interval is not None]
    if len(clips) < len(runs):
        return None
    seeds = mean_interval(np.array([run.score for run in runs])).half_width if len(runs) > 1 else 0.0
    return math.hypot(float(np.mean(clips)), seeds)


def _per_machine(runs: Sequence[SystemMetrics]) -> dict[str, dict[str, float]]:
    return {
        machine: {_SHORT.get(k, k): float(np.mean([r.machines[machine].means[k] for r in runs])) for k in first.means}
        | {"score": float(np.mean([r.machines[machine].score for r in runs]))}
        for machine, first in runs[0].machines.items()
    }


def _beside(runs: Sequence[MachineMetrics], labels: dict[str, str]) -> dict[str, float]:
    found = {label: [run.average(key) for run in runs] for key, label in labels.items()}
    known = {label: [v for v in values if v is not None] for label, values in found.items()}
    return {label: float(np.mean(values)) for label, values in known.items() if len(values) == len(runs)}


def _ranges(runs: Sequence[MachineMetrics], labels: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    common = [key for key in runs[0].intervals if all(key in run.intervals for run in runs)]
    ends = {key: combined_ends([run.intervals[key] for run in runs]) for key in common}
    return {labels.get(key, _SHORT.get(key, key)): (max(low, 0.0), min(high, 1.0)) for key, (low, high) in ends.items()}


def _always(metrics: Metrics) -> SystemRow:
    """Return the row of the system that scores all clips alike and calls each an anomaly; it needs the class sizes alone."""
    from dcase_asd.evaluation.report.data import SystemRow

    rule = rule_named(metrics.rule)
    machines = next(iter(metrics.systems.values())).machines
    chance = {_SHORT.get(term.key, term.key): 0.5 for term in rule.terms} | {"score": 0.5}
    beside = {}
    for name, entry in machines.items():
        base, f1 = entry.average("precision_base"), entry.average("f1_trivial")
        if base is not None and f1 is not None:
            beside[name] = {"AP": base, "precision": base, "recall": 1.0, "F1": f1}
    return SystemRow(
        system=ALWAYS, group="trivial", score=0.5, per_machine={name: dict(chance) for name in machines}, beside=beside
    )
