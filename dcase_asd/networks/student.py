"""A small student of a frozen teacher's feature maps, and a decoder from its features back to the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["Projection", "Student", "orthogonal_rows"]

#: Strides of the four blocks: the early tap lies at half the side, the middle one at an eighth.
_STRIDES = (2, 1, 2, 2)
_TAPS = (1, 3)
_SLOPE = 0.2


def orthogonal_rows(n_outputs: int, n_inputs: int) -> Tensor:
    """Draw a matrix ``[n_outputs, n_inputs]`` whose rows, or columns where there are fewer, are orthonormal."""
    return nn.init.orthogonal_(torch.empty(n_outputs, n_inputs))


class Projection(nn.Module):
    """Standardises channels by fixed statistics and projects them by a fixed matrix; nothing in it is trained.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels.
    """

    mean: Tensor
    std: Tensor
    matrix: Tensor

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("std", torch.ones(n_inputs))
        self.register_buffer("matrix", torch.zeros(n_outputs, n_inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[picture, n_outputs, h, w]`` for ``[picture, n_inputs, h, w]``."""
        standard = (x - self.mean[:, None, None]) / self.std[:, None, None]
        return nn.functional.conv2d(standard, self.matrix[:, :, None, None])


class Student(nn.Module):
    """Four convolution blocks with two taps, each projected to the teacher's channels, and a decoder from the second tap.

    Parameters
    ----------
    n_channels : int
        Channels of the pictures.
    n_outputs : tuple of int
        Channels of the projected teacher at the early and the middle tap.
    widths : sequence of int
        Channels of the four blocks.

    Raises
    ------
    ConfigError
        For another number of blocks.
    """

    def __init__(self, n_channels: int, *, n_outputs: tuple[int, int], widths: Sequence[int]) -> None:
        super().__init__()
        if len(widths) != len(_STRIDES) or min(widths) < 1:
            raise ConfigError(f"widths: expected four positive numbers of channels, one a block; got {list(widths)}")
        before = (n_channels, *widths[:-1])
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, kernel_size=3, stride=s, padding=1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(_SLOPE)
            )
            for a, b, s in zip(before, widths, _STRIDES, strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(widths[tap], n, kernel_size=1) for tap, n in zip(_TAPS, n_outputs, strict=True))
        self.decoder = _decoder(widths[_TAPS[1]], n_channels)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the projected taps and the reconstruction in (0, 1) of ``x [picture, channel, h, w]``."""
        size = x.shape[2:]
        taps = []
        for block in self.blocks:
            x = block(x)
            taps.append(x)
        middle = taps[_TAPS[1]]
        rebuilt = self.decoder(middle)[:, :, : size[0], : size[1]]
        return [head(taps[tap]) for head, tap in zip(self.heads, _TAPS, strict=True)], torch.sigmoid(rebuilt)


def _decoder(n_inputs: int, n_channels: int) -> nn.Sequential:
    """Return transposed convolutions that undo three halvings (a side that is no multiple of 8 comes out longer)."""
    layers: list[nn.Module] = []
    for width in (64, 32):
        layers += [
            nn.ConvTranspose2d(n_inputs, width, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(_SLOPE),
        ]
        n_inputs = width
    return nn.Sequential(*layers, nn.ConvTranspose2d(n_inputs, n_channels, kernel_size=4, stride=2, padding=1))
