"""The frame grid: which samples belong to which frame, and sums over them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError

__all__ = ["FrameGrid"]


@dataclass(frozen=True)
class FrameGrid:
    """Frames of ``window`` samples every ``hop`` samples.

    Without ``center`` frame ``i`` covers samples ``[i * hop, i * hop + window)`` and only whole frames are kept; with it,
    ``window // 2`` samples are added on both sides first, so that frame ``i`` is centred on sample ``i * hop``
    (librosa's and torch's convention).

    Attributes
    ----------
    window, hop : int
        Samples of a frame and between frames.
    center : bool
        Pad by half a window on both sides.
    pad_mode : str
        ``"reflect"`` or ``"constant"`` (zeros); only with ``center``.
    """

    window: int
    hop: int
    center: bool = False
    pad_mode: str = "reflect"

    def n_frames(self, n_samples: int) -> int:
        """Return the exact number of frames of a clip.

        Raises
        ------
        AudioError
            If the clip is too short for one frame (or, with reflection, for the padding).
        """
        half = self.window // 2
        if self.center and self.pad_mode == "reflect":
            shortest = half + 1
        elif self.center:
            shortest = 1
        else:
            shortest = self.window
        if n_samples < shortest:
            raise AudioError(
                f"expected at least {shortest} samples (window {self.window}, center {self.center}), found {n_samples}; "
                "remove the recording or shorten window_s"
            )
        return 1 + (n_samples + (2 * half if self.center else 0) - self.window) // self.hop

    def pad(self, waveform: NDArray[Any]) -> NDArray[Any]:
        """Return the waveform ``[sample]`` with the padding that ``center`` asks for."""
        if not self.center:
            return waveform
        half = self.window // 2
        if self.pad_mode == "reflect":
            return np.pad(waveform, half, mode="reflect")
        return np.pad(waveform, half, mode="constant")

    def frame_means(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the mean over each frame ``[frame]`` of ``values [sample]``; rectangular window.

        Sums run over blocks of ``gcd(window, hop)`` samples and then over the blocks of a frame: every sample is
        touched once, and unlike differences of a running sum a silent frame is exactly zero.
        """
        self.n_frames(len(values))
        padded = self.pad(values)
        block = math.gcd(self.window, self.hop)
        n_blocks = len(padded) // block
        sums = padded[: n_blocks * block].reshape(n_blocks, block).sum(axis=1, dtype=np.float64)
        frames = np.lib.stride_tricks.sliding_window_view(sums, self.window // block)[:: self.hop // block]
        return np.asarray(frames.sum(axis=1) / self.window, dtype=np.float32)
