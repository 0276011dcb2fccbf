"""The losses of Fujimura 2023, Equations 1, 2, 3, 6 and 8.

Conventions: logits are what sigma is applied to; labels may be mixed (mixup) and lie in [0, 1];
``t [batch]`` is 1 for the target machine and 0 for pseudo-anomalies. Losses are computed in float32 or better.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["attribute_loss", "flow_loss", "machine_loss", "section_loss", "serial_oe_loss"]


def machine_loss(logit: Tensor, t: Tensor) -> Tensor:
    """Binary cross-entropy of target machine against pseudo-anomalies, Eq. 2.

    Parameters
    ----------
    logit : Tensor [batch]
    t : Tensor [batch]
        1 for the target machine, 0 for the others, between them after mixup.
    """
    return F.binary_cross_entropy_with_logits(logit.float(), t.float())


def section_loss(logits: Tensor, y: Tensor, t: Tensor) -> Tensor:
    """Binary cross-entropy of sections among target clips, Eq. 3: weighted by t, divided by K times the sum of t.

    Parameters
    ----------
    logits : Tensor [batch, section]
    y : Tensor [batch, section]
        One-hot (mixed) section labels.
    t : Tensor [batch]
        A batch without any target clip has loss 0.
    """
    terms = F.binary_cross_entropy_with_logits(logits.float(), y.float(), reduction="none").sum(dim=1)
    # 1e-12 only matters where the sum of t is 0, and there the numerator is 0 as well
    return (t.float() * terms).sum() / (logits.shape[1] * t.float().sum()).clamp_min(1e-12)


def attribute_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy of attribute values over all clips, Eq. 8: divided by K times the batch size.

    Parameters
    ----------
    logits : Tensor [batch, value]
    y : Tensor [batch, value]
        One-hot (mixed) attribute labels; all zeros for pseudo-anomalies (below Eq. 8).
    """
    return F.binary_cross_entropy_with_logits(logits.float(), y.float())


def serial_oe_loss(machine: Tensor, section: Tensor, *, section_weight: float) -> Tensor:
    """Sum of machine and section (or attribute) loss, Eq. 1; Section 4.2 sets the weight to 5."""
    return machine + section_weight * section


def flow_loss(log_density: Tensor, logabsdet: Tensor) -> Tensor:
    """Mean negative log-likelihood of maps, Eq. 6 and 7; Section 4.2 sets its weight in Eq. 5 to 1e-7.

    Parameters
    ----------
    log_density : Tensor [batch, h, w]
        ``log p_Z`` of the latent at each position; summed here, as the weight of 1e-7 presupposes (design facts (e)).
    logabsdet : Tensor [batch, h, w]
        What each position adds to the log-determinant.
    """
    return -(log_density + logabsdet).sum(dim=(1, 2)).mean()
