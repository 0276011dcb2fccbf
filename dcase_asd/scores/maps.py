"""Anomaly maps of segments on disk: half precision about their median, memory-mapped.

``maps.npy [segment, h, w]`` float16 holds ``(map - offset) / scale``; ``maps.json`` holds ``offset`` (the median of all) and
``scale`` (so that the farthest value is 60,000). Values far from the median are kept to 0.05 %, those near it much finer,
whatever offset the detector's scores have and however long their tail is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import FormatError
from dcase_asd.io.arrays import load_array, save_array
from dcase_asd.io.atomic import write_json

__all__ = ["MapStore", "has_maps", "read_maps", "write_maps"]

#: Just below the largest half-precision number, 65,504.
_FULL_SCALE = 60_000.0


@dataclass(frozen=True)
class MapStore:
    """Maps of one machine's segments.

    Attributes
    ----------
    data : ndarray [segment, h, w], float16
        Memory-mapped.
    offset, scale : float
        A value is ``offset + scale * data``.
    """

    data: NDArray[np.float16]
    offset: float
    scale: float

    def __len__(self) -> int:
        return len(self.data)

    def map(self, row: int) -> NDArray[np.float32]:
        """Return the map of one segment ``[h, w]``, higher = more anomalous."""
        return np.asarray(self.offset + self.scale * self.data[row].astype(np.float64), dtype=np.float32)

    def standard(self, row: int) -> NDArray[np.float32]:
        """Return the map of one segment less the offset over the scale: what is stored, the same order without its unit."""
        return np.asarray(self.data[row], dtype=np.float32)


def write_maps(folder: str | os.PathLike[str], maps: NDArray[np.floating[Any]]) -> None:
    """Write finite maps ``[segment, h, w]``."""
    target = Path(folder)
    offset = float(np.median(maps)) if maps.size else 0.0
    reach = float(np.abs(maps - np.float64(offset)).max()) if maps.size else 0.0
    scale = reach / _FULL_SCALE if reach > 0.0 else 1.0
    save_array(target / "maps.npy", ((maps - np.float64(offset)) / scale).astype(np.float16))
    write_json(target / "maps.json", {"offset": offset, "scale": scale})


def has_maps(folder: str | os.PathLike[str]) -> bool:
    """Return whether :func:`write_maps` wrote into a folder."""
    return (Path(folder) / "maps.json").is_file()


def read_maps(folder: str | os.PathLike[str]) -> MapStore:
    """Open what :func:`write_maps` wrote.

    Raises
    ------
    FormatError
        If a file is missing or damaged.
    """
    source = Path(folder)
    try:
        facts = json.loads((source / "maps.json").read_text(encoding="utf-8"))
        offset, scale = float(facts["offset"]), float(facts["scale"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{source}/maps.json: not readable ({error}); re-run stage 6") from error
    data = load_array(source / "maps.npy")
    if data.ndim != 3:
        raise FormatError(f"{source}/maps.npy: shape {data.shape}, expected [segment, h, w]; re-run stage 6")
    return MapStore(data, offset, scale)
