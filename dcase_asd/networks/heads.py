"""Heads on the embedding vector: machine (one logit), attributes and sections (K logits)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["MachineHead", "NormHead", "class_head", "machine_head"]

MachineHead = Literal["linear", "norm"]


class NormHead(nn.Module):
    """Affine map of the Euclidean norm of the embedding: the machine head of Serial-OE.

    ``[batch, dim]`` to ``[batch, 1]``. Source: Kuroyanagi et al., EUSIPCO 2022 (reference [4] of Fujimura 2023, below Eq. 2).
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, vector: Tensor) -> Tensor:
        """Return ``scale * |vector| + offset``; the small constant keeps the gradient of the root finite at zero."""
        norm = vector.float().square().sum(dim=1, keepdim=True).add(1e-12).sqrt()
        return self.scale * norm + self.offset


def machine_head(kind: MachineHead, dim: int) -> nn.Module:
    """Make g_machine of Eq. 2: ``linear`` as in Fujimura 2023, Section 4.2, or ``norm`` as in Serial-OE.

    Raises
    ------
    ConfigError
        For another kind.
    """
    if kind == "linear":
        return nn.Linear(dim, 1)
    if kind == "norm":
        return NormHead()
    raise ConfigError(f"machine head {kind!r}: expected linear or norm")


def class_head(dim: int, n_classes: int) -> nn.Module:
    """Make g_section (Eq. 3) or g_att (Eq. 8): a linear map to one logit per class."""
    return nn.Linear(dim, n_classes)
