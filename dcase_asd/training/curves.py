"""Loss curves: ``losses.csv``, rewritten whole and atomically each epoch, and TensorBoard if asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcase_asd.errors import ConfigError
from dcase_asd.io.atomic import open_atomic

__all__ = ["open_tensorboard", "write_losses"]


def write_losses(path: Path, history: Sequence[Mapping[str, float | None]]) -> None:
    """Write one row an epoch; a value that was not computed stays empty."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with open_atomic(path) as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: "" if value is None else repr(value) for name, value in row.items()} for row in history)


def open_tensorboard(folder: Path, *, step: int) -> Any:
    """Open a TensorBoard writer; events after ``step`` of an interrupted run are hidden.

    Raises
    ------
    ConfigError
        If tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboard: true needs the tensorboard package; install dcase_asd[track] or set it to false"
        ) from error
    return SummaryWriter(str(folder), purge_step=step)
