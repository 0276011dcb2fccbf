"""Result tables with every measure: text for the screen and Markdown; one block a machine, and their mean.

The mean over machines is arithmetic, as papers on pictures average over categories; the score above it is the rule's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcase_asd.evaluation.report.data import SystemRow

__all__ = ["detection_markdown", "machines_of", "mean_over_machines", "measures_of", "text_table"]


def machines_of(rows: Sequence[SystemRow]) -> list[str]:
    """List the machines of all rows in the order they first appear."""
    return list(dict.fromkeys(machine for row in rows for machine in row.per_machine))


def measures_of(rows: Sequence[SystemRow]) -> list[str]:
    """List the measures of all rows, those of the score first."""
    both = [table for row in rows for table in row.per_machine.values()], [t for row in rows for t in row.beside.values()]
    return list(dict.fromkeys(name for tables in both for table in tables for name in table))


def mean_over_machines(row: SystemRow, measure: str) -> float:
    """Return the arithmetic mean of a measure over the row's machines; NaN if one of them lacks it."""
    values = [row.measures(machine).get(measure, math.nan) for machine in row.per_machine]
    return sum(values) / len(values) if values else math.nan


def text_table(rows: Sequence[SystemRow], *, heading: str) -> str:
    """Return the table that ends a run on the screen: one block a machine, per cent."""
    names = max(len("system"), *(len(row.system) for row in rows)) + 2
    measures, machines = measures_of(rows), machines_of(rows)
    widths = [max(len(measure) + 2, 8) for measure in measures]
    lines = [heading, "machine".ljust(16) + "system".ljust(names) + "".join(map(str.rjust, measures, widths))]
    for machine in machines:
        for index, row in enumerate(rows):
            cells = [_text(row.measures(machine).get(measure, math.nan)) for measure in measures]
            lines.append(
                (machine if index == 0 else "").ljust(16) + row.system.ljust(names) + "".join(map(str.rjust, cells, widths))
            )
    if any(row.beside for row in rows) and len(machines) > 1:
        for index, row in enumerate(rows):
            # the score's own mean stands below
            cells = ["" if measure == "score" else _text(mean_over_machines(row, measure)) for measure in measures]
            name = f"mean of {len(machines)}" if index == 0 else ""
            lines.append(name.ljust(16) + row.system.ljust(names) + "".join(map(str.rjust, cells, widths)))
    lines.append("all machines".ljust(16) + "system".ljust(names) + "score".rjust(8) + "   95 % interval")
    for row in rows:
        interval = "" if row.low is None or row.high is None else f"   {100 * row.low:.2f} .. {100 * row.high:.2f}"
        kind = "" if row.group == "ours" else f"  ({row.group})"
        lines.append(" " * 16 + row.system.ljust(names) + f"{100 * row.score:8.2f}{interval}{kind}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def detection_markdown(rows: Sequence[SystemRow]) -> str:
    """Return one Markdown row per machine and system with every measure and known interval; empty for the score's terms alone."""
    if not any(row.beside for row in rows):
        return ""
    measures = [measure for measure in measures_of(rows) if measure != "score"]
    machines = machines_of(rows)
    lines = [_line(["Machine", "System", *measures]), _line(["---", "---", *("---:" for _ in measures)])]
    for machine in machines:
        lines += [_line([machine, row.system, *(_cell(row, machine, measure) for measure in measures)]) for row in rows]
    if len(machines) > 1:
        name = f"mean of {len(machines)}"
        lines += [_line([name, row.system, *(_dash(mean_over_machines(row, measure)) for measure in measures)]) for row in rows]
    return "\n".join(lines) + "\n"


def _cell(row: SystemRow, machine: str, measure: str) -> str:
    value = _dash(row.measures(machine).get(measure, math.nan))
    ends = row.ranges.get(machine, {}).get(measure)
    return value if ends is None else f"{value} [{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]"


def _dash(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|").replace("_", "\\_") for cell in cells) + " |"
