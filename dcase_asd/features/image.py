"""Pictures resized to one size, as bytes: the store's frame ``[height, width, channel]`` is a whole picture.

A picture is one frame and one segment; the frame rate is 0 and there is no power. The index column ``level_db`` holds
the mean brightness in dB re white, measured before any normalisation, so that the trivial systems of stage 6 (the level
alone, either way round) say for pictures what brightness alone is worth.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, ImageError
from dcase_asd.features.signal import SILENCE_DB
from dcase_asd.io.images import read_image, resize_image, to_grey
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "Image"]

INFO = Info(
    summary="pictures, resized with antialiasing, grey or RGB, stored as bytes",
    implementation="Image",
    source="input of PatchCore (Roth et al., CVPR 2022) and PaDiM (Defard et al., ICPR 2020): resized, not cropped here",
    input="image",
)

#: Mean brightness that ``brightness: gain`` scales to: the mean of ImageNet over pixels and channels (0.449 of white).
_MEAN_BRIGHTNESS = 0.449 * 255.0


@configclass
class Config:
    """How a picture is stored.

    Attributes
    ----------
    size : tuple of int
        Height and width in pixels; the aspect ratio is not kept.
    mode : {"rgb", "grey"}
        Grey is BT.601 luma; a grey file in ``rgb`` mode has its channel repeated.
    brightness : {"none", "gain"}
        ``gain`` multiplies each picture so that its mean is ImageNet's (0.449 of white; highlights clip), for cameras
        whose exposure wanders. Off by default: brightness may be the defect, and the level rows of the result
        table show whether brightness alone tells normal from defective.
    """

    size: tuple[int, int] = (224, 224)
    mode: Literal["rgb", "grey"] = "rgb"
    brightness: Literal["none", "gain"] = "none"

    def __post_init__(self) -> None:
        """Refuse sizes that no network takes."""
        if min(self.size) < 1:
            raise ConfigError(f"size: expected a positive height and width in pixels, got {list(self.size)}")

    @property
    def dtype(self) -> str:
        """Type of the store."""
        return "uint8"


class Image:
    """Turns one picture file into one frame.

    Parameters
    ----------
    config : Config
    """

    native: ClassVar[str] = "image"
    precomputed: ClassVar[tuple[str, ...]] = ()
    frame_rate_hz: ClassVar[float] = 0.0
    band_hz: ClassVar[None] = None
    unit: ClassVar[str] = ""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """``(height, width, channel)``."""
        return (*self.config.size, 1 if self.config.mode == "grey" else 3)

    def compute_file(self, path: Path, *, n_pixels: int) -> tuple[NDArray[np.uint8], float]:
        """Read, convert and resize a picture.

        Parameters
        ----------
        path : Path
        n_pixels : int
            What the manifest says.

        Returns
        -------
        picture : ndarray [height, width, channel], uint8
        level_db : float
            Mean brightness in dB re white, not below :data:`~dcase_asd.features.signal.SILENCE_DB`.

        Raises
        ------
        ImageError
            If the file cannot be read, or its size is not the manifest's.
        """
        pixels = read_image(path)
        height, width = pixels.shape[:2]
        if height * width != n_pixels:
            raise ImageError(
                f"{path}: {width} x {height} pixels, the manifest says {n_pixels} in all; make the manifest again (stage 1)"
            )
        level = brightness_db(pixels)
        if self.config.mode == "grey":
            pixels = to_grey(pixels)
        small = resize_image(pixels, height=self.config.size[0], width=self.config.size[1])
        if self.config.brightness == "gain":
            small = _gain(small)
        return (small if small.shape == self.frame_shape else np.repeat(small, 3, axis=2)), level

    def check_precomputed(self, kind: str, shape: tuple[int, ...]) -> str | None:
        """Return why an array that others computed does not fit: bytes of pictures hold none."""
        del shape
        return f"the image feature takes no precomputed {kind} arrays, only pictures; choose log_mel or another audio feature"


def brightness_db(pixels: NDArray[np.uint8]) -> float:
    """Return the mean of all pixels and channels in dB re white."""
    mean = float(pixels.mean(dtype=np.float64)) / 255.0
    return max(20.0 * math.log10(mean), SILENCE_DB) if mean > 0.0 else SILENCE_DB


def _gain(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # a black picture stays black: there is nothing to amplify
    mean = max(float(pixels.mean(dtype=np.float64)), 1.0)
    return np.clip(np.rint(pixels.astype(np.float64) * (_MEAN_BRIGHTNESS / mean)), 0, 255).astype(np.uint8)
