"""Choosing ensemble members by development metrics, once; the choice is a file that evaluation machines get unchanged.

It receives metrics (of machines with labels), never labels. Metrics of the very machines a choice was made on flatter it (the
"twenty models" of Fujimura 2023, Section 4.1, are picked on the development set that is reported), so the mean of all systems,
unselected, is always made beside the selected one (:func:`ensembles`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from dcase_asd.errors import ConfigError, DataError, FormatError, UnknownNameError
from dcase_asd.io.atomic import write_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Selection", "ensembles", "select"]

By = Literal["machine", "overall", "mean_rank"]
_BY = ("machine", "overall", "mean_rank")
_SCHEMA = 1


@dataclass(frozen=True)
class Selection:
    """Which systems make up the ensemble of each machine.

    Attributes
    ----------
    by : {"machine", "overall", "mean_rank"}
    n_best : int
    members : mapping of str to tuple of str
        Per development machine, best first.
    default : tuple of str
        For machines without labels (evaluation machines): the choice by mean rank over the development machines, or by overall
        metric if ``by`` is ``overall``. Empty if no system exists on every development machine.
    incomplete : tuple of str
        Systems that lack a metric on some development machine; they take part in choices for single machines only.
    """

    by: By
    n_best: int
    members: Mapping[str, tuple[str, ...]]
    default: tuple[str, ...]
    incomplete: tuple[str, ...] = ()

    def members_of(self, machine: str) -> tuple[str, ...]:
        """Return the members for a machine; one the selection has not seen gets the default.

        Raises
        ------
        DataError
            If the machine was not seen and there is no default.
        """
        chosen = self.members.get(machine, self.default)
        if not chosen:
            raise DataError(
                f"selection: machine {machine!r} has no metrics, and no system exists on all of "
                f"{', '.join(sorted(self.members))}; use systems that do not depend on the machine"
            )
        return chosen

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the selection as JSON, atomically."""
        write_json(path, {"schema": _SCHEMA, **asdict(self)})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Selection:
        """Read what :meth:`write` wrote; raises ``FormatError`` if it is missing or damaged."""
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            if value["schema"] != _SCHEMA or value["by"] not in _BY:
                raise FormatError(
                    f"{path}: selection of schema {value['schema']!r}, by {value['by']!r}; this version reads {_SCHEMA}"
                )
            members = {str(machine): tuple(map(str, names)) for machine, names in value["members"].items()}
            return cls(value["by"], int(value["n_best"]), members, tuple(value["default"]), tuple(value["incomplete"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}: not a selection file ({error!r}); write it again from development metrics") from error


def select(metrics_table: pd.DataFrame, *, n_best: int = 20, by: By = "machine") -> Selection:
    """Choose the best systems by their metrics on development machines.

    Parameters
    ----------
    metrics_table : pandas.DataFrame
        ``system``, ``machine``, ``score``: one metric per system and machine, higher is better, in (0, 1] or percent.
        System names must not depend on the machine if they are to be chosen for other machines.
    n_best : int
        Members of the ensemble (Fujimura 2023, Section 4.1: twenty); all, if there are fewer.
    by : {"machine", "overall", "mean_rank"}
        ``machine``: its own best (as Fujimura 2023); ``overall``: for every machine the systems with the highest
        harmonic mean over machines (the official aggregate); ``mean_rank``: those with the lowest mean rank over machines.
        Ties go to the name that sorts first.

    Raises
    ------
    ConfigError
        If ``n_best`` is not positive.
    UnknownNameError
        For an unknown ``by``.
    DataError
        If the table is empty, lacks columns, repeats a pair, holds values that are negative or not finite, or if no system has
        a metric on every machine and ``by`` compares across machines.
    """
    if by not in _BY:
        raise UnknownNameError("selection rule", by, _BY)
    if n_best < 1:
        raise ConfigError(f"n_best: at least 1, got {n_best}")
    wide = _wide(metrics_table)
    complete = wide.dropna()
    incomplete = tuple(sorted(set(wide.index) - set(complete.index)))
    default = _by_overall(complete, n_best) if by == "overall" else _by_mean_rank(complete, n_best)
    if by == "machine":
        members = {str(machine): _best(wide[machine].dropna(), n_best) for machine in wide.columns}
    elif default:
        members = {str(machine): default for machine in wide.columns}
    else:
        raise DataError(f"selection by {by}: no system has a metric on all of {', '.join(wide.columns)}; choose by machine")
    return Selection(by, n_best, members, default, incomplete)


def ensembles(selection: Selection | None, *, machine: str, systems: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the ensembles to make for a machine: ``all`` (unselected, always) and ``selected`` (where there is a selection).

    Parameters
    ----------
    selection : Selection or None
    machine : str
    systems : sequence of str
        The systems that exist for this machine.

    Raises
    ------
    DataError
        If a chosen system does not exist for this machine: a selection is applied unchanged or not at all.
    """
    if not systems:
        raise DataError(f"ensemble: machine {machine!r} has no systems; run stage 6 first")
    made = {"all": tuple(sorted(systems))}
    if selection is not None:
        chosen = selection.members_of(machine)
        lacking = [name for name in chosen if name not in set(systems)]
        if lacking:
            raise DataError(
                f"ensemble: machine {machine!r} lacks the selected systems {', '.join(lacking)}; "
                "fit them, or select again among systems that exist on every machine"
            )
        made["selected"] = chosen
    return made


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    lacking = [column for column in ("system", "machine", "score") if column not in table.columns]
    if lacking or table.empty:
        raise DataError(
            f"metrics table: expected rows of system, machine, score; columns lacking: {', '.join(lacking) or 'none'}"
        )
    values = table["score"].to_numpy(dtype=float)
    bad = ~np.isfinite(values) | (values < 0) | table.duplicated(["system", "machine"]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        found = {column: str(table[column].iloc[row]) for column in ("system", "machine", "score")}
        raise DataError(f"metrics table: row {row}: {found}: a pair must stand once, its metric be finite and not negative")
    return table.pivot_table(index="system", columns="machine", values="score", sort=True)


def _best(metric: pd.Series, n_best: int) -> tuple[str, ...]:
    ordered = metric.sort_index().sort_values(ascending=False, kind="stable")
    return tuple(map(str, ordered.index[:n_best]))


def _by_overall(complete: pd.DataFrame, n_best: int) -> tuple[str, ...]:
    # the official evaluators clip below at the machine epsilon before taking harmonic means
    clipped = complete.clip(lower=float(np.finfo(np.float64).eps))
    return _best(complete.shape[1] / (1.0 / clipped).sum(axis=1), n_best)


def _by_mean_rank(complete: pd.DataFrame, n_best: int) -> tuple[str, ...]:
    return _best(-complete.rank(ascending=False, method="average").mean(axis=1), n_best)
