"""GANomaly's losses and scores; both networks take their steps at once.

The public code computes the losses of generator and discriminator before either takes its step. Here the two losses touch
disjoint parameters (the generator's is computed with the discriminator's held fixed, the discriminator's on a detached
reconstruction), so that one Adam over all of them, which works element by element, takes the very steps of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from dcase_asd.detectors._shared.picture_model import PictureModel, Preparation
from dcase_asd.networks.ganomaly import Discriminator, Generator

__all__ = ["Ganomaly", "discriminator_loss", "generator_losses"]


class Ganomaly(PictureModel):
    """Generator and discriminator.

    Parameters
    ----------
    prepare : Preparation
    generator : Generator
    discriminator : Discriminator
    adversarial : {"feature", "bce"}
    contextual : {"l1", "l2"}
    """

    def __init__(
        self,
        prepare: Preparation,
        generator: Generator,
        discriminator: Discriminator,
        *,
        adversarial: Literal["feature", "bce"],
        contextual: Literal["l1", "l2"],
    ) -> None:
        super().__init__(prepare)
        self.generator, self.discriminator = generator, discriminator
        self.adversarial, self.contextual = adversarial, contextual

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``adversarial``, ``contextual``, ``latent`` and ``discriminator`` of pictures ``x`` in [0, 1]."""
        x = _signed(batch["x"])
        rebuilt, code, second = self.generator(x)
        real, real_features = self.discriminator(x)
        fake, _ = self.discriminator(rebuilt.detach())
        fixed = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        logit, features = functional_call(self.discriminator, fixed, (rebuilt,))
        losses = generator_losses(x, rebuilt, (code, second), contextual=self.contextual)
        if self.adversarial == "feature":
            losses["adversarial"] = F.mse_loss(features, real_features.detach())
        else:
            losses["adversarial"] = F.binary_cross_entropy_with_logits(logit, torch.ones_like(logit))
        return losses | {"discriminator": discriminator_loss(real, fake)}

    def judge(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return ``latent``, ``reconstruction`` and their ``sum``, and the squared error of every pixel."""
        signed = _signed(self.prepare(x))
        rebuilt, code, second = self.generator(signed)
        # in double precision: squares of what lies far out must neither overflow nor become equal
        squared = (signed.double() - rebuilt.double()).square().mean(dim=1)
        squared = self.prepare.inside(squared, tuple(x.shape[2:]))
        latent = (code.double() - second.double()).square().mean(dim=1)
        reconstruction = squared.mean(dim=(1, 2))
        return {"latent": latent, "reconstruction": reconstruction, "sum": latent + reconstruction}, squared


def _signed(x: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1], the range of the decoder's output."""
    return 2.0 * x - 1.0


def generator_losses(
    x: Tensor, rebuilt: Tensor, codes: tuple[Tensor, Tensor], *, contextual: Literal["l1", "l2"]
) -> dict[str, Tensor]:
    """Return the contextual and the latent loss (GANomaly, Eq. 2 and 3); means over all values, as in the public code."""
    error = F.l1_loss(rebuilt, x) if contextual == "l1" else F.mse_loss(rebuilt, x)
    return {"contextual": error, "latent": F.mse_loss(codes[1], codes[0])}


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the cross-entropy of logits of pictures (1) and reconstructions (0), the mean of both."""
    right = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    return 0.5 * (right + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)))
