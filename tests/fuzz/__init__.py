"""Hostile input: damaged and malicious files for every reader, until the time is over.

``python -m tests.fuzz [--cases N] [--seconds S] [--seed K] [TARGET ...]`` mutates good files (bytes, fields, headers, archive
members) and hands them to the readers. A reader may return or raise a ``DcaseAsdError``. Everything else is a finding: another
exception, more than :data:`CASE_S` seconds, more than :data:`CASE_MB` MB, a file written outside the target's folder, or a
program, shell, socket or unpickled class (seen by an audit hook). Each target runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

__all__ = ["CASE_MB", "CASE_S", "Target"]

#: Longest that a reader may take for one file; all samples are below 1 MB.
CASE_S = 10.0
#: Most that one file may raise the process's peak memory by [MB]; a picture at the pixel limit takes 0.5 GB decoded.
CASE_MB = 1024


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader and what it is fed.

    Attributes
    ----------
    name, file : str
        Of the target; of the file that is written, whose ending a reader may look at.
    read : callable
        ``read(path)``; may write below ``path.parent`` only.
    samples : callable
        ``samples(folder)`` returns the contents of good files.
    mutate : callable
        ``mutate(sample, rng)`` returns the content of a bad one.
    """

    name: str
    file: str
    read: Callable[[Path], object]
    samples: Callable[[Path], Sequence[bytes]]
    mutate: Callable[[bytes, Random], bytes]
