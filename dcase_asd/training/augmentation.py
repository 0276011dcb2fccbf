"""Pictures changed at random in training: what is rebuilt is the changed picture itself, so input and target stay alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Flips, rotation, shift and jitter of brightness and contrast; what moves in from outside repeats the border.

    Attributes
    ----------
    flip : {"none", "horizontal", "both"}
        Each kind with probability one half.
    rotate_deg : float
        Largest rotation either way.
    shift : float
        Largest shift either way, as a share of the side.
    jitter : float
        Largest change of brightness (as a share of the range of values) and of contrast.
    bounds : tuple of float or None
        Range of values, which jittered ones are clipped to; None: the range found, and no clipping.
    """

    flip: Literal["none", "horizontal", "both"] = "none"
    rotate_deg: float = 0.0
    shift: float = 0.0
    jitter: float = 0.0
    bounds: tuple[float, float] | None = (0.0, 1.0)

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return self.flip != "none" or max(self.rotate_deg, self.shift, self.jitter) > 0.0

    def apply(self, pictures: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return changed copies of ``[item, channel, h, w]``, each in its own way."""
        import torch
        import torch.nn.functional as F

        n, _, height, width = pictures.shape
        flips = np.where(rng.random((n, 2)) < 0.5, -1.0, 1.0)
        flips[:, 0] = flips[:, 0] if self.flip == "both" else 1.0
        flips[:, 1] = flips[:, 1] if self.flip != "none" else 1.0
        angle = np.deg2rad(rng.uniform(-1.0, 1.0, n) * self.rotate_deg)
        move = rng.uniform(-1.0, 1.0, (n, 2)) * self.shift
        light = rng.uniform(-1.0, 1.0, (2, n)) * self.jitter
        changed = pictures
        if self.flip != "none":
            changed = np.stack([p[:, :: int(v), :: int(h)] for p, (v, h) in zip(pictures, flips, strict=True)])
        if self.rotate_deg > 0 or self.shift > 0:
            # grid_sample counts in half sides: x to the right, y down, both from -1 to 1
            cos, sin, ratio = np.cos(angle), np.sin(angle), height / width
            rows = np.stack(
                [np.stack([cos, -sin * ratio, 2 * move[:, 1]], -1), np.stack([sin / ratio, cos, 2 * move[:, 0]], -1)], 1
            )
            x = torch.from_numpy(np.ascontiguousarray(changed))
            grid = F.affine_grid(torch.from_numpy(rows.astype(np.float32)), list(x.shape), align_corners=False)
            changed = F.grid_sample(x, grid, padding_mode="border", align_corners=False).numpy()
        if self.jitter > 0:
            changed = self._jittered(changed, light)
        return np.ascontiguousarray(changed, dtype=np.float32)

    def _jittered(self, x: NDArray[np.float32], light: NDArray[np.float64]) -> NDArray[np.float32]:
        low, high = (float(x.min()), float(x.max())) if self.bounds is None else self.bounds
        offset, gain = light[:, :, None, None, None]
        mean = x.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
        changed = mean + (x - mean) * (1.0 + gain) + (high - low) * offset
        return np.asarray(changed if self.bounds is None else np.clip(changed, low, high), dtype=np.float32)
