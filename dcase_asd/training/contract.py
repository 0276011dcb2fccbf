"""What the training loop is told (:class:`TrainConfig`), fed (:class:`BatchSource`) and answers (:class:`TrainResult`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError
from dcase_asd.training import optimisers
from dcase_asd.training.precision import Precision

__all__ = ["Batch", "BatchSource", "TrainConfig", "TrainResult"]

Batch = Mapping[str, Tensor]


class BatchSource(Protocol):
    """Where batches come from; calls are pure functions of their arguments and the source's seed, and may come from threads."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps that make an epoch."""

    def batch(self, step: int, *, progress: float) -> Batch:
        """Return the batch of a step; ``progress`` in [0, 1) says how far the training has come."""

    def valid_batches(self) -> Iterable[Batch]:
        """Return the validation batches, the same ones each time; none for no validation."""


@configclass
class TrainConfig:
    """How a model is trained.

    Attributes
    ----------
    epochs : int
    steps : int
        If positive, the number of steps instead of epochs.
    optimiser : {"adamw", "adam", "sgd"}
    learning_rate : float
        The peak for OneCycle.
    weight_decay : float
        0.01 is AdamW's default in torch.
    beta1 : float
        Adam's first decay; 0.5 is usual for adversarial training. OneCycle sets its own.
    group_eps : mapping
        Parameter-name prefix to Adam's eps of these parameters; torch's default (1e-8) for others.
    schedule : {"one_cycle", "fixed", "cosine", "late_drop", "plateau"}
        ``plateau``: ``learning_rate`` falls by ``plateau_factor`` when ``monitor`` did not improve for ``plateau_epochs``
        validations in a row.
    plateau_factor, plateau_epochs : float, int
    monitor : str
        The loss term whose value on the validation batches ``plateau``, ``stop_epochs`` and ``best.safetensors`` go by;
        ``total`` is the weighted sum.
    stop_epochs : int
        End early when ``monitor`` did not improve for so many validations in a row; 0: never.
    grad_clip : float
        Largest gradient norm; 0 for no clipping.
    precision : {"auto", "fp32", "bf16", "fp16"}
        See :func:`~dcase_asd.training.precision.resolve_precision`.
    channels_last : bool
        Memory layout of convolutions; changes speed, not results beyond rounding.
    checkpoint_epochs : int
        Write a checkpoint every so many epochs; 0 for by time and at the end only.
    checkpoint_minutes : float
        Write a checkpoint at the latest after so many minutes; 0 for never.
    valid_epochs : int
        Validate every so many epochs and after the last.
    loader_threads : int
        Threads that make batches ahead of their step; -1: four beside a GPU, none beside a CPU. Changes no result.
    tensorboard : bool
        Also write TensorBoard events (extra ``track``).
    """

    epochs: int = 10
    steps: int = 0
    optimiser: optimisers.Optimiser = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    beta1: float = 0.9
    group_eps: dict[str, float] = field(default_factory=dict)
    schedule: optimisers.Schedule = "one_cycle"
    plateau_factor: float = 0.5
    plateau_epochs: int = 10
    monitor: str = "total"
    stop_epochs: int = 0
    grad_clip: float = 0.0
    precision: Precision = "auto"
    channels_last: bool = True
    checkpoint_epochs: int = 0
    checkpoint_minutes: float = 2.0
    valid_epochs: int = 1
    loader_threads: int = -1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if (self.epochs < 1 and self.steps < 1) or self.learning_rate <= 0 or self.valid_epochs < 1:
            raise ConfigError(
                f"training needs epochs (or steps) >= 1, learning_rate > 0 and valid_epochs >= 1; "
                f"got {self.epochs} ({self.steps}), {self.learning_rate} and {self.valid_epochs}"
            )
        if not 0.0 < self.plateau_factor < 1.0 or self.plateau_epochs < 1 or self.stop_epochs < 0:
            raise ConfigError(
                "expected plateau_factor between 0 and 1, plateau_epochs >= 1 and stop_epochs >= 0; "
                f"got {self.plateau_factor}, {self.plateau_epochs} and {self.stop_epochs}"
            )


@dataclass(frozen=True)
class TrainResult:
    """What a training ended with.

    Attributes
    ----------
    steps : int
    history : list of dict
        The rows of ``losses.csv``.
    best_epoch : int
        Epoch of the lowest validation loss, counted from 1; 0 without validation.
    """

    steps: int
    history: list[dict[str, float | None]]
    best_epoch: int
