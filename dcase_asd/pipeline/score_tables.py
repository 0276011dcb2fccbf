"""The score tables of stage 6 read together, standardised and averaged over seeds, as stage 7 combines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.io.tables import read_table
from dcase_asd.pipeline.stages.scores import HELD_OUT_POSITIVES, SCORE_SCHEMA
from dcase_asd.scores.normalisation import Standardiser

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["over_seeds", "read_tables", "shared_clips", "standardised"]


def read_tables(root: Path, folders: Sequence[str], decided: Sequence[str], places: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return test, held-out normal and held-out positive scores; the last of detectors that learn from labels alone."""
    labelled = [folder for folder in folders if folder.split("/", 1)[0] in decided]
    read = {"scores": folders, "calibration": folders} | ({HELD_OUT_POSITIVES: labelled} if labelled else {})
    return {name: _collect(root, chosen, name).merge(places, on="clip_id") for name, chosen in read.items()}


def _collect(root: Path, folders: Sequence[str], name: str) -> pd.DataFrame:
    import pandas as pd

    tables = []
    for folder in folders:
        parts = folder.split("/")
        table = read_table(root / folder / f"{name}.csv", SCORE_SCHEMA)
        tables.append(table.assign(seed=parts[1] if len(parts) == 3 else "any"))
    return pd.concat(tables, ignore_index=True)


def standardised(
    tables: Mapping[str, pd.DataFrame], *, transductive: bool, decided: Sequence[str] = ()
) -> dict[str, pd.DataFrame]:
    """Standardise every system, seed, machine and section by the scores of its held-out normal clips.

    What ``decided`` systems decide at, 0, stays 0: they are scaled only.
    """
    groups = ["system", "seed", "machine", "section"]
    reference = tables["scores" if transductive else "calibration"]
    fitted = {
        key: _standardiser(
            rows["score"].to_numpy(), key, transductive=transductive, center=0.0 if key[0].split(":", 1)[0] in decided else None
        )
        for key, rows in reference.groupby(groups)
    }
    result = {}
    for name, table in tables.items():
        scores = table["score"].to_numpy(copy=True)
        for key, rows in table.groupby(groups).indices.items():
            if key not in fitted:
                raise DataError(
                    f"system {key[0]}, machine {key[2]}, section {key[3]}: no held-out normal clips to standardise by"
                )
            scores[rows] = fitted[key].apply(scores[rows]).score
        result[name] = table.assign(score=scores)
    return result


def _standardiser(
    scores: NDArray[np.float64], key: Sequence[str], *, transductive: bool, center: float | None = None
) -> Standardiser:
    try:
        return Standardiser.fit(scores, transductive=transductive, center=center)
    except DataError as error:
        what = "test clips" if transductive else "held-out normal clips"
        raise DataError(
            f"system {key[0]}, machine {key[2]}, section {key[3]}: {what}: {error}; hold out more with a lower "
            "split.source_fraction, or cross-fit with fit_split: all"
        ) from error


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of every clip and system."""
    keys = ["clip_id", "system", "machine", "section", "subset"]
    return table.groupby(keys, as_index=False, sort=True)["score"].mean()


def shared_clips(table: pd.DataFrame, members: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the members' held-out clips that no member of the machine was fitted on.

    A cross-fitted member has scores of all its training clips, one fitted on ``train`` of the held-out ones alone: what they
    say together is known of the clips both have.

    Raises
    ------
    DataError
        If a machine's members have no clip in common.
    """
    import pandas as pd

    rows = table[table["system"].isin(members)]
    kept = []
    for machine, own in rows.groupby("machine", sort=False):
        present = own["system"].nunique()
        times = own.groupby("clip_id")["system"].transform("nunique")
        if not (times == present).any():
            raise DataError(
                f"machine {machine}: {', '.join(sorted(own['system'].unique()))} have no held-out clip in common; "
                "give them the same fit_split (and seed)"
            )
        kept.append(own[times == present])
    return pd.concat(kept) if kept else rows
