"""Fills the result pages of stage 8 from metrics, scores, features and recordings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcase_asd.errors import DcaseAsdError
from dcase_asd.evaluation.intervals import mean_interval
from dcase_asd.evaluation.results import Metrics, SystemMetrics
from dcase_asd.io.atomic import write_text
from dcase_asd.io.hashing import sha256_json
from dcase_asd.io.tables import write_table
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.pipeline.decision_tables import DECISION_TABLE, decision_markdown, decision_text
from dcase_asd.pipeline.records import git_state, provenance
from dcase_asd.pipeline.stage import Context
from dcase_asd.pipeline.stages.ensemble import ALL_SEEDS, UNSELECTED, base_name, expand
from dcase_asd.pipeline.stages.scores import LEVEL_SYSTEMS
from dcase_asd.pipeline.stages.shown import shown_systems

if TYPE_CHECKING:
    import pandas as pd

    from dcase_asd.evaluation.report.data import Group, SystemRow

__all__ = ["system_detectors", "system_rows", "write_pages"]

_SUBSETS = {"dev": "development", "eval": "evaluation"}
#: Term keys of the rules to the short names the pages show.
_SHORT = {"auc_source": "AUC source", "auc_target": "AUC target", "auc": "AUC", "pauc": "pAUC"} | {
    "pauc_source": "pAUC source",
    "pauc_target": "pAUC target",
}


def write_pages(context: Context, out: Path) -> None:
    """Write ``results_<subset>.csv``, ``RESULTS.md``, ``table.txt`` and ``report.html`` into the stage's folder."""
    config = context.config
    found = {s: _metrics_of(out, s, [str(x) for x in config["seeds"]]) for s in _SUBSETS}
    rows = {
        s: system_rows(m, comparators=_comparators(config, m), order=shown_systems(config, sorted(m[0].systems)))
        for s, m in found.items()
        if m
    }
    for subset, entries in rows.items():
        write_table(out / f"results_{subset}.csv", _flat(entries))
    tables = [
        part for s, r in rows.items() for part in (_text_table(_SUBSETS[s], r, found[s]), decision_text(_judged(config, out, s)))
    ]
    write_text(out / "table.txt", "\n".join(filter(None, tables)) or _NO_LABELS)
    write_text(out / "RESULTS.md", _results(context, out, rows, found))
    write_report_page(context, out, rows)


_NO_LABELS = "No test clip has a label: nothing to evaluate. Scores and decisions were written; see stage 9 for the submission.\n"


def system_rows(metrics: Sequence[Metrics], *, comparators: Sequence[str], order: Sequence[str] = ()) -> list[SystemRow]:
    """Average each system over seeds; the interval covers the choice of clips and of seeds.

    The half-width over clips (jackknife, mean over seeds) and the one over seeds (Student's t of the mean) add as squares:
    clips and seeds vary independently. With one seed it is the jackknife interval alone.
    """
    from dcase_asd.evaluation.report.data import SystemRow

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
            )
        )
    return result


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


def _metrics_of(out: Path, subset: str, names: Sequence[str]) -> list[Metrics]:
    return [Metrics.read(out / n / subset / "metrics.json") for n in names if (out / n / subset / "metrics.json").is_file()]


def _comparators(config: Mapping[str, Any], metrics: Sequence[Metrics]) -> list[str]:
    systems = list(metrics[0].systems)
    return [s for p in config["evaluate"]["comparators"] for s in ([p] if p in systems else expand([p], systems))]


def _flat(rows: Sequence[SystemRow]) -> pd.DataFrame:
    import pandas as pd

    flat = []
    for row in rows:
        values = {f"{machine} {k}": v for machine, each in row.per_machine.items() for k, v in each.items()}
        flat.append({"system": row.system, "group": row.group, "score": row.score, "low": row.low, "high": row.high, **values})
    return pd.DataFrame(flat)


def _text_table(subset: str, rows: Sequence[SystemRow], metrics: Sequence[Metrics]) -> str:
    """Return the table that ends a run on the screen: one block a machine, per cent."""
    width = max(len(r.system) for r in rows) + 2
    terms = list(dict.fromkeys(k for r in rows for each in r.per_machine.values() for k in each))
    machines = list(rows[0].per_machine)
    lines = [f"{subset.capitalize()} machines, per cent, rule {metrics[0].rule}, seeds {len(metrics)}"]
    lines.append("machine".ljust(16) + "system".ljust(width) + "".join(t.rjust(13) for t in terms))
    for machine in machines:
        for index, row in enumerate(rows):
            values = "".join(f"{100 * row.per_machine[machine].get(t, math.nan):13.2f}" for t in terms)
            lines.append((machine if index == 0 else "").ljust(16) + row.system.ljust(width) + values)
    lines.append("all machines".ljust(16) + "system".ljust(width) + "score".rjust(13) + "   95 % interval")
    for row in rows:
        interval = "" if row.low is None or row.high is None else f"   {100 * row.low:.2f} .. {100 * row.high:.2f}"
        kind = "" if row.group == "ours" else f"  ({row.group})"
        lines.append(" " * 16 + row.system.ljust(width) + f"{100 * row.score:13.2f}{interval}{kind}")
    return "\n".join(lines) + "\n"


