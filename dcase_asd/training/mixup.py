"""Mixup (Zhang et al., ICLR 2018) of inputs and labels: waveforms or log-mels, whatever the batch holds.

Labels are mixed with the same weight; a pseudo-anomaly brings the attribute vector 0 (Fujimura 2023, below Eq. 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError

__all__ = ["MixupConfig", "MixupPlan", "mix", "plan_mixup"]


@configclass
class MixupConfig:
    """How batches are mixed.

    Attributes
    ----------
    alpha : float
        Beta(alpha, alpha) is the law of the weight; 0.2 as in the ancestor's recipe (design facts (e)); 0 switches mixup off.
    probability : float
        Probability that a batch is mixed.
    schedule : {"constant", "cosine"}
        ``cosine`` lets the probability fall from ``probability`` to 0 along half a cosine over the training.
    """

    alpha: float = 0.2
    probability: float = 1.0
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.alpha < 0 or not 0 <= self.probability <= 1:
            raise ConfigError(f"mixup needs alpha >= 0 and a probability in [0, 1], got {self.alpha} and {self.probability}")

    def probability_at(self, progress: float) -> float:
        """Return the probability at a progress in [0, 1] through the training."""
        falling = 0.5 * (1.0 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0
        return self.probability * falling


@dataclass(frozen=True)
class MixupPlan:
    """Which samples of a batch are mixed with which, and how much of the first remains.

    Attributes
    ----------
    partner : ndarray [batch], int64
    weight : ndarray [batch], float32
        Share of the sample itself; the partner has the rest.
    """

    partner: NDArray[np.int64]
    weight: NDArray[np.float32]

    def dominant(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return for each sample the value of whichever of the two has the larger share (Fujimura 2023, Section 4.2)."""
        return np.asarray(np.where(self.weight >= 0.5, values, values[self.partner]))


def plan_mixup(n: int, config: MixupConfig, *, rng: np.random.Generator, progress: float) -> MixupPlan | None:
    """Draw the partners and weights of a batch of ``n`` samples, or None if this batch stays unmixed."""
    if config.alpha == 0 or rng.random() >= config.probability_at(progress):
        return None
    partner = rng.permutation(n).astype(np.int64)
    return MixupPlan(partner, rng.beta(config.alpha, config.alpha, size=n).astype(np.float32))


def mix(values: Tensor, plan: MixupPlan | None) -> Tensor:
    """Mix ``[batch, ...]`` along the first axis; two equal values stay exactly what they were."""
    if plan is None:
        return values
    if values.device.type == "cpu" and values.ndim > 2:
        # sample by sample: a log-mel crop stays in the cache, a batch does not (measured 8 times faster than in one piece)
        out = torch.empty_like(values)
        for i, (partner, share) in enumerate(zip(plan.partner.tolist(), plan.weight.tolist(), strict=True)):
            torch.lerp(values[partner], values[i], share, out=out[i])
        return out
    partners = torch.from_numpy(plan.partner).to(values.device)
    shares = torch.from_numpy(plan.weight).to(values.device, values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    # between two equal values lerp is exact, so "no pseudo-anomalous part" can be read off t == 1
    return torch.lerp(values[partners], values, shares)
