"""Pictures for training that are not in the corpus: colour changes, dead leaves, and files of a folder; all by key.

Every function takes its generator, so that a batch is a function of seed and step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.io.images import IMAGE_SUFFIXES, read_image, resize_image, to_grey

__all__ = ["FolderPictures", "colour_changed", "dead_leaves", "turned"]

Pictures = NDArray[np.float32]
#: BT.601 luma, the grey that torchvision's colour transforms blend with.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
#: Factors of brightness, contrast and saturation lie within 1 +- this (EfficientAD, appendix).
_STRENGTH = 0.2
_WHITE = 255.0
# Chosen here: leaves of a picture (they cover most of it), the smallest radius as a share of the side and in pixels, and the
# largest deviation of the noise.
_N_LEAVES = 150
_LEAST_SHARE = 1.0 / 32.0
_LEAST_RADIUS = 2.0
_MOST_NOISE = 0.1


def colour_changed(x: Pictures, rng: np.random.Generator) -> Pictures:
    """Change brightness, contrast or saturation, one of them, of each picture ``[picture, channel, h, w]`` in [0, 1].

    Batzner et al., EfficientAD, appendix: a factor from [0.8, 1.2]; contrast blends with the picture's mean grey,
    saturation with its grey, which changes nothing in pictures of one channel. Values are clipped to [0, 1].
    """
    kinds = rng.integers(3, size=len(x))
    factors = rng.uniform(1.0 - _STRENGTH, 1.0 + _STRENGTH, size=len(x)).astype(np.float32)
    changed = np.empty_like(x)
    for number, (kind, factor) in enumerate(zip(kinds, factors, strict=True)):
        picture = x[number]
        grey = np.einsum("c,chw->hw", _LUMA, picture)[None] if len(picture) == len(_LUMA) else picture
        other = (np.float32(0.0), grey.mean(dtype=np.float32), grey)[kind]
        changed[number] = np.clip(factor * picture + (np.float32(1.0) - factor) * other, 0.0, 1.0)
    return changed


def turned(x: Pictures, rng: np.random.Generator) -> Pictures:
    """Mirror each picture at random, left to right and top to bottom, and change its colours."""
    flips = rng.integers(2, size=(len(x), 2)).astype(bool)
    mirrored = [p[:, :: -1 if up else 1, :: -1 if side else 1] for p, (up, side) in zip(x, flips, strict=True)]
    return colour_changed(np.ascontiguousarray(np.stack(mirrored)), rng)


def dead_leaves(n: int, shape: tuple[int, int, int], rng: np.random.Generator) -> Pictures:
    """Draw pictures of overlapping discs and boxes of random size, place and colour, with some noise, ``[n, channel, h, w]``.

    Networks learn general features of edges and corners from such pictures (Baradad et al., Learning to See by Looking at
    Noise, NeurIPS 2021). Radii follow a density of r^-3 up to half the side, as in natural images (Lee, Mumford and Huang
    2001).
    """
    channel, height, width = shape
    pictures = np.empty((n, *shape), dtype=np.float32)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    side = max(height, width)
    least, largest = max(_LEAST_RADIUS, _LEAST_SHARE * side), max(_LEAST_RADIUS + 1.0, side / 2.0)
    for number in range(n):
        picture = pictures[number]
        picture[:] = rng.random((channel, 1, 1))
        for _ in range(_N_LEAVES):
            # the inverse of the cumulative distribution of r^-3 between the least and the largest
            radius = (least**-2 - rng.random() * (least**-2 - largest**-2)) ** -0.5
            y, x = rng.random(2) * (height, width)
            down, right = np.abs(rows - y), np.abs(columns - x)
            inside = (down**2 + right**2 < radius**2) if rng.random() < 0.5 else (np.maximum(down, right) < radius)
            picture[:, inside] = rng.random((channel, 1))
        pictures[number] += rng.normal(scale=rng.uniform(0.0, _MOST_NOISE), size=shape).astype(np.float32)
    return np.clip(pictures, 0.0, 1.0)


@dataclass(frozen=True)
class FolderPictures:
    """Picture files below a folder, read when asked for.

    Attributes
    ----------
    folder : str
    shape : tuple of int
        ``(channel, h, w)`` to deliver.

    Raises
    ------
    DataError
        If there is no picture.
    """

    folder: str
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Refuse a folder without pictures."""
        if not self.paths:
            raise DataError(f"{self.folder}: no such folder, or no picture in it ({', '.join(IMAGE_SUFFIXES)})")

    @cached_property
    def paths(self) -> Sequence[Path]:
        """All pictures, by name."""
        found = Path(self.folder).expanduser().rglob("*")
        return sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())

    def take(self, n: int, rng: np.random.Generator, *, grey_share: float) -> Pictures:
        """Return some, drawn at random: resized to twice the size and the centre cut out, some of them in grey.

        So do the public codes of EfficientAD with their ImageNet pictures (512, cropped to 256; grey in 3 of 10).
        """
        channel, height, width = self.shape
        pictures = []
        for number in rng.integers(len(self.paths), size=n):
            pixels = resize_image(read_image(self.paths[number]), height=2 * height, width=2 * width)
            pixels = pixels[height // 2 : height // 2 + height, width // 2 : width // 2 + width]
            if channel == 1 or rng.random() < grey_share:
                pixels = to_grey(pixels)
            pictures.append(np.broadcast_to(pixels.transpose(2, 0, 1), self.shape).astype(np.float32) / np.float32(_WHITE))
        return np.stack(pictures)
