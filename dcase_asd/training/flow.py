"""The flow as a loss term (Fujimura 2023, Eq. 5 to 7), trained alone on given maps or together with their extractor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dcase_asd.networks.fastflow import FastFlow, log_density
from dcase_asd.training.losses import flow_loss

__all__ = ["FlowTerm"]


class FlowTerm(nn.Module):
    """Eq. 6 on the map; reads ``t [batch]`` and, with domain channels, ``flow_mean [batch]``.

    Only samples without pseudo-anomalous part (t is 1, mixed or not) train the flow (Section 4.2); the mean of Eq. 6 is over
    those. The flow is computed in float32 whatever the autocast.

    Parameters
    ----------
    flow : FastFlow
    n_domain : int
        Number of z_d channels; their mean ``k v`` is ``flow_mean``, NaN where unknown.
    running_statistics : bool
        Whether the standardisation of the flow's input follows the batches: where the extractor is trained too.
    own_weight : float
        0: every gradient is that of Eq. 6. Otherwise the weight lambda_Flow that this term has in the sum of losses: the
        extractor then gets lambda_Flow times the gradient of Eq. 6 as before, but the flow's own parameters get the gradient of
        the mean over channels and positions, free of lambda_Flow. The value is Eq. 6 in both cases.
    """

    def __init__(self, flow: FastFlow, *, n_domain: int = 0, running_statistics: bool = False, own_weight: float = 0.0) -> None:
        super().__init__()
        self.flow = flow
        self.n_domain = n_domain
        self.running_statistics = running_statistics
        self.own_weight = own_weight

    def forward(self, features: Tensor, vector: Tensor, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002 - one signature
        """Return Eq. 6, zero for a batch in which every sample has a pseudo-anomalous part.

        Raises
        ------
        FloatingPointError
            If the loss is not finite; says after which coupling.
        """
        pure = batch["t"] == 1
        with torch.autocast(features.device.type, enabled=False):
            x = features[pure].float()
            if not len(x):
                return features.float().sum() * 0.0
            mean = batch["flow_mean"][pure] if self.n_domain else None
            if self.training and self.running_statistics:
                self.flow.standardisation.observe(x)
            loss = self._loss(x, mean)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"flow: not finite after {self.flow.broken_part(x) or 'the sum of its log-likelihood'}")
        return loss

    def _loss(self, x: Tensor, mean: Tensor | None) -> Tensor:
        own = self.own_weight * x[0].numel()
        if own:
            x = _ScaledGradient.apply(x, own)
        latent, logabsdet = self.flow.local(x)
        loss = flow_loss(log_density(latent, n_domain=self.n_domain, domain_mean=mean), logabsdet)
        if own:
            loss = _ScaledGradient.apply(loss, 1.0 / own)
        return loss


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None
