"""Dense autoencoder on segments or windows of frames, scored by the squared error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.reconstruction import Form, ReconstructionDetector
from dcase_asd.detectors._shared.reconstruction_config import ReconstructionConfig
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from torch import nn

__all__ = ["INFO", "Autoencoder", "Config"]

INFO = Info(
    summary="squared error of a dense autoencoder, on whole segments or windows of frames",
    implementation="Autoencoder",
    source="Koizumi et al., DCASE 2020 Task 2 (arXiv 2006.05822), Sec. 4; flat, z-scored: Argese and Degni, Sec. III",
    input="map or vector",
    cost="training of seconds to minutes; two products with the layers per item",
    strengths="no other machines needed; shows where the error is",
    weaknesses="rebuilds anomalies that are quiet or smooth; louder machines score higher unless standardised",
)


@configclass
class Config(ReconstructionConfig):
    """Configuration of :class:`Autoencoder`; the keys of :class:`ReconstructionConfig` apply too.

    Attributes
    ----------
    hidden : tuple of int
        Sizes of the encoder's layers; the decoder mirrors them.
    n_bottleneck : int
        Size of the bottleneck.
    """

    hidden: tuple[int, ...] = (128, 128)
    n_bottleneck: int = 16


class Autoencoder(ReconstructionDetector[Config]):
    """Dense autoencoder."""

    def make_network(self, shape: tuple[int, ...], *, form: Form) -> nn.Module:
        """Return the network for items of a shape, whatever their form."""
        from dcase_asd.networks.dense_autoencoder import DenseAutoencoder

        del form
        return DenseAutoencoder(math.prod(shape), hidden=self.config.hidden, n_bottleneck=self.config.n_bottleneck)
