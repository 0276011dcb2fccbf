"""Tables made from :class:`~dcase_asd.evaluation.results.Metrics`: the organisers' result files, and tables for people.

* :func:`official_csv`: the layout of the year's evaluator, unrounded. Where no decisions were given, their cells are empty.
  One row differs from the 2022 tool on purpose: its per-machine "source/target harmonic mean" rows are cut at the wrong column
  (``len(section_ids)//2``, so that "source" is section 03 alone); here they hold what their name says, as from 2023 on.
  Machines stand in alphabetical order, 2020 too, where the organisers' tool follows its list.
* :func:`section_table`: one row per machine and section with the machine's average below, systems side by side as the DCASE 2020
  per-machine-ID tables; works for every rule.
* :func:`seed_table`: mean over runs with different seeds, with Student's interval.
* :func:`markdown`: a DataFrame as a Markdown table, percent to two decimals.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.evaluation.intervals import mean_interval
from dcase_asd.evaluation.metrics import arithmetic_mean, harmonic_mean
from dcase_asd.evaluation.results import MachineMetrics, Metrics, SectionMetrics, SystemMetrics
from dcase_asd.evaluation.rules import rule_named
from dcase_asd.io.atomic import write_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["markdown", "official_csv", "section_table", "seed_table", "write_official_csv"]

Line = list[object]
_MEASURES = ("AUC", "pAUC", "precision", "recall", "F1 score")
_OVER_ALL = "over all machine types, sections, and domains"
# column heading of the 2022+ result file and key of the value
_COLUMNS_2022 = {
    "AUC (all)": "auc",
    "AUC (source)": "auc_source",
    "AUC (target)": "auc_target",
    "pAUC": "pauc",
    "precision (source)": "precision_source",
    "precision (target)": "precision_target",
    "recall (source)": "recall_source",
    "recall (target)": "recall_target",
    "F1 score (source)": "f1_source",
    "F1 score (target)": "f1_target",
}
_KEYS = {"AUC": "auc", "pAUC": "pauc", "precision": "precision", "recall": "recall", "F1 score": "f1"}


def official_csv(metrics: Metrics, *, system: str | None = None) -> str:
    """Return one system's result file in the layout of the rule's year (2020, 2021, or 2022 and later).

    Parameters
    ----------
    metrics : Metrics
        Of any rule. The headings of ``own_domain`` and the score line of rules that are not official say so.
    system : str, optional
        Which system; may be left out if there is only one.

    Raises
    ------
    UnknownNameError
        If there is no such system, or several and none is named.
    """
    name = next(iter(metrics.systems)) if system is None and len(metrics.systems) == 1 else system
    if name is None or name not in metrics.systems:
        raise UnknownNameError("system", str(name), metrics.systems)
    makers: dict[str, Callable[[Metrics, SystemMetrics], Iterable[Line]]] = {
        "2020": _lines_2020,
        "2021": _lines_2021,
        "2022": _lines_2022,
    }
    layout = rule_named(metrics.rule).layout
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(makers[layout](metrics, metrics.systems[name]))
    return buffer.getvalue()


def write_official_csv(path: str | os.PathLike[str], metrics: Metrics, *, system: str | None = None) -> None:
    """Write :func:`official_csv` atomically; raises as it does."""
    write_text(path, official_csv(metrics, system=system))


def section_table(metrics: Metrics) -> pd.DataFrame:
    """Return rows (machine, section) and columns (system, term), fractions, with a mean row under every machine and in the end.

    The mean rows are called ``Average`` under an arithmetic rule and ``harmonic mean`` under the others. This is the DCASE 2020
    per-machine-ID table; from 2021 on its rows are sections.
    """
    import pandas as pd

    rule = rule_named(metrics.rule)
    mean = "Average" if rule.mean == "arithmetic" else "harmonic mean"
    columns = {}
    for name, system in metrics.systems.items():
        for term in rule.terms:
            cells = {}
            for machine, entry in system.machines.items():
                cells.update({(machine, section): values.values[term.key] for section, values in entry.sections.items()})
                cells[machine, mean] = entry.means[term.key]
            cells["all", mean] = system.means[term.key]
            columns[name, term.label] = cells
    keys = list(next(iter(columns.values())))
    table = pd.DataFrame({key: list(cells.values()) for key, cells in columns.items()})
    table.index = pd.MultiIndex.from_tuples(keys, names=["machine", "section"])
    return table


def seed_table(runs: Sequence[Metrics]) -> pd.DataFrame:
    """Return one row per system: mean score, its interval (Student, 95 %), lowest and highest run, number of runs.

    Parameters
    ----------
    runs : sequence of Metrics
        One evaluation per seed, of the same systems under the same rule.

    Raises
    ------
    DataError
        If there are fewer than two runs, or their rules or systems differ.
    """
    import pandas as pd

    kinds = {(run.rule, tuple(sorted(run.systems))) for run in runs}
    if len(kinds) != 1:
        raise DataError(f"runs of {len(kinds)} different rules or sets of systems cannot be averaged: {sorted(kinds)}")
    rows = {}
    for name in runs[0].systems:
        scores = [run.systems[name].score for run in runs]
        found = mean_interval(scores)
        rows[name] = {
            runs[0].score_label: found.estimate,
            "low": found.low,
            "high": found.high,
            "lowest": min(scores),
            "highest": max(scores),
            "seeds": found.n,
        }
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="system"))


def markdown(table: pd.DataFrame, *, percent: bool = True) -> str:
    """Return a table as Markdown, floats in percent to two decimals (``percent=False``: as fractions to four).

    Index and column levels become columns and joined headings; a pipe in a name is escaped; NaN is an empty cell.
    """
    index = [str(name or "") for name in table.index.names]
    heads = [" ".join(map(str, column)) if isinstance(column, tuple) else str(column) for column in table.columns]
    lines = [index + heads, ["---"] * len(index) + ["---:"] * len(heads)]
    for key, row in zip(table.index, table.itertuples(index=False, name=None), strict=True):
        names = list(key) if isinstance(key, tuple) else [key]
        lines.append([*map(str, names), *(_cell(value, percent=percent) for value in row)])
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _cell(value: object, *, percent: bool) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ""
    return f"{100.0 * value:.2f}" if percent else f"{value:.4f}"


def _lines_2020(metrics: Metrics, system: SystemMetrics) -> Iterable[Line]:
    arithmetic = rule_named(metrics.rule).mean == "arithmetic"
    for name, machine in system.machines.items():
        yield [name]
        yield ["id" if arithmetic else "section", "AUC", "pAUC"]
        for section, entry in machine.sections.items():
            yield [section, entry.values["auc"], entry.values["pauc"]]
        yield ["Average" if arithmetic else "harmonic mean", machine.means["auc"], machine.means["pauc"]]
        yield []
    if not arithmetic:
        yield [metrics.score_label, system.score]


def _lines_2021(metrics: Metrics, system: SystemMetrics) -> Iterable[Line]:
    every = []
    for name, machine in system.machines.items():
        yield [name]
        yield ["section", "domain", *_MEASURES]
        rows = []
        for domain in ("source", "target"):
            for section, entry in machine.sections.items():
                row = [entry.values.get(f"{_KEYS[measure]}_{domain}") for measure in _MEASURES]
                yield [section, domain, *map(_blank, row)]
                rows.append(row)
        columns = list(zip(*rows, strict=True))
        yield ["arithmetic mean", "", *_means(columns, arithmetic_mean)]
        yield ["harmonic mean", "", *_means(columns, harmonic_mean)]
        yield []
        every.extend(rows)
    columns = list(zip(*every, strict=True))
    yield ["", "", *_MEASURES]
    yield [f"arithmetic mean {_OVER_ALL}", "", *_means(columns, arithmetic_mean)]
    yield [f"harmonic mean {_OVER_ALL}", "", *_means(columns, harmonic_mean)]
    yield []
    # the 2021 tool leaves the ranking score to the reader; it is one line here
    yield [metrics.score_label, "", system.score]


def _lines_2022(metrics: Metrics, system: SystemMetrics) -> Iterable[Line]:
    labels = {term.key: term.label for term in rule_named(metrics.rule).terms}
    every: list[SectionMetrics] = []
    for name, machine in system.machines.items():
        yield [name]
        yield from _machine_2022(machine, labels)
        every.extend(machine.sections.values())
    yield ["", "", *_MEASURES]
    yield from ([f"{label} {_OVER_ALL}", "", *values] for label, values in _summaries_2022(every))
    yield []
    yield [metrics.score_label, "", system.score]
    if system.official_ci95 is not None:
        yield [f"{metrics.score_label} ci95", "", system.official_ci95]
    yield []


def _machine_2022(machine: MachineMetrics, labels: Mapping[str, str]) -> Iterable[Line]:
    yield ["section", *(labels.get(key, heading) for heading, key in _COLUMNS_2022.items())]
    for section, entry in machine.sections.items():
        yield [section, *(_blank(entry.values.get(key)) for key in _COLUMNS_2022.values())]
    yield ["", "", *_MEASURES]
    yield from ([label, "", *values] for label, values in _summaries_2022(list(machine.sections.values())))
    yield []


def _summaries_2022(sections: Sequence[SectionMetrics]) -> Iterable[tuple[str, Line]]:
    """Yield the four mean rows; pAUC has one value a section, which both domains share."""

    def column(measure: str, domains: Sequence[str]) -> list[float | None]:
        keys = [_KEYS[measure] if measure == "pAUC" else f"{_KEYS[measure]}_{domain}" for domain in domains]
        return [section.values.get(key) for key in keys for section in sections]

    for label, mean, domains in (
        ("arithmetic mean", arithmetic_mean, ("source", "target")),
        ("harmonic mean", harmonic_mean, ("source", "target")),
        ("source harmonic mean", harmonic_mean, ("source",)),
        ("target harmonic mean", harmonic_mean, ("target",)),
    ):
        yield label, _means([column(measure, domains) for measure in _MEASURES], mean)


def _means(columns: Iterable[Sequence[float | None]], mean: Callable[[Sequence[float]], float]) -> Line:
    filled = [[value for value in column if value is not None] for column in columns]
    return [mean(column) if column else "" for column in filled]


def _blank(value: float | None) -> object:
    return "" if value is None else value
