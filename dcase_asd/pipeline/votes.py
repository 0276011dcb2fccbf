"""What stage 7 adds to a vote: weights learnt from held-out training clips, and who can ever decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dcase_asd.ensemble.vote import MOST_MEMBERS, accuracy_weights, analyse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe", "learnt_weights", "vote_record"]


def learnt_weights(
    entry: Mapping[str, Any], members: Sequence[str], *, normal: pd.DataFrame, positive: pd.DataFrame | None
) -> dict[str, dict[str, Any]]:
    """Return ``{machine: {"weights", "accuracy", "n_normal", "n_positive"}}`` from held-out training clips of both classes.

    Parameters
    ----------
    entry : mapping
        The ensemble's entry; weights that it gives itself are repeated for every machine.
    members : sequence of str
        The voters.
    normal, positive : pandas.DataFrame
        ``clip_id, machine, system, score`` of held-out training clips, on a scale whose 0 is each member's boundary.
    """
    machines = sorted(normal["machine"].unique())
    if entry["weigh_by"] == "given":
        return {machine: {"weights": dict(entry["weights"])} for machine in machines}
    found = {}
    for machine in machines:
        parts = [table[table["machine"] == machine] for table in (normal, positive) if table is not None]
        found[machine] = asdict(accuracy_weights(*parts, members=members, thresholds=entry["thresholds"]))
    return found


def vote_record(weights: Mapping[str, Mapping[str, Any]], members: Sequence[str]) -> dict[str, Any]:
    """Return what is written beside the scores: the weights of every machine, and the analysis of all patterns of votes."""
    record: dict[str, Any] = {}
    for machine, learnt in weights.items():
        own = {name: value for name, value in learnt["weights"].items() if name in members}
        record[machine] = dict(learnt)
        if len(own) <= MOST_MEMBERS:
            record[machine]["analysis"] = asdict(analyse(own))
    return record


def describe(record: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines for the log: weights, and which members can ever be decisive."""
    lines = []
    for machine, found in record.items():
        weights = ", ".join(f"{name} {value:.4f}" for name, value in found["weights"].items())
        lines.append(f"{machine}: weights {weights}")
        if "analysis" in found:
            lines.append(f"{machine}: {_decisive(found['analysis'])}")
    return lines


def _decisive(found: Mapping[str, Any]) -> str:
    n_others = len(found["patterns"]) // 2
    swings = ", ".join(f"{name} in {count} of {n_others}" for name, count in found["swings"].items() if count)
    never = found["never_decisive"]
    idle = (
        f"; {', '.join(never)} in none: without {'it' if len(never) == 1 else 'them'} every outcome is the same" if never else ""
    )
    return f"decisive {swings} patterns of the other votes{idle}"
