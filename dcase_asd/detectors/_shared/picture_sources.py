"""Batches of pictures for EfficientAD and the distillation of its teacher; every batch is a function of seed and step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from dcase_asd.detectors._shared.picture_augmentation import FolderPictures, colour_changed, dead_leaves, turned
from dcase_asd.training.contract import Batch
from dcase_asd.training.samplers import endless_order
from dcase_asd.training.seeding import generator

__all__ = ["DEAD_LEAVES", "DistilBatches", "OtherPictures", "StudentBatches"]

#: Name of a picture source that is drawn, not read.
DEAD_LEAVES = "dead_leaves"
#: Share of penalty pictures in grey (public code of EfficientAD).
_GREY = 0.3


class OtherPictures:
    """Pictures that are not normal ones of the corpus.

    Parameters
    ----------
    name : str
        ``dead_leaves``, or a folder.
    shape : tuple of int
        ``(channel, h, w)``.

    Raises
    ------
    DataError
        If the folder holds no picture.
    """

    def __init__(self, name: str, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.folder = None if name == DEAD_LEAVES else FolderPictures(name, shape)

    def take(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return ``[n, channel, h, w]`` in [0, 1]."""
        return dead_leaves(n, self.shape, rng) if self.folder is None else self.folder.take(n, rng, grey_share=_GREY)


@dataclass(frozen=True)
class DistilBatches:
    """Normal pictures, mirrored and colour-changed, and a share of others.

    Attributes
    ----------
    x : ndarray [picture, channel, h, w]
    others : OtherPictures or None
    n_others : int
        How many of a batch are others; less than ``batch_size``.
    batch_size, seed : int
    """

    x: NDArray[np.float32]
    others: OtherPictures | None
    n_others: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every normal picture is seen at least once."""
        return -(-len(self.x) // (self.batch_size - self.n_others))

    def batch(self, step: int, *, progress: float) -> Batch:
        """Return ``x`` of a step."""
        del progress
        rng, n = generator(self.seed, "distillation", step), self.batch_size - self.n_others
        rows = endless_order(len(self.x), start=step * n, count=n, seed=self.seed, name="distilled")
        pictures = turned(self.x[rows], rng)
        if self.others is not None and self.n_others:
            pictures = np.concatenate([pictures, self.others.take(self.n_others, rng)])
        return {"x": torch.from_numpy(pictures)}

    def valid_batches(self) -> Iterable[Batch]:
        """Return none."""
        return ()


@dataclass(frozen=True)
class StudentBatches:
    """Normal pictures as they are, the same with changed colours, and penalty pictures.

    Attributes
    ----------
    x : ndarray [picture, channel, h, w]
    batch_size, seed : int
    penalty : OtherPictures or None
    """

    x: NDArray[np.float32]
    batch_size: int
    seed: int
    penalty: OtherPictures | None = field(default=None)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every picture is seen at least once."""
        return -(-len(self.x) // self.batch_size)

    def batch(self, step: int, *, progress: float) -> Batch:
        """Return ``x``, ``x_augmented`` and, if there are any, ``penalty`` of a step."""
        del progress
        rng = generator(self.seed, "colours", step)
        start = step * self.batch_size
        rows = endless_order(len(self.x), start=start, count=self.batch_size, seed=self.seed, name="pictures")
        x = self.x[rows]
        batch = {"x": torch.from_numpy(x), "x_augmented": torch.from_numpy(colour_changed(x, rng))}
        if self.penalty is not None:
            batch["penalty"] = torch.from_numpy(self.penalty.take(self.batch_size, rng))
        return batch

    def valid_batches(self) -> Iterable[Batch]:
        """Return none: the pictures held out set the quantiles of the maps."""
        return ()
