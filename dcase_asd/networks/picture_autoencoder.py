"""Autoencoders of pictures as parts that compose: encoder, latent, decoder, and a classifier of the code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcase_asd.errors import ConfigError
from dcase_asd.networks.backbones import FeatureMaps, standardise_imagenet
from dcase_asd.networks.variational import GaussianLatent

__all__ = ["FrozenEncoder", "LatentClassifier", "PictureAutoencoder", "gaussian_weights", "halved"]

_MAP_AXES = 3


class PictureAutoencoder(nn.Module):
    """Encoder and decoder, with a Gaussian latent between them or without.

    Parameters
    ----------
    encoder : nn.Module
        ``[item, channel, h, w]`` to features of any shape.
    decoder : nn.Module
        The code to the picture.
    code_shape : tuple of int
        Shape of what the encoder (with a latent: the latent) gives for an item.
    latent : GaussianLatent, optional
        Between the flattened features and the decoder.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, *, code_shape: tuple[int, ...], latent: GaussianLatent | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.latent, self.decoder = encoder, latent, decoder
        self.code_shape = code_shape

    @property
    def n_code(self) -> int:
        """Values that pass the bottleneck."""
        return math.prod(self.code_shape)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the code (with a latent: a sample in training, its mean in evaluation) and the divergence ``[item, latent]``."""
        features = self.encoder(x)
        return (features, None) if self.latent is None else self.latent.draw(features.flatten(1))

    def mean_code(self, x: Tensor) -> Tensor:
        """Return the code without sampling: what a penalty on the encoder's Jacobian looks at."""
        features: Tensor = self.encoder(x)
        if self.latent is None:
            return features
        mean: Tensor = self.latent.mean(features.flatten(1))
        return mean

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the reconstruction and, with a latent, the divergence ``[item]``."""
        code, kl = self.encode(x)
        rebuilt: Tensor = self.decoder(code)
        return rebuilt if kl is None else (rebuilt, kl.sum(dim=1))


class FrozenEncoder(nn.Module):
    """A pretrained network up to one layer, as the encoder of pictures in [0, 1]: not trained, always in evaluation mode.

    Parameters
    ----------
    backbone : FeatureMaps
        With one layer.
    """

    def __init__(self, backbone: FeatureMaps) -> None:
        super().__init__()
        if len(backbone.layers) != 1:
            raise ConfigError(f"an encoder is one layer of a network, got {', '.join(backbone.layers)}")
        self.backbone = backbone.eval().requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Set the mode of this module; the network itself stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's map of ``[item, 1 or 3, h, w]``, after ImageNet's normalisation."""
        maps: Tensor = self.backbone(standardise_imagenet(x))[self.backbone.layers[0]]
        return maps


class LatentClassifier(nn.Module):
    """Tells the class of a picture from its code (Rotondi and Lavalle, Sec. 3.4: MLP of three layers with dropout, ReLU).

    A code that is a map passes one Conv 3x3 without padding first, as in their Table 2 variant. Sizes are not in the paper:
    32 channels, layers of 128 and 64 and dropout 0.5 keep it below the million parameters that it states.

    Parameters
    ----------
    code_shape : tuple of int
        ``(latent,)`` or ``(channel, h, w)``.
    n_classes : int
    n_channels : int
        Of the convolution.
    hidden : sequence of int
        Sizes of the two hidden layers.
    dropout : float
    """

    def __init__(
        self,
        code_shape: tuple[int, ...],
        *,
        n_classes: int,
        n_channels: int = 32,
        hidden: Sequence[int] = (128, 64),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if n_classes < 1 or not hidden:
            raise ConfigError(f"expected at least one class and one hidden layer, got {n_classes} and {list(hidden)}")
        layers: list[nn.Module] = []
        size = math.prod(code_shape)
        if len(code_shape) == _MAP_AXES:
            channels, height, width = code_shape
            if min(height, width) < _MAP_AXES:
                raise ConfigError(f"a code of {height} x {width} is too small for the classifier's 3x3 convolution")
            layers += [nn.Conv2d(channels, n_channels, kernel_size=3), nn.ReLU()]
            size = n_channels * (height - 2) * (width - 2)
        layers.append(nn.Flatten())
        for n_out in hidden:
            layers += [nn.Linear(size, n_out), nn.ReLU(), nn.Dropout(dropout)]
            size = n_out
        self.layers = nn.Sequential(*layers, nn.Linear(size, n_classes))

    def forward(self, code: Tensor) -> Tensor:
        """Return logits ``[item, class]``."""
        logits: Tensor = self.layers(code)
        return logits


def halved(size: tuple[int, int], *, times: int, what: str) -> tuple[int, int]:
    """Return height and width after ``times`` halvings.

    Raises
    ------
    ConfigError
        If they cannot be halved so often without remainder; names the network.
    """
    step = 2**times
    if size[0] % step or size[1] % step or min(size) < step:
        raise ConfigError(
            f"{what} halves height and width {times} times: both must be multiples of {step}, got {size[0]} x {size[1]}; "
            "change `size` of the features, or give fewer widths"
        )
    return size[0] // step, size[1] // step


def gaussian_weights(module: nn.Module, *, std: float) -> None:
    """Draw the weights of all convolutions and linear layers from N(0, std^2), biases 0, in place."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            torch.nn.init.normal_(part.weight, 0.0, std)
            if part.bias is not None:
                torch.nn.init.zeros_(part.bias)
