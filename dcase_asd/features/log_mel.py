"""Log-mel spectrogram, the feature of the paper."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError
from dcase_asd.features.base import Feature
from dcase_asd.features.framing import FrameGrid
from dcase_asd.features.mel import BandedFilters, hz_to_mel, mel_filters, mel_to_hz
from dcase_asd.features.spectral import FrameSpectra, SpectralConfig, scaled
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from collections.abc import Callable

INFO = Info(
    summary="Log-mel spectrogram",
    implementation="LogMel",
    source="Fujimura 2023, Section 4.2: 128 ms window, 16 ms hop, 224 mel bins from 50 to 7800 Hz",
    input="waveform",
    cost="about twice the bare FFT of its frames",
    strengths="the common ground of published systems; compact",
    weaknesses="fine tonal detail above 2 kHz is smeared by the wide filters",
)

_LOG = logging.getLogger(__name__)


@configclass
class Config(SpectralConfig):
    """Log-mel spectrogram; the defaults are those of Fujimura 2023.

    Attributes
    ----------
    n_mels : int
        Mel bins.
    f_min_hz, f_max_hz : float
        Lowest and highest frequency.
    mel_scale : str
        ``"slaney"`` (librosa's default) or ``"htk"``.
    mel_norm : str
        ``"slaney"`` (area one, librosa's default) or ``"none"`` (height one).
    backend : str
        ``"native"`` (fastest), ``"librosa"`` (the reference) or ``"torchaudio"``; they agree to 1e-3 in log and to
        2e-4 of the value (float32).
    """

    n_mels: int = 224
    f_min_hz: float = 50.0
    f_max_hz: float = 7800.0
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    backend: Literal["native", "torchaudio", "librosa"] = "native"

    def __post_init__(self) -> None:
        """Refuse bands outside the spectrum."""
        super().__post_init__()
        if self.n_mels < 1:
            raise ConfigError(f"n_mels: expected at least 1, got {self.n_mels}")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ConfigError(
                f"f_min_hz {self.f_min_hz} and f_max_hz {self.f_max_hz}: expected 0 <= f_min_hz < f_max_hz <= "
                f"{self.sample_rate_hz / 2} (half of sample_rate_hz)"
            )


class LogMel(Feature[Config]):
    """Log-mel spectrogram ``[frame, mel]``.

    Parameters
    ----------
    config : Config
    """

    precomputed: ClassVar[tuple[str, ...]] = ("log_mel", "vector")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._grid = config.grid
        self._filters = mel_filters(
            sample_rate_hz=config.sample_rate_hz,
            n_fft=self._grid.window,
            n_mels=config.n_mels,
            f_min_hz=config.f_min_hz,
            f_max_hz=config.f_max_hz,
            scale=config.mel_scale,
            norm=config.mel_norm,
        )
        empty = np.flatnonzero(~self._filters.any(axis=1))
        if len(empty):
            _LOG.warning(
                "%d of %d mel bins hold no FFT bin and are constant (first: %d); lower n_mels or lengthen window_s",
                len(empty),
                config.n_mels,
                empty[0],
            )
        self._mel = {"native": self._native, "librosa": self._librosa, "torchaudio": self._torchaudio}[config.backend]()

    @property
    def grid(self) -> FrameGrid:
        """The frames' place in the waveform."""
        return self._grid

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """``(mel,)``."""
        return (self.config.n_mels,)

    @property
    def band_hz(self) -> NDArray[np.float64]:
        """Centre frequency of each mel band ``[mel]``."""
        scale = self.config.mel_scale
        low, high = (hz_to_mel(f, scale=scale) for f in (self.config.f_min_hz, self.config.f_max_hz))
        return mel_to_hz(np.linspace(low, high, self.config.n_mels + 2)[1:-1], scale=scale)

    def transform(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log-mel spectrogram ``[frame, mel]``."""
        return scaled(self._mel(waveform), self.config)

    def check_precomputed(self, kind: str, shape: tuple[int, ...]) -> str | None:
        """Return why an array that others computed does not fit (a log-mel must be ``[n_mels, frame]``), or None."""
        if kind != "log_mel":
            return super().check_precomputed(kind, shape)
        if len(shape) == 2 and shape[0] == self.config.n_mels and shape[1] > 0:
            return None
        return f"expected [mel, frame] with {self.config.n_mels} mel bins (n_mels), found shape {shape}"

    def _native(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        spectra = FrameSpectra(self._grid, window=self.config.window, power=self.config.power)
        filters = BandedFilters(self._filters)

        def mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
            out = np.empty((self.n_frames(len(waveform)), self.config.n_mels), dtype=np.float32)
            for first, block in spectra.blocks(waveform):
                filters.apply(block, out[first : first + len(block)])
            return out

        return mel

    def _librosa(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        from librosa.feature import melspectrogram

        config, grid = self.config, self._grid
        options: dict[str, Any] = {
            "sr": config.sample_rate_hz,
            "n_fft": grid.window,
            "hop_length": grid.hop,
            "window": config.window,
            "center": config.center,
            "pad_mode": config.pad_mode,
            "power": config.power,
            "n_mels": config.n_mels,
            "fmin": config.f_min_hz,
            "fmax": config.f_max_hz,
            "htk": config.mel_scale == "htk",
            "norm": None if config.mel_norm == "none" else config.mel_norm,
        }
        return lambda waveform: np.ascontiguousarray(melspectrogram(y=waveform, **options).T)

    def _torchaudio(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        import torch
        from scipy import signal
        from torchaudio.transforms import MelSpectrogram

        config, grid = self.config, self._grid
        window = torch.from_numpy(signal.get_window(config.window, grid.window).astype(np.float32))
        module = MelSpectrogram(
            sample_rate=config.sample_rate_hz,
            n_fft=grid.window,
            hop_length=grid.hop,
            f_min=config.f_min_hz,
            f_max=config.f_max_hz,
            n_mels=config.n_mels,
            window_fn=lambda _: window,
            power=config.power,
            center=config.center,
            pad_mode=config.pad_mode,
            norm=None if config.mel_norm == "none" else config.mel_norm,
            mel_scale=config.mel_scale,
        )

        def mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode():
                out = module(torch.from_numpy(np.require(waveform, np.float32, ["C", "W"])))
            return np.ascontiguousarray(out.numpy().T)

        return mel
