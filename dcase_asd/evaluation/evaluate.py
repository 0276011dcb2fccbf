"""From tables of scores and truth to :class:`~dcase_asd.evaluation.results.Metrics`.

Tables are joined by ``clip_id``, never by position; a clip that is missing, extra, doubled or without a finite score is an error
that names it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.evaluation.bootstrap import Difference, bootstrap_values, difference, percentile_interval
from dcase_asd.evaluation.detection_bootstrap import detection_replicates
from dcase_asd.evaluation.intervals import can_leave_one_out, official_ci95, score_jackknife
from dcase_asd.evaluation.metrics import Floats, auc, average_precision, base_rates, precision_recall_f1
from dcase_asd.evaluation.results import MachineMetrics, Metrics, SectionMetrics, SystemMetrics
from dcase_asd.evaluation.rules import Rule, Section, rule_named
from dcase_asd.manifests.schema import DOMAINS, Labels, Manifest
from dcase_asd.scores.thresholds import oracle_threshold

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCORE_COLUMNS", "TRUTH_COLUMNS", "evaluate_scores", "truth_table"]

_LOG = logging.getLogger(__name__)

SCORE_COLUMNS = ("clip_id", "system", "score")
DECISION_COLUMNS = ("clip_id", "system", "decision")
TRUTH_COLUMNS = ("clip_id", "machine", "section", "domain", "is_anomaly")


@dataclass(frozen=True)
class _Run:
    """One system's sections, and its decisions in the same clip order."""

    sections: list[Section]
    decisions: list[Floats] | None


def truth_table(manifest: Manifest, labels: Labels) -> pd.DataFrame:
    """Return the truth of the manifest's test clips, columns :data:`TRUTH_COLUMNS`; the domain is the labels' one.

    Raises
    ------
    DataError
        If a test clip has no label.
    """
    clips = manifest.select(split="test").table[["clip_id", "machine", "section"]]
    table = clips.merge(labels.table[["clip_id", "domain", "is_anomaly"]], on="clip_id", how="left", validate="one_to_one")
    unlabelled = table["is_anomaly"].isna().to_numpy()
    _refuse("labels", "have no row for the test clips", table["clip_id"][unlabelled], "give the labels of all test clips")
    return table.astype({"is_anomaly": "int64"})[list(TRUTH_COLUMNS)]


def evaluate_scores(
    scores: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    rule: str,
    decisions: pd.DataFrame | None = None,
    interval: bool | Literal["if_possible"] = True,
    n_bootstrap: int = 0,
    reference: str | None = None,
    seed: int = 0,
    oracle: bool = False,
    provenance: Mapping[str, str] | None = None,
) -> Metrics:
    """Evaluate every system in ``scores`` by one challenge rule.

    Parameters
    ----------
    scores : DataFrame
        ``clip_id, system, score``; higher = more anomalous.
    truth : DataFrame
        ``clip_id, machine, section, domain, is_anomaly``.
    rule : str
        A key of :data:`~dcase_asd.evaluation.rules.RULES`.
    decisions : DataFrame, optional
        ``clip_id, system, decision`` (0 or 1): adds precision, recall and F1.
    interval : bool or "if_possible"
        Whether to make the score's jackknife interval; every term needs two clips of each class (``if_possible``: else none).
    n_bootstrap : int
        Replicates of the paired comparison of systems and of the machines' intervals; 0 = neither.
    reference : str, optional
        Compare every other system with this one; by default every system with every earlier one.
    seed : int
        Of the bootstrap.
    oracle : bool
        Under rules without domains, beside decisions: ``f1_oracle``, the best F1 of a section that a threshold chosen on its
        labels could have had. An upper bound, no result.
    provenance : mapping of str to str, optional
        Stored as it is.

    Raises
    ------
    DataError
        If columns are missing; clips are missing, extra or doubled; a score is not finite; a term has no clips.
    UnknownNameError
        If no rule or no reference has the name.
    """
    chosen = rule_named(rule)
    known = _checked_truth(truth, chosen)
    runs = _runs(scores, decisions, known)
    if interval == "if_possible":
        interval = can_leave_one_out(next(iter(runs.values())).sections, chosen)
        if not interval:
            _LOG.warning("no interval: a term of the rule %s has one normal or one anomalous clip only", chosen.name)
    if reference is not None and reference not in runs:
        raise UnknownNameError("system", reference, runs)
    systems = {name: _evaluate_system(run, chosen, interval=interval, oracle=oracle) for name, run in runs.items()}
    if not n_bootstrap:
        return Metrics(chosen.name, systems, (), dict(provenance or {}))
    drawn = bootstrap_values([run.sections for run in runs.values()], chosen, n_bootstrap=n_bootstrap, seed=seed)
    replicates = dict(zip(runs, drawn, strict=True))
    gaps = _compare(runs, systems, chosen, replicates=replicates, reference=reference, seed=seed)
    systems = {name: _with_intervals(system, runs[name], chosen, replicates[name], seed=seed) for name, system in systems.items()}
    return Metrics(chosen.name, systems, gaps, dict(provenance or {}))


