"""Raw samples, for extractors that bring their own front end (PANNs and other pretrained networks)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.features.base import AudioConfig, Feature
from dcase_asd.features.framing import FrameGrid
from dcase_asd.registry import Info

INFO = Info(
    summary="Raw samples at a chosen rate; a frame is a sample",
    implementation="Waveform",
    source="PANNs (Kong et al. 2020) and others take samples and compute their own spectrogram",
    input="waveform",
    cost="one copy",
    strengths="nothing is lost; any pretrained network can follow",
    weaknesses="four bytes a sample on disk, twice with the power weight",
)


@configclass
class Config(AudioConfig):
    """Raw samples; see :class:`~dcase_asd.features.base.AudioConfig`. ``power`` holds the squared high-passed samples."""


class Waveform(Feature[Config]):
    """The standardised samples themselves, ``[sample]``."""

    @property
    def grid(self) -> FrameGrid:
        """One sample a frame."""
        return FrameGrid(window=1, hop=1)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """A frame is one number."""
        return ()

    def transform(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the samples."""
        return waveform
