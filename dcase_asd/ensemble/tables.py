"""The score table that ensembles read: ``clip_id, system, score`` to one column a member, nothing missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dcase_asd.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["by_member"]

_COLUMNS = ("clip_id", "system", "score")


def by_member(scores: pd.DataFrame, members: Sequence[str] | None) -> pd.DataFrame:
    """Return the scores as a table ``[clip_id, member]``, clips sorted, members in the order given.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``clip_id``, ``system``, ``score``.
    members : sequence of str or None
        The systems wanted; all of them, sorted, for None.

    Raises
    ------
    UnknownNameError
        If a member is not in the table.
    DataError
        If columns lack, a member is named twice or none is, a score is missing, not finite, or stands twice.
    """
    lacking = [column for column in _COLUMNS if column not in scores.columns]
    if lacking:
        raise DataError(f"score table: columns {', '.join(lacking)} lack; found {', '.join(map(str, scores.columns))}")
    known = sorted(scores["system"].unique())
    chosen = known if members is None else list(members)
    if not chosen or len(set(chosen)) != len(chosen):
        raise DataError(f"ensemble members: expected distinct systems, at least one; got {chosen}")
    for name in chosen:
        if name not in known:
            raise UnknownNameError("ensemble member", name, known)
    table = scores[scores["system"].isin(chosen)]
    twice = table.duplicated(["clip_id", "system"])
    if twice.any():
        row = table[twice].iloc[0]
        raise DataError(f"score table: clip {row['clip_id']!r} has two scores of system {row['system']!r}")
    wide = table.pivot_table(index="clip_id", columns="system", values="score", dropna=False, sort=True)[chosen].astype("float64")
    bad = np.argwhere(~np.isfinite(wide.to_numpy()))
    if len(bad):
        clip, system = wide.index[bad[0][0]], chosen[bad[0][1]]
        raise DataError(f"score table: clip {clip!r} has no finite score of system {system!r}; re-run stage 6 for it")
    return wide
