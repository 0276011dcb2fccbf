"""How large a synthetic corpus is: ``mini`` (CI), ``demo`` (a recipe in minutes) or ``full`` (the challenge's counts)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dcase_asd.errors import UnknownNameError

__all__ = ["SIZES", "Size", "size_of"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Counts per machine.

    Attributes
    ----------
    n_train_source, n_train_target : int
        Normal training clips of each domain.
    n_test : int
        Test clips per domain and class (normal, anomaly).
    duration_s : float
        Clip length.
    machines : tuple of str
        The machine types made where none are named; empty for all.
    """

    n_train_source: int
    n_train_target: int
    n_test: int
    duration_s: float
    machines: tuple[str, ...] = ()


#: full: the counts of DCASE 2023 Task 2 (990 + 10 training clips, 50 test clips per domain and class, 10 s).
SIZES: Mapping[str, Size] = {
    "mini": Size(
        n_train_source=30,
        n_train_target=4,
        n_test=10,
        duration_s=6.0,
        machines=("ToyCar", "ToyDrone", "bearing", "valve"),
    ),
    "demo": Size(n_train_source=100, n_train_target=10, n_test=25, duration_s=6.0),
    "full": Size(n_train_source=990, n_train_target=10, n_test=50, duration_s=10.0),
}


def size_of(name: str) -> Size:
    """Return the size called ``name``; raises ``UnknownNameError`` for another one."""
    if name not in SIZES:
        raise UnknownNameError("size", name, SIZES)
    return SIZES[name]
