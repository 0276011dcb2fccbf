"""Variational autoencoders (Kingma and Welling, ICLR 2014), dense and convolutional."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcase_asd.errors import ConfigError
from dcase_asd.networks.conv_autoencoder import ConvDecoder, ConvEncoder, encoded_size
from dcase_asd.networks.dense_autoencoder import dense_layers

__all__ = ["ConvVariational", "DenseVariational", "GaussianLatent", "kl_per_dimension", "kl_to_standard_normal"]

#: Bounds of the log variance: exp stays finite and the gradient alive.
_LOG_VARIANCE = (-10.0, 10.0)


def kl_per_dimension(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)) per item and latent dimension, in nats (their Appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return :func:`kl_per_dimension` summed over the latent axis, ``[item]``."""
    return kl_per_dimension(mean, log_variance).sum(dim=1)


class GaussianLatent(nn.Module):
    """Mean and log variance from features; a sample in training, the mean in evaluation.

    Parameters
    ----------
    n_features, n_latent : int
    """

    def __init__(self, n_features: int, n_latent: int) -> None:
        super().__init__()
        if min(n_features, n_latent) < 1:
            raise ConfigError(f"expected positive sizes, got {n_features} features and {n_latent} latent values")
        self.mean = nn.Linear(n_features, n_latent)
        self.log_variance = nn.Linear(n_features, n_latent)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``z [item, latent]`` and the divergence ``kl [item]`` of ``[item, features]``."""
        z, kl = self.draw(features)
        return z, kl.sum(dim=1)

    def draw(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``z`` and the divergence of every dimension, both ``[item, latent]``."""
        mean, log_variance = self.mean(features), self.log_variance(features).clamp(*_LOG_VARIANCE)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return z, kl_per_dimension(mean, log_variance)


class DenseVariational(nn.Module):
    """Dense variational autoencoder.

    Parameters
    ----------
    n_values : int
        Values of an item; an item of several axes is flattened and comes out in its own shape.
    hidden : sequence of int
        Sizes of the encoder's layers; the decoder has them in reverse order.
    n_latent : int
    """

    def __init__(self, n_values: int, *, hidden: Sequence[int], n_latent: int) -> None:
        super().__init__()
        if not hidden or min(n_values, *hidden) < 1:
            raise ConfigError(f"expected at least one layer of positive size, got {n_values} values and hidden {list(hidden)}")
        self.encoder = dense_layers([n_values, *hidden])
        self.latent = GaussianLatent(hidden[-1], n_latent)
        self.decoder = dense_layers([n_latent, *reversed(hidden)])
        self.output = nn.Linear(hidden[0], n_values)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction of ``[item, ...]`` and ``kl [item]``."""
        z, kl = self.latent(self.encoder(x.flatten(1)))
        return self.output(self.decoder(z)).view_as(x), kl


class ConvVariational(nn.Module):
    """Convolutional variational autoencoder for pictures of one size.

    Parameters
    ----------
    shape : tuple of int
        ``(channel, h, w)`` of the pictures.
    widths : sequence of int
        Channels after each strided layer.
    n_latent : int
    """

    def __init__(self, shape: tuple[int, int, int], *, widths: Sequence[int], n_latent: int) -> None:
        super().__init__()
        self.encoder = ConvEncoder(shape[0], widths)
        self._smallest = (widths[-1], *encoded_size((shape[1], shape[2]), n_layers=len(widths)))
        n_features = math.prod(self._smallest)
        self.latent = GaussianLatent(n_features, n_latent)
        self.expand = nn.Sequential(nn.Linear(n_latent, n_features), nn.ReLU())
        self.decoder = ConvDecoder(widths, shape[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction of ``[item, channel, h, w]`` and ``kl [item]``."""
        features, sizes = self.encoder(x)
        z, kl = self.latent(features.flatten(1))
        return self.decoder(self.expand(z).unflatten(1, self._smallest), sizes), kl
