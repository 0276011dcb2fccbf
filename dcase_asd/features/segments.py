"""Segments of clips and what stage 4 makes of them: :class:`Embeddings`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.io.arrays import load_array, save_array
from dcase_asd.io.tables import read_table, write_table

__all__ = ["Embeddings", "SegmentMeta", "repeat_to_length", "segment_frames", "segment_starts"]


@dataclass(frozen=True)
class SegmentMeta:
    """What is known of each segment besides its numbers; never a label.

    Attributes
    ----------
    clip_id, section, domain, attributes : ndarray [segment] of str
        ``attributes`` is JSON text. Detectors may use domain, section and attributes of training segments.
    start_s : ndarray [segment]
        Where the segment begins in its clip, in seconds.
    """

    clip_id: NDArray[Any]
    section: NDArray[Any]
    domain: NDArray[Any]
    attributes: NDArray[Any]
    start_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.clip_id)

    def take(self, rows: NDArray[Any]) -> SegmentMeta:
        """Return the chosen segments (index or mask)."""
        return SegmentMeta(self.clip_id[rows], self.section[rows], self.domain[rows], self.attributes[rows], self.start_s[rows])


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one machine and split.

    Attributes
    ----------
    vector : ndarray [segment, dim], float32
    map : ndarray [segment, channel, freq, time] or None
        Feature map; for pictures ``freq`` and ``time`` are height and width.
    power : ndarray [segment, time] or None
        High-passed power pooled to the map's time axis (to one value per segment where there is no map).
    meta : SegmentMeta
    """

    vector: NDArray[np.float32]
    map: NDArray[np.float32] | None
    power: NDArray[np.float32] | None
    meta: SegmentMeta

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write ``vector.npy``, ``map.npy``, ``power.npy`` and ``segments.csv``."""
        import pandas as pd

        target = Path(folder)
        save_array(target / "vector.npy", self.vector)
        for name, value in (("map", self.map), ("power", self.power)):
            if value is not None:
                save_array(target / f"{name}.npy", value)
        write_table(target / "segments.csv", pd.DataFrame({c: getattr(self.meta, c) for c in _SEGMENT_COLUMNS}))

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Embeddings:
        """Open what :meth:`write` wrote, memory-mapped.

        Raises
        ------
        FormatError
            If files are missing or lengths differ.
        """
        source = Path(folder)
        table = read_table(source / "segments.csv", _SEGMENT_COLUMNS)
        optional = {n: load_array(source / f"{n}.npy") if (source / f"{n}.npy").is_file() else None for n in ("map", "power")}
        vector = load_array(source / "vector.npy")
        meta = SegmentMeta(**{c: table[c].to_numpy(dtype=float if c == "start_s" else object) for c in _SEGMENT_COLUMNS})
        for name, value in (("vector", vector), *optional.items()):
            if value is not None and len(value) != len(meta):
                raise FormatError(f"{source}/{name}.npy: {len(value)} segments, segments.csv has {len(meta)}; re-run stage 4")
        return cls(vector, optional["map"], optional["power"], meta)

    def take(self, rows: NDArray[Any]) -> Embeddings:
        """Return the chosen segments (index or mask)."""
        return Embeddings(
            self.vector[rows],
            None if self.map is None else self.map[rows],
            None if self.power is None else self.power[rows],
            self.meta.take(rows),
        )


_SEGMENT_COLUMNS = {"clip_id": "str", "section": "str", "domain": "str", "attributes": "str", "start_s": "float"}


def segment_frames(length_s: float, overlap: float, *, frame_rate_hz: float) -> tuple[int, int]:
    """Return length and hop of a segment in frames; (0, 0) takes whole clips.

    Fujimura 2023, Section 4.2: 5.0 s segments with 75 % overlap, a hop of 1.25 s.
    """
    if length_s <= 0 or frame_rate_hz <= 0:
        return 0, 0
    length = max(round(length_s * frame_rate_hz), 1)
    return length, max(round(length_s * (1.0 - overlap) * frame_rate_hz), 1)


def segment_starts(n_frames: int, *, length: int, hop: int) -> NDArray[np.int64]:
    """Return the first frames of the segments of a clip; the last one always ends at the clip's end.

    Parameters
    ----------
    n_frames : int
        Frames of the clip.
    length, hop : int
        Frames of a segment and between segments (Fujimura 2023, Section 4.2: 5.0 s with 75 % overlap).

    Returns
    -------
    ndarray [segment], int64
        ``[0]`` for a clip no longer than a segment (such a clip is repeated up to one segment).

    Raises
    ------
    ConfigError
        If length or hop is not positive.
    """
    if length < 1 or hop < 1:
        raise ConfigError(f"segments need a positive length and hop in frames, got {length} and {hop}")
    last = max(n_frames - length, 0)
    starts = np.arange(0, last + 1, hop, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def repeat_to_length(clip: NDArray[Any], length: int) -> NDArray[Any]:
    """Repeat a clip ``[frame, ...]`` along its first axis until it has ``length`` frames; a longer one is returned as it is."""
    if len(clip) >= length:
        return clip
    if len(clip) == 0:
        raise FormatError("a clip without a single frame cannot be repeated; remove it from the manifest")
    times = -(-length // len(clip))
    return np.concatenate([clip] * times)[:length]
