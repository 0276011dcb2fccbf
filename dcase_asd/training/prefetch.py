"""Batches made ahead of their step by threads; a batch is a function of its step, so the order of making does not matter."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

from dcase_asd.training.contract import Batch, BatchSource

__all__ = ["Prefetcher", "loader_threads"]


def loader_threads(asked: int, device: str) -> int:
    """Return how many threads make batches: as asked, or for -1 four beside a GPU and none beside a CPU (they would slow it)."""
    return asked if asked >= 0 else 4 * (torch.device(device).type != "cpu")


class Prefetcher:
    """Gives the batches of consecutive steps; a context manager.

    Parameters
    ----------
    source : BatchSource
    n_steps : int
        No step from here on is made.
    n_threads : int
        Threads, and batches held ready; 0 makes each batch when it is asked for.
    """

    def __init__(self, source: BatchSource, *, n_steps: int, n_threads: int) -> None:
        self.source = source
        self.n_steps = n_steps
        self.n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="batches") if n_threads else None
        self._ready: dict[int, Future[Batch]] = {}

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drop what was not asked for and end the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; what the source raised is raised here."""
        if self._pool is None:
            return self._make(step)
        for ahead in range(step, min(step + self.n_threads + 1, self.n_steps)):
            if ahead not in self._ready:
                self._ready[ahead] = self._pool.submit(self._make, ahead)
        return self._ready.pop(step).result()

    def _make(self, step: int) -> Batch:
        return self.source.batch(step, progress=step / self.n_steps)
