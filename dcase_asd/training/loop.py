"""The training loop: steps, validation, checkpoints, resume.

On a CPU, a run that was killed and started again ends with the same bits as one that ran through: every batch and every
random number is a function of (seed, step), and a checkpoint holds the rest. On CUDA, torch's own kernels limit that.
For training by several processes see :mod:`dcase_asd.training.distributed`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.config import to_dict
from dcase_asd.errors import TrainingError
from dcase_asd.io.arrays import load_tensors, save_tensors
from dcase_asd.io.hashing import sha256_json
from dcase_asd.training import curves, optimisers
from dcase_asd.training.checkpoint import Progress, load_checkpoint, model_arrays, save_checkpoint, set_model
from dcase_asd.training.contract import Batch, BatchSource, TrainConfig, TrainResult
from dcase_asd.training.distributed import Group, joined
from dcase_asd.training.precision import autocast, grad_scaler, resolve_precision
from dcase_asd.training.prefetch import Prefetcher, loader_threads
from dcase_asd.training.seeding import derive, isolated

__all__ = ["load_best", "train"]

# What may change between an interrupted call and the one that resumes it, because no result depends on it.
_FREE = ("checkpoint_epochs", "checkpoint_minutes", "loader_threads", "tensorboard")


def train(
    model: nn.Module,
    source: BatchSource,
    *,
    config: TrainConfig,
    seed: int,
    workdir: Path,
    device: str = "cpu",
    log: Callable[[str], None] = print,
    loss_weights: Mapping[str, float] | None = None,
    lr_factors: Mapping[str, float] | None = None,
    identity: object = None,
) -> TrainResult:
    """Train a model, or go on with an interrupted training; the model ends with the last weights.

    Parameters
    ----------
    model : nn.Module
        ``forward(batch)`` returns named loss terms (scalars).
    source : BatchSource
    config : TrainConfig
    seed : int
    workdir : pathlib.Path
        Gets ``last.safetensors``, ``best.safetensors`` (lowest validation loss) and ``losses.csv``.
    device : str
    log : callable
        Takes one line an event.
    loss_weights : mapping, optional
        Weight of each term in the sum (Eq. 1 and 5); a term not named has weight 1.
    lr_factors : mapping, optional
        Factors on the learning rate by parameter-name prefix.
    identity : JSON value, optional
        What the data are; a checkpoint made with another is refused.

    Raises
    ------
    TrainingError
        If a loss is not finite (term and step named, the layer too where the model raises ``FloatingPointError`` with it; the
        last checkpoint stays), or the checkpoint is another run's.
    """
    with joined(model, device) as (model, group):  # noqa: PLR1704 - the same model, ready for its group
        model.to(group.device)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with isolated(seed, "training", device=group.device):
            run = _Run(model, source, config, seed, workdir, group, log, dict(loss_weights or {}))
            run.start(dict(lr_factors or {}), identity)
            result = run.finish()
            run.forward = run.model  # the wrapper would hold on to the group beyond its end, and abort the process at its own
            return result


def load_best(model: nn.Module, workdir: Path) -> None:
    """Fill a model with the weights of the lowest validation loss; ``FormatError`` if there are none."""
    set_model(model, load_tensors(workdir / "best.safetensors"), where=str(workdir / "best.safetensors"))


@dataclass
class _Run:
    model: nn.Module
    source: BatchSource
    config: TrainConfig
    seed: int
    workdir: Path
    group: Group
    log: Callable[[str], None]
    weights: dict[str, float]
    best: dict[str, NDArray[Any]] | None = field(default=None, init=False)

    def start(self, lr_factors: dict[str, float], identity: object) -> None:
        """Build the optimiser and take up the last checkpoint, if there is one."""
        config = self.config
        self.precision = resolve_precision(config.precision, self.group.device)
        self.n_steps = config.steps or config.epochs * self.source.steps_per_epoch
        groups = optimisers.parameter_groups(self.model, lr_factors, eps=config.group_eps)
        self.optimiser = optimisers.make_optimiser(
            config.optimiser,
            groups,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            beta1=config.beta1,
        )
        self.scaler = grad_scaler(self.precision, self.group.device)
        shapes = {name: list(value.shape) for name, value in self.model.state_dict().items()}
        settings = {key: value for key, value in to_dict(config).items() if key not in _FREE}
        told = [settings, self.seed, shapes, self.weights, lr_factors, self.n_steps, identity]
        told += [self.group.size] if self.group.size > 1 else []
        self.progress = Progress(sha256_json(told), self.seed)
        if (self.workdir / "last.safetensors").is_file():
            self._resume()
        self.group.wait()  # until all have read it: process 0 writes the next one
        self.forward = self.group.wrapped(self.model)
        self.saved_at = time.monotonic()
        self.board = (
            curves.open_tensorboard(self.workdir / "tensorboard", step=self.progress.step)
            if config.tensorboard and self.group.leads
            else None
        )

    def finish(self) -> TrainResult:
        """Run the remaining steps."""
        progress, per_epoch = self.progress, self.source.steps_per_epoch
        unsaved = False
        n_threads = loader_threads(self.config.loader_threads, self.group.device)
        with Prefetcher(self.source, n_steps=self.n_steps, n_threads=n_threads) as batches:
            while progress.step < self.n_steps and not self._exhausted():
                self._step(progress.step, batches.batch(progress.step))
                progress.step += 1
                ended = progress.step % per_epoch == 0 or progress.step == self.n_steps
                if ended:
                    self._end_epoch(-(-progress.step // per_epoch))
                unsaved = not self._save_if_due(ended=ended)
        if unsaved:
            self._save()
        if self.board is not None:
            self.board.close()
        return TrainResult(progress.step, progress.history, progress.best_epoch)

    def _step(self, step: int, batch: Batch) -> None:
        torch.manual_seed(derive(self.seed, "step", step, *([self.group.rank] if self.group.rank else [])))
        _, momentum = optimisers.rate_factor(self.config.schedule, step, self.n_steps)
        optimisers.set_rates(self.optimiser, learning_rate=self._rate(step), momentum=momentum)
        self.model.train()
        try:
            terms, total = self._losses(self.forward, self.group.share(batch))
        except FloatingPointError as error:  # a model that knows which of its layers went wrong
            raise TrainingError(f"{error} at step {step} of {self.n_steps}; {self._kept()}") from error
        self._note(terms, total, step)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        if self.config.grad_clip > 0:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def _losses(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        placed = {name: self._place(value) for name, value in batch.items()}
        with autocast(self.precision, self.group.device):
            terms: dict[str, Tensor] = model(placed)
        unknown = sorted(self.weights.keys() - terms.keys())
        if unknown:
            raise TrainingError(f"loss weights name {', '.join(unknown)}; the model gives {', '.join(sorted(terms))}")
        weighted = [self.weights.get(name, 1.0) * loss.float() for name, loss in terms.items()]
        return terms, torch.stack(weighted).sum()

    def _place(self, value: Tensor) -> Tensor:
        if value.ndim == 4 and self.config.channels_last:
            return value.to(self.group.device, memory_format=torch.channels_last, non_blocking=True)
        return value.to(self.group.device, non_blocking=True)

    def _note(self, terms: Mapping[str, Tensor], total: Tensor, step: int) -> None:
        progress = self.progress
        numbers = self._numbers(terms, total)
        for name, value in zip(numbers, self.group.mean(list(numbers.values())), strict=True):
            if not math.isfinite(value):
                raise TrainingError(f"loss {name!r} is {value} at step {step} of {self.n_steps}; {self._kept()}")
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.n_summed += 1

    def _kept(self) -> str:
        saved = self.progress.n_saved
        kept = f"the checkpoint of step {saved} stays" if saved else "no checkpoint was written yet"
        return f"{kept}; lower learning_rate, set grad_clip (say 1.0) or train in fp32, and look for broken features"

    @staticmethod
    def _numbers(terms: Mapping[str, Tensor], total: Tensor) -> dict[str, float]:
        # one transfer for all terms: each .item() would wait for the device on its own
        values = torch.stack([*(loss.detach().float() for loss in terms.values()), total.detach()]).tolist()
        return dict(zip([*terms, "total"], values, strict=True))

    def _end_epoch(self, epoch: int) -> None:
        progress = self.progress
        self.group.agree(self.model)
        rate = self._rate(progress.step - 1)
        row: dict[str, float | None] = {"epoch": epoch, "step": progress.step, "learning_rate": rate}
        row |= {f"train_{name}": value / progress.n_summed for name, value in progress.sums.items()}
        progress.sums, progress.n_summed = {}, 0
        if epoch % self.config.valid_epochs == 0 or progress.step == self.n_steps:
            row |= self._validate(epoch)
        progress.history.append(row)
        if self.group.leads:
            curves.write_losses(self.workdir / "losses.csv", progress.history)
        if self.board is not None:
            for name, value in row.items():
                if value is not None and name not in {"epoch", "step"}:
                    self.board.add_scalar(name, value, progress.step)

    def _rate(self, step: int) -> float:
        config = self.config
        factor = optimisers.rate_factor(config.schedule, step, self.n_steps)[0]
        if config.schedule == "plateau":
            factor *= config.plateau_factor ** optimisers.plateau_reductions(self._monitored(), patience=config.plateau_epochs)
        return config.learning_rate * factor

    def _monitored(self) -> list[float]:
        values = [row.get(f"valid_{self.config.monitor}") for row in self.progress.history]
        return [value for value in values if value is not None]

    def _exhausted(self) -> bool:
        """Return whether the training ends early; decided anew from the history, so that resuming agrees with running through."""
        patience = self.config.stop_epochs
        ended = self.progress.step % self.source.steps_per_epoch == 0
        return 0 < patience <= optimisers.without_improvement(self._monitored()) and ended

    def _validate(self, epoch: int) -> dict[str, float | None]:
        sums: dict[str, float] = {}
        n_batches = 0
        self.model.eval()
        with torch.no_grad():
            for batch in self.source.valid_batches():
                n_batches += 1
                try:
                    terms, total = self._losses(self.model, batch)
                except FloatingPointError as error:
                    raise TrainingError(f"{error} in validation after epoch {epoch}; {self._kept()}") from error
                for name, value in self._numbers(terms, total).items():
                    sums[name] = sums.get(name, 0.0) + value
        means = {f"valid_{name}": value / n_batches for name, value in sums.items()}
        bad = next((name for name, value in means.items() if not math.isfinite(value)), None)
        if bad is not None:
            raise TrainingError(f"{bad} is {means[bad]} after epoch {epoch} (step {self.progress.step}); lower learning_rate")
        loss = means.get(f"valid_{self.config.monitor}")
        if loss is None and means:
            raise TrainingError(f"monitor {self.config.monitor!r}: the model gives {', '.join(sums)}; name one of them")
        if loss is not None and (self.progress.best_loss is None or loss < self.progress.best_loss):
            self.progress.best_loss, self.progress.best_epoch = loss, epoch
            self.best = model_arrays(self.model)
        return dict(means)

    def _save_if_due(self, *, ended: bool) -> bool:
        config, per_epoch = self.config, self.source.steps_per_epoch
        by_epoch = ended and config.checkpoint_epochs > 0 and (self.progress.step // per_epoch) % config.checkpoint_epochs == 0
        by_time = config.checkpoint_minutes > 0 and time.monotonic() - self.saved_at >= 60.0 * config.checkpoint_minutes
        if by_epoch or by_time:
            self._save()
        return by_epoch or by_time

    def _save(self) -> None:
        if not self.group.leads:
            return
        # best first: if the run dies in between, the older last checkpoint replays up to the same best
        if self.best is not None:
            save_tensors(self.workdir / "best.safetensors", self.best)
            self.best = None
        self.progress.scaler = self.scaler.state_dict()
        self.progress.n_saved = self.progress.step
        save_checkpoint(self.workdir / "last.safetensors", self.model, self.optimiser, self.progress)
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        path = self.workdir / "last.safetensors"
        self.progress = load_checkpoint(path, self.model, self.optimiser, fingerprint=self.progress.fingerprint)
        self.scaler.load_state_dict(self.progress.scaler)
        if self.progress.best_epoch and not (self.workdir / "best.safetensors").is_file():
            raise TrainingError(f"{self.workdir}: best.safetensors is gone; remove the folder to train from the start")
        if self.group.leads:
            curves.write_losses(self.workdir / "losses.csv", self.progress.history)
        if self.progress.step < self.n_steps:
            self.log(f"training goes on at step {self.progress.step} of {self.n_steps} from {path.name}")
