"""Pictures: headers and pixels through pillow, as uint8 ``[height, width, channel]`` with one or three channels.

What a file may hold and what becomes of it:

* EXIF orientation is applied: the picture stands as it was taken.
* 1-bit and 8-bit grey stay one channel; palette, CMYK, YCbCr and RGB become RGB.
* Transparent pixels are laid over white, as viewers show them.
* 16-bit grey is scaled by 255 / 65535: the whole range, never stretched to the picture's own. 32-bit pixels are refused,
  because nothing says what their white is.
* Animations and stacks of pages are refused.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ImageError
from dcase_asd.io.atomic import atomic_path

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageHeader",
    "read_image",
    "read_image_header",
    "resize_image",
    "to_grey",
    "write_image",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
#: Largest picture that is decoded: pillow's own bound (a quarter GiB of RGB); a small file can unpack to any size.
MAX_PIXELS = 89_478_485
_ORIENTATION = 0x0112  # EXIF tag
_TIFF_SIZE = (0x0100, 0x0101)  # width and height
_GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N")
#: ITU-R BT.601 luma, the weights of pillow's own conversion.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class ImageHeader:
    """Size of a picture as :func:`read_image` returns it, orientation applied.

    Attributes
    ----------
    height, width : int
        Pixels.
    n_channels : int
        1 (grey) or 3 (RGB).
    """

    height: int
    width: int
    n_channels: int


def read_image_header(path: str | os.PathLike[str]) -> ImageHeader:
    """Read the size of a picture without decoding it.

    Raises
    ------
    ImageError
        As :func:`read_image`, as far as the header tells.
    """
    import PIL.Image

    with _opened(path) as image:
        # of TIFF files some versions of pillow turn the size by themselves; the tags are those of the file
        tags = getattr(image, "tag_v2", {})
        width, height = (int(tags.get(tag, n)) for tag, n in zip(_TIFF_SIZE, image.size, strict=True))
        # the base class's method: that of PNG files decodes the pixels, in search of a chunk behind them
        if PIL.Image.Image.getexif(image).get(_ORIENTATION, 1) in (5, 6, 7, 8):  # turned by a quarter
            width, height = height, width
        return ImageHeader(height, width, 1 if image.mode in _GREY else 3)


def read_image(path: str | os.PathLike[str], *, as_mask: bool = False) -> NDArray[np.uint8]:
    """Read a picture.

    Parameters
    ----------
    path : path
    as_mask : bool
        Transparent pixels are laid over black, where nothing is marked, and of 16-bit grey whatever is not 0 becomes 255: a
        class number would be scaled to 0.

    Returns
    -------
    ndarray [height, width, channel], uint8
        One channel for grey files, three (RGB) otherwise.

    Raises
    ------
    ImageError
        If the file is missing, empty, no picture, truncated, animated, of 32-bit pixels, or larger than
        :data:`MAX_PIXELS`; the message names the file.
    """
    from PIL import ImageOps

    with _opened(path) as image:
        image.load()
        pixels = _as_uint8(ImageOps.exif_transpose(image), path, as_mask=as_mask)
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[:, :, None])


def resize_image(pixels: NDArray[np.uint8], *, height: int, width: int) -> NDArray[np.uint8]:
    """Resize ``[h, w, channel]`` bilinearly with antialiasing (the filter widens with the factor); aspect is not kept."""
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    small = np.asarray(Image.fromarray(flat).resize((width, height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(small if small.ndim == 3 else small[:, :, None])


def to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``[h, w, 1]`` luma (ITU-R BT.601) of ``[h, w, 1 or 3]``."""
    if pixels.shape[2] == 1:
        return pixels
    return np.rint(pixels.astype(np.float32) @ np.asarray(_LUMA, dtype=np.float32))[:, :, None].astype(np.uint8)


def write_image(path: str | os.PathLike[str], pixels: NDArray[np.uint8]) -> None:
    """Write ``[h, w, 1 or 3]`` uint8 as PNG, atomically."""
    from PIL import Image

    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        Image.fromarray(np.ascontiguousarray(flat)).save(stream, format="PNG")


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image]:
    from PIL import Image

    try:
        if Path(path).stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); fetch it again or remove it")
        with Image.open(path) as image:
            _check(image, path)
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: {error}; make the picture smaller") from error
    except MemoryError as error:
        raise ImageError(f"{path}: needs more memory than there is; make the picture smaller, or repair its header") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        # pillow's decoders raise all of these on damaged files
        raise ImageError(f"{path}: not a readable picture ({error}); expected {', '.join(IMAGE_SUFFIXES)}") from error


def _check(image: Image, path: str | os.PathLike[str]) -> None:
    n_pixels = image.size[0] * image.size[1]
    if n_pixels > MAX_PIXELS:
        raise ImageError(f"{path}: {image.size[0]} x {image.size[1]} pixels, at most {MAX_PIXELS} are decoded; make it smaller")
    # MPO: a phone's JPEG with a preview behind the picture
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ImageError(f"{path}: holds {getattr(image, 'n_frames', 1)} pictures; save each as a file of its own")
    if image.mode in ("I", "F"):
        raise ImageError(f"{path}: 32-bit pixels (mode {image.mode}), whose white is unknown; save it with 8 or 16 bits")


def _as_uint8(image: Image, path: str | os.PathLike[str], *, as_mask: bool) -> NDArray[np.uint8]:
    import PIL.Image

    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return np.asarray(np.where(wide > 0, 255, 0) if as_mask else (wide * 255 + 32767) // 65535).astype(np.uint8)
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        grey = image.mode in _GREY
        layer = image.convert("RGBA")
        below = PIL.Image.new("RGBA", layer.size, (0, 0, 0, 255) if as_mask else (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(below, layer).convert("L" if grey else "RGB")
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise ImageError(f"{path}: pixels of type {pixels.dtype} after conversion; save it as 8-bit PNG")
    return pixels
