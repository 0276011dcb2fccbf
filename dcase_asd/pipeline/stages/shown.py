"""Which systems the result table shows, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcase_asd.errors import UnknownNameError
from dcase_asd.pipeline.stages.ensemble import UNSELECTED, expand
from dcase_asd.pipeline.stages.scores import LEVEL_SYSTEMS

__all__ = ["shown_systems"]


def shown_systems(config: Mapping[str, Any], systems: Sequence[str]) -> list[str]:
    """Return the rows of the result table in order: configured systems, comparators, and the trivial level.

    Raises
    ------
    UnknownNameError
        If a pattern of ``evaluate.systems`` or ``evaluate.comparators`` matches no system.
    """
    evaluate = config["evaluate"]
    own = evaluate["systems"] or [n for key in config["ensembles"] for n in (key, key + UNSELECTED) if n in systems]
    wanted = [*own, *evaluate["comparators"]]
    found = [s for pattern in wanted for s in matching(pattern, systems)]
    if not found:
        found = [s for s in systems if s not in LEVEL_SYSTEMS]
    return [*dict.fromkeys(found), *(s for s in LEVEL_SYSTEMS if s in systems)]


def matching(pattern: str, systems: Sequence[str]) -> list[str]:
    """Return the systems a pattern means: the one of that name, or all it matches; ``UnknownNameError`` if there is none."""
    found = [pattern] if pattern in systems else expand([pattern], systems)
    if not found:
        raise UnknownNameError("system", pattern, systems)
    return found
