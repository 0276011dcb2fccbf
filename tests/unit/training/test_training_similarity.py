"""SSIM and MS-SSIM against an independent computation with scipy, in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from dcase_asd.errors import DataError
from dcase_asd.training.structural_similarity import MS_WEIGHTS, check_scales, ms_ssim, ssim, ssim_map


def blurred(plane: np.ndarray) -> np.ndarray:
    """The 11x11 window of deviation 1.5, where it lies wholly inside."""
    for axis in (0, 1):
        plane = gaussian_filter1d(plane, 1.5, axis=axis, radius=5, mode="constant")
    return plane[5:-5, 5:-5]


def planes(x: np.ndarray, y: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """Luminance term, and contrast times structure, of one channel: Eq. 6 and 9, 10 of Wang et al. 2004 with C3 = C2 / 2."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = blurred(x), blurred(y)
    vx, vy = blurred(x**2) - mx**2, blurred(y**2) - my**2
    sx, sy, sxy = np.sqrt(np.maximum(vx, 0)), np.sqrt(np.maximum(vy, 0)), blurred(x * y) - mx * my
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    contrast, structure = (2 * sx * sy + c2) / (vx + vy + c2), (sxy + c2 / 2) / (sx * sy + c2 / 2)
    return luminance, contrast * structure


def pair(side: tuple[int, int], *, n_channels: int = 3, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = gaussian_filter1d(gaussian_filter1d(rng.random((2, n_channels, *side)), 3, axis=2), 3, axis=3)
    x = (x - x.min()) / (x.max() - x.min())
    return x, np.clip(x + noise * rng.normal(size=x.shape), 0, 1)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
@pytest.mark.parametrize("side", [(24, 31), (11, 11)])
def test_ssim_is_the_reference_s(side, data_range):
    x, y = (data_range * (picture - 0.5 * (data_range - 1)) for picture in pair(side))
    found = ssim_map(torch.from_numpy(x), torch.from_numpy(y), data_range=data_range).numpy()
    for item in range(2):
        for channel in range(3):
            luminance, rest = planes(x[item, channel], y[item, channel], data_range)
            np.testing.assert_allclose(found[item, channel], luminance * rest, rtol=1e-9)
    means = ssim(torch.from_numpy(x), torch.from_numpy(y), data_range=data_range).numpy()
    np.testing.assert_allclose(means, found.mean(axis=(1, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize(("side", "scales"), [((48, 64), 3), ((176, 176), 5), ((30, 30), 2), ((24, 24), 1)])
def test_multi_scale_is_the_reference_s(side, scales):
    x, y = pair(side, n_channels=2)
    expected = np.ones((2, 2))
    weights = np.array(MS_WEIGHTS[:scales]) / sum(MS_WEIGHTS[:scales])
    small = [x, y]
    for scale, weight in enumerate(weights):
        for item in range(2):
            for channel in range(2):
                luminance, rest = planes(small[0][item, channel], small[1][item, channel], 1.0)
                expected[item, channel] *= (luminance * rest if scale == scales - 1 else rest).mean() ** weight
        small = (
            [p.reshape(2, 2, p.shape[2] // 2, 2, p.shape[3] // 2, 2).mean(axis=(3, 5)) for p in small]
            if scale < scales - 1
            else small
        )
    found = ms_ssim(torch.from_numpy(x), torch.from_numpy(y), data_range=1.0, scales=scales)
    np.testing.assert_allclose(found.numpy(), expected.mean(axis=1), rtol=1e-9)


def test_equal_pictures_have_similarity_one_and_opposite_ones_less_than_none():
    x = torch.from_numpy(pair((32, 32))[0])
    torch.testing.assert_close(ssim(x, x, data_range=1.0), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(ms_ssim(x, x, data_range=1.0, scales=2), torch.ones(2, dtype=torch.float64))
    assert (ssim(x, 1 - x, data_range=1.0) < 0).all()


def test_both_have_finite_slopes_even_where_a_power_has_none():
    x = torch.from_numpy(pair((32, 32))[0])
    for y in (x.clone(), 1 - x, torch.zeros_like(x), torch.rand_like(x)):
        for similarity in (lambda a, b: ssim(a, b, data_range=1.0), lambda a, b: ms_ssim(a, b, data_range=1.0, scales=2)):
            at = y.clone().requires_grad_()
            similarity(x, at).sum().backward()
            assert at.grad is not None
            assert torch.isfinite(at.grad).all()


def test_slopes_are_those_of_finite_differences():
    x, y = (torch.from_numpy(p[:1, :1, :12, :12]) for p in pair((12, 12)))
    assert torch.autograd.gradcheck(lambda b: ssim(x, b, data_range=1.0), (y.clone().requires_grad_(),))


@pytest.mark.parametrize(("side", "room"), [(10, 0), (11, 1), (20, 1), (21, 2), (160, 4), (161, 5), (176, 5)])
def test_scales_that_fit(side, room):
    """Five scales need more than 160 pixels, as public implementations say."""
    for scales in range(1, 6):
        if scales <= room:
            check_scales((side, side + 50), scales=scales)
            x = torch.rand(1, 1, side, side)
            assert torch.isfinite(ms_ssim(x, x, data_range=1.0, scales=scales)).all()
        else:
            with pytest.raises(DataError, match=f"room for {room} scales"):
                check_scales((side + 50, side), scales=scales)


def test_too_small_a_picture_is_refused():
    with pytest.raises(DataError, match="8 x 30 are smaller than SSIM's window of 11 x 11"):
        ssim(torch.zeros(1, 1, 8, 30), torch.zeros(1, 1, 8, 30), data_range=1.0)
