"""What spectrogram features share: the frame spectra, computed in blocks that stay in the cache.

Ten seconds at 16 kHz with the paper's window are 5 MB of overlapping frames. Touching fresh memory of that size costs as
much as the arithmetic, so frames are taken 206 at a time: windowed into one buffer, transformed, reduced, and gone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError
from dcase_asd.features.base import AudioConfig
from dcase_asd.features.framing import FrameGrid

__all__ = ["FrameSpectra", "SpectralConfig", "scaled"]

#: Measured (tests/benchmarks/frontend.py): 64 frames cost 20 % more; 206 divides the 618 frames of a 10 s clip evenly.
_BLOCK = 206


@configclass
class SpectralConfig(AudioConfig):
    """Frames, window and amplitude scale of a spectrogram.

    Attributes
    ----------
    window_s, hop_s : float
        Length of a frame and step between frames (Fujimura 2023, Section 4.2: 128 ms and 16 ms). The FFT has the window's length.
    window : str
        ``"hann"``, ``"hamming"`` or ``"blackman"``, periodic.
    center : bool
        False (default): only frames that lie within the recording, frame ``i`` starts at ``i * hop``; no sample is made up.
        True: half a window of padding on both sides, frame ``i`` is centred on ``i * hop`` (librosa's default).
    pad_mode : str
        ``"reflect"`` or ``"constant"`` (zeros); only with ``center``.
    power : float
        1 magnitude, 2 power.
    scale : str
        With ``x`` the magnitude or power: ``"log"``: ``ln(max(x, eps))``; ``"db"``: ``(20 / power) * log10(max(x, eps))``
        (the official baseline's); ``"none"``: ``x``.
    eps : float
        The floor of ``log`` and ``db``; 1e-10 is librosa's.
    """

    window_s: float = 0.128
    hop_s: float = 0.016
    window: Literal["hann", "hamming", "blackman"] = "hann"
    center: bool = False
    pad_mode: Literal["reflect", "constant"] = "reflect"
    power: float = 2.0
    scale: Literal["log", "db", "none"] = "log"
    eps: float = 1e-10

    def __post_init__(self) -> None:
        """Refuse windows and hops without a sample, and powers and floors that mean nothing."""
        super().__post_init__()
        if round(self.window_s * self.sample_rate_hz) < 2 or round(self.hop_s * self.sample_rate_hz) < 1:
            raise ConfigError(
                f"window_s {self.window_s} and hop_s {self.hop_s}: expected at least 2 and 1 samples at {self.sample_rate_hz} Hz"
            )
        if self.power not in (1.0, 2.0):
            raise ConfigError(f"power: expected 1 (magnitude) or 2 (power), got {self.power}")
        if not self.eps > np.finfo(np.float32).tiny:
            raise ConfigError(f"eps: expected a positive number that float32 can hold, got {self.eps}")

    @property
    def grid(self) -> FrameGrid:
        """The frame grid in samples."""
        return FrameGrid(
            window=round(self.window_s * self.sample_rate_hz),
            hop=round(self.hop_s * self.sample_rate_hz),
            center=self.center,
            pad_mode=self.pad_mode,
        )


class FrameSpectra:
    """Magnitude or power spectra of overlapping frames, block by block.

    Parameters
    ----------
    grid : FrameGrid
    window : str
        Name that ``scipy.signal.get_window`` knows; periodic.
    power : float
        1 magnitude, 2 power.
    """

    def __init__(self, grid: FrameGrid, *, window: str, power: float) -> None:
        from scipy import signal

        self.grid = grid
        self.power = power
        self.window = np.asarray(signal.get_window(window, grid.window), dtype=np.float32)
        self._workspace = threading.local()

    def blocks(self, waveform: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield ``first_frame, spectra [frame, bin]`` of consecutive blocks; the array is valid until the next step."""
        import torch

        # torch refuses to promise not to write into a read-only array, hence W (a copy only where it is one)
        padded = np.require(self.grid.pad(waveform), np.float32, ["C", "W"])
        frames = torch.from_numpy(padded).unfold(0, self.grid.window, self.grid.hop)
        weights = torch.from_numpy(self.window)
        windowed, spectra = self._buffers()
        for first in range(0, len(frames), _BLOCK):
            block = frames[first : first + _BLOCK]
            # torch's multiply and FFT (MKL) took a third of the time of numpy's and scipy's (pocketfft)
            torch.mul(block, weights, out=windowed[: len(block)])
            transform = torch.fft.rfft(windowed[: len(block)])
            out = spectra[: len(block)]
            np.abs(transform.numpy(), out=out)
            if self.power == 2.0:
                np.square(out, out=out)
            yield first, out

    def _buffers(self):  # type: ignore[no-untyped-def] # a torch tensor; torch is not imported at module level
        import torch

        if not hasattr(self._workspace, "windowed"):
            # torch allocates on 64-byte boundaries: results do not depend on where a buffer happened to lie
            self._workspace.windowed = torch.empty(_BLOCK, self.grid.window)
            self._workspace.spectra = torch.empty(_BLOCK, self.grid.window // 2 + 1).numpy()
        return self._workspace.windowed, self._workspace.spectra


def scaled(values: NDArray[np.float32], config: SpectralConfig) -> NDArray[np.float32]:
    """Apply ``config.scale`` to magnitudes or powers in place and return them."""
    if config.scale == "none":
        return values
    np.maximum(values, np.float32(config.eps), out=values)
    np.log(values, out=values)
    if config.scale == "db":
        values *= np.float32(20.0 / config.power / np.log(10.0))
    return values
