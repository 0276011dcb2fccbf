"""What stage 8 writes: :class:`Metrics`, per system, machine and section, with its rule and provenance.

Values are fractions, not percent. Keys of section values: the rule's term keys (``auc_source``, ``auc_target``, ``pauc`` ...),
``auc`` (all clips of the section), ``average_precision``, ``precision_base`` and ``f1_trivial`` (what chance and "always anomaly"
give); where decisions were given, ``precision``, ``recall``, ``f1`` (all clips) and the same with ``_source`` and ``_target``
(that domain's own clips); under rules without domains also ``false_alarm_rate`` and, if asked for by name, ``f1_oracle``, the
best F1 that a threshold fitted to the test labels reaches: an upper bound, never a result; where maps and masks are known,
``pixel_auroc``, ``pixel_aupro`` and their bounds ``pixel_auroc_error``, ``pixel_aupro_error``. A key without its input is absent,
never NaN.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.bootstrap import Difference
from dcase_asd.evaluation.intervals import Interval
from dcase_asd.evaluation.rules import rule_named
from dcase_asd.io.atomic import write_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCHEMA", "MachineMetrics", "Metrics", "SectionMetrics", "SystemMetrics"]

#: Version of the JSON layout; raised when a key changes its name or meaning.
SCHEMA = 1


@dataclass(frozen=True)
class SectionMetrics:
    """Values of one section (2020: machine ID).

    Attributes
    ----------
    values : mapping of str to float
        Keys as in the module's docstring.
    counts : mapping of str to int
        ``source_normal``, ``source_anomaly``, ``target_normal`` ...: clips by domain and class.
    """

    values: Mapping[str, float]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class MachineMetrics:
    """Values of one machine.

    Attributes
    ----------
    sections : mapping of str to SectionMetrics
    means : mapping of str to float
        Each of the rule's terms, averaged over the sections by the rule's mean.
    score : float
        All terms of all sections, averaged by the rule's mean.
    intervals : mapping of str to Interval
        Bootstrap intervals of ``means`` and, under rules with more measures beside the score, of their arithmetic means over
        sections; empty if there was no bootstrap.
    """

    sections: Mapping[str, SectionMetrics]
    means: Mapping[str, float]
    score: float
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    def average(self, key: str) -> float | None:
        """Return the arithmetic mean over sections of a section value; None if a section lacks it."""
        values = [section.values.get(key) for section in self.sections.values()]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


@dataclass(frozen=True)
class SystemMetrics:
    """Values of one system.

    Attributes
    ----------
    machines : mapping of str to MachineMetrics
    means : mapping of str to float
        Each of the rule's terms, averaged over all machines and sections.
    score : float
        The rule's score.
    interval : Interval or None
        Jackknife interval of the score over clips; None if it was not asked for.
    official_ci95 : float or None
        The organisers' own half-width (2022 on), which is too small by the number of clips; for comparison only.
    """

    machines: Mapping[str, MachineMetrics]
    means: Mapping[str, float]
    score: float
    interval: Interval | None = None
    official_ci95: float | None = None


@dataclass(frozen=True)
class Metrics:
    """The result of an evaluation.

    Attributes
    ----------
    rule : str
        Name of the scoring rule; numbers of different rules are not comparable.
    systems : mapping of str to SystemMetrics
    differences : tuple of Difference
        Paired comparisons, if asked for.
    provenance : mapping of str to str
        What the caller states: seed, config hash, git hash, versions ...
    """

    rule: str
    systems: Mapping[str, SystemMetrics]
    differences: tuple[Difference, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the metrics as JSON text with sorted keys; :meth:`from_json` gives back an equal object."""
        return (
            json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> Metrics:
        """Read what :meth:`to_json` made.

        Raises
        ------
        FormatError
            If the text is not JSON, of another schema version, or lacks or adds a key.
        """
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise FormatError(f"not a metrics file: {error}") from error
        schema = raw.pop("schema", None) if isinstance(raw, dict) else None
        if schema != SCHEMA:
            raise FormatError(f"metrics of schema {schema!r}; this version reads {SCHEMA}: evaluate again")
        try:
            raw["systems"] = {name: _system(entry) for name, entry in raw["systems"].items()}
            raw["differences"] = tuple(
                Difference(**{**entry, "interval": Interval(**entry["interval"])}) for entry in raw["differences"]
            )
            return cls(**raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"not a metrics file of schema {SCHEMA}: {error}; evaluate again") from error

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_json` atomically."""
        write_text(path, self.to_json())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Metrics:
        """Read a metrics file; raises ``FormatError`` naming it."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise FormatError(f"{path}: no such metrics file") from error
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from error

    @property
    def score_label(self) -> str:
        """``official score`` where the organisers print it, else ``score (<rule>)``."""
        return "official score" if rule_named(self.rule).official else f"score ({self.rule})"

    def table(self) -> pd.DataFrame:
        """Return one row per system: every machine's terms (means over its sections), the overall terms, the score, its interval.

        Fractions; columns such as ``fan AUC (source)``, ``AUC (source)``, ``official score``, ``low``, ``high``.
        """
        import pandas as pd

        labels = {term.key: term.label for term in rule_named(self.rule).terms}
        rows = {}
        for name, system in self.systems.items():
            row = {
                f"{machine} {label}": entry.means[key]
                for machine, entry in system.machines.items()
                for key, label in labels.items()
            }
            row.update({label: system.means[key] for key, label in labels.items()})
            row[self.score_label] = system.score
            if system.interval is not None:
                row.update(low=system.interval.low, high=system.interval.high)
            rows[name] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def _system(entry: dict[str, Any]) -> SystemMetrics:
    machines = {name: _machine(machine) for name, machine in entry["machines"].items()}
    interval = None if entry["interval"] is None else Interval(**entry["interval"])
    return SystemMetrics(**{**entry, "machines": machines, "interval": interval})


def _machine(entry: dict[str, Any]) -> MachineMetrics:
    sections = {key: SectionMetrics(**section) for key, section in entry["sections"].items()}
    # files written before there were intervals lack the key
    intervals = {key: Interval(**interval) for key, interval in entry.get("intervals", {}).items()}
    return MachineMetrics(**{**entry, "sections": sections, "intervals": intervals})
