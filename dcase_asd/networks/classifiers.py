"""Two-class networks for small pictures: one logit per picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcase_asd.errors import ConfigError, DataError, UnknownNameError
from dcase_asd.networks.backbones import FeatureMaps, normalise_imagenet

__all__ = ["FineTuned", "SmallCnn"]


class SmallCnn(nn.Module):
    """Two blocks of convolution, pooling, batch normalisation, ReLU and dropout, and two dense layers.

    Argese and Degni, Section IV-C, which names the layers and their order; that the second block has twice the filters of the
    first is what "initial filters" is taken to mean.

    Parameters
    ----------
    n_channels : int
    size : tuple of int
        Height and width of the pictures, at least 4 each.
    filters : int
        Of the first block.
    n_hidden : int
        Units of the first dense layer.
    dropout : float
    """

    def __init__(self, n_channels: int, size: tuple[int, int], *, filters: int, n_hidden: int, dropout: float) -> None:
        super().__init__()
        if min(size) < 4:
            raise DataError(f"pictures of {size[0]} x {size[1]}: two poolings need at least 4 x 4; take larger pictures")
        widths = (n_channels, filters, 2 * filters)
        blocks = [
            nn.Sequential(
                nn.Conv2d(a, b, kernel_size=3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(b), nn.ReLU(), nn.Dropout(dropout)
            )
            for a, b in pairwise(widths)
        ]
        n_features = widths[-1] * (size[0] // 4) * (size[1] // 4)
        dense = [nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_hidden, 1)]
        self.layers = nn.Sequential(*blocks, nn.Flatten(), *dense)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[picture]`` of ``[picture, channel, h, w]``."""
        logit: Tensor = self.layers(x)
        return logit[:, 0]


class FineTuned(nn.Module):
    """A pretrained network whose last stages and a new head are trained; the rest stays as it is.

    Batch normalisation keeps the statistics it came with everywhere and trains weight and bias alone: a few dozen steps would
    leave those of training and of scoring apart (EfficientNet-Lite0's move by 1 % a step).

    Parameters
    ----------
    backbone : FeatureMaps
        Cut after the stage that the head reads.
    trained : sequence of str
        Stages that are trained.
    input_size : tuple of int
        Height and width that pictures are resized to (bilinear, antialiased); ``(0, 0)``: as they are.
    """

    def __init__(self, backbone: FeatureMaps, *, trained: Sequence[str], input_size: tuple[int, int]) -> None:
        super().__init__()
        for name in trained:
            if name not in backbone.stages:
                raise UnknownNameError("stage", name, list(backbone.stages))
        self.backbone, self.input_size = backbone, input_size
        for name, stage in backbone.stages.items():
            stage.requires_grad_(requires_grad=name in trained)
        with torch.no_grad():
            (probe,) = backbone.eval()(torch.zeros(1, 3, 64, 64)).values()
        self.head = nn.Linear(probe.shape[1], 1)

    def train(self, mode: bool = True) -> FineTuned:
        """Switch the head; the pretrained stages keep the statistics they came with."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[picture]`` of pictures ``[picture, 1 or 3, h, w]`` in [0, 1]."""
        if x.shape[1] not in (1, 3):
            raise ConfigError(f"a pretrained network takes 1 or 3 channels, the pictures have {x.shape[1]}")
        if self.input_size != (0, 0):
            x = F.interpolate(x, size=self.input_size, mode="bilinear", align_corners=False, antialias=True)
        (features,) = self.backbone(normalise_imagenet(255.0 * x)).values()
        logit: Tensor = self.head(features.mean(dim=(2, 3)))
        return logit[:, 0]
