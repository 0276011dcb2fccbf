"""Checkpoints: one safetensors file with model, optimiser and progress, written atomically.

The random state of a run is its seed and step (see :mod:`dcase_asd.training.seeding`); both are in ``progress``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dcase_asd.errors import FormatError, TrainingError
from dcase_asd.io.arrays import load_tensors, save_tensors
from dcase_asd.training.optimisers import named_state, restore_state

__all__ = ["Progress", "load_checkpoint", "model_arrays", "save_checkpoint", "set_model"]


@dataclass
class Progress:
    """Where a run stands.

    Attributes
    ----------
    fingerprint : str
        Digest of configuration, seed, model shapes and data identity; a checkpoint of another run is refused.
    seed, step : int
        ``step`` counts finished optimiser steps.
    history : list of dict
        One row an epoch, as in ``losses.csv``.
    sums : dict of str to float
        Loss sums of the epoch under way.
    n_summed : int
        Steps in those sums.
    best_loss, best_epoch :
        Lowest validation loss so far and its epoch (None and 0 before the first validation).
    scaler : dict
        State of the gradient scaler (fp16 only).
    n_saved : int
        Steps in the last checkpoint written.
    """

    fingerprint: str
    seed: int
    step: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    n_summed: int = 0
    best_loss: float | None = None
    best_epoch: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    n_saved: int = 0


def save_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    """Write a checkpoint atomically."""
    text = json.dumps(asdict(progress), allow_nan=False).encode()  # unsorted: rows keep the order of their columns
    tensors = {f"model.{name}": value for name, value in model_arrays(model).items()}
    tensors |= {name: _array(value) for name, _, _, value in named_state(optimiser)}
    save_tensors(path, {**tensors, "progress": np.frombuffer(text, dtype=np.uint8)})


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, *, fingerprint: str) -> Progress:
    """Restore model and optimiser from a checkpoint of the same run.

    Raises
    ------
    TrainingError
        If the checkpoint belongs to another run (other configuration, seed, data or model).
    FormatError
        If the file is damaged.
    """
    tensors = load_tensors(path)
    try:
        progress = Progress(**json.loads(tensors["progress"].tobytes()))
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: not a training checkpoint ({error}); remove {path.parent} and train again") from error
    if progress.fingerprint != fingerprint:
        raise TrainingError(
            f"{path}: checkpoint of another run (fingerprint {progress.fingerprint[:12]}, this run is {fingerprint[:12]}): "
            f"configuration, seed or data changed; remove {path.parent} to train from the start"
        )
    set_model(model, {n.removeprefix("model."): v for n, v in tensors.items() if n.startswith("model.")}, where=str(path))
    restore_state(optimiser, {n: torch.from_numpy(v) for n, v in tensors.items() if n.startswith("optimiser.")})
    return progress


def model_arrays(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return parameters and buffers as named arrays (copies on the host)."""
    return {name: _array(value) for name, value in model.state_dict().items()}


def set_model(model: nn.Module, arrays: Mapping[str, NDArray[Any]], *, where: str) -> None:
    """Fill a model from named arrays; names and shapes must all agree.

    Raises
    ------
    FormatError
        If a name is missing or left over, or a shape differs.
    """
    own = model.state_dict()
    wrong = sorted(own.keys() ^ arrays.keys()) or [n for n, v in own.items() if tuple(v.shape) != arrays[n].shape]
    if wrong:
        raise FormatError(f"{where}: tensors do not fit the model, first {wrong[0]!r}; it was saved with another configuration")
    for name, value in own.items():
        value.copy_(torch.from_numpy(np.array(arrays[name], copy=True)))


def _array(value: torch.Tensor) -> NDArray[Any]:
    return value.detach().to("cpu").contiguous().numpy().copy()
