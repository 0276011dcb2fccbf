"""Thresholds of reconstruction errors that follow the training, one per class (Rotondi and Lavalle, Eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["RunningThresholds"]


class RunningThresholds(nn.Module):
    """``T_i = (1 - alpha) T_{i-1} + alpha (mu + beta sigma)`` after every epoch i, for every class.

    ``mu`` and ``sigma`` are mean and deviation of a class's errors over the epoch, merged batch by batch (Chan et al. 1983).
    The paper averages the deviations of batches instead, which is smaller and undefined for a class of which a batch has fewer
    than two pictures, as batches of 128 out of 15 classes often do. It leaves T_0 open: the first estimate. As there, errors are
    those of noisy inputs in train mode, and the average lags behind a loss that still falls.

    Parameters
    ----------
    n_classes : int
    alpha, beta : float
    """

    value: Tensor
    known: Tensor
    count: Tensor
    mean: Tensor
    squares: Tensor
    epoch: Tensor

    def __init__(self, n_classes: int, *, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        for name in ("value", "count", "mean", "squares"):
            self.register_buffer(name, torch.zeros(n_classes, dtype=torch.float64))
        self.register_buffer("known", torch.zeros(n_classes, dtype=torch.bool))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def watch(self, errors: Tensor, labels: Tensor, *, epoch: int) -> None:
        """Take the errors ``[item]`` of a batch; the first batch of another epoch ends the one before."""
        if epoch != int(self.epoch):
            self.end_epoch()
            self.epoch.fill_(epoch)
        for label in labels.unique():
            own = errors[labels == label].double()
            # a copy: an element of a buffer is a view, which the next lines change
            n, before = len(own), self.count[label].clone()
            gap = own.mean() - self.mean[label]
            self.count[label] += n
            self.mean[label] += gap * n / self.count[label]
            self.squares[label] += (own - own.mean()).square().sum() + gap.square() * before * n / self.count[label]

    def end_epoch(self) -> None:
        """Move the thresholds of the classes that were seen, and forget the epoch's errors."""
        seen = self.count > 0
        estimate = self.mean + self.beta * (self.squares / self.count.clamp_min(1.0)).sqrt()
        moved = torch.where(self.known, (1.0 - self.alpha) * self.value + self.alpha * estimate, estimate)
        self.value.copy_(torch.where(seen, moved, self.value))
        self.known |= seen
        for sums in (self.count, self.mean, self.squares):
            sums.zero_()
