"""Grids of hyper-parameters judged by cross-validation on labelled training segments; the whole table is kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.io.tables import write_table

__all__ = ["GridResult", "GridScore", "cross_validation", "grid_points", "search"]

GridScore = Literal["f1", "accuracy"]
Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
#: Called with a point, the rows to fit on and the rows to decide about; returns decision values of the latter.
Trial = Callable[[Mapping[str, Any], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class GridResult:
    """What a search found.

    Attributes
    ----------
    best : mapping
        The point with the highest mean over folds; of equal ones the first in grid order.
    rows : list of dict
        One a point and fold: ``point``, the point's values, ``fold``, ``n_train``, ``n_valid``, ``f1``, ``accuracy``, ``chosen``.
    """

    best: Mapping[str, Any]
    rows: list[dict[str, Any]]

    def write(self, path: Path) -> None:
        """Write the table as CSV."""
        import pandas as pd

        write_table(path, pd.DataFrame(self.rows))


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations; the last key varies fastest, keys in the order given."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def cross_validation(label: NDArray[np.int64], clip: NDArray[Any], *, n_folds: int, seed: int) -> Folds:
    """Return the rows to fit on and to validate on, fold by fold: shuffled, with the shares of the classes.

    The segments of a clip stay in one fold: they resemble each other too much to judge by.

    Raises
    ------
    DataError
        If a class has fewer clips than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    names = clip.astype(str)
    fewest = min(len(set(names[label == value])) for value in (0, 1))
    if fewest < n_folds:
        raise DataError(
            f"cross-validation over {n_folds} folds needs as many clips of each class, one has {fewest}; lower grid_folds"
        )
    alone = len(set(names)) == len(names)
    maker = (StratifiedKFold if alone else StratifiedGroupKFold)(n_folds, shuffle=True, random_state=seed)
    # the folds depend on labels and clips alone
    return list(maker.split(np.zeros((len(label), 1)), label, None if alone else names))


def search(
    points: Sequence[Mapping[str, Any]], folds: Folds, *, label: NDArray[np.int64], trial: Trial, by: GridScore
) -> GridResult:
    """Try every point on every fold.

    Parameters
    ----------
    points : sequence of mapping
    folds : sequence of (rows to fit on, rows to validate on)
    label : ndarray [segment]
    trial : callable
    by : {"f1", "accuracy"}
        Of decisions at 0; F1 is that of the positive class.
    """
    from sklearn.metrics import accuracy_score, f1_score

    rows: list[dict[str, Any]] = []
    for number, point in enumerate(points):
        for fold, (train, valid) in enumerate(folds):
            decided = trial(point, train, valid) > 0
            values = {
                "f1": float(f1_score(label[valid], decided, zero_division=0.0)),
                "accuracy": float(accuracy_score(label[valid], decided)),
            }
            rows.append({"point": number, **point, "fold": fold, "n_train": len(train), "n_valid": len(valid), **values})
    means = [float(np.mean([row[by] for row in rows if row["point"] == number])) for number in range(len(points))]
    best = int(np.argmax(means))
    return GridResult(points[best], [{**row, "chosen": int(row["point"] == best)} for row in rows])
