"""Stage 4's work: cut the clips of a store into segments and embed them in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.extractors.base import Extractor
from dcase_asd.features.segments import Embeddings, SegmentMeta, repeat_to_length, segment_starts
from dcase_asd.features.store import FeatureStore

__all__ = ["embed_store", "pool_power"]


def embed_store(
    extractor: Extractor[Any],
    store: FeatureStore,
    *,
    segment_frames: int,
    hop_frames: int,
    frame_rate_hz: float,
    batch_size: int = 64,
) -> Embeddings:
    """Embed every clip of a store.

    Parameters
    ----------
    extractor : Extractor
    store : FeatureStore
    segment_frames, hop_frames : int
        Frames of a segment and between segments (Fujimura 2023, Sec. 4.2: 5.0 s with 75 % overlap); the last segment ends where
        its clip ends, a shorter clip is repeated. ``segment_frames`` 0: each clip is one segment of its own length.
    frame_rate_hz : float
        Frames per second; 0 for pictures and vectors, whose segments all start at 0.
    batch_size : int
        Segments in memory at a time; does not change the result.

    Returns
    -------
    Embeddings
        In the order of the index, segments of a clip by start. ``power`` is the mean high-passed power in each column of the
        map, or over the segment where there is no map; None if the store has none.

    Raises
    ------
    ConfigError
        If a frame count or the batch size is out of range, or the extractor needs another frame rate.
    FormatError
        If the store is empty, or what the extractor returns does not fit (NaN, wrong count, maps of different shapes).
    """
    if segment_frames < 0 or hop_frames < 0 or batch_size < 1 or (segment_frames > 0 and hop_frames < 1):
        raise ConfigError(
            "expected segment_frames >= 0, hop_frames >= 1 and batch_size >= 1; "
            f"got {segment_frames}, {hop_frames} and {batch_size}"
        )
    if extractor.input_rate_hz not in (None, frame_rate_hz):
        raise ConfigError(
            f"{type(extractor).__name__} needs features at {extractor.input_rate_hz:g} frames per second, these have "
            f"{frame_rate_hz:g}; set features to name: waveform, sample_rate_hz: {extractor.input_rate_hz:g}, resample: true"
        )
    rows, starts = _places(store, segment_frames=segment_frames, hop_frames=hop_frames)
    vectors = maps = powers = None
    for first, last in _batches(store, rows, segment_frames=segment_frames, batch_size=batch_size):
        part = slice(first, last)
        places = list(zip(rows[part], starts[part], strict=True))
        segments = np.stack([_cut(store.clip(row), start, segment_frames) for row, start in places])
        vector, feature_map = extractor.embed(segments)
        vectors = _put(vectors, vector, part, n_segments=len(rows), what="vector")
        if feature_map is not None:
            maps = _put(maps, feature_map, part, n_segments=len(rows), what="map")
        if store.power is not None:
            n_time = 1 if feature_map is None else feature_map.shape[3]
            power = np.stack([_cut(_power(store, row), start, segment_frames) for row, start in places])
            powers = _put(powers, pool_power(power, n_time), part, n_segments=len(rows), what="power")
    if vectors is None:
        raise FormatError("the feature store has no clips to embed; re-run stage 2")
    return Embeddings(vectors, maps, powers, _meta(store, rows, starts, frame_rate_hz))


def pool_power(power: NDArray[np.floating], n_time: int) -> NDArray[np.float32]:
    """Average ``[segment, frame]`` over ``n_time`` spans that cover the frames evenly, as adaptive average pooling does.

    Span ``i`` of ``n`` frames runs from ``floor(i n / n_time)`` to ``ceil((i + 1) n / n_time)``. Returns ``[segment, n_time]``.
    """
    n_frames = power.shape[1]
    first = np.arange(n_time) * n_frames // n_time
    last = -(-(np.arange(1, n_time + 1) * n_frames) // n_time)
    values = power.astype(np.float64)
    return np.stack([values[:, a:b].mean(axis=1) for a, b in zip(first, last, strict=True)], axis=1).astype(np.float32)


def _places(store: FeatureStore, *, segment_frames: int, hop_frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths = store.index["length"].to_numpy()
    if segment_frames == 0:
        return np.arange(len(store)), np.zeros(len(store), dtype=np.int64)
    starts = [segment_starts(int(n), length=segment_frames, hop=hop_frames) for n in lengths]
    counts = [len(found) for found in starts]
    return np.repeat(np.arange(len(store)), counts), np.concatenate([*starts, np.zeros(0, dtype=np.int64)])


def _batches(store: FeatureStore, rows: NDArray[np.int64], *, segment_frames: int, batch_size: int) -> Iterator[tuple[int, int]]:
    lengths = store.index["length"].to_numpy()[rows] if segment_frames == 0 else np.full(len(rows), segment_frames)
    first = 0
    for row in range(1, len(rows) + 1):
        if row == len(rows) or row - first == batch_size or lengths[row] != lengths[first]:
            yield first, row
            first = row


def _cut(clip: NDArray[Any], start: int, segment_frames: int) -> NDArray[Any]:
    if segment_frames == 0:
        return clip
    return repeat_to_length(clip, segment_frames)[start : start + segment_frames]


def _power(store: FeatureStore, row: int) -> NDArray[np.float32]:
    power = store.clip_power(row)
    if power is None:
        raise FormatError("the feature store has no power; re-run stage 2")
    return power


def _put(
    result: NDArray[np.float32] | None, values: NDArray[np.float32], part: slice, *, n_segments: int, what: str
) -> NDArray[np.float32]:
    if len(values) != part.stop - part.start or not np.isfinite(values).all():
        raise FormatError(
            f"segments {part.start}..{part.stop - 1}: expected {part.stop - part.start} finite {what}s from the extractor, "
            f"got an array {values.shape}, finite: {bool(np.isfinite(values).all())}"
        )
    if result is None:
        result = np.empty((n_segments, *values.shape[1:]), dtype=np.float32)
    if result.shape[1:] != values.shape[1:]:
        raise FormatError(
            f"segment {part.start}: {what} of shape {values.shape[1:]}, earlier ones {result.shape[1:]}; clips of different "
            "lengths need segments (segment_frames > 0)"
        )
    result[part] = values
    return result


def _meta(store: FeatureStore, rows: NDArray[np.int64], starts: NDArray[np.int64], frame_rate_hz: float) -> SegmentMeta:
    columns = {name: store.index[name].to_numpy(dtype=object)[rows] for name in ("clip_id", "section", "domain", "attributes")}
    start_s = starts / frame_rate_hz if frame_rate_hz > 0 else np.zeros(len(rows))
    return SegmentMeta(**columns, start_s=start_s.astype(np.float64))
