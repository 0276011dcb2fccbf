"""Where every clip of a machine goes in its store, known before a sample is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import AudioError, DataError, FormatError, ManifestError
from dcase_asd.features.base import AudioConfig, Feature
from dcase_asd.features.image import Image
from dcase_asd.features.signal import resampled_length
from dcase_asd.io.arrays import load_array
from dcase_asd.manifests.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Clip", "SplitPlan", "plan_machine"]


@dataclass(frozen=True)
class Clip:
    """One row of the manifest and its place in the store.

    Attributes
    ----------
    path : Path
        The file.
    kind : str
        ``audio``, ``image``, ``log_mel`` or ``vector``.
    n_samples, sample_rate_hz : int
        What the manifest says; of a picture, pixels and 0.
    start, length : int
        First frame in the split's array, and frames.
    """

    path: Path
    kind: str
    n_samples: int
    sample_rate_hz: int
    start: int
    length: int


@dataclass(frozen=True)
class SplitPlan:
    """The store of one split.

    Attributes
    ----------
    split : str
    clips : tuple of Clip
        Sorted by clip id.
    index : pandas.DataFrame
        The store's index without ``level_db``.
    frame_shape : tuple of int
    """

    split: str
    clips: tuple[Clip, ...]
    index: pd.DataFrame
    frame_shape: tuple[int, ...]

    @property
    def n_frames(self) -> int:
        """Frames of all clips together."""
        return sum(clip.length for clip in self.clips)


def plan_machine(manifest: Manifest, feature: Feature[Any] | Image, *, data_root: Path) -> list[SplitPlan]:
    """Lay out the stores of one machine.

    Raises
    ------
    ManifestError
        If the rows are none, of several machines, or of several kinds.
    AudioError, FormatError
        If a recording has another rate or is too short, or an array has a shape the feature does not take.
    """
    kind = _single(manifest, "kind")
    _single(manifest, "machine")
    if kind in ("audio", "image") and kind != feature.native:
        raise ManifestError(
            f"the feature reads {feature.native} files, the manifest's are {kind}; "
            f"set features.name to {'image' if kind == 'image' else 'log_mel or another audio feature'}"
        )
    frame_shape = feature.frame_shape if kind == feature.native else None
    plans = []
    for split in sorted(manifest.table["split"].unique()):
        table = manifest.table[manifest.table["split"] == split].sort_values("clip_id", ignore_index=True)
        clips: list[Clip] = []
        start = 0
        for row in table.itertuples(index=False):
            length, shape = _extent(row, feature, data_root / str(row.path))
            frame_shape = shape if frame_shape is None else frame_shape
            if shape != frame_shape:
                raise FormatError(f"{data_root / str(row.path)}: frames of shape {shape}, the clips before it have {frame_shape}")
            clips.append(Clip(data_root / str(row.path), kind, int(row.n_samples), int(row.sample_rate_hz), start, length))
            start += length
        index = table[["clip_id", "section", "domain", "attributes"]].assign(
            start=[clip.start for clip in clips], length=[clip.length for clip in clips]
        )
        plans.append(SplitPlan(split, tuple(clips), index, frame_shape or ()))
    return plans


def _single(manifest: Manifest, column: str) -> str:
    found = sorted(manifest.table[column].unique())
    if len(found) != 1:
        raise ManifestError(
            f"expected the rows of one {column}, found {', '.join(found) or 'no rows at all'}; "
            f"build machine by machine, and keep arrays and recordings in machines of their own"
        )
    return str(found[0])


def _extent(row: Any, feature: Feature[Any] | Image, path: Path) -> tuple[int, tuple[int, ...]]:
    if isinstance(feature, Image) and row.kind == "image":
        return 1, feature.frame_shape
    if not isinstance(feature, Image) and row.kind == "audio":
        return _audio_frames(row, feature, path), feature.frame_shape
    array = load_array(path)
    shape = array.shape
    problem = feature.check_precomputed(row.kind, shape)
    if array.dtype.kind not in "fiu":
        problem = f"expected real numbers, found {array.dtype}"
    if problem is not None:
        raise FormatError(f"{path}: {problem}")
    return (shape[1], (shape[0],)) if row.kind == "log_mel" else (1, shape)


def _audio_frames(row: Any, feature: Feature[Any], path: Path) -> int:
    config: AudioConfig = feature.config
    rate = int(row.sample_rate_hz)
    if rate != config.sample_rate_hz and not config.resample:
        raise AudioError(
            f"{path}: recorded at {rate} Hz, the feature works at {config.sample_rate_hz} Hz; "
            "set resample: true in the feature's configuration, or sample_rate_hz to the recordings' rate"
        )
    try:
        return feature.n_frames(resampled_length(int(row.n_samples), from_hz=rate, to_hz=config.sample_rate_hz))
    except DataError as error:
        raise AudioError(f"{path}: {error}") from error
