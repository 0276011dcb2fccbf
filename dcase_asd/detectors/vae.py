"""Variational autoencoder on segments or windows, scored by the squared error or the evidence bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.examined import Examined
from dcase_asd.detectors._shared.grid import part_name
from dcase_asd.detectors._shared.reconstruction import Form, ReconstructionDetector
from dcase_asd.detectors._shared.reconstruction_config import ReconstructionConfig
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from torch import nn

__all__ = ["INFO", "Config", "Vae"]

INFO = Info(
    summary="squared error, or negative evidence bound, of a variational autoencoder",
    implementation="Vae",
    source="Kingma and Welling, ICLR 2014, Eq. 10; for spectrograms named in Argese and Degni (Abstract)",
    input="map or vector",
    cost="training of seconds to minutes",
    strengths="the latent space is kept smooth, so that odd inputs find no code of their own",
    weaknesses="blurs: fine structure is an error in normal sounds too; a large beta lets the latent collapse",
)


@configclass
class Config(ReconstructionConfig):
    """Configuration of :class:`Vae`; the keys of :class:`ReconstructionConfig` apply too.

    Attributes
    ----------
    network : {"dense", "conv"}
        ``conv`` takes maps only; its ``input_form: auto`` is ``image``.
    hidden : tuple of int
        Sizes of the dense encoder's layers.
    widths : tuple of int
        Channels of the convolutional encoder's layers.
    n_latent : int
        Size of the latent vector.
    beta : float
        Weight of the divergence. 1 with the squared error summed over an item (half of it, unit variance) is the bound itself.
    scores : tuple of {"reconstruction", "elbo"}
        ``reconstruction``: mean squared error from the mean of the latent; ``elbo``: half the summed squared error plus
        ``beta`` times the divergence, mean over windows. Each is a part; the first is the score.
    """

    network: Literal["dense", "conv"] = "dense"
    hidden: tuple[int, ...] = (128, 128)
    widths: tuple[int, ...] = (16, 32, 64)
    n_latent: int = 16
    beta: float = 1.0
    scores: tuple[Literal["reconstruction", "elbo"], ...] = ("reconstruction",)

    def __post_init__(self) -> None:
        """Refuse a form without a picture for convolutions, a negative beta, and scores that repeat."""
        ReconstructionConfig.__post_init__(self)
        if self.network == "conv" and self.input_form == "flat":
            raise ConfigError("vae: input_form flat has no picture to convolve; take image or frames, or network: dense")
        if self.beta < 0 or not self.scores or len(set(self.scores)) < len(self.scores):
            raise ConfigError(f"vae: expected beta >= 0 and each score once, got {self.beta} and {list(self.scores)}")


class Vae(ReconstructionDetector[Config]):
    """Variational autoencoder."""

    reduction: ClassVar[Literal["mean", "sum"]] = "sum"

    def make_network(self, shape: tuple[int, ...], *, form: Form) -> nn.Module:
        """Return the network for items of a shape."""
        from dcase_asd.networks.variational import ConvVariational, DenseVariational

        del form
        if self.config.network == "dense":
            return DenseVariational(math.prod(shape), hidden=self.config.hidden, n_latent=self.config.n_latent)
        channel, height, width = shape
        return ConvVariational((channel, height, width), widths=self.config.widths, n_latent=self.config.n_latent)

    def loss_weights(self) -> dict[str, float]:
        """Return the weight of the divergence."""
        return {"kl": self.config.beta}

    def convolves(self) -> bool:
        """Return whether the network convolves."""
        return self.config.network == "conv"

    def segment_scores(self, found: Examined) -> dict[str, float]:
        """Return the wanted scores of one segment."""
        divergence = 0.0 if found.kl is None else float(found.kl.mean())
        squared = found.squared
        known = {
            "reconstruction": float(squared.mean()),
            "elbo": float(0.5 * squared.reshape(len(squared), -1).sum(axis=1).mean()) + self.config.beta * divergence,
        }
        return {part_name(score=name): known[name] for name in self.config.scores}
