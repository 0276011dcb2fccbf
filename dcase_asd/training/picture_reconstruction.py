"""Losses of picture autoencoders: what is rebuilt, from what, and what else the code must do.

The terms compose: the input may be corrupted (the target stays clean), the encoder's Jacobian penalised, a classifier learn
from the code; :class:`RunningThresholds` follows the errors of each class while all that happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.networks.picture_autoencoder import PictureAutoencoder
from dcase_asd.training.jacobian import Estimator, squared_jacobian
from dcase_asd.training.reconstruction import Reconstruction
from dcase_asd.training.structural_similarity import ms_ssim, ssim, ssim_map
from dcase_asd.training.thresholds import RunningThresholds

__all__ = ["ERRORS", "Error", "Loss", "PictureLoss", "PictureReconstruction", "errors"]

Loss = Literal["l2", "rmse", "ssim", "ms_ssim"]
Error = Literal["mse", "ssim", "ms_ssim", "abs_mix"]
ERRORS: tuple[Error, ...] = ("mse", "ssim", "ms_ssim", "abs_mix")
#: Keeps the slope of a square root finite at a perfect reconstruction.
_ROOT = 1e-12


@dataclass(frozen=True)
class PictureLoss:
    """What a picture autoencoder is trained by.

    Attributes
    ----------
    loss : {"l2", "rmse", "ssim", "ms_ssim"}
        Squared error; its root over the batch (Klimkevičius); one minus similarity (Rotondi and Lavalle, Eq. 9).
    data_range : float
        Width of the range of values.
    scales : int
        Of MS-SSIM.
    noise : float
        Standard deviation v of the noise that is added to the input in training (Rotondi and Lavalle, Eq. 7); 0 for none.
    bounds : tuple of float or None
        What the noisy input is clamped to.
    contractive : bool
        Whether there is a penalty on the Jacobian of the encoder (their Eq. 8).
    estimator, probes :
        See :func:`~dcase_asd.training.jacobian.squared_jacobian`.
    """

    loss: Loss = "l2"
    data_range: float = 1.0
    scales: int = 5
    noise: float = 0.0
    bounds: tuple[float, float] | None = (0.0, 1.0)
    contractive: bool = False
    estimator: Estimator = "vjp"
    probes: int = 1


class PictureReconstruction(Reconstruction):
    """A picture autoencoder with its losses, and a classifier and thresholds if it has them.

    Parameters
    ----------
    network : PictureAutoencoder
    mean, std : ndarray
        See :class:`~dcase_asd.training.reconstruction.Reconstruction`.
    reduction : {"mean", "sum"}
        For the loss ``l2``.
    terms : PictureLoss
    scores : sequence of {"mse", "ssim", "ms_ssim", "abs_mix"}
        What :meth:`examine` tells of an item; the thresholds follow the first.
    classifier : nn.Module, optional
        From the code to logits.
    thresholds : RunningThresholds, optional
    """

    network: PictureAutoencoder
    kl_per_dimension: Tensor

    def __init__(
        self,
        network: PictureAutoencoder,
        *,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        reduction: Literal["mean", "sum"] = "mean",
        terms: PictureLoss,
        scores: Sequence[Error] = ("mse",),
        classifier: nn.Module | None = None,
        thresholds: RunningThresholds | None = None,
    ) -> None:
        super().__init__(network, mean=mean, std=std, reduction=reduction)
        self.terms, self.scores = terms, tuple(scores)
        self.classifier, self.thresholds = classifier, thresholds
        #: Divergence of every latent dimension on held-out pictures in nats, filled in after training.
        self.register_buffer("kl_per_dimension", torch.zeros(network.n_code if network.latent is not None else 0))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms of the loss: ``reconstruction`` and, if wanted, ``kl``, ``contractive`` and ``class``.

        Parameters
        ----------
        batch : mapping
            ``x [item, channel, h, w]``; with a classifier or thresholds ``label [item]``, with thresholds ``epoch`` too.
        """
        x = (batch["x"] - self.mean) / self.std
        given = self._corrupted(x) if self.training else x
        code, kl = self.network.encode(given)
        rebuilt = self.network.decoder(code)
        losses = {"reconstruction": self._loss(x, rebuilt)}
        if kl is not None:
            losses["kl"] = kl.sum(dim=1).mean()
        if self.terms.contractive:
            losses["contractive"] = squared_jacobian(
                self.network.mean_code, given, estimator=self.terms.estimator, probes=self.terms.probes
            )
        if self.classifier is not None:
            losses["class"] = F.cross_entropy(self.classifier(code), batch["label"])
        if self.thresholds is not None and self.training:
            found = errors(x, rebuilt, self.scores[:1], terms=self.terms)
            self.thresholds.watch(found[self.scores[0]].detach(), batch["label"], epoch=int(batch["epoch"]))
        return losses

    def examine(self, x: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Return the residual and the divergence of :meth:`residual`, and by name what the scores are made of.

        ``ssim`` and ``ms_ssim`` are one minus the similarity, ``ssim_map [item, h, w]`` one minus that of the window around a
        pixel (at the border: of the nearest whole window), ``class [item]`` the class that the classifier sees.
        """
        x = (x - self.mean) / self.std
        code, kl = self.network.encode(x)
        rebuilt = self.network.decoder(code)
        named = errors(x, rebuilt, [name for name in self.scores if name in {"ssim", "ms_ssim"}], terms=self.terms)
        if "ssim" in named:
            local = 1.0 - ssim_map(x, rebuilt, data_range=self.terms.data_range).mean(dim=1, keepdim=True)
            missing = x.shape[2] - local.shape[2]
            border = (missing // 2, missing - missing // 2) * 2
            named["ssim_map"] = F.pad(local, border, mode="replicate")[:, 0]
        if self.classifier is not None:
            named["class"] = self.classifier(code).argmax(dim=1)
        return x - rebuilt, None if kl is None else kl.sum(dim=1), named

    def _corrupted(self, x: Tensor) -> Tensor:
        if self.terms.noise == 0.0:
            return x
        noisy = x + self.terms.noise * torch.randn_like(x)
        return noisy if self.terms.bounds is None else noisy.clamp(*self.terms.bounds)

    def _loss(self, x: Tensor, rebuilt: Tensor) -> Tensor:
        terms = self.terms
        if terms.loss == "ssim":
            return 1.0 - ssim(x, rebuilt, data_range=terms.data_range).mean()
        if terms.loss == "ms_ssim":
            return 1.0 - ms_ssim(x, rebuilt, data_range=terms.data_range, scales=terms.scales).mean()
        if terms.loss == "rmse":
            return ((x - rebuilt).square().mean() + _ROOT).sqrt()
        return self.squared_loss(x - rebuilt)


def errors(x: Tensor, rebuilt: Tensor, names: Sequence[Error], *, terms: PictureLoss) -> dict[str, Tensor]:
    """Return the named errors of every item ``[item]``; higher is worse.

    ``mse``: mean squared difference. ``ssim``, ``ms_ssim``: one minus the similarity. ``abs_mix``: the mean of mean, maximum
    and variance of the absolute difference, the undocumented score behind the figures of Özcan and Özcan's Model 1.
    """
    found: dict[str, Tensor] = {}
    for name in names:
        if name == "mse":
            found[name] = (x - rebuilt).square().flatten(1).mean(dim=1)
        elif name == "ssim":
            found[name] = 1.0 - ssim(x, rebuilt, data_range=terms.data_range)
        elif name == "ms_ssim":
            found[name] = 1.0 - ms_ssim(x, rebuilt, data_range=terms.data_range, scales=terms.scales)
        else:
            gap = (x - rebuilt).abs().flatten(1)
            found[name] = (gap.mean(dim=1) + gap.amax(dim=1) + gap.var(dim=1, correction=0)) / 3.0
    return found
