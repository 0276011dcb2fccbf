"""Linear-frequency spectrogram by the short-time Fourier transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.features.base import Feature
from dcase_asd.features.framing import FrameGrid
from dcase_asd.features.spectral import FrameSpectra, SpectralConfig, scaled
from dcase_asd.registry import Info

INFO = Info(
    summary="Magnitude or power spectrogram, linear in frequency",
    implementation="Stft",
    source="short-time Fourier transform, librosa.stft's conventions",
    input="waveform",
    cost="one FFT per frame; 1025 values a frame at the defaults",
    strengths="full frequency resolution, tonal faults stay apart",
    weaknesses="4.6 times the size of 224 mel bins",
)


@configclass
class Config(SpectralConfig):
    """A spectrogram; see :class:`~dcase_asd.features.spectral.SpectralConfig`; magnitude by default."""

    power: float = 1.0


class Stft(Feature[Config]):
    """Spectrogram ``[frame, bin]`` with ``window // 2 + 1`` bins."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._spectra = FrameSpectra(config.grid, window=config.window, power=config.power)

    @property
    def grid(self) -> FrameGrid:
        """The frames' place in the waveform."""
        return self._spectra.grid

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """``(bin,)``."""
        return (self.grid.window // 2 + 1,)

    @property
    def band_hz(self) -> NDArray[np.float64]:
        """Frequency of each bin ``[bin]``."""
        return np.asarray(np.fft.rfftfreq(self.grid.window, 1.0 / self.input_rate_hz), dtype=np.float64)

    def transform(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the spectrogram ``[frame, bin]``."""
        out = np.empty((self.n_frames(len(waveform)), *self.frame_shape), dtype=np.float32)
        for first, spectra in self._spectra.blocks(waveform):
            out[first : first + len(spectra)] = spectra
        return scaled(out, self.config)
