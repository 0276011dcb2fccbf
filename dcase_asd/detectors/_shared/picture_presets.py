"""Sizes of the picture autoencoders as their papers have them, and how a network is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dcase_asd.errors import ConfigError

if TYPE_CHECKING:
    from dcase_asd.networks.picture_autoencoder import PictureAutoencoder

__all__ = ["ENCODER_LAYERS", "PRESETS", "Network", "Output", "Preset", "build_network"]

Network = Literal[
    "cae_t1", "cae_t2", "wood", "wood_variational", "casting", "casting_variational", "transfer", "transfer_variational"
]
Output = Literal["sigmoid", "tanh", "linear"]
#: Layer of a frozen encoder that is a quarter of the picture's height and width.
ENCODER_LAYERS: Mapping[str, str] = {"vgg16": "pool2", "efficientnet_lite0": "stage2"}


@dataclass(frozen=True)
class Preset:
    """What a paper says of a network, or what :mod:`~dcase_asd.networks.picture_networks` says where the paper does not.

    Attributes
    ----------
    widths : tuple of int
        Channels of the layers.
    n_latent : int
        Values of a latent vector; 0 where the code is a map.
    output : {"sigmoid", "tanh", "linear"}
        Last activation, which decides the range of pixels: [0, 1], (-1, 1), any.
    init_std : float
        Deviation of the Gaussian that weights are drawn from; 0 for torch's own.
    """

    widths: tuple[int, ...]
    n_latent: int = 0
    output: Output = "sigmoid"
    init_std: float = 0.0


#: Rotondi and Lavalle, Tables 1 and 2 and Sec. 3.7; Özcan and Özcan, Models 1 and 6; Klimkevičius, Sec. 4.1 and 4.2.
PRESETS: Mapping[str, Preset] = {
    "cae_t1": Preset((16, 32, 64, 128, 256, 512), 128, "tanh", 0.02),
    "cae_t2": Preset((64, 128, 256, 512, 1024), 0, "tanh", 0.02),
    "wood": Preset((32, 64, 128)),
    "wood_variational": Preset((32, 64, 64, 64), 64),
    "casting": Preset((16, 32, 64)),
    "casting_variational": Preset((16, 32, 64), 32),
    "transfer": Preset((64,)),
    "transfer_variational": Preset((64,), 32),
}


def build_network(
    name: str, shape: tuple[int, ...], preset: Preset, *, n_wide: int, encoder: tuple[str, str]
) -> PictureAutoencoder:
    """Build an untrained network for pictures ``(channel, h, w)``.

    Parameters
    ----------
    name : str
        Key of :data:`PRESETS`.
    shape : tuple of int
    preset : Preset
        Sizes, which need not be the paper's.
    n_wide : int
        Channels of the 1x1 map of ``cae_t1``.
    encoder : tuple of str
        Frozen network and layer of ``transfer`` and ``transfer_variational``; its weights are random here.

    Raises
    ------
    ConfigError
        If pictures of that size do not fit the network.
    """
    from dcase_asd.networks import picture_networks as networks
    from dcase_asd.networks.backbones import build_backbone

    picture = (shape[0], shape[1], shape[2])
    output = networks.OUTPUTS[preset.output]()
    widths, n_latent = preset.widths, preset.n_latent
    if name == "cae_t1":
        return networks.cae_table1(picture, widths=widths, n_wide=n_wide, n_latent=n_latent, output=output)
    if name == "cae_t2":
        return networks.cae_table2(picture, widths=widths, output=output)
    if name == "wood":
        return networks.wood_autoencoder(picture, widths=widths, output=output)
    if name == "wood_variational":
        return networks.wood_variational(picture, widths=widths, n_latent=n_latent, output=output)
    if name in {"casting", "casting_variational"}:
        return networks.casting(picture, widths=widths, n_latent=n_latent, output=output)
    if picture[0] not in {1, 3}:
        raise ConfigError(f"{name}: a pretrained encoder takes pictures of 1 or 3 channels, got {picture[0]}")
    backbone = build_backbone(encoder[0], [encoder[1]], weights=None)
    return networks.transfer(picture, backbone, widths=widths, n_latent=n_latent, output=output)
