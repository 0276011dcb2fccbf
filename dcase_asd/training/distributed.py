"""Training by several processes, as torchrun starts them: every one has the model, each step's batch is cut among them.

A process knows from torchrun's environment (``WORLD_SIZE``, ``RANK``, ``LOCAL_RANK``) that it is one of several. All draw the
same batches in the same order; process ``r`` of ``n`` takes the samples ``r, r + n, ...`` of each, gradients are averaged by
:class:`torch.nn.parallel.DistributedDataParallel`, and process 0 alone writes files. Where every loss is a mean over samples,
that is the gradient of the whole batch; batch normalisation sees a process's own samples on a CPU, and all of them on GPUs.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["Group", "joined", "started"]


@dataclass(frozen=True)
class Group:
    """The processes that train one model.

    Attributes
    ----------
    rank, size : int
        This process's number, from 0, and how many there are.
    device : str
        Where this one computes.
    """

    rank: int
    size: int
    device: str

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Return the model as the training step calls it: gradients are averaged over the processes."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        # a term may leave its parameters out of a step: a flow in a batch without a pure sample
        return DistributedDataParallel(model, find_unused_parameters=True)

    def share(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return this process's samples of a batch.

        Raises
        ------
        ConfigError
            If the batch cannot be cut evenly: unequal parts would not weigh the same.
        """
        if self.size == 1:
            return batch
        n_samples = len(next(iter(batch.values())))
        if n_samples % self.size:
            raise ConfigError(f"a batch of {n_samples} cannot be cut among {self.size} processes; choose a multiple")
        return {name: value[self.rank :: self.size] for name, value in batch.items()}

    def mean(self, values: Sequence[float]) -> list[float]:
        """Return the mean of each value over the processes; one that is not finite anywhere is finite nowhere."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return [value / self.size for value in total.tolist()]

    def agree(self, model: nn.Module) -> None:
        """Give every process the running statistics of process 0."""
        if self.size > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Go on when all processes have come this far."""
        if self.size > 1:
            torch.distributed.barrier()


def started() -> bool:
    """Return whether this process is one of several that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def joined(model: nn.Module, device: str) -> Iterator[tuple[nn.Module, Group]]:
    """Join the group that the environment names, a group of one without such; yield the model, ready for it, and the group.

    On GPUs process ``LOCAL_RANK`` takes the GPU of that number, and batch normalisation is made to see all samples.
    """
    if not started():
        yield model, Group(0, 1, device)
        return
    on_gpu = torch.device(device).type == "cuda"
    own = f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else device
    options: dict[str, Any] = {}
    if on_gpu:
        torch.cuda.set_device(own)
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        options["device_id"] = torch.device(own)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", **options)
    try:
        yield model, Group(torch.distributed.get_rank(), torch.distributed.get_world_size(), own)
        torch.distributed.barrier()  # what process 0 wrote is there when the others go on
    finally:
        gc.collect()  # wrappers that were let go: gloo's threads must not outlive the group
        torch.distributed.destroy_process_group()
