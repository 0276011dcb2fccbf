"""Training of two-class networks on labelled pictures: the loss, flips and rotations, and one call that does it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.errors import TrainingError
from dcase_asd.training.contract import Batch, TrainConfig, TrainResult
from dcase_asd.training.placed import train_in
from dcase_asd.training.reconstruction import ItemBatches, split_items
from dcase_asd.training.seeding import generator

__all__ = ["Augmentation", "Classification", "LabelledPictures", "augment", "split_by_class", "train_classification"]


@dataclass(frozen=True)
class Augmentation:
    """What training pictures are changed by, each by itself.

    Attributes
    ----------
    flips : bool
        Mirrored left to right and top to bottom, each with probability one half.
    rotation_deg : float
        Turned by an angle drawn uniformly from minus to plus this.
    """

    flips: bool = False
    rotation_deg: float = 0.0


class Classification(nn.Module):
    """A network with one logit per picture, its input's standardisation and its loss.

    Parameters
    ----------
    network : nn.Module
    mean, std : ndarray
        Broadcast against a picture.
    positive_weight : float
        Factor on the loss of the positive class.
    """

    mean: Tensor
    std: Tensor
    positive_weight: Tensor

    def __init__(
        self, network: nn.Module, *, mean: NDArray[np.float32], std: NDArray[np.float32], positive_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.from_numpy(np.array(mean, dtype=np.float32)))
        self.register_buffer("std", torch.from_numpy(np.where(std > 0, std, 1.0).astype(np.float32)))
        self.register_buffer("positive_weight", torch.tensor(positive_weight, dtype=torch.float32))

    def logit(self, x: Tensor) -> Tensor:
        """Return the log odds of the positive class ``[picture]``."""
        logit: Tensor = self.network((x - self.mean) / self.std)
        return logit

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``cross_entropy`` of ``x [picture, channel, h, w]`` and ``y [picture]``, mean over the batch."""
        logit = self.logit(batch["x"]).float()
        return {"cross_entropy": F.binary_cross_entropy_with_logits(logit, batch["y"], pos_weight=self.positive_weight)}


@dataclass(frozen=True)
class _Pictures:
    x: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.x[rows], dtype=np.float32)


class LabelledPictures(ItemBatches):
    """Shuffled batches of pictures and labels, changed at random; validation pictures stay as they are.

    Parameters
    ----------
    x : ndarray [picture, channel, h, w]
    label : ndarray [picture]
        0 or 1.
    train, valid : ndarray of int
    batch_size, seed : int
    augmentation : Augmentation
    """

    def __init__(
        self,
        x: NDArray[np.float32],
        label: NDArray[np.int64],
        *,
        train: NDArray[np.int64],
        valid: NDArray[np.int64],
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
    ) -> None:
        super().__init__(_Pictures(x), train=train, valid=valid, batch_size=batch_size, seed=seed)
        self.pictures, self.label, self.augmentation = x, label, augmentation

    def batch(self, step: int, *, progress: float) -> Batch:
        """Return the batch of a step."""
        del progress
        rows = self.rows(step)
        x = torch.from_numpy(self.items.take(rows))
        return {"x": augment(x, self.augmentation, rng=generator(self.seed, "augmentation", step)), "y": self._y(rows)}

    def valid_batches(self) -> Iterable[Batch]:
        """Yield the validation pictures in order."""
        for first in range(0, len(self.valid), self.batch_size):
            rows = self.valid[first : first + self.batch_size]
            yield {"x": torch.from_numpy(self.items.take(rows)), "y": self._y(rows)}

    def digest(self) -> str:
        """Return a hash of pictures and labels: what a checkpoint belongs to."""
        found = hashlib.sha256(np.ascontiguousarray(self.pictures).tobytes())
        found.update(np.ascontiguousarray(self.label).tobytes())
        return found.hexdigest()

    def _y(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.label[rows].astype(np.float32))


def augment(x: Tensor, augmentation: Augmentation, *, rng: np.random.Generator) -> Tensor:
    """Flip and rotate pictures ``[picture, channel, h, w]``, each by itself; corners turned in are mirrored content."""
    n = len(x)
    if augmentation.flips:
        for axis in (2, 3):
            chosen = torch.from_numpy(rng.random(n) < 0.5)
            x = torch.where(chosen.view(n, 1, 1, 1), x.flip(axis), x)
    if augmentation.rotation_deg > 0:
        angle = torch.from_numpy(np.deg2rad(rng.uniform(-1.0, 1.0, n) * augmentation.rotation_deg).astype(np.float32))
        # grid_sample measures both axes from -1 to 1: the aspect ratio keeps a turned picture from being sheared
        aspect = x.shape[2] / x.shape[3]
        zero = torch.zeros(n)
        first = torch.stack([angle.cos(), -angle.sin() * aspect, zero], dim=1)
        second = torch.stack([angle.sin() / aspect, angle.cos(), zero], dim=1)
        grid = F.affine_grid(torch.stack([first, second], dim=1), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return x


def split_by_class(label: NDArray[np.int64], *, valid_fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pictures to train on and those to validate on, each class divided by itself, both in order.

    Raises
    ------
    TrainingError
        If a class has too few pictures to divide.
    """
    parts = []
    for value in (0, 1):
        own = np.flatnonzero(label == value)
        if valid_fraction == 0:
            parts.append((own, own[:0]))
            continue
        train, valid = split_items(len(own), valid_fraction=valid_fraction, how="random", seed=seed)
        parts.append((own[train], own[valid]))
    return np.sort(np.concatenate([p[0] for p in parts])), np.sort(np.concatenate([p[1] for p in parts]))


def train_classification(
    model: Classification,
    source: LabelledPictures,
    *,
    config: TrainConfig,
    seed: int,
    workdir: Path | None,
    checkpoint: Literal["last", "best"],
) -> TrainResult:
    """Train, and leave the model in evaluation mode.

    Parameters
    ----------
    model : Classification
    source : LabelledPictures
    config : TrainConfig
    seed : int
    workdir : pathlib.Path or None
        For checkpoints (an interrupted training goes on) and ``losses.csv``; None: a folder that goes away.
    checkpoint : {"last", "best"}
        ``best``: the weights of the lowest validation loss.

    Raises
    ------
    TrainingError
        If a loss is not finite, there are fewer than two pictures, or ``best`` is wanted and there is no validation.
    """
    if checkpoint == "best" and not len(source.valid):
        raise TrainingError("checkpoint: best needs validation pictures; raise valid_fraction or take last")
    if len(source.train) < 2:
        raise TrainingError(f"{len(source.train)} pictures to train on: at least 2 are needed; add labelled clips")
    identity = source.digest()
    result = train_in(workdir, model, source, config=config, seed=seed, checkpoint=checkpoint, identity=identity)
    model.eval().requires_grad_(requires_grad=False)
    return result
