"""EfficientAD: teacher, student and autoencoder; the losses in training, the maps afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dcase_asd.detectors._shared.backbone_teacher import chunks
from dcase_asd.detectors._shared.picture_model import PictureModel, Preparation
from dcase_asd.networks.backbones import standardise_imagenet
from dcase_asd.networks.pdn import FeatureAutoencoder, PatchDescription

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EfficientAd", "hard_feature_loss", "map_bounds"]

#: What the two quantiles of a map become (Batzner et al., Section 3.4).
_TARGET = 0.1
#: Cells at each border that an unpadded description network has no output for.
_BORDER = 4
_LEAST_STD = 1e-6


def hard_feature_loss(target: Tensor, found: Tensor, *, quantile: float) -> Tensor:
    """Return the mean of the squared errors that reach their ``quantile``, picture by picture, averaged over pictures.

    Batzner et al., Section 3.2: with ``quantile`` .999, the largest thousandth of channels and positions. The quantile is that
    of linear interpolation: of ``n`` sorted values those from place ``ceil(quantile * (n - 1))`` on.
    """
    squared = (target - found).square().flatten(1)
    n = squared.shape[1]
    hardest = n - math.ceil(quantile * (n - 1))
    return squared.topk(hardest, dim=1, sorted=False).values.mean()


def map_bounds(values: NDArray[np.floating], *, low: float, high: float) -> tuple[float, float]:
    """Return the two quantiles of all values of a map; the upper one is larger even where all values are the same."""
    first, last = (float(q) for q in np.quantile(np.asarray(values, dtype=np.float64), [low, high]))
    return first, last if last > first else first + max(1e-12, 1e-6 * abs(first))


class EfficientAd(PictureModel):
    """The three networks.

    Parameters
    ----------
    prepare : Preparation
    teacher, student : PatchDescription
        The student has twice the teacher's channels: the first half follows the teacher, the second the autoencoder.
    autoencoder : FeatureAutoencoder
    quantile : float
        Of the hard-feature loss.
    """

    channel_mean: Tensor
    channel_std: Tensor
    bounds: Tensor

    def __init__(
        self,
        prepare: Preparation,
        teacher: PatchDescription,
        student: PatchDescription,
        autoencoder: FeatureAutoencoder,
        *,
        n_channels: int,
        quantile: float,
        padding: bool,
    ) -> None:
        super().__init__(prepare)
        self.teacher = teacher.requires_grad_(requires_grad=False)
        self.student, self.autoencoder = student, autoencoder
        self.n_channels, self.quantile, self.border = n_channels, quantile, 0 if padding else _BORDER
        self.register_buffer("channel_mean", torch.zeros(n_channels))
        self.register_buffer("channel_std", torch.ones(n_channels))
        #: Lower and upper quantile of the student's and of the autoencoder's map, ``[2, 2]``.
        self.register_buffer("bounds", torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``student`` (hard features), ``autoencoder``, ``student_autoencoder`` and, if given, ``penalty``."""
        x, changed = standardise_imagenet(batch["x"]), standardise_imagenet(batch["x_augmented"])
        n = self.n_channels
        with torch.no_grad():
            target, changed_target = self._taught(x), self._taught(changed)
        predicted, followed = self.autoencoder(changed), self.student(changed)[:, n:]
        losses = {
            "student": hard_feature_loss(target, self.student(x)[:, :n], quantile=self.quantile),
            "autoencoder": F.mse_loss(predicted, changed_target),
            "student_autoencoder": F.mse_loss(followed, predicted),
        }
        if "penalty" in batch:
            losses["penalty"] = self.student(standardise_imagenet(batch["penalty"]))[:, :n].square().mean()
        return losses

    def judge(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the largest value of the combined map, and that map, 0 where the networks do not see."""
        scaled = [
            _TARGET * (part.double() - low) / (high - low)
            for part, (low, high) in zip(self.raw_maps(self.prepare(x)), self.bounds, strict=True)
        ]
        combined = 0.5 * (scaled[0] + scaled[1])
        score = combined.flatten(1).amax(dim=1)
        return {"map": score}, F.pad(combined, (self.border,) * 4)

    def raw_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean squared difference of teacher and student, and of autoencoder and student, ``[picture, h, w]``."""
        x = standardise_imagenet(x)
        n, student = self.n_channels, self.student(x)
        local = (self._taught(x) - student[:, :n]).square().mean(dim=1)
        return local, (self.autoencoder(x) - student[:, n:]).square().mean(dim=1)

    def set_channels(self, x: NDArray[np.float32]) -> None:
        """Standardise the teacher's channels by normal pictures in [0, 1] (Batzner et al., appendix)."""
        n, total, squares = 0, np.zeros(self.n_channels), np.zeros(self.n_channels)
        with torch.inference_mode():
            for part in chunks(x):
                values = self.teacher(standardise_imagenet(part)).double()
                n += values[:, 0].numel()
                total += values.sum(dim=(0, 2, 3)).numpy()
                squares += values.square().sum(dim=(0, 2, 3)).numpy()
        std = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))
        self.channel_mean.copy_(torch.from_numpy(total / n))
        # a channel that never changes has no scale
        self.channel_std.copy_(torch.from_numpy(np.where(std > _LEAST_STD, std, 1.0)))

    def set_bounds(self, x: NDArray[np.float32], *, quantiles: Sequence[float]) -> None:
        """Take the quantiles of both maps from normal pictures that were not trained on."""
        self.eval()
        with torch.inference_mode():
            maps = [self.raw_maps(part) for part in chunks(x)]
        for number in range(2):
            values = np.concatenate([part[number].numpy().ravel() for part in maps])
            self.bounds[number] = torch.tensor(map_bounds(values, low=quantiles[0], high=quantiles[1]), dtype=torch.float64)

    def _taught(self, x: Tensor) -> Tensor:
        features: Tensor = self.teacher(x)
        return (features - self.channel_mean[:, None, None]) / self.channel_std[:, None, None]
