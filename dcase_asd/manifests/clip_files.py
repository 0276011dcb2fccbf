"""Clip files on disk (recordings, arrays, pictures): finding them, and reading size, channels and content hash in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.errors import AudioError, DataError, ManifestError
from dcase_asd.io.arrays import load_array
from dcase_asd.io.audio import read_header, truncation
from dcase_asd.io.hashing import sha256_file
from dcase_asd.io.images import IMAGE_SUFFIXES, read_image_header

__all__ = [
    "ARRAY_SUFFIXES",
    "AUDIO_SUFFIXES",
    "FileFacts",
    "find_clips",
    "find_images",
    "is_clip_file",
    "read_facts",
    "summarise",
]

AUDIO_SUFFIXES = (".wav", ".flac")
ARRAY_SUFFIXES = (".npy",)
_N_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a clip file is.

    Attributes
    ----------
    kind : str
        ``audio``, ``image``, ``log_mel`` (``.npy [mel, frame]``) or ``vector`` (``.npy [dim]``).
    n_samples : int
        Samples per channel; pixels of a picture; frames of a log-mel; dimensions of a vector.
    n_channels : int
        Channels; 1 for arrays.
    sample_rate_hz : int
        Sampling rate in Hz; 0 for arrays and pictures.
    sha256 : str
        Of the whole file.
    """

    kind: str
    n_samples: int
    n_channels: int
    sample_rate_hz: int
    sha256: str

    def columns(self) -> dict[str, str | int]:
        """The facts as manifest columns."""
        return dict(vars(self))


def is_clip_file(path: Path) -> bool:
    """Whether a path has a clip's ending and is not hidden (``._x.wav`` is a resource fork that macOS leaves in zips)."""
    return path.suffix.lower() in AUDIO_SUFFIXES + ARRAY_SUFFIXES and not path.name.startswith(".")


def find_images(folder: Path) -> list[Path]:
    """List the pictures of a folder and below, sorted by path; hidden files are left out."""
    return _walk(folder, lambda path: path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))


def find_clips(folder: Path, *, recursive: bool = True) -> list[Path]:
    """List the clip files of a folder, sorted by path; links to folders are followed, each folder once."""
    return _walk(folder, is_clip_file, recursive=recursive)


def _walk(folder: Path, wanted: Callable[[Path], bool], *, recursive: bool = True) -> list[Path]:
    found: list[Path] = []
    visited: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(place)
        found += [here / name for name in files if wanted(here / name)]
        visited.add(os.path.realpath(place))
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and not name.startswith(".") and os.path.realpath(here / name) not in visited
        ]
    return sorted(found)


def _refuse(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):  # a part that the layout does not ask for
        return
    raise ManifestError(f"{error.filename}: the folder cannot be read ({error.strerror}); allow it, or move the folder away")


def read_facts(
    paths: Sequence[Path], *, nj: int = 1, progress: Callable[[int, int], None] | None = None
) -> tuple[FileFacts, ...]:
    """Read header and hash of every file, in the order given.

    Parameters
    ----------
    paths : sequence of Path
        wav, flac, npy or picture files.
    nj : int
        Threads.
    progress : callable, optional
        Called with (done, total) after every file.

    Raises
    ------
    ManifestError
        If any file cannot be read; all are tried first, the message gives the count and the first few.
    """
    from joblib import Parallel, delayed

    results: list[FileFacts | DataError] = []
    for result in Parallel(n_jobs=nj, prefer="threads", return_as="generator")(delayed(_facts)(path) for path in paths):
        results.append(result)
        if progress is not None:
            progress(len(results), len(paths))
    broken = [str(result) for result in results if isinstance(result, DataError)]
    if broken:
        raise ManifestError(
            f"{len(broken)} of {len(paths)} clip files cannot be read: {summarise(broken)}. Fetch them again or remove them"
        )
    return tuple(result for result in results if isinstance(result, FileFacts))


def summarise(items: Sequence[str]) -> str:
    """Join the first few items; say how many more there are."""
    more = f"; and {len(items) - _N_SHOWN} more" if len(items) > _N_SHOWN else ""
    return "; ".join(items[:_N_SHOWN]) + more


def _facts(path: Path) -> FileFacts | DataError:
    suffix = path.suffix.lower()
    try:
        if suffix in IMAGE_SUFFIXES:
            return _image_facts(path)
        return _array_facts(path) if suffix in ARRAY_SUFFIXES else _audio_facts(path)
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{path}: cannot be read ({error})")


def _audio_facts(path: Path) -> FileFacts:
    header = read_header(path)
    if cut := truncation(path):
        raise AudioError(f"{path}: {cut}")
    return FileFacts(
        kind="audio",
        n_samples=header.n_samples,
        n_channels=header.n_channels,
        sample_rate_hz=header.sample_rate_hz,
        sha256=sha256_file(path),
    )


def _image_facts(path: Path) -> FileFacts:
    header = read_image_header(path)
    return FileFacts(
        kind="image",
        n_samples=header.height * header.width,
        n_channels=header.n_channels,
        sample_rate_hz=0,
        sha256=sha256_file(path),
    )


def _array_facts(path: Path) -> FileFacts:
    array = load_array(path)
    if array.ndim not in {1, 2} or array.dtype.kind != "f" or array.size == 0:
        raise ManifestError(
            f"{path}: expected floats as log-mel [mel, frame] or vector [dim]; found {array.dtype} {list(array.shape)}"
        )
    return FileFacts(
        kind="log_mel" if array.ndim == 2 else "vector",
        n_samples=int(array.shape[-1]),
        n_channels=1,
        sample_rate_hz=0,
        sha256=sha256_file(path),
    )
