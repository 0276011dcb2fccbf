"""Which clips are in which batch, as a pure function of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, TrainingError
from dcase_asd.training.seeding import generator

__all__ = ["PairSampler", "endless_order"]


def endless_order(n: int, *, start: int, count: int, seed: int, name: str) -> NDArray[np.int64]:
    """Return items ``start ... start + count - 1`` of an endless sequence of shuffled passes over ``range(n)``."""
    first, last = start // n, (start + count - 1) // n
    passes = [generator(seed, name, number).permutation(n) for number in range(first, last + 1)]
    offset = start - first * n
    return np.concatenate(passes)[offset : offset + count].astype(np.int64)


@dataclass(frozen=True)
class PairSampler:
    """Batches of half target clips, half pseudo-anomalies: "the value of t is 1:1" (seed 002, Section 4.2).

    Both halves run through shuffled passes over their clips, so that every clip is drawn equally often.

    Attributes
    ----------
    n_targets, n_negatives : int
        Clips to draw from.
    batch_size : int
        Even; one half each.
    seed : int
    """

    n_targets: int
    n_negatives: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse an odd batch and empty halves."""
        if self.batch_size < 2 or self.batch_size % 2:
            raise ConfigError(f"batch_size must be even and at least 2 for a 1:1 batch, got {self.batch_size}")
        if min(self.n_targets, self.n_negatives) < 1:
            raise TrainingError(
                f"a 1:1 batch needs both kinds: {self.n_targets} target, {self.n_negatives} pseudo-anomalous clips"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every target clip is seen at least once."""
        return -(-self.n_targets // (self.batch_size // 2))

    def rows(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the target rows and the pseudo-anomaly rows of a step, half a batch each."""
        half = self.batch_size // 2
        draw = {"start": step * half, "count": half, "seed": self.seed}
        return (
            endless_order(self.n_targets, name="target", **draw),
            endless_order(self.n_negatives, name="negative", **draw),
        )
