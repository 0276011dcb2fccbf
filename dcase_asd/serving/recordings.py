"""Recordings to fit on or to score: files, folders of files, arrays; and the windows that long ones are cut into."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError, UsageError, printable
from dcase_asd.features.segments import segment_starts
from dcase_asd.io.audio import read_audio, read_header, truncation
from dcase_asd.manifests.folder import Config

__all__ = ["SUFFIXES", "Found", "Recording", "Skipped", "Sources", "Window", "find", "refuse_labelled", "several", "windows"]

#: What libsndfile reads; in a folder anything else is passed over, a file named by itself is tried whatever its ending.
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".rf64", ".caf")

#: One path or array, or several.
Sources = str | os.PathLike[str] | NDArray[Any] | Iterable[str | os.PathLike[str] | NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording: a file that is read piece by piece, or an array.

    Attributes
    ----------
    name : str
        The path as it was given or found; ``array 0`` and so on for arrays.
    n_samples, sample_rate_hz, n_channels : int
    path : Path or None
    waveform : ndarray [channel, sample] or None
    """

    name: str
    n_samples: int
    sample_rate_hz: int
    n_channels: int
    path: Path | None = None
    waveform: NDArray[np.float32] | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate_hz

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples ``[channel, sample]``; raises ``AudioError`` if the file cannot be decoded."""
        if self.waveform is not None:
            return self.waveform[:, start:stop]
        return read_audio(Path(self.name) if self.path is None else self.path, start=start, stop=stop)[0]


@dataclass(frozen=True)
class Skipped:
    """A recording that could not be used, and why."""

    name: str
    reason: str

    @classmethod
    def because(cls, name: str, error: Exception, *, file: str | None = None) -> Skipped:
        """Take the reason from an error, less the names of the ``file`` (the recording's own name by default) before it."""
        reason, prefix = str(error), f"{name if file is None else file}: "
        while reason.startswith(prefix):
            reason = reason.removeprefix(prefix)
        return cls(name, reason)

    def __str__(self) -> str:
        """Return name and reason."""
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Found:
    """What :func:`find` found.

    Attributes
    ----------
    recordings : tuple of Recording
    skipped : tuple of Skipped
        Files that are no readable recordings although they are named like one, or were named by themselves.
    n_other : int
        Other files in the folders, passed over.
    """

    recordings: tuple[Recording, ...]
    skipped: tuple[Skipped, ...]
    n_other: int


@dataclass(frozen=True)
class Window:
    """The samples ``start`` to ``stop`` of a recording."""

    recording: Recording
    start: int
    stop: int

    @property
    def start_s(self) -> float:
        """Where the window begins, in seconds."""
        return self.start / self.recording.sample_rate_hz


def find(sources: Sources, *, sample_rate_hz: int | None = None) -> Found:
    """List the recordings that paths and arrays stand for, in the order given, folders sorted by path.

    Parameters
    ----------
    sources : path, array, or several
        A folder stands for the recordings in and below it; an array is ``[sample]`` or ``[channel, sample]``.
    sample_rate_hz : int, optional
        Rate of the arrays.

    Raises
    ------
    UsageError
        If arrays come without a rate, or have a wrong shape.
    """
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    n_other = 0
    for number, item in enumerate(several(sources)):
        if isinstance(item, np.ndarray):
            recordings.append(_of_array(item, name=f"array {number}", sample_rate_hz=sample_rate_hz))
            continue
        path = Path(item)
        paths, passed_over = _below(path, skipped) if path.is_dir() else ([path], 0)
        n_other += passed_over
        for one in paths:
            result = _of_file(one)
            (recordings if isinstance(result, Recording) else skipped).append(result)  # type: ignore[arg-type]
    return Found(tuple(recordings), tuple(skipped), n_other)


def several(sources: object) -> Sequence[Any]:
    """Return what is given as a list, a single item as a list of one; a generator is read here, once.

    Raises
    ------
    UsageError
        If it is anything but paths and arrays.
    """
    if isinstance(sources, (str, os.PathLike, np.ndarray)):
        return [sources]
    items = list(sources) if isinstance(sources, Iterable) and not isinstance(sources, bytes) else [sources]
    for item in items:
        if not isinstance(item, (str, os.PathLike, np.ndarray)):
            raise UsageError(f"recordings: expected paths or numpy arrays, got {item!r:.60} of {type(item)}")
    return items


def refuse_labelled(sources: Sources) -> None:
    """Raise ``UsageError`` if a folder given as normal recordings says itself that not all in it are normal.

    It does by a table (``split.csv``), or by files in a folder called ``anomaly`` or the like, as labelled folders of recipes do
    (:mod:`dcase_asd.manifests.folder`).
    """
    labelled = Config()
    for item in several(sources):
        if isinstance(item, np.ndarray):
            continue
        for place, _, files in os.walk(item):
            name = Path(place).name.lower()
            # one letter or digit may stand for anything
            told = [labelled.table] if labelled.table in files else []
            told += [f"the folder {name}"] if len(name) > 1 and name in labelled.anomaly_values and files else []
            if told:
                raise UsageError(
                    f"{printable(place)}: not all in it is normal ({told[0]} says so), and fit takes all for normal; give the "
                    "normal recordings alone (dcase-asd trial DIR measures fit on a labelled folder)"
                )


def windows(recording: Recording, *, whole_s: float, window_s: float) -> list[Window]:
    """Return the recording as one window if it is at most ``whole_s`` long, else cut into pieces of ``window_s``.

    The pieces follow one another; the last one ends where the recording ends.
    """
    if recording.duration_s <= whole_s:
        return [Window(recording, 0, recording.n_samples)]
    length = max(round(window_s * recording.sample_rate_hz), 1)
    starts = segment_starts(recording.n_samples, length=length, hop=length)
    return [Window(recording, int(start), int(start) + length) for start in starts]


def _below(folder: Path, skipped: list[Skipped]) -> tuple[list[Path], int]:
    files = [path for path in _walk(folder, skipped) if not path.name.startswith(".")]
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    return found, len(files) - len(found)


def _walk(folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    def closed(error: OSError) -> None:
        skipped.append(Skipped(printable(error.filename), f"the folder cannot be read ({error.strerror})"))

    for place, folders, files in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files))


