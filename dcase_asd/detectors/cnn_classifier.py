"""A small convolutional network on maps: the trained-from-scratch classifier of supervised recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.network_classifier import NetworkClassifier, NetworkConfig
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from torch import nn

__all__ = ["INFO", "CnnClassifier", "Config"]

INFO = Info(
    summary="supervised: small convolutional network on pictures; the score is the log odds of the positive class",
    implementation="CnnClassifier",
    source="Argese and Degni, Section IV-C and Table III (rate 0.001, dropout 0.25, 32 filters, 64 dense units, 10 epochs)",
    input="map",
    cost="training of minutes on a CPU for ten thousand pictures of 32 x 32",
    strengths="learns local patterns wherever they are; no pretrained weights",
    weaknesses="needs labelled anomalies, some hundreds; another seed, another model",
)


@configclass
class Config(NetworkConfig):
    """Configuration of :class:`CnnClassifier`; the keys of :class:`NetworkConfig` apply too.

    Attributes
    ----------
    filters : int
        Of the first convolution; the second has twice as many.
    n_hidden : int
        Units of the first dense layer.
    dropout : float
        After each block and the first dense layer.
    """

    filters: int = 32
    n_hidden: int = 64
    dropout: float = 0.25

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        NetworkConfig.__post_init__(self)
        if min(self.filters, self.n_hidden) < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "cnn_classifier: expected filters and n_hidden >= 1 and 0 <= dropout < 1; got "
                f"{self.filters}, {self.n_hidden} and {self.dropout}"
            )


class CnnClassifier(NetworkClassifier[Config]):
    """Trained from scratch."""

    architecture: ClassVar[tuple[str, ...]] = ("filters", "n_hidden", "dropout")

    def make_network(self, config: Config, shape: tuple[int, ...], *, pretrained: bool) -> nn.Module:
        """Return the network for pictures ``(channel, h, w)``."""
        from dcase_asd.networks.classifiers import SmallCnn

        del pretrained
        size = (shape[1], shape[2])
        return SmallCnn(shape[0], size, filters=config.filters, n_hidden=config.n_hidden, dropout=config.dropout)
