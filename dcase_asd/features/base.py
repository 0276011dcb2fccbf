"""What every audio feature shares: the configuration, amplitude standardisation, and the :class:`Feature` contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError
from dcase_asd.features.framing import FrameGrid
from dcase_asd.features.power import HighPass, high_passed_power
from dcase_asd.features.statistics import Moments

__all__ = ["AudioConfig", "Feature"]

#: Smallest standard deviation that is divided by: one step of 24-bit PCM. A silent clip becomes zeros, not NaN.
_MIN_STD = 2.0**-23


@configclass
class AudioConfig:
    """What every audio feature can be told.

    Attributes
    ----------
    sample_rate_hz : int
        The rate the feature works at (Fujimura 2023, Section 4.2: 16 kHz).
    resample : bool
        Resample recordings of another rate (soxr, high quality); without it such a recording is an error.
    channel : str
        ``"mean"`` averages the channels, ``"0"``, ``"1"`` ... takes one (2026: 0 near, 1 far microphone).
    standardise : str
        Amplitude to mean 0 and variance 1 (Fujimura 2023, Section 4.2): ``"machine"`` by the mean and standard deviation of the
        machine's training waveforms, ``"clip"`` by the clip's own, ``"none"`` not at all.
    dtype : str
        Of the store. ``float32`` is exact; ``float16`` halves the disk at a rounding of at most 0.05 % of the value
        (2^-11), i.e. 0.008 at log -16, below the spread of a log-mel bin but not free; values above 65504 are refused.
    highpass : HighPass or None
        Filter of the power weight; None writes none.
    """

    sample_rate_hz: int = 16000
    resample: bool = False
    channel: str = "mean"
    standardise: Literal["machine", "clip", "none"] = "machine"
    dtype: Literal["float16", "float32"] = "float32"
    highpass: HighPass | None = HighPass()

    def __post_init__(self) -> None:
        """Refuse rates and channels that no recording has."""
        if self.sample_rate_hz < 1:
            raise ConfigError(f"sample_rate_hz: expected a positive number, got {self.sample_rate_hz}")
        if self.channel != "mean" and not (self.channel.isascii() and self.channel.isdigit()):
            raise ConfigError(f"channel: expected 'mean' or a channel number from 0, got {self.channel!r}")
        if self.highpass is not None and self.highpass.passband_hz >= self.sample_rate_hz / 2:
            raise ConfigError(
                f"highpass.passband_hz {self.highpass.passband_hz}: expected a value below half of sample_rate_hz "
                f"{self.sample_rate_hz}; lower it, or set highpass to null"
            )


C = TypeVar("C", bound=AudioConfig)


class Feature(ABC, Generic[C]):
    """Turns one waveform into frames.

    Parameters
    ----------
    config : AudioConfig
        An instance of the module's ``Config``.
    """

    #: Manifest kind that the feature is computed from.
    native: ClassVar[str] = "audio"
    #: Manifest kinds that enter the store as they are under this feature's name.
    precomputed: ClassVar[tuple[str, ...]] = ("vector",)

    def __init__(self, config: C) -> None:
        self.config = config

    @property
    def input_rate_hz(self) -> int:
        """Sampling rate that ``compute`` expects."""
        return self.config.sample_rate_hz

    @property
    @abstractmethod
    def grid(self) -> FrameGrid:
        """The frames' place in the waveform."""

    @property
    @abstractmethod
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame; ``()`` where a frame is a single number."""

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.input_rate_hz / self.grid.hop

    @property
    def band_hz(self) -> NDArray[np.float64] | None:
        """Centre frequency of each band ``[band]`` where a frame is a spectrum, else None; for pictures with axes."""
        return None

    @property
    def unit(self) -> str:
        """Unit of the values, as a picture's legend says it."""
        scale = getattr(self.config, "scale", "none")
        return {"log": "log power", "db": "dB"}.get(scale, "")

    def n_frames(self, n_samples: int) -> int:
        """Return the exact number of frames of a clip; raises ``AudioError`` if it is too short."""
        return self.grid.n_frames(n_samples)

    def compute(self, waveform: NDArray[np.float32], *, statistics: Moments | None = None) -> NDArray[np.float32]:
        """Return the feature of one clip.

        Parameters
        ----------
        waveform : ndarray [sample], float32
            At :attr:`input_rate_hz`, one channel, not yet standardised.
        statistics : Moments, optional
            Of the machine's training waveforms; needed where ``standardise`` is ``machine``.

        Returns
        -------
        ndarray [frame, ...], float32

        Raises
        ------
        AudioError
            If the clip is too short for a frame.
        ConfigError
            If statistics are needed and missing.
        """
        self.n_frames(len(waveform))
        return self.transform(self.standardised(waveform, statistics))

    @abstractmethod
    def transform(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the frames of a waveform that is standardised already."""

    def standardised(self, waveform: NDArray[np.float32], statistics: Moments | None) -> NDArray[np.float32]:
        """Return the waveform with mean 0 and variance 1, by the machine's or the clip's statistics, or as it is."""
        if self.config.standardise == "none":
            return waveform
        if self.config.standardise == "clip":
            statistics = Moments.of(waveform)
        elif statistics is None:
            raise ConfigError(
                "standardise: machine needs the statistics of the machine's training waveforms (statistics.json of stage 2); "
                "pass them, or set standardise to clip or none"
            )
        scaled = waveform - np.float32(statistics.mean)
        scaled *= np.float32(1.0 / max(statistics.std, _MIN_STD))
        return scaled

    def power(self, waveform: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the high-passed power ``[frame]`` (None where the configuration has no filter)."""
        if self.config.highpass is None:
            return None
        return high_passed_power(waveform, self.config.highpass, sample_rate_hz=self.input_rate_hz, grid=self.grid)

    def check_precomputed(self, kind: str, shape: tuple[int, ...]) -> str | None:
        """Return why an array that others computed does not fit this feature, or None if it does."""
        if kind not in self.precomputed:
            return f"this feature takes no precomputed {kind} arrays; it takes {', '.join(self.precomputed)}"
        return _check_vector(shape)


def _check_vector(shape: tuple[Any, ...]) -> str | None:
    return None if len(shape) == 1 and shape[0] > 0 else f"expected a vector [dim], found shape {shape}"
