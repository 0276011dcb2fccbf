"""A flow trained alone, on the maps or vectors of a frozen extractor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.io.hashing import sha256_json
from dcase_asd.networks.fastflow import FastFlow
from dcase_asd.training.contract import Batch, TrainConfig
from dcase_asd.training.flow import FlowTerm
from dcase_asd.training.placed import train_in
from dcase_asd.training.samplers import endless_order

__all__ = ["set_statistics", "train_alone"]


@dataclass(frozen=True)
class _MapBatches:
    """Shuffled passes over maps ``x [segment, channel, h, w]``; ``mean [segment]`` is what z_d follows."""

    x: NDArray[np.float32]
    mean: NDArray[np.float32]
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every segment is seen at least once."""
        return -(-len(self.x) // self.batch_size)

    def batch(self, step: int, *, progress: float) -> Batch:
        """Return the batch of a step."""
        del progress
        start = step * self.batch_size
        rows = endless_order(len(self.x), start=start, count=self.batch_size, seed=self.seed, name="segments")
        maps, mean = torch.from_numpy(self.x[rows]), torch.from_numpy(self.mean[rows])
        return {"x": maps, "flow_mean": mean, "t": torch.ones(len(rows))}

    def valid_batches(self) -> Iterable[Batch]:
        """Return none: the clips held out calibrate the scores."""
        return ()


class _Alone(nn.Module):
    """The flow term on maps as they come."""

    def __init__(self, term: FlowTerm) -> None:
        super().__init__()
        self.term = term

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return Eq. 6."""
        return {"flow": self.term(batch["x"], batch["x"], batch)}


def set_statistics(flow: FastFlow, x: NDArray[np.float32]) -> None:
    """Standardise the flow's input by all training maps ``[segment, channel, h, w]``, in double precision."""
    mean = x.mean(axis=(0, 2, 3), dtype=np.float64)
    variance = x.var(axis=(0, 2, 3), dtype=np.float64)
    flow.standardisation.set_statistics(torch.from_numpy(mean), torch.from_numpy(variance))


def train_alone(
    flow: FastFlow,
    x: NDArray[np.float32],
    *,
    mean: NDArray[np.float32],
    n_domain: int,
    config: TrainConfig,
    batch_size: int,
    seed: int,
    workdir: Path | None,
) -> None:
    """Train a flow in place on the mean of Eq. 6 over channels and positions.

    Parameters
    ----------
    flow : FastFlow
    x : ndarray [segment, channel, h, w]
    mean : ndarray [segment]
        What z_d follows; not read where ``n_domain`` is 0.
    n_domain : int
    config : TrainConfig
    batch_size : int
        Segments a step, at most all of them.
    seed : int
    workdir : pathlib.Path or None
        For checkpoints and the loss curve; None: a folder that goes away.

    Raises
    ------
    TrainingError
        If a value is not finite; names the coupling and the step.
    """
    set_statistics(flow, x)
    source = _MapBatches(x, mean, min(batch_size, len(x)), seed)
    model = _Alone(FlowTerm(flow, n_domain=n_domain))
    statistics = flow.standardisation
    told = {
        "shape": list(x.shape),
        "mean": sha256_json(np.nan_to_num(mean, nan=-1e30).tolist()),
        "statistics": sha256_json([statistics.mean.tolist(), statistics.variance.tolist()]),
        "batch_size": source.batch_size,
        "n_domain": n_domain,
    }
    train_in(workdir, model, source, config=config, seed=seed, loss_weights={"flow": 1.0 / x[0].size}, identity=told)
