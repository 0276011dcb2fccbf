"""Outlier exposure's data: target clips, pseudo-anomalies of other machines, and batches of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcase_asd.errors import TrainingError
from dcase_asd.extractors._shared.classes import ClassList
from dcase_asd.extractors._shared.clips import ClipList
from dcase_asd.extractors.base import TrainingData
from dcase_asd.networks.resnet import as_picture
from dcase_asd.training.contract import Batch
from dcase_asd.training.domain_code import DomainCode
from dcase_asd.training.mixup import MixupConfig, mix, plan_mixup
from dcase_asd.training.samplers import PairSampler
from dcase_asd.training.seeding import generator

__all__ = ["ExposureBatches", "ExposureClips", "open_clips"]


@dataclass(frozen=True)
class ExposureClips:
    """Clips of one training.

    Attributes
    ----------
    target, negative : ClipList
        Trained on.
    valid_target, valid_negative : ClipList
        Held out: the former as told, the latter as many, evenly spread over the others (at most a fifth of them).
    """

    target: ClipList
    negative: ClipList
    valid_target: ClipList
    valid_negative: ClipList


def open_clips(data: TrainingData, *, supplemental_noise: bool) -> ExposureClips:
    """Open target clips and, as pseudo-anomalies, the training clips of all other machines of the feature folder.

    The target machine's own clips are never among its negatives, whatever the split.

    Raises
    ------
    TrainingError
        If there are fewer than two clips of the target to train on, or of other machines.
    """
    machines = data.features.machines()
    if data.machine not in machines or not data.features.has(data.machine, "train"):
        raise TrainingError(
            f"{data.features.path}: no training features of {data.machine!r}; has {', '.join(machines) or 'none'}"
        )
    own = ClipList.open(data.features, [(data.machine, "train")])
    held = np.array([clip_id in data.valid_clips for clip_id in own.clip_id], dtype=bool)
    unknown = sorted(data.valid_clips - set(own.clip_id))
    if unknown:
        raise TrainingError(
            f"{data.machine}: validation clip {unknown[0]!r} is not among its training clips; re-run stage 1 or 2"
        )
    if (~held).sum() < 2:
        raise TrainingError(f"{data.machine}: {int((~held).sum())} clips left to train on, 2 are needed; hold out fewer")
    splits = ("train", "supplemental_noise") if supplemental_noise else ("train",)
    parts = [(m, s) for m in machines if m != data.machine for s in splits if data.features.has(m, s)]
    both = ClipList.open(data.features, [(data.machine, "train"), *parts])
    others = both.take(np.arange(len(own), len(both)))
    if len(others) < 2:
        raise TrainingError(
            f"{data.machine}: {len(others)} clips of other machines in {data.features.path}, at least 2 are needed as "
            "pseudo-anomalies; add the training clips of at least one other machine (other development machines, the "
            "additional training set), or use an extractor that needs none (log_mel_statistics)"
        )
    valid = np.zeros(len(others), dtype=bool)
    n_valid = min(int(held.sum()), len(others) // 5)
    if n_valid:
        valid[np.linspace(0, len(others) - 1, n_valid).round().astype(int)] = True
    return ExposureClips(own.take(~held), others.take(~valid), own.take(held), others.take(valid))


@dataclass(frozen=True)
class ExposureBatches:
    """The batch source of outlier exposure; see :class:`~dcase_asd.training.contract.BatchSource`.

    A batch holds ``x [batch, 1, mel, frame]``, ``t [batch]``, ``attributes`` and ``section`` ``[batch, class]`` where there are
    classes, and ``row [batch]``: the target clip with the larger share in a mixed sample, -1 if that is a pseudo-anomaly. With
    domain channels also ``flow_mean [batch]``: what they follow, that of the clip with the larger part (Sec. 4.2),
    NaN where there is none.

    Attributes
    ----------
    clips : ExposureClips
    classes : dict of str to ClassList
        By batch key.
    n_frames : int
        Frames of a crop.
    mixup : MixupConfig
    batch_size : int
    seed : int
    gain : float
        Every crop of a training batch is raised by a constant from +-gain, before it is mixed; in units of the features.
    target_domain_share : float, optional
        Share of domain ``target`` among the target machine's crops of a batch; None draws all clips equally often.
    domain : DomainCode
        What the domain channels of a flow follow.
    """

    clips: ExposureClips
    classes: dict[str, ClassList]
    n_frames: int
    mixup: MixupConfig
    batch_size: int
    seed: int
    gain: float = 0.0
    target_domain_share: float | None = None
    domain: DomainCode = field(default_factory=DomainCode)

    @cached_property
    def _sampler(self) -> PairSampler:
        rare = tuple(np.flatnonzero(self.clips.target.domain == "target").tolist())
        n_own, n_other = len(self.clips.target), len(self.clips.negative)
        return PairSampler(n_own, n_other, self.batch_size, self.seed, rare, self.target_domain_share)

    @cached_property
    def _targets(self) -> dict[str, NDArray[np.float32]]:
        return {key: classes.targets(self.clips.target) for key, classes in self.classes.items()}

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every target clip is seen at least once."""
        return self._sampler.steps_per_epoch

    def batch(self, step: int, *, progress: float) -> Batch:
        """Return the batch of a step: half target crops, half pseudo-anomalous crops, then mixed."""
        target, negative = self._sampler.rows(step)
        rng = generator(self.seed, "crops", step)
        x = self._crops([(self.clips.target, target), (self.clips.negative, negative)], rng.random(2 * len(target)))
        if self.gain:
            # a stream of its own: crops and mixup stay what they are without it
            x += generator(self.seed, "gain", step).uniform(-self.gain, self.gain, (len(x), 1, 1)).astype(np.float32)
        targets = {key: values[target] for key, values in self._targets.items()}
        row = np.concatenate([target, np.full(len(negative), -1, dtype=np.int64)])
        plan = plan_mixup(len(row), self.mixup, rng=rng, progress=progress)
        batch = {name: mix(value, plan) for name, value in _labelled(x, targets, n_negatives=len(negative)).items()}
        dominant = row if plan is None else plan.dominant(row)
        told = self._flow_mean(self.clips.target, dominant)
        return {**batch, **told, "x": as_picture(batch["x"]), "row": torch.from_numpy(dominant)}

    def valid_batches(self) -> Iterable[Batch]:
        """Yield the held-out clips' middle crops, unmixed, in batches of at most the training's size."""
        target, negative = self.clips.valid_target, self.clips.valid_negative
        if not len(target):
            return
        half = self.batch_size // 2
        for first in range(0, len(target), half):
            own = np.arange(first, min(first + half, len(target)))
            other = np.arange(first, min(first + half, len(negative)))
            x = self._crops([(target, own), (negative, other)], np.full(len(own) + len(other), 0.5))
            chosen = target.take(own)
            targets = {key: classes.targets(chosen) for key, classes in self.classes.items()}
            batch = _labelled(x, targets, n_negatives=len(other))
            row = torch.full((len(own) + len(other),), -1, dtype=torch.int64)
            told = self._flow_mean(target, np.concatenate([own, np.full(len(other), -1)]))
            yield {**batch, **told, "x": as_picture(batch["x"]), "row": row}

    def _flow_mean(self, clips: ClipList, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        if not self.domain.applies:
            return {}
        means = self.domain.means([clips.attributes[row] if row >= 0 else {} for row in rows])
        return {"flow_mean": torch.from_numpy(means)}

    def _crops(self, parts: Sequence[tuple[ClipList, NDArray[np.int64]]], positions: NDArray[np.float64]) -> NDArray[np.float32]:
        n_items = sum(len(rows) for _, rows in parts)
        out = np.empty((n_items, self.n_frames, self.clips.target.n_bands), dtype=np.float32)
        done = 0
        for clips, rows in parts:
            window = slice(done, done + len(rows))
            clips.crops(rows, positions=positions[window], out=out[window])
            done += len(rows)
        return out


def _labelled(x: NDArray[np.float32], targets: dict[str, NDArray[np.float32]], *, n_negatives: int) -> dict[str, Tensor]:
    n_targets = len(x) - n_negatives
    t = np.concatenate([np.ones(n_targets, dtype=np.float32), np.zeros(n_negatives, dtype=np.float32)])
    padded = {k: np.concatenate([v, np.zeros((n_negatives, v.shape[1]), dtype=np.float32)]) for k, v in targets.items()}
    return {"x": torch.from_numpy(x), "t": torch.from_numpy(t), **{k: torch.from_numpy(v) for k, v in padded.items()}}
