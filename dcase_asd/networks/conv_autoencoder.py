"""Convolutional autoencoders for pictures and spectrograms of any size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["ConvAutoencoder", "ConvDecoder", "ConvEncoder", "encoded_size"]


def encoded_size(size: tuple[int, int], *, n_layers: int) -> tuple[int, int]:
    """Return height and width after ``n_layers`` strided layers: each halves, rounding up."""
    height, width = size
    for _ in range(n_layers):
        height, width = -(-height // 2), -(-width // 2)
    return height, width


class ConvEncoder(nn.Module):
    """Layers of Conv 3x3 of stride 2, batch normalisation and ReLU.

    Parameters
    ----------
    n_channels : int
        Channels of the input.
    widths : sequence of int
        Channels after each layer.
    """

    def __init__(self, n_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths or min(n_channels, *widths) < 1:
            raise ConfigError(f"expected at least one layer and positive channels, got {n_channels} and {list(widths)}")
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in pairwise([n_channels, *widths])
            )
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[torch.Size]]:
        """Encode ``[item, channel, h, w]``; also return the heights and widths before each layer, for the decoder."""
        sizes = []
        for layer in self.layers:
            sizes.append(x.shape[2:])
            x = layer(x)
        return x, sizes


class ConvDecoder(nn.Module):
    """Mirror of :class:`ConvEncoder`: transposed convolutions that end at the sizes the encoder met; the last one is linear.

    Parameters
    ----------
    widths : sequence of int
        As the encoder's.
    n_channels : int
        Channels of the output.
    """

    def __init__(self, widths: Sequence[int], n_channels: int) -> None:
        super().__init__()
        steps = list(pairwise([*reversed(widths), n_channels]))
        self.layers = nn.ModuleList(nn.ConvTranspose2d(a, b, kernel_size=3, stride=2, padding=1) for a, b in steps)
        self.after = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(b), nn.ReLU()) for _, b in steps[:-1])
        self.after.append(nn.Identity())

    def forward(self, features: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
        """Decode ``[item, channel, h, w]`` to the first of ``sizes``."""
        for layer, after, size in zip(self.layers, self.after, reversed(sizes), strict=True):
            # stride 2 has two sizes that encode to the same one: the encoder's own is wanted
            features = after(layer(features, output_size=list(size)))
        return features


class ConvAutoencoder(nn.Module):
    """Encoder, bottleneck and decoder.

    Parameters
    ----------
    n_channels : int
        Channels of the pictures.
    widths : sequence of int
        Channels after each strided layer.
    n_bottleneck : int
        Channels that a 1x1 convolution leaves at each place of the smallest map; every place keeps them, so that one
        network serves all sizes. 0: no such layer.
    """

    def __init__(self, n_channels: int, *, widths: Sequence[int], n_bottleneck: int) -> None:
        super().__init__()
        self.encoder = ConvEncoder(n_channels, widths)
        self.bottleneck: nn.Module = nn.Identity()
        if n_bottleneck > 0:
            narrow = [nn.Conv2d(widths[-1], n_bottleneck, kernel_size=1), nn.BatchNorm2d(n_bottleneck), nn.ReLU()]
            self.bottleneck = nn.Sequential(*narrow, nn.Conv2d(n_bottleneck, widths[-1], kernel_size=1), nn.ReLU())
        self.decoder = ConvDecoder(widths, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of ``[item, channel, h, w]``, same shape."""
        features, sizes = self.encoder(x)
        rebuilt: Tensor = self.decoder(self.bottleneck(features), sizes)
        return rebuilt
