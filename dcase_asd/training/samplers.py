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
    """Batches of half target clips, half pseudo-anomalies: "the value of t is 1:1" (Fujimura 2023, Section 4.2).

    Both halves run through shuffled passes over their clips, so that every clip is drawn equally often; with ``rare_share``,
    rare and other target clips run through passes of their own, and the rare ones fill that share of the target half.

    Attributes
    ----------
    n_targets, n_negatives : int
        Clips to draw from.
    batch_size : int
        Even; one half each.
    seed : int
    rare : tuple of int
        Target clips to draw more often; neither none nor all of them.
    rare_share : float, optional
        Their share, between 0 and 1; reached on average where it is no whole number of clips a batch.
    """

    n_targets: int
    n_negatives: int
    batch_size: int
    seed: int
    rare: tuple[int, ...] = ()
    rare_share: float | None = None

    def __post_init__(self) -> None:
        """Refuse an odd batch and empty halves."""
        if self.batch_size < 2 or self.batch_size % 2:
            raise ConfigError(f"batch_size must be even and at least 2 for a 1:1 batch, got {self.batch_size}")
        if min(self.n_targets, self.n_negatives) < 1:
            raise TrainingError(
                f"a 1:1 batch needs both kinds: {self.n_targets} target, {self.n_negatives} pseudo-anomalous clips"
            )
        if self.rare_share is None:
            return
        if not 0.0 < self.rare_share < 1.0:
            raise ConfigError(f"rare_share must lie between 0 and 1, got {self.rare_share}")
        if not 0 < len(self.rare) < self.n_targets:
            raise TrainingError(f"rare_share needs rare clips beside others: {len(self.rare)} of {self.n_targets} are rare")

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every target clip is seen at least once, were all drawn equally often."""
        return -(-self.n_targets // (self.batch_size // 2))

    def rows(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the target rows and the pseudo-anomaly rows of a step, half a batch each."""
        half = self.batch_size // 2
        negatives = endless_order(self.n_negatives, start=step * half, count=half, seed=self.seed, name="negative")
        return self._targets(step * half, half), negatives

    def _targets(self, start: int, count: int) -> NDArray[np.int64]:
        if self.rare_share is None:
            return endless_order(self.n_targets, start=start, count=count, seed=self.seed, name="target")
        # how many rare clips the batches up to here, and with this one, have had: a pure function of the step
        before, after = (int(self.rare_share * n) for n in (start, start + count))
        others = np.setdiff1d(np.arange(self.n_targets), self.rare)
        parts = ((np.array(self.rare), before, after - before, "rare"), (others, start - before, count - after + before, "other"))
        return np.concatenate(
            [rows[endless_order(len(rows), start=s, count=n, seed=self.seed, name=name)] for rows, s, n, name in parts if n]
        )
