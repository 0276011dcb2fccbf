"""Convolutional autoencoder on maps, scored by the squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.reconstruction import Form, ReconstructionDetector
from dcase_asd.detectors._shared.reconstruction_config import ReconstructionConfig
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from torch import nn

__all__ = ["INFO", "Config", "ConvAutoencoder"]

INFO = Info(
    summary="squared error of a convolutional autoencoder on log-mel maps or pictures",
    implementation="ConvAutoencoder",
    source="named in Argese and Degni (Abstract) without an architecture; strided layers as usual since Masci et al., ICANN 2011",
    input="map",
    cost="training of seconds to minutes",
    strengths="few weights, any size of segment; the error has a place",
    weaknesses="local filters rebuild local anomalies too; the bottleneck must be narrow",
)


@configclass
class Config(ReconstructionConfig):
    """Configuration of :class:`ConvAutoencoder`; the keys of :class:`ReconstructionConfig` apply too.

    Attributes
    ----------
    widths : tuple of int
        Channels after each layer of the encoder; each halves height and width.
    n_bottleneck : int
        Channels left at each place of the smallest map; 0 keeps the last width.
    """

    batch_size: int = 16
    widths: tuple[int, ...] = (16, 32, 64)
    n_bottleneck: int = 8

    def __post_init__(self) -> None:
        """Refuse the form that has no picture."""
        ReconstructionConfig.__post_init__(self)
        if self.input_form == "flat":
            raise ConfigError("conv_autoencoder: input_form flat has no picture to convolve; take image or frames")


class ConvAutoencoder(ReconstructionDetector[Config]):
    """Convolutional autoencoder."""

    def convolves(self) -> bool:
        """Return True."""
        return True

    def make_network(self, shape: tuple[int, ...], *, form: Form) -> nn.Module:
        """Return the network for pictures ``(channel, h, w)``."""
        from dcase_asd.networks.conv_autoencoder import ConvAutoencoder as Network

        del form
        return Network(shape[0], widths=self.config.widths, n_bottleneck=self.config.n_bottleneck)
