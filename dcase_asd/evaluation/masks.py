"""Masks of defects, and anomaly maps brought to their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.io.images import read_image

__all__ = ["MAP_SIGMA", "enlarge_map", "read_mask"]

#: Gaussian of a map enlarged to the size that the network saw, in its pixels: what PaDiM's and PatchCore's public code applies.
MAP_SIGMA = 4.0
#: A mask whose proportions differ by more than this is another picture's, cropped, or turned.
_PROPORTION = 0.02
#: Lossy files have faint pixels around their edges: there, half of the brightest counts as defective.
_LOSSY = (".jpg", ".jpeg", ".webp")


def read_mask(path: Path, *, height: int, width: int) -> tuple[NDArray[np.bool_], str]:
    """Read a mask at its picture's size.

    Pixels that are not black are defective; of a JPEG or WebP file, those above half of the brightest. Transparent pixels are
    not defective. A mask of another size but the same proportions is resized (nearest pixel).

    Returns
    -------
    mask : ndarray [height, width] of bool
    note : str
        What was done to it; empty for nothing.

    Raises
    ------
    DataError
        If the proportions differ by more than 2 %, or no pixel is defective, be it in the file or at the picture's size.
    ImageError
        If the file cannot be read.
    """
    pixels = read_image(path, as_mask=True).max(axis=2)
    floor = pixels.max() / 2 if path.suffix.lower() in _LOSSY else 0
    mask = np.asarray(pixels > floor)
    if not mask.any():
        raise DataError(f"{path}: the mask of a defective picture is all black; correct the mask or remove it")
    if mask.shape == (height, width):
        return mask, ""
    found = mask.shape[1] / mask.shape[0]
    if abs(found / (width / height) - 1.0) > _PROPORTION:
        raise DataError(
            f"{path}: mask of {mask.shape[1]} x {mask.shape[0]} pixels for a picture of {width} x {height}: other proportions; "
            "give the mask of this picture, neither cropped nor turned"
        )
    rows = np.minimum((np.arange(height) + 0.5) * mask.shape[0] / height, mask.shape[0] - 1).astype(int)
    columns = np.minimum((np.arange(width) + 0.5) * mask.shape[1] / width, mask.shape[1] - 1).astype(int)
    resized = mask[np.ix_(rows, columns)]
    if not resized.any():
        raise DataError(
            f"{path}: of the mask's {mask.shape[1]} x {mask.shape[0]} pixels no defective one is left at the picture's {width} x "
            f"{height}, and the picture would count as normal; give a mask of the picture's size"
        )
    return resized, f"mask resized from {mask.shape[1]} x {mask.shape[0]} pixels"


def enlarge_map(
    values: NDArray[np.float32], *, height: int, width: int, sigma: float = MAP_SIGMA, seen: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Enlarge a map ``[h, w]`` bilinearly (cell centres kept in place) and blur it with a Gaussian.

    Public code enlarges to the size that the network saw and blurs there; its masks have that size. Here masks keep that of the
    picture: the blurred map is enlarged further, so that the same blur covers the same share of a picture of any size.

    Parameters
    ----------
    values : ndarray [h, w]
    height, width : int
        Of the result, in pixels.
    sigma : float
        Standard deviation in pixels of the size seen; 0: none.
    seen : tuple of int, optional
        Height and width that the network saw; None: those of the result.

    Returns
    -------
    ndarray [height, width], float32
        Within the range of ``values``, but for rounding.
    """
    from scipy.ndimage import gaussian_filter

    blurred_at = seen if seen is not None and sigma > 0.0 else (height, width)
    large = _bilinear(values, blurred_at)
    return _bilinear(gaussian_filter(large, sigma) if sigma > 0.0 else large, (height, width))


def _bilinear(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    import torch

    source = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    return np.asarray(torch.nn.functional.interpolate(source, size=size, mode="bilinear", align_corners=False)[0, 0].numpy())
