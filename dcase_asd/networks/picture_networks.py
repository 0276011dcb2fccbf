"""The autoencoders of three papers on pictures of products, built of the parts of ``picture_autoencoder``.

======================  ==================================================  =====================================
builder                 paper                                               at the paper's size
======================  ==================================================  =====================================
cae_table1              Rotondi and Lavalle, Table 1                        256x256x3, 22,638,115 parameters
cae_table2              Rotondi and Lavalle, Table 2, decoder repaired      224x224x3, 33,831,517 parameters
wood_autoencoder        Özcan and Özcan, Model 1                            256x256x1, 332,801 parameters
wood_variational        Özcan and Özcan, Model 6                            256x256x1
casting                 Klimkevičius, CAE and CVAE                          256x256x3
transfer                Klimkevičius, TCAE and TCVAE                        256x256x3, VGG16 up to block2_pool
======================  ==================================================  =====================================

All take ``[item, channel, h, w]`` and return the same shape. ``output`` is the last activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from dcase_asd.errors import ConfigError
from dcase_asd.networks.backbones import FeatureMaps
from dcase_asd.networks.picture_autoencoder import FrozenEncoder, PictureAutoencoder, halved
from dcase_asd.networks.variational import GaussianLatent

__all__ = ["OUTPUTS", "cae_table1", "cae_table2", "casting", "transfer", "wood_autoencoder", "wood_variational"]

Shape = tuple[int, int, int]
#: Last activations by name.
OUTPUTS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "linear": nn.Identity}
_SLOPE = 0.2  # of LeakyReLU, Rotondi and Lavalle, caption of Table 1; also GAN practice since Radford et al. 2016


def cae_table1(shape: Shape, *, widths: Sequence[int], n_wide: int, n_latent: int, output: nn.Module) -> PictureAutoencoder:
    """Build Table 1 of Rotondi and Lavalle: Conv 4x4/2/1 layers, one Conv 4x4/1/0 to 1x1, a linear layer, and the mirror.

    Batch normalisation and LeakyReLU follow each convolution; the linear layers have neither, the last layer only its
    activation (the table does not say). The kernel of the convolution to 1x1 is what is left of the picture: 4x4 at 256.

    Parameters
    ----------
    shape : tuple of int
        ``(channel, h, w)``; h and w multiples of 2 to the number of widths.
    widths : sequence of int
        Channels after each strided layer (paper: 16, 32, 64, 128, 256, 512).
    n_wide : int
        Channels of the 1x1 map (paper: 1024).
    n_latent : int
        Size of the code (paper: 128).
    output : nn.Module
        Paper: tanh.
    """
    steps = list(pairwise([shape[0], *widths]))
    kernel = halved(shape[1:], times=len(widths), what="cae_t1")
    encoder = nn.Sequential(
        *(_normed(nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1), b) for a, b in steps),
        _normed(nn.Conv2d(widths[-1], n_wide, kernel_size=kernel), n_wide),
        nn.Flatten(),
        nn.Linear(n_wide, n_latent),
    )
    back = [nn.ConvTranspose2d(b, a, kernel_size=4, stride=2, padding=1) for a, b in reversed(steps)]
    decoder = nn.Sequential(
        nn.Linear(n_latent, n_wide),
        nn.Unflatten(1, (n_wide, 1, 1)),
        _normed(nn.ConvTranspose2d(n_wide, widths[-1], kernel_size=kernel), widths[-1]),
        *(_normed(layer, layer.out_channels) for layer in back[:-1]),
        back[-1],
        output,
    )
    return PictureAutoencoder(encoder, decoder, code_shape=(n_latent,))


def cae_table2(shape: Shape, *, widths: Sequence[int], output: nn.Module) -> PictureAutoencoder:
    """Build Table 2 of Rotondi and Lavalle: pairs of Conv 3x3 with pooling between; the code is the last map.

    The table's decoder cannot work: its convolutions have stride 2, which halves what its ConvT 2x2/2/1 doubled. Here ConvT
    is 2x2/2/0, without normalisation and activation, and both convolutions 3x3/1/1, the mirror of the encoder, which
    returns the input's size.

    Parameters
    ----------
    shape : tuple of int
        ``(channel, h, w)``; h and w multiples of 2 to the number of widths less one.
    widths : sequence of int
        Channels after each pair (paper: 64, 128, 256, 512, 1024).
    output : nn.Module
        Paper: tanh.
    """
    size = halved(shape[1:], times=len(widths) - 1, what="cae_t2")
    steps = list(pairwise([shape[0], *widths]))
    down: list[nn.Module] = []
    for number, (a, b) in enumerate(steps):
        down += [nn.MaxPool2d(2)] if number else []
        down += [_normed(nn.Conv2d(a, b, kernel_size=3, padding=1), b), _normed(nn.Conv2d(b, b, kernel_size=3, padding=1), b)]
    up: list[nn.Module] = []
    for a, b in reversed(steps[1:]):
        up += [nn.ConvTranspose2d(b, b, kernel_size=2, stride=2)]
        up += [_normed(nn.Conv2d(b, a, kernel_size=3, padding=1), a), _normed(nn.Conv2d(a, a, kernel_size=3, padding=1), a)]
    first = nn.Conv2d(widths[0], shape[0], kernel_size=3, padding=1)
    last = nn.Conv2d(shape[0], shape[0], kernel_size=3, padding=1)
    decoder = nn.Sequential(*up, _normed(first, shape[0]), last, output)
    return PictureAutoencoder(nn.Sequential(*down), decoder, code_shape=(widths[-1], *size))


def wood_autoencoder(shape: Shape, *, widths: Sequence[int], output: nn.Module) -> PictureAutoencoder:
    """Build Model 1 of Özcan and Özcan: Conv 3x3, ReLU, pooling; Conv 3x3, ReLU, upsampling; a last Conv 3x3.

    Parameters
    ----------
    shape : tuple of int
        ``(channel, h, w)``; h and w multiples of 2 to the number of widths.
    widths : sequence of int
        Filters of the encoder (paper: 32, 64, 128); the decoder has them in reverse order.
    output : nn.Module
        Paper: sigmoid.
    """
    size = halved(shape[1:], times=len(widths), what="wood")
    down, up = [], []
    for a, b in pairwise([shape[0], *widths]):
        down += [nn.Conv2d(a, b, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    for a, b in pairwise([widths[-1], *reversed(widths)]):
        # Keras' UpSampling2D: nearest neighbour
        up += [nn.Conv2d(a, b, kernel_size=3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)]
    up += [nn.Conv2d(widths[0], shape[0], kernel_size=3, padding=1), output]
    return PictureAutoencoder(nn.Sequential(*down), nn.Sequential(*up), code_shape=(widths[-1], *size))


def wood_variational(shape: Shape, *, widths: Sequence[int], n_latent: int, output: nn.Module) -> PictureAutoencoder:
    """Build Model 6 of Özcan and Özcan: Conv of stride 2 with LeakyReLU and BN, a Gaussian latent, the mirror with ConvT.

    Kernel 3, filters 32-64-64-64 and 64 latent values are not in their text; 16x16x64 before the decoder is.

    Parameters
    ----------
    shape : tuple of int
        ``(channel, h, w)``; h and w multiples of 2 to the number of widths.
    widths : sequence of int
        Filters of the encoder.
    n_latent : int
    output : nn.Module
        Paper: sigmoid.
    """
    smallest = (widths[-1], *halved(shape[1:], times=len(widths), what="wood_variational"))
    encoder = nn.Sequential(
        *(_activated_first(nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1), b) for a, b in pairwise([shape[0], *widths]))
    )
    steps = list(pairwise([*reversed(widths), widths[0]]))
    decoder = nn.Sequential(
        nn.Linear(n_latent, math.prod(smallest)),
        nn.Unflatten(1, smallest),
        *(_activated_first(_doubling(a, b), b) for a, b in steps),
        nn.Conv2d(widths[0], shape[0], kernel_size=3, padding=1),
        output,
    )
    latent = GaussianLatent(math.prod(smallest), n_latent)
    return PictureAutoencoder(encoder, decoder, code_shape=(n_latent,), latent=latent)


def casting(shape: Shape, *, widths: Sequence[int], n_latent: int, output: nn.Module) -> PictureAutoencoder:
    """Build CAE (``n_latent`` 0) or CVAE of Klimkevičius: Conv 3x3, ReLU and pooling, mirrored with transposed convolutions.

    The CAE does not pool after its last layer (two pools, 64x64x64 at 256); the CVAE does (32x32x64), and has dense layers to
    mean and log variance and back. Kernels, filters (16-32-64) and activations are not in the paper.

    Parameters
    ----------
    shape : tuple of int
        ``(channel, h, w)``; h and w multiples of 2 to the number of pools.
    widths : sequence of int
        Filters of the encoder.
    n_latent : int
        Latent values (paper's CVAE: 32).
    output : nn.Module
        Sigmoid for pictures in [0, 1].
    """
    n_pools = len(widths) - (n_latent == 0)
    smallest = (widths[-1], *halved(shape[1:], times=n_pools, what="casting"))
    down: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise([shape[0], *widths])):
        down += [nn.Conv2d(a, b, kernel_size=3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if number < n_pools else [])]
    back = list(pairwise([*reversed(widths), shape[0]]))
    up: list[nn.Module] = []
    for number, (a, b) in enumerate(back):
        same = n_latent == 0 and number == len(back) - 1
        up += [nn.ConvTranspose2d(a, b, kernel_size=3, padding=1) if same else _doubling(a, b), nn.ReLU()]
    return _with_latent(nn.Sequential(*down), nn.Sequential(*up[:-1], output), smallest=smallest, n_latent=n_latent)


def transfer(
    shape: Shape, backbone: FeatureMaps, *, widths: Sequence[int], n_latent: int, output: nn.Module
) -> PictureAutoencoder:
    """Build TCAE (``n_latent`` 0) or TCVAE of Klimkevičius: a frozen network to one layer, a decoder of transposed convolutions.

    The paper's dense layer of 516,096 is 63x64x128; VGG16's block2_pool of a 256x256 picture has 64x64x128 = 524,288 values.

    Parameters
    ----------
    shape : tuple of int
        ``(channel, h, w)``, values in [0, 1].
    backbone : FeatureMaps
        With one layer whose map is smaller by a power of two (paper: VGG16, ``pool2``).
    widths : sequence of int
        Channels after each doubling but the last one, which gives the picture.
    n_latent : int
    output : nn.Module

    Raises
    ------
    ConfigError
        If the number of widths does not bring the map back to the picture's size.
    """
    encoder = FrozenEncoder(backbone)
    with torch.inference_mode():
        smallest = tuple(encoder(torch.zeros(1, *shape)).shape[1:])
    expected = halved(shape[1:], times=len(widths) + 1, what="the decoder of a frozen network")
    if smallest[1:] != expected:
        raise ConfigError(
            f"layer {backbone.layers[0]} gives {smallest[1]} x {smallest[2]} for a picture of {shape[1]} x {shape[2]}, "
            f"the decoder starts at {expected[0]} x {expected[1]}; give as many widths as the layer halves the picture, less one"
        )
    up: list[nn.Module] = []
    for a, b in pairwise([smallest[0], *widths]):
        up += [_doubling(a, b), nn.ReLU()]
    up += [_doubling(widths[-1] if widths else smallest[0], shape[0]), output]
    return _with_latent(encoder, nn.Sequential(*up), smallest=smallest, n_latent=n_latent)


def _with_latent(encoder: nn.Module, decoder: nn.Module, *, smallest: tuple[int, ...], n_latent: int) -> PictureAutoencoder:
    if n_latent == 0:
        return PictureAutoencoder(encoder, decoder, code_shape=smallest)
    n_features = math.prod(smallest)
    expand = nn.Sequential(nn.Linear(n_latent, n_features), nn.ReLU(), nn.Unflatten(1, smallest))
    latent = GaussianLatent(n_features, n_latent)
    return PictureAutoencoder(encoder, nn.Sequential(expand, decoder), code_shape=(n_latent,), latent=latent)


def _normed(layer: nn.Module, n_channels: int) -> nn.Module:
    return nn.Sequential(layer, nn.BatchNorm2d(n_channels), nn.LeakyReLU(_SLOPE))


def _activated_first(layer: nn.Module, n_channels: int) -> nn.Module:
    return nn.Sequential(layer, nn.LeakyReLU(_SLOPE), nn.BatchNorm2d(n_channels))


def _doubling(n_in: int, n_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(n_in, n_out, kernel_size=3, stride=2, padding=1, output_padding=1)