def _of_file(path: Path) -> Recording | Skipped:
    try:
        header, cut = read_header(path), truncation(path)
    except AudioError as error:
        return Skipped.because(printable(path), error)
    except OSError as error:  # it went between one look and the next
        return Skipped(printable(path), f"cannot be opened ({error.strerror or error})")
    if cut:
        return Skipped(printable(path), f"{cut}; copy it again")
    if header.n_samples < 1:
        return Skipped(printable(path), "no samples in it")
    return Recording(printable(path), header.n_samples, header.sample_rate_hz, header.n_channels, path=path)


def _of_array(array: NDArray[Any], *, name: str, sample_rate_hz: int | None) -> Recording:
    if sample_rate_hz is None or sample_rate_hz < 1:
        raise UsageError(f"{name}: arrays need sample_rate_hz, got {sample_rate_hz}")
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind != "f":
        remedy = f"; divide by {-np.iinfo(array.dtype).min} as float" if array.dtype.kind == "i" else ""
        raise UsageError(
            f"{name}: expected floating-point samples [sample] or [channel, sample] in -1..1, got {array.dtype} {array.shape}"
            f"{remedy}"
        )
    waveform = np.atleast_2d(np.asarray(array, dtype=np.float32))
    if len(waveform) > waveform.shape[1]:
        raise UsageError(f"{name}: {len(waveform)} channels of {waveform.shape[1]} samples; turn the array round with .T")
    if not np.isfinite(waveform).all():
        raise UsageError(f"{name}: samples are NaN or infinite")
    return Recording(name, waveform.shape[1], sample_rate_hz, len(waveform), waveform=waveform)
