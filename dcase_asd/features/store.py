"""The feature store: per machine and split one memory-mapped array, an index table, and per-frame weights.

Layout of a feature folder::

    <folder>/feature.json               the resolved feature configuration and its frame rate
    <folder>/<machine>/<split>.npy      [frame, ...] all clips one after another (a picture or vector is one frame)
    <folder>/<machine>/<split>.power.npy  [frame] float32 power of the high-passed signal (audio only)
    <folder>/<machine>/<split>.csv      clip_id, section, domain, attributes, start, length, level_db

A clip is a view ``[frame, ...]``; a log-mel is stored frame-major, ``[frame, mel]``, so that a crop is contiguous.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import FormatError
from dcase_asd.io.arrays import load_array
from dcase_asd.io.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INDEX_COLUMNS", "FeatureFolder", "FeatureStore"]

INDEX_COLUMNS = {
    "clip_id": "str",
    "section": "str",
    "domain": "str",
    "attributes": "str",
    "start": "int",
    "length": "int",
    "level_db": "float",
}


@dataclass(frozen=True)
class FeatureStore:
    """The features of one machine and split.

    Attributes
    ----------
    data : ndarray [frame, ...]
        All clips one after another, memory-mapped; log-mel: ``[frame, mel]``; pictures: ``[clip, height, width, channel]`` uint8.
    power : ndarray [frame] or None
        Power of the high-passed signal per frame (Fujimura 2023, Section 3.2).
    index : pandas.DataFrame
        Columns as in :data:`INDEX_COLUMNS`, one row a clip, sorted by ``clip_id``; ``level_db``: RMS level re
        full scale; of a picture, mean brightness re white.
    """

    data: NDArray[Any]
    power: NDArray[np.float32] | None
    index: pd.DataFrame

    def clip(self, row: int) -> NDArray[Any]:
        """Return clip number ``row`` as a view ``[frame, ...]``."""
        start = int(self.index["start"].iat[row])
        return self.data[start : start + int(self.index["length"].iat[row])]

    def clip_power(self, row: int) -> NDArray[np.float32] | None:
        """Return the high-passed power ``[frame]`` of clip number ``row``."""
        start = int(self.index["start"].iat[row])
        return None if self.power is None else self.power[start : start + int(self.index["length"].iat[row])]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of feature stores, as stage 2 writes it."""

    path: Path

    @property
    def info(self) -> dict[str, Any]:
        """The content of ``feature.json``: ``name``, ``config``, ``frame_rate_hz`` (0 for pictures and vectors).

        Raises
        ------
        FormatError
            If it is missing or damaged.
        """
        try:
            return dict(json.loads((self.path / "feature.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise FormatError(f"{self.path}/feature.json: not readable ({error}); re-run stage 2") from error

    def machines(self) -> list[str]:
        """The machine types with features, sorted; a folder without a store is none."""
        return sorted(p.name for p in self.path.iterdir() if p.is_dir() and any(p.glob("*.csv")))

    def has(self, machine: str, split: str) -> bool:
        """Return whether the store of a machine and split exists."""
        return (self.path / machine / f"{split}.csv").is_file()

    def open(self, machine: str, split: str) -> FeatureStore:
        """Open one store, memory-mapped.

        Raises
        ------
        FormatError
            If files are missing, truncated, or do not belong together.
        """
        base = self.path / machine
        index = read_table(base / f"{split}.csv", INDEX_COLUMNS)
        data = load_array(base / f"{split}.npy")
        power_path = base / f"{split}.power.npy"
        power = load_array(power_path) if os.path.exists(power_path) else None  # noqa: PTH110 - hot path
        n_frames = int(index["length"].sum())
        if len(data) != n_frames or (power is not None and len(power) != n_frames):
            raise FormatError(
                f"{base}/{split}.npy: index promises {n_frames} frames, the array holds {len(data)}; re-run stage 2"
            )
        return FeatureStore(data, power, index)
