"""The stage contract: :class:`Stage`, its units of work, and the context it is handed.

A stage cuts its work into :class:`Unit` s (a machine; an extractor x seed x machine; ...). A unit declares the configuration
values that can change its result and the upstream files it reads; nothing else enters its fingerprint, and ``run`` is handed
nothing else. The runner keeps the record of every unit, so an interrupted stage resumes by unit, and a changed
configuration re-runs only the units it touches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

__all__ = ["Context", "Resources", "Stage", "Unit"]


@dataclass(frozen=True)
class Unit:
    """One piece of a stage's work, written into one sub-folder of the stage's output.

    Attributes
    ----------
    name : str
        Relative folder, e.g. ``oe/0/fan``; unique within the stage.
    config : mapping
        Plain JSON values: every setting that can change the unit's result, defaults included.
    inputs : mapping of str to sequence of str
        Upstream stage name to the sub-folders or files (``""``: everything) the unit reads.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """What a run may use; never part of a fingerprint, never able to change a result.

    Attributes
    ----------
    nj : int
        Units (or shards) worked on at once.
    threads : int
        Numerical threads of each; constant, because a different number could change the last bit of a sum.
    device : str
        Torch device, ``cpu`` or ``cuda`` / ``cuda:1``.
    executor : str
        Name of the executor.
    address : str
        Scheduler address for executors that need one.
    """

    nj: int = 1
    threads: int = 1
    device: str = "cpu"
    executor: str = "local"
    address: str = ""


@dataclass(frozen=True)
class Context:
    """What a stage is handed.

    Attributes
    ----------
    config : mapping
        The unit's declared configuration (for ``units`` and ``finish``: the whole resolved configuration).
    folders : mapping of str to Path
        Output folders of upstream stages by stage name; ``raw`` is the root of the raw data.
    resources : Resources
    log : callable
        Writes one line to the unit's log (in the runner: to the screen as well).
    command : str
        The command line of this run, for provenance.
    """

    config: Mapping[str, Any]
    folders: Mapping[str, Path]
    resources: Resources
    log: Callable[[str], None]
    command: str = ""


class Stage(ABC):
    """One of the ten stages."""

    number: ClassVar[int]
    name: ClassVar[str]
    #: What goes in and what comes out, for ``--list``.
    reads: ClassVar[str]
    writes: ClassVar[str]
    #: Raised by hand whenever the stage's output changes for the same inputs.
    version: ClassVar[int]
    #: Names of the upstream stages whose outputs the stage may read.
    upstream: ClassVar[tuple[str, ...]] = ()
    #: Top-level keys of the configuration that :meth:`finish` may read.
    finish_keys: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def units(self, context: Context) -> list[Unit]:
        """List the units of work from the whole configuration and the upstream outputs."""

    def foresee(self, config: Mapping[str, Any]) -> None:
        """Raise what :meth:`run` will raise for want of a file from outside: given the whole configuration, before any work."""

    @abstractmethod
    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Do one unit: write into ``out`` (empty at first); ``work`` survives interruption and is thrown away at the end."""

    def finish(self, context: Context, out: Path) -> None:
        """Write what needs all units, into the stage's folder ``out``."""

    def check(self, context: Context, out: Path) -> None:
        """Raise ``StageError`` if the output is not complete and sound; nothing is committed then."""
