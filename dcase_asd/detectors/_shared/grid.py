"""Grids of models under one detector: naming of parts, and which one is *the* score."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors.base import Scores
from dcase_asd.errors import ConfigError, DataError, FormatError

__all__ = ["as_scores", "check_sizes", "fitting_sizes", "part_name", "tensor_to_text", "text_to_tensor", "wanted"]

_log = logging.getLogger(__name__)


def part_name(**values: object) -> str:
    """Return ``"fit_set=both,k=4"`` for ``fit_set="both", k=4``."""
    return ",".join(f"{key}={value}" for key, value in values.items())


def as_scores(parts: Sequence[tuple[str, NDArray[np.float64]]], *, n_wanted: int = 1) -> Scores:
    """Make :class:`Scores` of a grid: ``score`` is the first part in grid order; a single part leaves ``parts`` empty.

    Parameters
    ----------
    parts : sequence of (name, ndarray [segment])
    n_wanted : int
        Grid points of the configuration. Where it has several and the data allow only one, that one keeps its name: systems
        must be called the same on every machine.
    """
    return Scores(score=parts[0][1], parts=dict(parts) if max(len(parts), n_wanted) > 1 else {})


def check_sizes(sizes: Sequence[int], *, key: str) -> None:
    """Raise ``ConfigError`` unless a grid of sizes is a non-empty list of distinct positive numbers."""
    if not sizes or min(sizes) < 1 or len(set(sizes)) != len(sizes):
        raise ConfigError(f"{key}: expected distinct whole numbers from 1 up, got {list(sizes)}")


def fitting_sizes(sizes: Sequence[int], *, limit: int, policy: Literal["skip", "error"], key: str, where: str) -> tuple[int, ...]:
    """Return the grid sizes that do not exceed ``limit`` points.

    Raises
    ------
    DataError
        If a size is too large and ``policy`` is ``error``, or none is small enough.
    """
    fits = tuple(size for size in sizes if size <= limit)
    left_out = [size for size in sizes if size > limit]
    if left_out and (policy == "error" or not fits):
        raise DataError(f"{where}: {key} {left_out} exceeds the {limit} training segments; use smaller values or more segments")
    if left_out:
        _log.warning("%s: %s %s exceeds the %d training segments and is left out", where, key, left_out, limit)
    return fits


def text_to_tensor(value: object) -> NDArray[np.uint8]:
    """Return plain JSON data as a tensor of UTF-8 bytes, so that a saved state can name its own parts."""
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8).copy()


def tensor_to_text(tensor: NDArray[Any], *, name: str) -> Any:
    """Undo :func:`text_to_tensor`; raises ``FormatError`` naming the tensor if it is damaged."""
    try:
        return json.loads(np.asarray(tensor, dtype=np.uint8).tobytes().decode())
    except (UnicodeDecodeError, ValueError) as error:
        raise FormatError(f"tensor {name!r} of the saved state is damaged ({error}); re-run stage 5") from error


def wanted(tensors: Mapping[str, NDArray[Any]], name: str, *, owner: object) -> NDArray[Any]:
    """Return one tensor of a saved state; raises ``FormatError`` naming it and the detector if it is missing."""
    if name not in tensors:
        known = ", ".join(sorted(tensors)) or "none"
        raise FormatError(f"{type(owner).__name__}: the saved state lacks tensor {name!r} (it has {known}); re-run stage 5")
    return tensors[name]
