"""MobileNetV3 on mel spectrograms, laid out so that the published EfficientAT weights load by name.

Schmid, Koutini, Widmer, Efficient large-scale audio tagging via transformer-to-CNN knowledge distillation, ICASSP 2023
(network, front end); Howard et al., Searching for MobileNetV3, ICCV 2019, Table 1 (blocks). Facts about the weights' layout
and the front end's numbers: fschmid56/EfficientAT:models/mn/model.py, models/preprocess.py. The blocks are torchvision's.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.ops.misc import Conv2dNormActivation

from dcase_asd.errors import ConfigError

__all__ = ["AudioMobileNetV3", "MelFrontEnd"]

# Howard et al., Table 1 (Large): in, kernel, expanded, out, squeeze-and-excitation, activation, stride.
_BLOCKS = (
    (16, 3, 16, 16, False, "RE", 1),
    (16, 3, 64, 24, False, "RE", 2),
    (24, 3, 72, 24, False, "RE", 1),
    (24, 5, 72, 40, True, "RE", 2),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 3, 240, 80, False, "HS", 2),
    (80, 3, 200, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 480, 112, True, "HS", 1),
    (112, 3, 672, 112, True, "HS", 1),
    (112, 5, 672, 160, True, "HS", 2),
    (160, 5, 960, 160, True, "HS", 1),
    (160, 5, 960, 160, True, "HS", 1),
)


class MelFrontEnd(nn.Module):
    """Waveform ``[batch, sample]`` at 32 kHz to the normalised log-mel ``[batch, 1, mel, frame]`` that the weights expect.

    Pre-emphasis 0.97, Hann window of 800 samples (25 ms), FFT of 1024, hop of 320 (10 ms), power, 128 Kaldi mel bands from
    0 to 15 kHz, ``(log(x + 1e-5) + 4.5) / 5`` (fschmid56/EfficientAT:models/preprocess.py).
    """

    sample_rate_hz = 32000
    #: Reflection of half an FFT on both sides needs more samples than that, one more for the pre-emphasis.
    n_samples_min = 1024 // 2 + 2

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchaudio.compliance.kaldi import get_mel_banks

        filters, _ = get_mel_banks(128, 1024, float(self.sample_rate_hz), 0.0, 15000.0, 100.0, -500.0, 1.0)
        # Kaldi leaves out the bin at half the rate
        self.register_buffer("filters", nn.functional.pad(filters, (0, 1)), persistent=False)
        self.register_buffer("window", torch.hann_window(800, periodic=False), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform ``[batch, sample]``."""
        emphasised = waveform[:, 1:] - 0.97 * waveform[:, :-1]
        spectrum = torch.stft(emphasised, 1024, hop_length=320, win_length=800, window=self.window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        log_mel: Tensor = (self.filters @ power + 1e-5).log().unsqueeze(1)
        return (log_mel + 4.5) / 5.0


class _Gate(nn.Module):
    """Squeeze-and-excitation over channels with a sigmoid (Hu et al., CVPR 2018)."""

    def __init__(self, n_channels: int, n_squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_channels, n_squeezed)
        self.fc2 = nn.Linear(n_squeezed, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.fc2(self.fc1(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * scale[:, :, None, None]


class _Gates(nn.Module):
    """One gate under the name the published weights give it (they allow several, over other axes)."""

    def __init__(self, n_channels: int, n_squeezed: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([_Gate(n_channels, n_squeezed)])

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.conc_se_layers[0](x)
        return gated


class AudioMobileNetV3(nn.Module):
    """Front end, MobileNetV3-Large of a given width, and the AudioSet classifier.

    Parameters
    ----------
    width : float
        Factor on the channels of every layer (``mn04``: 0.4, ``mn10``: 1.0).
    n_classes : int
        AudioSet has 527.

    Raises
    ------
    ConfigError
        If the width is not positive.
    """

    def __init__(self, *, width: float = 0.4, n_classes: int = 527) -> None:
        super().__init__()
        if width <= 0:
            raise ConfigError(f"width: expected a positive number, got {width}")
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        settings = [InvertedResidualConfig(*block, dilation=1, width_mult=width) for block in _BLOCKS]
        first, last = settings[0].input_channels, settings[-1].out_channels
        self.front_end = MelFrontEnd()
        self.features = nn.Sequential(
            Conv2dNormActivation(1, first, kernel_size=3, stride=2, norm_layer=norm, activation_layer=nn.Hardswish),
            *[InvertedResidual(setting, norm, se_layer=_Gates) for setting in settings],
            Conv2dNormActivation(last, 6 * last, kernel_size=1, norm_layer=norm, activation_layer=nn.Hardswish),
        )
        n_hidden = InvertedResidualConfig.adjust_channels(1280, width)
        # places in the sequence give the names classifier.2 and classifier.5
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(start_dim=1),
            nn.Linear(6 * last, n_hidden),
            nn.Hardswish(),
            nn.Dropout(p=0.2),
            nn.Linear(n_hidden, n_classes),
        )

    @property
    def n_layers(self) -> int:
        """Layers that :meth:`maps` can stop after."""
        return len(self.features)

    def maps(self, waveform: Tensor, *, layer: int = -1) -> Tensor:
        """Return the map ``[batch, channel, freq, time]`` after a layer (0 is the first convolution, -1 the last)."""
        x: Tensor = self.front_end(waveform)
        for module in list(self.features)[: self.n_layers + layer + 1 if layer < 0 else layer + 1]:
            x = module(x)
        return x

    def forward(self, waveform: Tensor) -> Tensor:
        """Return class logits ``[batch, class]``."""
        logits: Tensor = self.classifier(self.maps(waveform))
        return logits
