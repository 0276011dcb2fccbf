"""The torch side of the picture detectors: values to [0, 1], and the contract of a model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.errors import DataError

__all__ = ["Judge", "PictureModel", "Preparation", "check_colours", "told_of"]

#: Pictures prepared or judged at a time when there are many.
_CHUNK = 16


class Preparation(nn.Module):
    """Values to [0, 1], and pictures to the size a network wants.

    Parameters
    ----------
    size : tuple of int or None
        Height and width to deliver; None: as they come.
    how : {"resize", "pad"}
        Bilinear with antialiasing, or zeros below and to the right (a larger picture is resized).
    """

    low: Tensor
    span: Tensor

    def __init__(self, size: tuple[int, int] | None = None, *, how: Literal["resize", "pad"] = "resize") -> None:
        super().__init__()
        self.size, self.how = size, how
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("span", torch.ones(()))

    def set_range(self, x: NDArray[np.float32]) -> None:
        """Take [0, 1] if all values of ``x`` lie in it; else from the smallest to the largest."""
        low, high = float(x.min()), float(x.max())
        if low >= 0.0 and high <= 1.0:
            low, high = 0.0, 1.0
        self.low.fill_(low)
        self.span.fill_(high - low if high > low else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[picture, channel, *size]`` of ``[picture, channel, h, w]``."""
        x = (x - self.low) / self.span
        if self.size is None or x.shape[2:] == self.size:
            return x
        height, width = self.size
        if self.how == "pad" and x.shape[2] <= height and x.shape[3] <= width:
            return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
        return F.interpolate(x, size=self.size, mode="bilinear", align_corners=False, antialias=True)

    def inside(self, where: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Cut what was padded off a map ``[picture, *size]`` of pictures of ``shape (h, w)``."""
        if self.size is None or self.how == "resize" or shape[0] > self.size[0] or shape[1] > self.size[1]:
            return where
        return where[:, : shape[0], : shape[1]]


class PictureModel(nn.Module):
    """What a picture detector is made of: losses in training (``forward``), scores and a map afterwards (:meth:`judge`).

    Parameters
    ----------
    prepare : Preparation
    """

    def __init__(self, prepare: Preparation) -> None:
        super().__init__()
        self.prepare = prepare
        #: Which scores are kept, and the part name of each; the first is the score. Empty: all, by their own names.
        self.kept: dict[str, str] = {}

    @abstractmethod
    def judge(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return named scores ``[picture]`` and a map ``[picture, h, w]`` of pictures ``[picture, channel, h, w]``."""

    def prepared(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return pictures as the network takes them."""
        with torch.inference_mode():
            parts = [self.prepare(torch.from_numpy(x[i : i + _CHUNK].astype(np.float32))) for i in range(0, len(x), _CHUNK)]
        return np.concatenate([part.numpy() for part in parts]) if parts else x[:0]

    def judged(self, x: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float32]]:
        """Return :meth:`judge` as arrays."""
        with torch.inference_mode():
            scores, where = self.judge(torch.from_numpy(x))
        kept = self.kept or {name: name for name in scores}
        return {part: scores[name].double().numpy() for name, part in kept.items()}, where.float().numpy()

    def frozen(self) -> Self:
        """Put the model into evaluation mode for good."""
        return self.eval().requires_grad_(requires_grad=False)


class Judge(nn.Module):
    """A model whose forward pass scores, to count operations."""

    def __init__(self, model: PictureModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the map."""
        return self.model.judge(x)[1]


def check_colours(shape: tuple[int, ...], *, owner: object) -> None:
    """Raise ``DataError`` unless maps ``(channel, h, w)`` have the 1 or 3 channels of a picture."""
    if shape[0] not in (1, 3):
        raise DataError(
            f"{type(owner).__name__}: reads pictures or log-mels of 1 or 3 channels, got {shape[0]}; "
            "take the `identity` extractor"
        )


def told_of(x: NDArray[np.float32]) -> list[object]:
    """Return what identifies training pictures, for checkpoints: shape, mean and mean square."""
    wide = x.reshape(len(x), -1)
    return [list(x.shape), float(wide.mean(dtype=np.float64)), float(np.square(wide, dtype=np.float64).mean())]
