"""Training to rebuild the input: batches of items, the loss, and one call that does it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.errors import TrainingError
from dcase_asd.training.contract import Batch, TrainConfig, TrainResult
from dcase_asd.training.placed import train_in
from dcase_asd.training.seeding import generator

__all__ = ["ItemBatches", "Items", "Reconstruction", "split_items", "train_reconstruction"]

Validation = Literal["random", "last"]


class Items(Protocol):
    """Things to rebuild, cut out on demand."""

    def __len__(self) -> int:
        """How many there are."""

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return some of them, ``[item, ...]``."""


class Reconstruction(nn.Module):
    """A network and its loss on ``x``, after standardisation.

    The network returns the reconstruction, or that and a divergence per item. With ``reduction`` ``mean`` the loss is the
    mean squared error; with ``sum`` it is half the squared error summed over an item, the negative log-likelihood of a
    Gaussian of unit variance up to a constant, which is what a divergence in nats adds up with.

    Parameters
    ----------
    network : nn.Module
    mean, std : ndarray
        Broadcast against an item; a standard deviation of 0 (a constant value) divides by 1.
    reduction : {"mean", "sum"}
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.network = network
        self.reduction = reduction
        self.register_buffer("mean", torch.from_numpy(np.array(mean, dtype=np.float32)))
        self.register_buffer("std", torch.from_numpy(np.where(std > 0, std, 1.0).astype(np.float32)))

    def residual(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return standardised input minus reconstruction ``[item, ...]``, and the divergence ``[item]`` if there is one."""
        x = (x - self.mean) / self.std
        rebuilt = self.network(x)
        rebuilt, kl = rebuilt if isinstance(rebuilt, tuple) else (rebuilt, None)
        return x - rebuilt, kl

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``reconstruction`` and, for a variational network, ``kl``, means over the batch."""
        residual, kl = self.residual(batch["x"])
        return {"reconstruction": self.squared_loss(residual)} | ({} if kl is None else {"kl": kl.mean()})

    def squared_loss(self, residual: Tensor) -> Tensor:
        """Return the loss of residuals ``[item, ...]``; see :class:`Reconstruction`."""
        squared = residual.square()
        return squared.mean() if self.reduction == "mean" else 0.5 * squared.flatten(1).sum(dim=1).mean()

    def examine(self, x: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Return what :meth:`residual` does, and by name what else a model knows of each item (here nothing)."""
        return (*self.residual(x), {})


def split_items(
    n_items: int,
    *,
    valid_fraction: float,
    how: Validation,
    seed: int,
    labels: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the items to train on and those to validate on, both in order; rounded up as scikit-learn's split does.

    Parameters
    ----------
    n_items : int
    valid_fraction : float
        0 for no validation.
    how : {"random", "last"}
    seed : int
    labels : ndarray [item], optional
        Class of every item: the share is taken of each class on its own, and each class keeps two to train on.

    Raises
    ------
    TrainingError
        If fewer than two items (of a class) are left to train on.
    """
    if labels is not None:
        rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        parts = [split_items(len(r), valid_fraction=valid_fraction, how=how, seed=seed) for r in rows]
        train, valid = (np.concatenate([r[p[i]] for r, p in zip(rows, parts, strict=True)]) for i in (0, 1))
        return np.sort(train), np.sort(valid)
    n_valid = math.ceil(n_items * valid_fraction)
    if n_items - n_valid < 2:
        raise TrainingError(
            f"{n_items} items, {n_valid} of them for validation: at least 2 are needed to train; "
            "add normal recordings or lower valid_fraction"
        )
    order = generator(seed, "validation").permutation(n_items) if how == "random" else np.arange(n_items)
    return np.sort(order[: n_items - n_valid]), np.sort(order[n_items - n_valid :])


class ItemBatches:
    """Batches of shuffled items; see :class:`~dcase_asd.training.contract.BatchSource`.

    An epoch takes every item once. A last batch of a single item is left out: batch normalisation cannot train on one.

    Parameters
    ----------
    items : Items
    train, valid : ndarray of int
        Rows to train and to validate on.
    batch_size : int
    seed : int
    labels : ndarray [item], optional
        Class of every item; batches then hold ``label`` and ``epoch`` too.
    augment : callable, optional
        Takes items and a generator and returns changed copies; for training batches.
    """

    def __init__(
        self,
        items: Items,
        *,
        train: NDArray[np.int64],
        valid: NDArray[np.int64],
        batch_size: int,
        seed: int,
        labels: NDArray[np.int64] | None = None,
        augment: Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]] | None = None,
    ) -> None:
        self.items, self.train, self.valid = items, train, valid
        self.batch_size, self.seed = batch_size, seed
        self.labels, self.augment = labels, augment
        self._order: tuple[int, NDArray[np.int64]] = (-1, train)

    @cached_property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        full, rest = divmod(len(self.train), self.batch_size)
        return full + (rest > 1)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, generator(self.seed, "items", epoch).permutation(self.train))
        return self._order[1][number * self.batch_size : (number + 1) * self.batch_size]

    def batch(self, step: int, *, progress: float) -> Batch:
        """Return the batch of a step."""
        del progress
        rows = self.rows(step)
        x = self.items.take(rows)
        if self.augment is not None:
            x = self.augment(x, generator(self.seed, "augment", step))
        return self._batch(x, rows, epoch=step // self.steps_per_epoch)

    def valid_batches(self) -> Iterable[Batch]:
        """Yield the validation items in order."""
        for first in range(0, len(self.valid), self.batch_size):
            rows = self.valid[first : first + self.batch_size]
            yield self._batch(self.items.take(rows), rows, epoch=-1)

    def _batch(self, x: NDArray[np.float32], rows: NDArray[np.int64], *, epoch: int) -> Batch:
        batch = {"x": torch.from_numpy(x)}
        if self.labels is None:
            return batch
        return batch | {"label": torch.from_numpy(self.labels[rows]), "epoch": torch.tensor(epoch)}


def train_reconstruction(
    model: Reconstruction,
    source: ItemBatches,
    *,
    config: TrainConfig,
    seed: int,
    loss_weights: Mapping[str, float] | None = None,
    checkpoint: Literal["last", "best"] = "last",
    workdir: Path | None = None,
    device: str = "cpu",
    identity: object = None,
) -> TrainResult:
    """Train, and leave the model on the CPU and in evaluation mode.

    Parameters
    ----------
    model : Reconstruction
    source : ItemBatches
    config : TrainConfig
    seed : int
    loss_weights : mapping, optional
        See :func:`~dcase_asd.training.loop.train`.
    checkpoint : {"last", "best"}
        ``best``: the weights of the lowest validation loss.
    workdir : pathlib.Path, optional
        Keeps checkpoints, so that an interrupted training resumes, and ``losses.csv``; by default a folder that is thrown away.
    device : str
    identity : JSON value, optional
        What the data are: a checkpoint made with other data is refused.

    Raises
    ------
    TrainingError
        If a loss is not finite, or ``best`` is wanted and there is no validation.
    """
    if checkpoint == "best" and not len(source.valid):
        raise TrainingError("checkpoint: best needs validation items; raise valid_fraction or take last")
    result = train_in(
        workdir,
        model,
        source,
        config=config,
        seed=seed,
        loss_weights=loss_weights,
        device=device,
        checkpoint=checkpoint,
        identity=identity,
    )
    model.to("cpu").eval().requires_grad_(requires_grad=False)
    return result
