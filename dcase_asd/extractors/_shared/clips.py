"""Clips of several feature stores as one list, and crops of them.

A crop is a slice of the memory-mapped array: one copy into the batch, which also turns float16 into float32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import FormatError
from dcase_asd.features.segments import repeat_to_length
from dcase_asd.features.store import FeatureFolder, FeatureStore

__all__ = ["ClipList", "band_statistics"]

_TEXT = ("clip_id", "section", "domain", "attributes")
_COLUMNS: dict[str, type] = {"start": np.int64, "length": np.int64, **dict.fromkeys(_TEXT, object)}


@dataclass(frozen=True)
class ClipList:
    """Clips to crop from.

    Attributes
    ----------
    arrays : tuple of ndarray [frame, mel]
        Memory-mapped data of the stores.
    store, start, length : ndarray [clip], int64
        Which array, first frame in it, frames of the clip.
    machine, clip_id, section, domain : ndarray [clip] of str
    attributes : tuple of dict
        Attributes of each clip.
    """

    arrays: tuple[NDArray[Any], ...]
    store: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    machine: NDArray[Any]
    clip_id: NDArray[Any]
    section: NDArray[Any]
    domain: NDArray[Any]
    attributes: tuple[dict[str, str], ...]

    @classmethod
    def open(cls, features: FeatureFolder, parts: Sequence[tuple[str, str]]) -> ClipList:
        """Open the stores of ``(machine, split)`` pairs and list all their clips.

        Raises
        ------
        FormatError
            If a store is not ``[frame, mel]``, its mel bands differ from the others', a clip is empty, or its attributes are no
            JSON object.
        """
        stores = [features.open(machine, split) for machine, split in parts]
        _check(stores, parts)
        columns = {
            name: np.concatenate([store.index[name].to_numpy(dtype=kind) for store in stores]) for name, kind in _COLUMNS.items()
        }
        counts = [len(store) for store in stores]
        return cls(
            tuple(store.data for store in stores),
            np.repeat(np.arange(len(stores)), counts),
            columns["start"],
            columns["length"],
            np.repeat(np.array([machine for machine, _ in parts], dtype=object), counts),
            columns["clip_id"],
            columns["section"],
            columns["domain"],
            tuple(_attributes(text, clip_id) for text, clip_id in zip(columns["attributes"], columns["clip_id"], strict=True)),
        )

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: NDArray[Any]) -> ClipList:
        """Return the chosen clips (index or mask)."""
        chosen = np.arange(len(self))[rows]
        return ClipList(
            self.arrays,
            self.store[chosen],
            self.start[chosen],
            self.length[chosen],
            self.machine[chosen],
            self.clip_id[chosen],
            self.section[chosen],
            self.domain[chosen],
            tuple(self.attributes[i] for i in chosen),
        )

    def clip(self, row: int) -> NDArray[Any]:
        """Return clip number ``row`` as a view ``[frame, mel]``."""
        start = self.start[row]
        return np.asarray(self.arrays[self.store[row]][start : start + self.length[row]])

    @property
    def n_bands(self) -> int:
        """Mel bands of the features."""
        return int(self.arrays[0].shape[1])

    def crops(self, rows: NDArray[np.int64], *, positions: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        """Cut one crop from each of the given clips into ``out``; a clip shorter than the crop is repeated.

        Parameters
        ----------
        rows : ndarray [batch]
        positions : ndarray [batch]
            Where the crop lies in its clip, in [0, 1): 0 at the start, towards 1 at the last possible place.
        out : ndarray [batch, frame, mel], float32
            Is filled; its second axis is the length of a crop.
        """
        n_frames = out.shape[1]
        room = np.maximum(self.length[rows] - n_frames, 0)
        first = self.start[rows] + (positions * (room + 1)).astype(np.int64)
        for i, (row, begin) in enumerate(zip(rows, first, strict=True)):
            if self.length[row] >= n_frames:
                out[i] = self.arrays[self.store[row]][begin : begin + n_frames]
            else:
                out[i] = repeat_to_length(self.clip(row), n_frames)


def band_statistics(clips: ClipList) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation ``[mel]`` over all frames, one clip in memory at a time (Chan et al. 1979).

    Raises
    ------
    FormatError
        If a clip holds NaN or infinite values.
    """
    count, mean, squares = 0, np.zeros(clips.arrays[0].shape[1]), np.zeros(clips.arrays[0].shape[1])
    for row in range(len(clips)):
        clip = clips.clip(row).astype(np.float64)
        if not np.isfinite(clip).all():
            raise FormatError(
                f"clip {clips.clip_id[row]!r} of {clips.machine[row]}: feature values are not finite; "
                "repair the recording and re-run stage 2"
            )
        own = clip.mean(axis=0)
        gap, total = own - mean, count + len(clip)
        squares += ((clip - own) ** 2).sum(axis=0) + gap**2 * count * len(clip) / total
        mean, count = mean + gap * len(clip) / total, total
    return mean, np.sqrt(squares / max(count, 1))


def _check(stores: Sequence[FeatureStore], parts: Sequence[tuple[str, str]]) -> None:
    for store, (machine, split) in zip(stores, parts, strict=True):
        shape = store.data.shape
        if len(shape) != 2 or shape[1:] != stores[0].data.shape[1:]:
            raise FormatError(
                f"{machine}/{split}: expected features [frame, mel] with as many bands as {parts[0][0]} "
                f"{stores[0].data.shape[1:]}, found {shape}; re-run stage 2 with one configuration for all machines"
            )
        short = store.index["length"] < 1
        if short.any():
            clip_id = store.index["clip_id"].iat[int(short.to_numpy().argmax())]
            raise FormatError(f"{machine}/{split}: clip {clip_id!r} has no frames; remove it from the manifest")


def _attributes(text: str, clip_id: str) -> dict[str, str]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise FormatError(f"clip {clip_id!r}: attributes {text!r} are not a JSON object; re-run stages 1 and 2")
    return {str(key): str(item) for key, item in value.items()}
