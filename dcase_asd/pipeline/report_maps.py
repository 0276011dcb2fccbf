"""What the report shows of where: the inspected picture with its mask, and anomaly maps of pictures and of sound."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.evaluation.masks import enlarge_map, read_mask
from dcase_asd.io.images import read_image, resize_image
from dcase_asd.pipeline.pixel_scores import clip_maps
from dcase_asd.scores.maps import MapStore

__all__ = ["ClipMaps", "open_maps", "shown_picture"]

#: Longest side of a picture in the report, in pixels; a mask is outlined at this resolution.
_SIDE = 512


@dataclass(frozen=True)
class ClipMaps:
    """The maps of a machine's test clips by one detector.

    Attributes
    ----------
    detector : str
    store : MapStore
    rows : mapping of str to ndarray of int
        Rows of the store by clip, in time order.
    """

    detector: str
    store: MapStore
    rows: Mapping[str, NDArray[np.int64]]

    @property
    def typical(self) -> float:
        """The median of all maps of the test clips."""
        return self.store.offset

    def of_picture(
        self, clip_id: str, *, height: int, width: int, sigma: float, seen: tuple[int, int] | None
    ) -> NDArray[np.float32] | None:
        """Return the map of a picture, blurred as for pixel metrics and enlarged to ``height`` x ``width``."""
        if clip_id not in self.rows:
            return None
        values = self.store.map(int(self.rows[clip_id][0]))
        return enlarge_map(values, height=height, width=width, sigma=sigma, seen=seen)

    def of_sound(self, clip_id: str, starts_s: NDArray[Any], *, segment_s: float, clip_s: float) -> NDArray[np.float32] | None:
        """Return the map ``[freq, time]`` of a whole clip: where segments overlap, their mean.

        Parameters
        ----------
        clip_id : str
        starts_s : ndarray [segment]
            Where the clip's segments begin, rising.
        segment_s : float
            Length of a segment in seconds; 0: the whole clip.
        clip_s : float
            Length of the clip in seconds.
        """
        if clip_id not in self.rows or clip_s <= 0.0:
            return None
        maps = [self.store.map(int(row)) for row in self.rows[clip_id]]
        height, width = maps[0].shape
        if segment_s <= 0.0:
            return maps[0]
        n_columns = max(round(width * clip_s / segment_s), 1)
        total, count = np.zeros((height, n_columns)), np.zeros(n_columns)
        for values, start in zip(maps, starts_s, strict=True):
            first = min(round(float(start) / segment_s * width), max(n_columns - 1, 0))
            columns = slice(first, min(first + width, n_columns))
            total[:, columns] += values[:, : columns.stop - first]
            count[columns] += 1
        # segments cover the clip, but for the rounding of its last column
        return np.asarray(np.where(count > 0, total / np.maximum(count, 1), total[:, count > 0].min()), dtype=np.float32)


def open_maps(scores: Path, *, detectors: Sequence[str], seed: int, machine: str) -> ClipMaps | None:
    """Open the maps of the first detector that kept any; None where none did."""
    for detector in detectors:
        found = clip_maps(scores / detector / str(seed) / machine)
        if found is not None:
            return ClipMaps(detector, *found)
    return None


def shown_picture(path: Path, truth: str, root: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None, float]:
    """Return a picture at the report's resolution ``[h, w, 3]``, its mask at that resolution, and the reduction (at most 1).

    Parameters
    ----------
    path : Path
    truth : str
        JSON attributes of its label; ``mask`` is relative to ``root``.
    root : Path

    Raises
    ------
    ImageError, DataError
        If a file cannot be read, or the mask does not fit the picture.
    """
    pixels = read_image(path)
    full = pixels.shape[:2]
    factor = min(1.0, _SIDE / max(full))
    small = resize_image(pixels, height=max(round(full[0] * factor), 1), width=max(round(full[1] * factor), 1))
    place = json.loads(truth or "{}").get("mask")
    mask = None
    if place is not None:
        whole, _ = read_mask(root / place, height=full[0], width=full[1])
        # any defective pixel below counts, so that a thin scratch does not fall through
        rows, columns = (np.arange(n) * s // n for n, s in zip(small.shape[:2], full, strict=True))
        mask = np.logical_or.reduceat(np.logical_or.reduceat(whole, rows, axis=0), columns, axis=1)
    return (small if small.shape[2] == 3 else np.repeat(small, 3, axis=2)), mask, factor