def _environment(config: Mapping[str, Any]) -> dict[str, str]:
    versions = provenance("", seconds=0.0)["versions"]
    return {
        "rule": config["evaluate"]["rule"],
        "seeds": ", ".join(map(str, config["seeds"])),
        "configuration": sha256_json(config)[:12],
        "git": git_state() or "not a checkout",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _judged(config: Mapping[str, Any], out: Path, subset: str) -> list[Path]:
    """Return the tables of decisions, one a seed; they exist under rules that judge decisions."""
    return [path for seed in config["seeds"] if (path := out / str(seed) / subset / DECISION_TABLE).is_file()]


def _results(
    context: Context, out: Path, rows: Mapping[str, Sequence[SystemRow]], metrics: Mapping[str, Sequence[Metrics]]
) -> str:
    from dcase_asd.evaluation.results_page import results_markdown

    if not rows:
        return f"<!-- Generated. -->\n# {_title(context.config)}\n\n{_NO_LABELS}"
    parts = []
    for subset, entries in rows.items():
        title = f"{_title(context.config)}: {_SUBSETS[subset]} machines"
        page = results_markdown(entries, title=title, environment=_environment(context.config), command=_command(context))
        parts.append(page + "\n" + _differences(metrics[subset]))
        parts.append(decision_markdown(_judged(context.config, out, subset)))
    return "\n".join(filter(None, parts))


def _differences(metrics: Sequence[Metrics]) -> str:
    """Return the margins over the reference system, averaged over seeds, with both kinds of uncertainty."""
    names = [(d.system, d.reference) for d in metrics[0].differences]
    if not names:
        return ""
    lines = ["Margins (points of the official score; paired bootstrap over clips, Student's t over seeds):", ""]
    lines += ["| System | minus | margin [95 % interval] | decided |", "| --- | --- | ---: | --- |"]
    for system, reference in names:
        runs = [d.interval for m in metrics for d in m.differences if (d.system, d.reference) == (system, reference)]
        mean = float(np.mean([r.estimate for r in runs]))
        seeds = mean_interval(np.array([r.estimate for r in runs])).half_width if len(runs) > 1 else 0.0
        below = math.hypot(float(np.mean([r.estimate - r.low for r in runs])), seeds)
        above = math.hypot(float(np.mean([r.high - r.estimate for r in runs])), seeds)
        decided = "yes" if mean - below > 0 or mean + above < 0 else "no"
        interval = f"{100 * mean:+.2f} [{100 * (mean - below):+.2f}, {100 * (mean + above):+.2f}]"
        lines.append(f"| {system} | {reference} | {interval} | {decided} |")
    return "\n".join(lines) + "\n"


def _title(config: Mapping[str, Any]) -> str:
    return str(config["description"] or "Results")


def _command(context: Context) -> str:
    return f"dcase-asd {context.command}" if context.command else "dcase-asd run"


def write_report_page(context: Context, out: Path, rows: Mapping[str, Sequence[SystemRow]]) -> None:
    """Write ``report.html`` from the first seed's clips (all seeds' scores where there are several)."""
    from dcase_asd.evaluation.report.data import ReportData
    from dcase_asd.evaluation.report.page import write_report
    from dcase_asd.pipeline.report_clips import machine_reports

    config = context.config
    unit = ALL_SEEDS if len(config["seeds"]) > 1 else str(config["seeds"][0])
    manifest = Manifest.read(context.folders["manifests"] / "manifest.csv")
    labels = Labels.read(context.folders["manifests"] / "labels.csv")
    main = _main_system(rows)
    machines = machine_reports(context, out, unit, main=main, tables=(manifest, labels)) if main else []
    notes = [
        f"{row.system}: signal level alone{', inverted' if row.system.endswith('down') else ''}; "
        "a high value means that the test classes differ in level by accident."
        for row in next(iter(rows.values()), [])
        if row.group == "trivial"
    ]
    if config["scores"]["statistics"] == "transductive":
        notes.insert(0, "TRANSDUCTIVE: scores were standardised with statistics of the test clips themselves.")
    data = ReportData(
        title=_title(config),
        subtitle=f"Rule {config['evaluate']['rule']}, {len(config['seeds'])} seed(s), main system {main or 'none'}",
        provenance=_environment(config),
        system_table=list(next(iter(rows.values()), [])),
        machines=machines,
        notes=notes if rows else [_NO_LABELS.strip(), *notes],
        auc_rule="own_domain" if config["evaluate"]["rule"] in ("own_domain", "dcase2021") else "official",
    )
    write_report(out / "report.html", data)


def _main_system(rows: Mapping[str, Sequence[SystemRow]]) -> str:
    """Return the first of our own systems: the configuration's order decides, not the test labels."""
    own = [r.system for entries in rows.values() for r in entries if r.group == "ours"]
    return own[0] if own else ""


def system_detectors(config: Mapping[str, Any], system: str) -> list[str]:
    """Return the detectors a system is made of: itself, or those an ensemble's patterns match."""
    if base_name(system) in config["detectors"]:
        return [base_name(system)]
    for key, entry in config["ensembles"].items():
        if base_name(system) in (key, key + UNSELECTED):
            return _member_detectors(config, entry["members"])
    raise DcaseAsdError(f"system {system!r} belongs to no detector or ensemble of the configuration")


def _member_detectors(config: Mapping[str, Any], members: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in (base_name(member) for member in members):
        inner = config["ensembles"].get(name)
        found += expand([name], list(config["detectors"])) if inner is None else _member_detectors(config, inner["members"])
    return list(dict.fromkeys(found))
