"""Do the splits of a corpus differ in level (sound) or brightness (pictures)? A difference that no system should live on.

Labels are not read: test clips are taken as they are, normal and anomalous, so that a difference may be the defect itself. The
trivial rows of the result table (level or brightness alone, either way round) tell the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcase_asd.manifests.inspection import Inspection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHANCE", "GAIN_DB", "NOTABLE", "is_notable", "split_differences", "standardised_difference"]

#: Difference of median levels, in dB, from which on two splits look like different recording gains.
GAIN_DB = 6.0
#: Standardised difference of means from which on splits differ notably: a medium effect (Cohen 1988, Section 2.2).
NOTABLE = 0.5
#: ... and it is no accident of few clips: by Student's t test, splits alike would seem to differ in 1 of 370 sections (3 sigma).
CHANCE = 0.0027
Told = tuple[str, str]


def standardised_difference(test: NDArray[np.float64], train: NDArray[np.float64]) -> tuple[float, float]:
    """Return the difference of means over the pooled standard deviation (Cohen's d), and its standard error.

    Two splits that do not vary at all differ by 0 or infinitely; fewer than two clips of a split give (0, inf).
    """
    n, m = len(test), len(train)
    if min(n, m) < 2:
        return 0.0, math.inf
    gap = float(test.mean() - train.mean())
    pooled = math.sqrt(((n - 1) * float(test.var(ddof=1)) + (m - 1) * float(train.var(ddof=1))) / (n + m - 2))
    if pooled <= 1e-12 * max(abs(float(train.mean())), 1e-12):
        return (0.0, math.inf) if abs(gap) <= 1e-9 * max(abs(float(train.mean())), 1e-12) else (math.copysign(math.inf, gap), 0.0)
    return gap / pooled, math.sqrt(1.0 / n + 1.0 / m)


def is_notable(test: NDArray[np.float64], train: NDArray[np.float64]) -> bool:
    """Return whether the means differ by :data:`NOTABLE`, and by more than :data:`CHANCE` allows these numbers of clips."""
    from scipy import special

    effect, error = standardised_difference(test, train)
    if abs(effect) < NOTABLE or math.isinf(error):
        return False
    return abs(effect) >= error * float(special.stdtrit(len(test) + len(train) - 2, 1.0 - CHANCE / 2.0))


def split_differences(table: pd.DataFrame, inspections: Sequence[Inspection]) -> Iterator[Told]:
    """Yield (what, remedy) for every machine and section whose splits differ.

    Sound: a median level 6 dB from that of source training clips; pictures and sound: mean brightness or level of test clips
    that differs from that of all training clips by :data:`NOTABLE` standard deviations, and by more than chance (:data:`CHANCE`).

    Parameters
    ----------
    table : DataFrame
        The manifest's.
    inspections : sequence of Inspection
        One a row, with levels where samples were read.
    """
    levels = table.assign(level_db=[i.level_db for i in inspections], brightness=[i.brightness for i in inspections])
    for (machine, section), part in levels.groupby(["machine", "section"], sort=True):
        where = f"machine {machine!r}, section {section}"
        gains = list(_gains(where, part[part["level_db"].map(math.isfinite).astype(bool)]))
        yield from gains
        if not any("test clips" in what for what, _ in gains):
            yield from _shift(where, part, "level_db")
        yield from _shift(where, part, "brightness")


def _gains(where: str, part: pd.DataFrame) -> Iterator[Told]:
    """Median level of a section's splits against its source training clips."""
    is_train = part["split"] == "train"
    reference = part.loc[is_train & (part["domain"] != "target"), "level_db"].median()
    others = {"target training": is_train & (part["domain"] == "target"), "test": part["split"] == "test"}
    for name, rows in others.items():
        difference = part.loc[rows, "level_db"].median() - reference
        if abs(difference) > GAIN_DB:
            yield (
                f"{where}: {name} clips are {difference:+.1f} dB from source training clips",
                "check the gains; use a level-invariant feature if they differ",
            )


def _shift(where: str, part: pd.DataFrame, column: str) -> Iterator[Told]:
    values = part[column].to_numpy(dtype=float)
    known, split = np.isfinite(values), part["split"].to_numpy()
    test, train = (values[known & (split == name)] for name in ("test", "train"))
    if not is_notable(test, train):
        return
    size = f"{standardised_difference(test, train)[0]:+.1f} standard deviations (of {len(test)} test and {len(train)} training"
    if column == "brightness":
        yield (
            f"{where}: mean brightness of test pictures differs from training by {size} pictures), {100 * train.mean():.1f} % of "
            f"white -> {100 * test.mean():.1f} %",
            "see what brightness alone scores (level_up, level_down); features.brightness: gain evens out the exposure",
        )
    else:
        yield (
            f"{where}: level of test clips differs from training by {size} clips), {train.mean():.1f} dB -> {test.mean():.1f} dB",
            "see what the level alone scores (level_up, level_down); use a level-invariant feature if gains differ",
        )