def _checked_truth(truth: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    _require_columns(truth, TRUTH_COLUMNS, "truth")
    if not len(truth):
        raise DataError("the truth table has no rows: there is nothing to evaluate")
    table = truth[list(TRUTH_COLUMNS)].astype({"clip_id": str, "machine": str, "section": str})
    _refuse("truth", "has more than one row for", table["clip_id"][table["clip_id"].duplicated()], "keep one row per clip")
    bad = ~table["is_anomaly"].isin([0, 1])
    _refuse("truth", "has an is_anomaly other than 0 and 1 for", table["clip_id"][bad], "give 0 (normal) or 1 (anomaly)")
    bad = ~table["domain"].isin(DOMAINS)
    _refuse("truth", f"has a domain other than {', '.join(DOMAINS)} for", table["clip_id"][bad], "correct the domain column")
    if rule.uses_domains:
        unknown = table["clip_id"][table["domain"] == "unknown"]
        _refuse("truth", f"has an unknown domain, which {rule.name} needs, for", unknown, "give domains, or use the rule pooled")
    return table.sort_values(["machine", "section", "clip_id"], ignore_index=True)


def _runs(scores: pd.DataFrame, decisions: pd.DataFrame | None, truth: pd.DataFrame) -> dict[str, _Run]:
    _require_columns(scores, SCORE_COLUMNS, "scores")
    names = list(dict.fromkeys(scores["system"]))
    if not names:
        raise DataError("the score table has no rows: there is no system to evaluate")
    alarms = None
    if decisions is not None:
        _require_columns(decisions, DECISION_COLUMNS, "decisions")
        _refuse("decisions", "have no scores for the systems", sorted(set(decisions["system"]) - set(names)), "score them too")
        alarms = decisions
    groups = [(machine, section, rows.to_numpy()) for (machine, section), rows in _groups(truth)]
    anomaly, domain = truth["is_anomaly"].to_numpy().astype(bool), truth["domain"].to_numpy().astype(str)
    runs = {}
    for name in names:
        values = _joined(scores, "score", name, truth["clip_id"])
        sections = [Section(m, s, anomaly[rows], domain[rows], values[rows]) for m, s, rows in groups]
        cut = None if alarms is None else _joined(alarms, "decision", name, truth["clip_id"])
        runs[str(name)] = _Run(sections, None if cut is None else [cut[rows] for _, _, rows in groups])
    return runs


def _groups(truth: pd.DataFrame) -> Iterable[tuple[tuple[str, str], pd.Series]]:
    import pandas as pd

    rows = pd.Series(np.arange(len(truth)))
    for (machine, section), group in rows.groupby([truth["machine"], truth["section"]], sort=True):
        yield (str(machine), str(section)), group


def _joined(table: pd.DataFrame, column: str, system: str, clips: pd.Series) -> Floats:
    """Return the system's values in the order of ``clips``, after naming what does not fit."""
    import pandas as pd

    own = table[table["system"] == system]
    where, ids = f"system {system!r}: {column}s", own["clip_id"].astype(str)
    _refuse(where, "have more than one row for", ids[ids.duplicated()], "keep one row per clip")
    _refuse(where, "lack the clips", clips[~clips.isin(ids)], "score every clip of the truth")
    _refuse(where, "have clips that the truth does not know:", ids[~ids.isin(clips)], "remove them or correct their names")
    values = pd.to_numeric(own[column], errors="coerce").to_numpy(dtype=np.float64)
    _refuse(where, "are not finite numbers for", ids[~np.isfinite(values)], "find out why the system gave no number there")
    ordered: Floats = pd.Series(values, index=ids).reindex(clips).to_numpy(dtype=np.float64)
    return ordered


def _evaluate_system(run: _Run, rule: Rule, *, interval: bool, oracle: bool) -> SystemMetrics:
    values = np.stack([rule.values(section) for section in run.sections])
    names = [section.machine for section in run.sections]
    machines = {}
    for machine in dict.fromkeys(names):
        places = [place for place, name in enumerate(names) if name == machine]
        sections = {
            run.sections[place].section: _section_metrics(run, place, rule, values[place], oracle=oracle) for place in places
        }
        machines[machine] = MachineMetrics(sections, *_averages(values[places], [machine] * len(places), rule))
    means, score = _averages(values, names, rule)
    if not interval:
        return SystemMetrics(machines, means, score)
    official = None
    if rule.official and rule.layout == "2022":
        anomaly = np.concatenate([section.is_anomaly for section in run.sections])
        official = official_ci95(anomaly, np.concatenate([section.scores for section in run.sections]))
    return SystemMetrics(machines, means, score, score_jackknife(run.sections, rule), official)


def _averages(values: Floats, machines: list[str], rule: Rule) -> tuple[dict[str, float], float]:
    """Return the rule's mean of every term, and of all terms."""
    weights = rule.weights(machines)
    means = {term.key: float(rule.combine(values[:, [column]], weights)) for column, term in enumerate(rule.terms)}
    return means, float(rule.combine(values, weights))


def _section_metrics(run: _Run, place: int, rule: Rule, terms: Floats, *, oracle: bool) -> SectionMetrics:
    section = run.sections[place]
    anomaly, domain = section.is_anomaly, section.domain
    rates = base_rates(anomaly)
    values = {
        "auc": auc(anomaly, section.scores),
        "average_precision": average_precision(anomaly, section.scores),
        "precision_base": rates.precision_base,
        "f1_trivial": rates.f1_trivial,
        **{term.key: float(value) for term, value in zip(rule.terms, terms, strict=True)},
    }
    for part in ("", *(np.unique(domain) if rule.uses_domains else ())):
        if run.decisions is not None:
            keep = domain == part if part else np.ones(anomaly.shape, dtype=bool)
            found = precision_recall_f1(anomaly[keep], run.decisions[place][keep])
            ending = f"_{part}" if part else ""
            values.update({f"precision{ending}": found.precision, f"recall{ending}": found.recall, f"f1{ending}": found.f1})
    if run.decisions is not None and not rule.uses_domains:
        values["false_alarm_rate"] = float(run.decisions[place][~anomaly].mean())
        if oracle:
            values["f1_oracle"] = oracle_threshold(section.scores, anomaly).parameters["f1"]
    counts = {
        f"{part}_{kind}": int(np.count_nonzero((domain == part) & (anomaly == (kind == "anomaly"))))
        for part, kind in itertools.product(np.unique(domain), ("normal", "anomaly"))
    }
    return SectionMetrics(values, counts)


def _with_intervals(system: SystemMetrics, run: _Run, rule: Rule, replicates: Floats, *, seed: int) -> SystemMetrics:
    """Add the bootstrap intervals of every machine's terms and of what is shown beside them.

    ``replicates [replicate, section, term]`` are those of the terms.
    """
    n_bootstrap = len(replicates)
    more = detection_replicates(run.sections, run.decisions, n_bootstrap=n_bootstrap, seed=seed) if rule.beside else {}
    names = [section.machine for section in run.sections]
    machines = {}
    for machine, entry in system.machines.items():
        places = [place for place, name in enumerate(names) if name == machine]
        weights = rule.weights([machine] * len(places))
        intervals = {
            term.key: percentile_interval(
                entry.means[term.key], rule.combine(replicates[:, places, column : column + 1], weights)
            )
            for column, term in enumerate(rule.terms)
        }
        for key, values in more.items():
            estimate = entry.average(key)
            if estimate is not None:
                intervals[key] = percentile_interval(estimate, values[:, places].mean(axis=1))
        machines[machine] = replace(entry, intervals=intervals)
    return replace(system, machines=machines)


def _compare(
    runs: Mapping[str, _Run],
    systems: Mapping[str, SystemMetrics],
    rule: Rule,
    *,
    replicates: Mapping[str, Floats],
    reference: str | None,
    seed: int,
) -> tuple[Difference, ...]:
    names = list(runs)
    weights = rule.weights([section.machine for section in runs[names[0]].sections])
    scores = {name: rule.combine(values, weights) for name, values in replicates.items()}
    pairs = [(later, earlier) for earlier, later in itertools.combinations(names, 2)]
    if reference is not None:
        pairs = [(name, reference) for name in names if name != reference]
    return tuple(
        difference(pair, (systems[pair[0]].score, systems[pair[1]].score), (scores[pair[0]], scores[pair[1]]), seed=seed)
        for pair in pairs
    )


def _require_columns(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"the {what} table lacks the columns {', '.join(missing)}; expected {', '.join(columns)}, found {found}")


def _refuse(where: str, problem: str, clips: Iterable[str], remedy: str) -> None:
    names = [str(clip) for clip in clips]
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise DataError(f"{where} {problem} {shown}; {remedy}")
