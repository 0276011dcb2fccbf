"""Fills the result pages of stage 8 from metrics, scores, features and recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcase_asd.errors import DcaseAsdError
from dcase_asd.evaluation.result_tables import detection_markdown, text_table
from dcase_asd.evaluation.results import Metrics
from dcase_asd.evaluation.rules import rule_named
from dcase_asd.io.atomic import write_text
from dcase_asd.io.hashing import sha256_json
from dcase_asd.io.tables import write_table
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.pipeline.decision_tables import DECISION_TABLE, decision_markdown, decision_text
from dcase_asd.pipeline.records import git_state, provenance
from dcase_asd.pipeline.result_rows import ALWAYS, combined_ends, system_rows
from dcase_asd.pipeline.stage import Context
from dcase_asd.pipeline.stages.ensemble import ALL_SEEDS, UNSELECTED, base_name, expand
from dcase_asd.pipeline.stages.scores import LEVEL_SYSTEMS
from dcase_asd.pipeline.stages.shown import shown_systems

if TYPE_CHECKING:
    import pandas as pd

    from dcase_asd.evaluation.report.data import SystemRow

__all__ = ["system_detectors", "write_pages"]

_SUBSETS = {"dev": "development", "eval": "evaluation"}


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
        part
        for s, r in rows.items()
        for part in (text_table(r, heading=_heading(_SUBSETS[s], found[s])), decision_text(_judged(config, out, s)))
    ]
    write_text(out / "table.txt", "\n".join(filter(None, tables)) or _NO_LABELS)
    write_text(out / "RESULTS.md", _results(context, out, rows, found))
    write_report_page(context, out, rows)


_NO_LABELS = "No test clip has a label: nothing to evaluate. Scores and decisions were written; see stage 9 for the submission.\n"


def _metrics_of(out: Path, subset: str, names: Sequence[str]) -> list[Metrics]:
    return [Metrics.read(out / n / subset / "metrics.json") for n in names if (out / n / subset / "metrics.json").is_file()]


def _comparators(config: Mapping[str, Any], metrics: Sequence[Metrics]) -> list[str]:
    systems = list(metrics[0].systems)
    return [s for p in config["evaluate"]["comparators"] for s in ([p] if p in systems else expand([p], systems))]


def _flat(rows: Sequence[SystemRow]) -> pd.DataFrame:
    import pandas as pd

    flat = []
    for row in rows:
        values = {f"{machine} {k}": v for machine in row.per_machine for k, v in row.measures(machine).items()}
        flat.append({"system": row.system, "group": row.group, "score": row.score, "low": row.low, "high": row.high, **values})
    return pd.DataFrame(flat)


def _heading(subset: str, metrics: Sequence[Metrics]) -> str:
    return f"{subset.capitalize()} machines, per cent, rule {metrics[0].rule}, seeds {len(metrics)}"


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
        page = results_markdown(
            entries,
            title=title,
            environment=_environment(context.config),
            command=_command(context),
            score_name=_score_name(context.config),
        )
        judged = decision_markdown(_judged(context.config, out, subset))
        parts += [page, _detection(entries), _differences(metrics[subset]), judged]
    return "\n".join(filter(None, parts))


def _detection(rows: Sequence[SystemRow]) -> str:
    table = detection_markdown(rows)
    if not table:
        return ""
    return (
        "Every measure, per cent; brackets: 95 % bootstrap interval over clips; means are arithmetic. Precision, recall and F1 "
        f"at the threshold set on normal clips; {ALWAYS}, which calls every clip an anomaly, shows the base rate (precision) and "
        f"the trivial F1.\n\n{table}"
    )


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
        low, high = combined_ends(runs)
        decided = "yes" if low > 0 or high < 0 else "no"
        interval = f"{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
        lines.append(f"| {system} | {reference} | {interval} | {decided} |")
    return "\n".join(lines) + "\n"


def _score_name(config: Mapping[str, Any]) -> str:
    rule = rule_named(config["evaluate"]["rule"])
    return "Official score" if rule.official else f"Score ({rule.name})"


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
    notes = _notes(next(iter(rows.values()), []), pictures=bool(machines) and machines[0].items == "pictures")
    if config["scores"]["statistics"] == "transductive":
        notes.insert(0, "TRANSDUCTIVE: scores were standardised with statistics of the test clips themselves.")
    data = ReportData(
        title=_title(config),
        subtitle=f"Rule {config['evaluate']['rule']}, {len(config['seeds'])} seed(s), main system {main or 'none'}",
        provenance=_environment(config),
        system_table=list(next(iter(rows.values()), [])),
        machines=machines,
        notes=notes if rows else [_NO_LABELS.strip(), *notes],
        score_name=_score_name(config),
        auc_rule="own_domain" if config["evaluate"]["rule"] in ("own_domain", "dcase2021") else "official",
    )
    write_report(out / "report.html", data)


def _notes(rows: Sequence[SystemRow], *, pictures: bool) -> list[str]:
    """Say what the trivial rows are."""
    notes = []
    for row in rows:
        if row.system in LEVEL_SYSTEMS:
            what = (
                f"{'mean brightness' if pictures else 'signal level'} alone{', inverted' if row.system.endswith('down') else ''}"
            )
            notes.append(f"{row.system}: {what}; a high value means that the test classes differ in it by accident.")
        elif row.system == ALWAYS:
            notes.append(
                f"{ALWAYS}: calls everything an anomaly; its precision and AP are the base rate, its F1 is the trivial one."
            )
    return notes


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
