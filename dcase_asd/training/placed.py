"""Training inside a detector's fit, which has no log and may have no folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import nn

from dcase_asd.training import loop
from dcase_asd.training.contract import BatchSource, TrainConfig, TrainResult

__all__ = ["train_in"]


def train_in(
    workdir: Path | None,
    model: nn.Module,
    source: BatchSource,
    *,
    config: TrainConfig,
    seed: int,
    identity: object,
    loss_weights: Mapping[str, float] | None = None,
    device: str = "cpu",
    checkpoint: Literal["last", "best"] = "last",
) -> TrainResult:
    """Train with checkpoints and the loss curve in a folder; None: in one that is thrown away.

    Parameters
    ----------
    workdir : pathlib.Path or None
        An interrupted training goes on from what lies there.
    model, source, config, seed, identity, loss_weights, device :
        See :func:`~dcase_asd.training.loop.train`.
    checkpoint : {"last", "best"}
        Which weights the model ends with: the last, or those of the lowest validation loss.

    Raises
    ------
    TrainingError
        If a loss is not finite, or the folder holds another run's checkpoint.
    """
    with tempfile.TemporaryDirectory(prefix="dcase_asd_") as scratch:
        place = Path(scratch) if workdir is None else workdir
        place.mkdir(parents=True, exist_ok=True)
        result = loop.train(
            model,
            source,
            config=config,
            seed=seed,
            workdir=place,
            device=device,
            log=_silent,
            loss_weights=loss_weights,
            identity=identity,
        )
        if checkpoint == "best":
            loop.load_best(model, place)
    return result


def _silent(text: str) -> None:
    del text
