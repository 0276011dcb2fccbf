"""Which clips to show: the most anomalous ones, and those that the system ranked most wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.report.data import KINDS, ClipKind, ClipReport

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ChosenClip", "choose_clips", "limit_clips"]


@dataclass(frozen=True, kw_only=True)
class ChosenClip:
    """A clip worth showing; the fields are those of :class:`~dcase_asd.evaluation.report.data.ClipReport`."""

    clip_id: str
    kind: ClipKind
    score: float
    percentile: float
    is_anomaly: bool
    domain: str


def choose_clips(
    truth: pd.DataFrame, scores: pd.DataFrame, *, n_anomalous: int = 3, n_missed: int = 3, n_false: int = 3
) -> list[ChosenClip]:
    """Choose the clips of one machine that say most about a system; no clip stands twice.

    A *false alarm* is one of the highest-scored normal clips, if it scores at least as high as some anomaly.
    The *most anomalous* clips are the highest-scored of the rest, whatever they are in truth.
    A *missed anomaly* is one of the lowest-scored anomalies left, if it scores no higher than some normal clip.
    A system without a mistake therefore shows no false alarm and no miss. Ties are broken by ``clip_id``.

    Parameters
    ----------
    truth : pandas.DataFrame
        ``clip_id, is_anomaly, domain``.
    scores : pandas.DataFrame
        ``clip_id, score`` of one system; a score for every clip of ``truth``.
    n_anomalous, n_missed, n_false : int
        At most so many of each kind.

    Returns
    -------
    list of ChosenClip
        In the order of :data:`~dcase_asd.evaluation.report.data.KINDS`, the most telling first.

    Raises
    ------
    FormatError
        If a clip of ``truth`` has no score or more than one.
    """
    import pandas as pd

    if scores["clip_id"].duplicated().any():
        twice = scores["clip_id"][scores["clip_id"].duplicated()].iloc[0]
        raise FormatError(f"scores: clip {twice!r} stands twice; choose the clips of one system at a time")
    table = truth[["clip_id", "is_anomaly", "domain"]].merge(scores[["clip_id", "score"]], on="clip_id", how="left")
    if table["score"].isna().any():
        raise FormatError(f"scores: clip {table['clip_id'][table['score'].isna()].iloc[0]!r} has no score (or NaN)")
    table["percentile"] = (table["score"].rank(method="min") - 1) * 100 / max(len(table), 1)
    falling = table.sort_values(["score", "clip_id"], ascending=[False, True])
    rising = table.sort_values(["score", "clip_id"])
    anomalous = table["is_anomaly"] == 1
    lowest_anomaly, highest_normal = table["score"][anomalous].min(), table["score"][~anomalous].max()
    false = falling[(falling["is_anomaly"] == 0) & (falling["score"] >= lowest_anomaly)].head(n_false)
    most = falling[~falling["clip_id"].isin(false["clip_id"])].head(n_anomalous)
    missed = rising[(rising["is_anomaly"] == 1) & (rising["score"] <= highest_normal)]
    missed = missed[~missed["clip_id"].isin(most["clip_id"])].head(n_missed)
    parts: dict[ClipKind, pd.DataFrame] = {"missed anomaly": missed, "false alarm": false, "most anomalous": most}
    chosen = pd.concat([parts[kind].assign(kind=kind) for kind in KINDS])
    return [
        ChosenClip(
            clip_id=str(row.clip_id),
            kind=row.kind,
            score=float(row.score),
            percentile=float(row.percentile),
            is_anomaly=bool(row.is_anomaly),
            domain=str(row.domain),
        )
        for row in chosen.itertuples(index=False)
    ]


def limit_clips(clips: Sequence[ClipReport], *, limit: int) -> list[ClipReport]:
    """Return at most ``limit`` clips, taking the kinds in turn, then grouped by kind in the order given."""
    by_kind = [[c for c in clips if c.kind == kind] for kind in KINDS]
    turns = [c for c in chain.from_iterable(zip_longest(*by_kind)) if c is not None][: max(limit, 0)]
    kept = {c.clip_id for c in turns}
    return [c for group in by_kind for c in group if c.clip_id in kept]
