"""What is minimised: a backbone and named loss terms on its map and vector.

A term is a module ``forward(map, vector, batch) -> scalar``; it may own parameters (a head, a flow). Terms give plain
losses; their weights are the training loop's, so that a term can be trained at weight 0 or with its own learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dcase_asd.training.losses import attribute_loss, machine_loss, section_loss

__all__ = ["AttributeTerm", "MachineTerm", "Objective", "SectionTerm"]


class Objective(nn.Module):
    """A backbone and the terms that share it (Fujimura 2023, Eq. 1; Eq. 5 adds a term on the map).

    Parameters
    ----------
    backbone : nn.Module
        ``forward(x) -> (map [batch, channel, freq, time], vector [batch, dim])``.
    terms : mapping of str to nn.Module
        Each called with ``(map, vector, batch)``.
    """

    def __init__(self, backbone: nn.Module, terms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.terms = nn.ModuleDict(terms)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return every term's loss for a batch with ``x [batch, channel, freq, time]`` and what the terms need."""
        features, vector = self.backbone(batch["x"])
        return {name: term(features, vector, batch) for name, term in self.terms.items()}


class MachineTerm(nn.Module):
    """Eq. 2 on the vector; reads ``t [batch]``."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, vector: Tensor, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002 - one signature
        """Return the machine loss."""
        return machine_loss(self.head(vector).squeeze(1), batch["t"])


class SectionTerm(nn.Module):
    """Eq. 3 on the vector; reads ``section [batch, k]`` and ``t [batch]``."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, vector: Tensor, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002 - one signature
        """Return the section loss."""
        return section_loss(self.head(vector), batch["section"], batch["t"])


class AttributeTerm(nn.Module):
    """Eq. 8 on the vector; reads ``attributes [batch, k]``."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, vector: Tensor, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002 - one signature
        """Return the attribute loss."""
        return attribute_loss(self.head(vector), batch["attributes"])
