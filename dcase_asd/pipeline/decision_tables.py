"""The table of decisions that stage 8 adds for the rule ``supervised``: F1 and accuracy with intervals, over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcase_asd.evaluation.classification import classification
from dcase_asd.evaluation.intervals import mean_interval
from dcase_asd.io.tables import read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DECISION_TABLE", "decision_markdown", "decision_text", "write_decision_table"]

#: File beside ``metrics.json``.
DECISION_TABLE = "classification.csv"
_KEYS = ("n_pos", "n_neg", "precision_base", "f1_trivial", "accuracy_trivial", "f1", "f1_low", "f1_high", "accuracy")
_MORE = ("accuracy_low", "accuracy_high", "precision", "recall", "f1_weighted")
_SCHEMA = {"machine": "str", "system": "str"} | dict.fromkeys((*_KEYS, *_MORE), "float")
_PLAIN = {"precision": "precision", "recall": "recall", "weighted F1": "f1_weighted"}
_INTRODUCTION = (
    "Decisions, per cent; brackets: 95 % exact interval over clips (and Student's over seeds). F1, precision and recall are "
    "those of the positive class; weighted F1 counts each class by its share, as the figures of Argese and Degni do."
)


def write_decision_table(path: Path, decisions: pd.DataFrame, truth: pd.DataFrame, systems: Sequence[str]) -> None:
    """Judge the decisions of every shown system on every machine and write one row each.

    Parameters
    ----------
    path : Path
    decisions : pandas.DataFrame
        ``clip_id, system, decision``.
    truth : pandas.DataFrame
        ``clip_id, machine, is_anomaly`` of the clips to judge.
    systems : sequence of str
    """
    import pandas as pd

    joined = decisions.merge(truth[["clip_id", "machine", "is_anomaly"]], on="clip_id")
    rows = []
    for machine in sorted(truth["machine"].unique()):
        for system in systems:
            part = joined[(joined["machine"] == machine) & (joined["system"] == system)]
            found = classification(part["is_anomaly"].to_numpy(), part["decision"].to_numpy())
            rows.append({"machine": machine, "system": system, **found.row()})
    write_table(path, pd.DataFrame(rows))


def decision_markdown(paths: Sequence[Path]) -> str:
    """Return the table over seeds (one file each) as Markdown; empty without a file."""
    rows = _rows(paths)
    if not rows:
        return ""
    head = ["Machine", "System", *rows[0]["cells"]]
    lines = [head, ["---", "---", *("---:" for _ in rows[0]["cells"])]]
    lines += [[r["machine"], r["system"].replace("_", "\\_"), *r["cells"].values()] for r in rows]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"{_INTRODUCTION} {_trivial(paths)}\n\n{table}"


def decision_text(paths: Sequence[Path]) -> str:
    """Return the same as text in columns, for the screen; empty without a file."""
    rows = _rows(paths)
    if not rows:
        return ""
    width = max(len(r["system"]) for r in rows) + 2
    lines = [f"Decisions, per cent. {_trivial(paths)}"]
    lines.append("machine".ljust(16) + "system".ljust(width) + "".join(name.rjust(24) for name in rows[0]["cells"]))
    lines += [r["machine"].ljust(16) + r["system"].ljust(width) + "".join(c.rjust(24) for c in r["cells"].values()) for r in rows]
    return "\n".join(lines) + "\n"


def _rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    tables = _tables(paths)
    if not tables:
        return []
    found = []
    for index, first in tables[0].iterrows():
        runs = [table.loc[index] for table in tables]
        cells = {"F1": _with_interval(runs, "f1"), "accuracy": _with_interval(runs, "accuracy")}
        cells |= {name: f"{100 * _mean(runs, key):.2f}" for name, key in _PLAIN.items()}
        found.append({"machine": str(first["machine"]), "system": str(first["system"]), "cells": cells})
    return found


def _tables(paths: Sequence[Path]) -> list[pd.DataFrame]:
    return [read_table(path, _SCHEMA) for path in paths if path.is_file()]


def _trivial(paths: Sequence[Path]) -> str:
    """Say what deciding without looking gives on each machine."""
    table = _tables(paths)[0].drop_duplicates("machine")
    parts = [
        f"{row['machine']}: {int(row['n_pos'])} positive and {int(row['n_neg'])} other clips, base rate "
        f"{100 * row['precision_base']:.2f}; always positive: F1 {100 * row['f1_trivial']:.2f}; always the larger class: "
        f"accuracy {100 * row['accuracy_trivial']:.2f}."
        for _, row in table.iterrows()
    ]
    return " ".join(parts)


def _mean(runs: Sequence[pd.Series], key: str) -> float:
    return float(np.mean([run[key] for run in runs]))


def _with_interval(runs: Sequence[pd.Series], key: str) -> str:
    mean = _mean(runs, key)
    seeds = mean_interval([run[key] for run in runs]).half_width if len(runs) > 1 else 0.0
    below = math.hypot(mean - _mean(runs, f"{key}_low"), seeds)
    above = math.hypot(_mean(runs, f"{key}_high") - mean, seeds)
    return f"{100 * mean:.2f} [{100 * max(mean - below, 0.0):.2f}, {100 * min(mean + above, 1.0):.2f}]"
