"""The exception tree.

::

    DcaseAsdError            anything this package refuses to do (exit code 1)
    ├── UsageError           the command line or the configuration is wrong (exit code 2)
    │   ├── ConfigError      a key, type or value in a YAML file or an override
    │   └── UnknownNameError a name that nothing is registered under
    ├── DataError            something on disk is not what it should be
    │   ├── ManifestError    a manifest row, a file name or an attribute string
    │   ├── AudioError       a recording that cannot be read or used
    │   ├── ImageError       a picture that cannot be read or used
    │   └── FormatError      a score file, ground truth, submission, bundle or array file
    ├── StageError           a stage cannot start, or failed
    │   ├── StaleInputError  a stage was asked for over missing or outdated inputs
    │   └── LockedError      another runner holds the experiment
    ├── NotFittedError       a detector or extractor was used before ``fit``
    └── TrainingError        training cannot go on (NaN loss, too little data)

Every message says what was expected, what was found (value, shape, file, row), and what to do.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

__all__ = [
    "AudioError",
    "ConfigError",
    "DataError",
    "DcaseAsdError",
    "FormatError",
    "ImageError",
    "LockedError",
    "ManifestError",
    "NotFittedError",
    "StageError",
    "StaleInputError",
    "TrainingError",
    "UnknownNameError",
    "UsageError",
    "nearest",
    "printable",
]


class DcaseAsdError(Exception):
    """Base of everything this package raises on purpose.

    Attributes
    ----------
    exit_code : int
        The exit status the command line ends with: 1 for a failure, 2 for a usage error.
    """

    exit_code: int = 1

    def __str__(self) -> str:
        """Return the message in letters that any file and terminal takes; messages hold file names."""
        return printable(super().__str__())


class UsageError(DcaseAsdError):
    """The command line or the configuration asks for something that does not exist."""

    exit_code = 2


class ConfigError(UsageError):
    """A key, type or value in a configuration is wrong."""


class UnknownNameError(UsageError):
    """A name that nothing is registered under; the message names the nearest and lists all."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        self._given = (kind, name, names)
        super().__init__(f"unknown {kind} {name!r}{nearest(name, names)}; known: {', '.join(names) or 'none'}")

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        """Survive the way from a worker process to the runner: the default would call the constructor with the message."""
        return type(self), self._given


class DataError(DcaseAsdError):
    """Something on disk is not what it should be."""


class ManifestError(DataError):
    """A manifest row, a file name or an attribute string is wrong."""


class AudioError(DataError):
    """A recording cannot be read or used."""


class ImageError(DataError):
    """A picture cannot be read or used."""


class FormatError(DataError):
    """A score file, ground truth, submission, bundle or array file is malformed."""


class StageError(DcaseAsdError):
    """A pipeline stage cannot start, or failed."""


class StaleInputError(StageError):
    """A stage was asked for over missing or outdated inputs."""


class LockedError(StageError):
    """Another runner holds the experiment."""


class NotFittedError(DcaseAsdError):
    """A detector or extractor was used before it was fitted."""


class TrainingError(DcaseAsdError):
    """Training cannot go on."""


def printable(name: str | os.PathLike[str]) -> str:
    """Return a file's name as text; bytes that are no UTF-8, which a disk may hold and no table can, are escaped."""
    text = os.fspath(name)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character of UTF-16, which is no name but may be in a message
        return text.encode("utf-8", "backslashreplace").decode()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known name, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
