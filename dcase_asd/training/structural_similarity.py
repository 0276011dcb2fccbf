"""Structural similarity of pictures, differentiable: SSIM and its multi-scale form.

Conventions
-----------
Pictures are ``[item, channel, h, w]``; a window is a Gaussian of 11x11 pixels and sigma 1.5, and only windows that lie wholly
inside count (Wang et al., IEEE TIP 13, 2004, Sec. III-C: "11x11 circular-symmetric Gaussian weighting function", K1 = 0.01,
K2 = 0.03). Channels are treated alone and averaged. ``data_range`` is the width of the pixels' range: 1 for [0, 1], 2 for
(-1, 1); SSIM of the same pictures differs with it. Similarity is 1 for equal pictures: an anomaly score is 1 - SSIM.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dcase_asd.errors import DataError

__all__ = ["MS_WEIGHTS", "WINDOW", "check_scales", "ms_ssim", "ssim", "ssim_map"]

#: Side of the window in pixels and its standard deviation.
WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
#: Exponents of the scales, finest first (Wang, Simoncelli and Bovik, Asilomar 2003, Sec. 3.2).
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# A negative product of contrast and structure has no fractional power, and at 0 the power has no slope.
_LEAST = 1e-6


def ssim_map(x: Tensor, y: Tensor, *, data_range: float) -> Tensor:
    """Return the similarity at every window, ``[item, channel, h - 10, w - 10]``.

    Raises
    ------
    DataError
        If a picture is smaller than the window.
    """
    luminance, structure = _terms(x, y, data_range=data_range)
    return luminance * structure


def ssim(x: Tensor, y: Tensor, *, data_range: float) -> Tensor:
    """Return the mean similarity over windows and channels, ``[item]``; raises as :func:`ssim_map`."""
    return ssim_map(x, y, data_range=data_range).flatten(1).mean(dim=1)


def ms_ssim(x: Tensor, y: Tensor, *, data_range: float, scales: int = len(MS_WEIGHTS)) -> Tensor:
    """Return the multi-scale similarity, mean over channels, ``[item]``.

    Between scales height and width are halved by a 2x2 mean (rounded up). With fewer than five scales the exponents of the
    finest ones are used, divided by their sum. Products below 1e-6 count as 1e-6, so that the power has a value and a slope.

    Parameters
    ----------
    x, y : Tensor [item, channel, h, w]
    data_range : float
    scales : int
        1 to 5; five need pictures of more than 160 pixels each way.

    Raises
    ------
    DataError
        If a picture is too small for so many scales; says how many fit.
    """
    check_scales((x.shape[2], x.shape[3]), scales=scales)
    weights = x.new_tensor(MS_WEIGHTS[:scales])
    weights = weights / weights.sum()
    product = torch.ones(())
    for scale in range(scales):
        luminance, structure = _terms(x, y, data_range=data_range)
        term = structure if scale < scales - 1 else luminance * structure
        factor = term.flatten(2).mean(dim=2).clamp_min(_LEAST) ** weights[scale]
        product = factor if scale == 0 else product * factor
        x, y = (F.avg_pool2d(picture, 2, ceil_mode=True) for picture in (x, y))
    return product.mean(dim=1)


def check_scales(size: tuple[int, int], *, scales: int) -> None:
    """Raise ``DataError`` unless a picture of a size has room for a window at each of so many scales."""
    fitting = 0
    side = min(size)
    while side >= WINDOW and fitting < len(MS_WEIGHTS):
        fitting, side = fitting + 1, -(-side // 2)
    if not 1 <= scales <= fitting:
        raise DataError(
            f"pictures of {size[0]} x {size[1]} have room for {fitting} scales of {WINDOW} x {WINDOW} windows, {scales} are "
            "wanted; take larger pictures, or set scales (1 to 5; five need more than 160 pixels)"
        )


def _terms(x: Tensor, y: Tensor, *, data_range: float) -> tuple[Tensor, Tensor]:
    """Return the luminance term and the product of contrast and structure, Eq. 6 and 13 of Wang et al. 2004."""
    if min(x.shape[2:]) < WINDOW:
        raise DataError(f"pictures of {x.shape[2]} x {x.shape[3]} are smaller than SSIM's window of {WINDOW} x {WINDOW} pixels")
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2.0 * covariance + c2) / (var_x + var_y + c2)


def _blur(picture: Tensor) -> Tensor:
    """Weigh every window, first along the columns and then along the rows."""
    place = torch.arange(WINDOW, dtype=picture.dtype, device=picture.device) - WINDOW // 2
    bell = torch.exp(-(place**2) / (2.0 * _SIGMA**2))
    bell = (bell / bell.sum()).expand(picture.shape[1], 1, 1, WINDOW)
    rows = F.conv2d(picture, bell.transpose(2, 3), groups=picture.shape[1])
    return F.conv2d(rows, bell, groups=picture.shape[1])
