"""Which stages a command asks for, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcase_asd.pipeline.stage import Stage

__all__ = ["Plan", "StageState"]


@dataclass(frozen=True)
class Plan:
    """Which stages a command asks for.

    Attributes
    ----------
    first, last : int
        Range of stage numbers.
    only, skip : frozenset of int
        Exactly these (empty: the whole range); leave these out.
    redo : frozenset of int
        Stages to run again although they are up to date.
    dry_run, allow_stale, verify : bool
    """

    first: int = 0
    last: int = 9
    only: frozenset[int] = frozenset()
    skip: frozenset[int] = frozenset()
    redo: frozenset[int] = frozenset()
    dry_run: bool = False
    allow_stale: bool = False
    verify: bool = False

    def wants(self, number: int) -> bool:
        """Return whether a stage is in the plan."""
        return self.first <= number <= self.last and (not self.only or number in self.only) and number not in self.skip

    def needed(self, stages: Sequence[Stage]) -> set[str]:
        """Return the names of the stages outside the plan that stages of the plan build on, directly or not."""
        found: set[str] = set()
        for stage in reversed(stages):
            if self.wants(stage.number) or stage.name in found:
                found |= set(stage.upstream)
        return found - {stage.name for stage in stages if self.wants(stage.number)}


@dataclass(frozen=True)
class StageState:
    """What the runner knows of a stage: ``missing``, ``stale``, ``done`` or ``blocked``, and why."""

    state: str
    reasons: Sequence[str] = ()
