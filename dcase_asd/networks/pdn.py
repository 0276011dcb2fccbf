"""The networks of EfficientAD: patch description networks of two sizes, and an autoencoder that predicts their features.

Batzner, Heckler and König, EfficientAD, WACV 2024, Section 3.1 and the tables of its appendix; the sizes the tables leave to
the input were checked against the public re-implementation ``nelson1425/EfficientAD:common.py``. Parameters at 384 channels:
teacher S 2.69 M, student S (twice the outputs) 4.27 M, autoencoder 1.10 M; teacher M 8.03 M, student M 11.62 M.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["FeatureAutoencoder", "PatchDescription", "PdnSize", "description_size"]

PdnSize = Literal["small", "medium"]
#: Layers before the output by size, as (kernel, channels, whether average pooling follows).
_LAYERS: dict[PdnSize, tuple[tuple[int, int, bool], ...]] = {
    "small": ((4, 128, True), (4, 256, True), (3, 256, False)),
    "medium": ((4, 256, True), (4, 512, True), (1, 512, False), (3, 512, False)),
}
#: Zeros around the input of a kernel of a size, where there are any: the public code's choice.
_PADDING = {1: 0, 3: 1, 4: 3}
#: Upsampled sizes of the autoencoder's decoder: input side over the divisor, less the offset (3, 8, 15, 32, 63, 127 at 256).
_UPSAMPLED = ((64, 1), (32, 0), (16, 1), (8, 0), (4, 1), (2, 1))
_DROPOUT = 0.2


class PatchDescription(nn.Sequential):
    """A patch description network: convolutions and two average poolings, one vector for every fourth pixel.

    Parameters
    ----------
    n_outputs : int
        Channels of the result: 384 for a teacher, twice that for a student.
    size : {"small", "medium"}
        EfficientAD-S or -M.
    padding : bool
        Zeros around the input of every layer but the last, so that a side of 4n gives n cells; without, 4n gives n - 8.
    width : float
        Factor on the channels of the hidden layers; 1 is published.
    """

    def __init__(self, n_outputs: int, *, size: PdnSize = "small", padding: bool = False, width: float = 1.0) -> None:
        super().__init__(*_description_layers(n_outputs, size=size, padding=padding, factor=width))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[picture, n_outputs, about h / 4, about w / 4]`` for ``[picture, 3, h, w]``."""
        features: Tensor = super().forward(x)
        return features


def _description_layers(n_outputs: int, *, size: PdnSize, padding: bool, factor: float) -> Iterator[nn.Module]:
    before = 3
    for kernel, full, pooled in _LAYERS[size]:
        width = max(1, round(factor * full))
        yield nn.Conv2d(before, width, kernel_size=kernel, padding=_PADDING[kernel] if padding else 0)
        yield nn.ReLU()
        if pooled:
            yield nn.AvgPool2d(kernel_size=2, stride=2, padding=1 if padding else 0)
        before = width
    yield nn.Conv2d(before, n_outputs, kernel_size=4)
    if size == "medium":
        yield nn.ReLU()
        yield nn.Conv2d(n_outputs, n_outputs, kernel_size=1)


def description_size(size: tuple[int, int], *, padding: bool) -> tuple[int, int]:
    """Return height and width of the features of a picture; both PDN sizes agree.

    Raises
    ------
    ConfigError
        If the picture is too small for a single cell.
    """
    around, pooled = (2 * _PADDING[4], 2) if padding else (0, 0)
    found = []
    for side in size:
        second = (side + around - 3 + pooled) // 2
        third = (second + around - 3 + pooled) // 2
        found.append(third + pooled - 2 - 3)  # a 3x3 layer, padded by 1 if any is, and the last 4x4 layer, never padded
    if min(found) < 1:
        least = "4" if padding else "33"
        raise ConfigError(f"a picture of {size[0]} x {size[1]} pixels is too small: a side needs {least}; enlarge it in stage 2")
    return found[0], found[1]


class FeatureAutoencoder(nn.Module):
    """Predicts the features of a whole picture through a bottleneck of 64 values.

    At 256 x 256 pixels it is the published network. For another size the kernel of the bottleneck (8 at 256) and the sizes that
    the decoder upsamples to follow in proportion.

    Parameters
    ----------
    n_outputs : int
        Channels of the features.
    size : tuple of int
        Height and width of the pictures, at least 32.
    out_size : tuple of int
        Height and width of the features.

    Raises
    ------
    ConfigError
        For smaller pictures: five halvings leave nothing of them.
    """

    def __init__(self, n_outputs: int, *, size: tuple[int, int], out_size: tuple[int, int]) -> None:
        super().__init__()
        smallest = (size[0] // 32, size[1] // 32)
        if min(smallest) < 1:
            raise ConfigError(f"the autoencoder needs pictures of 32 x 32 pixels or more, got {size[0]} x {size[1]}")
        widths = (3, 32, 32, 64, 64, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(64, 64, kernel_size=smallest))
        self.decoder = nn.ModuleList(nn.Conv2d(64, 64, kernel_size=4, padding=2) for _ in _UPSAMPLED)
        self.drop = nn.Dropout(_DROPOUT)
        self.last = nn.Sequential(
            nn.Conv2d(64, 64, kernel_size=3, padding=1), nn.ReLU(), nn.Conv2d(64, n_outputs, kernel_size=3, padding=1)
        )
        self.sizes = tuple(tuple(max(1, side // part - less) for side in size) for part, less in _UPSAMPLED)
        self.out_size = out_size

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[picture, n_outputs, *out_size]`` for ``[picture, 3, *size]``."""
        x = self.encoder(x)
        for size, layer in zip(self.sizes, self.decoder, strict=True):
            x = self.drop(F.relu(layer(F.interpolate(x, size=size, mode="bilinear", align_corners=False))))
        features: Tensor = self.last(F.interpolate(x, size=self.out_size, mode="bilinear", align_corners=False))
        return features
