"""The networks of GANomaly: a generator encoder - decoder - encoder and a discriminator, for square pictures.

Akcay, Atapour-Abarghouei and Breckon, GANomaly, ACCV 2018, Section 3.2 (the layers are those of DCGAN, Radford et al., ICLR
2016); normalisation, slope and initial weights as in the public code ``samet-akcay/ganomaly:lib/networks.py``.
"""

from __future__ import annotations

from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["Discriminator", "Generator"]

#: Slope of the leaky rectifiers of DCGAN.
_SLOPE = 0.2
#: Standard deviation of the initial weights of DCGAN.
_INITIAL_STD = 0.02
_SMALLEST_SIDE = 16


def _check_side(side: int) -> None:
    if side < _SMALLEST_SIDE or side & (side - 1):
        raise ConfigError(f"expected a power of two from {_SMALLEST_SIDE} for the side of a picture, got {side}")


def _encoder_layers(n_channels: int, *, side: int, width: int) -> tuple[list[nn.Module], int]:
    """Return strided convolutions down to 4 x 4 cells, and their channels."""
    layers: list[nn.Module] = [
        nn.Conv2d(n_channels, width, kernel_size=4, stride=2, padding=1, bias=False),
        nn.LeakyReLU(_SLOPE),
    ]
    side //= 2
    while side > 4:
        layers += [
            nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(_SLOPE),
        ]
        side, width = side // 2, 2 * width
    return layers, width


def _encoder(n_channels: int, *, side: int, width: int, n_latent: int) -> nn.Sequential:
    layers, last = _encoder_layers(n_channels, side=side, width=width)
    return nn.Sequential(*layers, nn.Conv2d(last, n_latent, kernel_size=4, bias=False))


def _decoder(n_channels: int, *, side: int, width: int, n_latent: int) -> nn.Sequential:
    now = width * side // 8  # the width at 4 x 4 cells: the encoder's, mirrored
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(n_latent, now, kernel_size=4, bias=False),
        nn.BatchNorm2d(now),
        nn.ReLU(),
    ]
    at = 4
    while at < side // 2:
        layers += [
            nn.ConvTranspose2d(now, now // 2, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(now // 2),
            nn.ReLU(),
        ]
        at, now = 2 * at, now // 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(now, n_channels, kernel_size=4, stride=2, padding=1, bias=False), nn.Tanh())


def _start(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, _INITIAL_STD)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, _INITIAL_STD)


class Generator(nn.Module):
    """Encodes a picture, decodes the code, encodes the result again.

    Parameters
    ----------
    n_channels : int
        Channels of the pictures.
    side : int
        Height and width in pixels, a power of two from 16.
    n_latent : int
        Size of the code.
    width : int
        Channels after the first convolution; they double with every halving.

    Raises
    ------
    ConfigError
        For another side.
    """

    def __init__(self, n_channels: int, *, side: int, n_latent: int = 100, width: int = 64) -> None:
        super().__init__()
        _check_side(side)
        self.encoder = _encoder(n_channels, side=side, width=width, n_latent=n_latent)
        self.decoder = _decoder(n_channels, side=side, width=width, n_latent=n_latent)
        self.second_encoder = _encoder(n_channels, side=side, width=width, n_latent=n_latent)
        _start(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction of ``[picture, channel, side, side]`` in (-1, 1), and both codes ``[picture, n_latent]``."""
        code = self.encoder(x)
        rebuilt = self.decoder(code)
        return rebuilt, code.flatten(1), self.second_encoder(rebuilt).flatten(1)


class Discriminator(nn.Module):
    """Tells pictures from reconstructions.

    Parameters
    ----------
    n_channels, side, width :
        As of :class:`Generator`.
    """

    def __init__(self, n_channels: int, *, side: int, width: int = 64) -> None:
        super().__init__()
        _check_side(side)
        layers, last = _encoder_layers(n_channels, side=side, width=width)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(last, 1, kernel_size=4, bias=False)
        _start(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit of being a picture ``[picture]``, and the features before it ``[picture, channel, 4, 4]``."""
        features = self.features(x)
        return self.classifier(features).flatten(), features
