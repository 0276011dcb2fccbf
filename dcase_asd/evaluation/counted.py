"""Decisions counted together over all sections, as papers on pictures of many categories report them.

Precision, recall and F1 of a system over all clips are no means of those of its sections; they follow from its hits and false
alarms, which add up. Beside them stand what "always anomaly" gives, and balanced accuracy, which no base rate can flatter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcase_asd.evaluation.challenge import EPSILON
from dcase_asd.evaluation.results import Metrics, SystemMetrics

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Counted", "counted_table", "counted_together", "feasible"]


@dataclass(frozen=True)
class Counted:
    """Decisions about all clips of a system.

    Attributes
    ----------
    hits, false_alarms, n_pos, n_neg : int
    """

    hits: int
    false_alarms: int
    n_pos: int
    n_neg: int

    @property
    def values(self) -> Mapping[str, float]:
        """Fractions by heading."""
        recall = self.hits / max(self.n_pos, 1)
        share = self.n_pos / max(self.n_pos + self.n_neg, 1)
        return {
            "precision": self.hits / max(self.hits + self.false_alarms, EPSILON),
            "recall": recall,
            "F1": 2.0 * self.hits / max(self.hits + self.false_alarms + self.n_pos, EPSILON),
            "balanced accuracy": (recall + 1.0 - self.false_alarms / max(self.n_neg, 1)) / 2.0,
            "base rate": share,
            "F1 of always anomaly": 2.0 * share / (1.0 + share),
        }


def counted_together(system: SystemMetrics) -> Counted | None:
    """Add up the decisions over all machines and sections; None where no decisions were given."""
    hits = false_alarms = n_pos = n_neg = 0
    for machine in system.machines.values():
        for section in machine.sections.values():
            if "false_alarm_rate" not in section.values:
                return None
            own_pos = sum(n for key, n in section.counts.items() if key.endswith("_anomaly"))
            own_neg = sum(n for key, n in section.counts.items() if key.endswith("_normal"))
            hits += round(section.values["recall"] * own_pos)
            false_alarms += round(section.values["false_alarm_rate"] * own_neg)
            n_pos, n_neg = n_pos + own_pos, n_neg + own_neg
    return Counted(hits, false_alarms, n_pos, n_neg)


def counted_table(metrics: Metrics) -> pd.DataFrame:
    """Return one row per system with decisions; with the mean of the best F1 in hindsight where it was asked for (``oracle``)."""
    import pandas as pd

    rows = {}
    for name, system in metrics.systems.items():
        counted = counted_together(system)
        if counted is None:
            continue
        sections = [section for machine in system.machines.values() for section in machine.sections.values()]
        rows[name] = dict(counted.values)
        best = [section.values["f1_oracle"] for section in sections if "f1_oracle" in section.values]
        if len(best) == len(sections):
            rows[name]["best F1 (oracle, mean of sections)"] = sum(best) / len(best)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def feasible(precision: float, recall: float, *, n_pos: int, n_neg: int, digits: int = 3) -> bool:
    """Return whether any decisions about so many clips have a precision and recall that round to these.

    The false alarms are ``hits (1 / precision - 1)`` and cannot be more than the normal clips: of the table of Rotondi and
    Lavalle one row (precision .390, recall .758 at 1258 : 467) is impossible, and possible with the two exchanged.
    """
    slack = 0.5 * 10.0**-digits
    for hits in range(int((recall - slack) * n_pos), int((recall + slack) * n_pos) + 2):
        if abs(hits / n_pos - recall) > slack:
            continue
        if hits == 0:
            return precision <= slack
        low, high = hits / (precision + slack) - hits, hits / max(precision - slack, EPSILON) - hits
        if any(abs(hits / (hits + n) - precision) <= slack for n in range(max(int(low), 0), min(int(high) + 1, n_neg) + 1)):
            return True
    return False
