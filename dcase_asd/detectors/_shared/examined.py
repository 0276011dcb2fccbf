"""What a reconstruction network makes of the items of a segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dcase_asd.training.reconstruction import Reconstruction

__all__ = ["Examined", "examine"]


@dataclass(frozen=True)
class Examined:
    """What a network makes of the items of a segment.

    Attributes
    ----------
    residual : ndarray [item, ...]
        Standardised input minus reconstruction.
    kl : ndarray [item] or None
        Divergence in nats, of a variational network.
    named : mapping of str to ndarray [item, ...]
        What else the model tells; see :meth:`~dcase_asd.training.reconstruction.Reconstruction.examine`.
    """

    residual: NDArray[np.float32]
    kl: NDArray[np.float64] | None = None
    named: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def squared(self) -> NDArray[np.float64]:
        """Squared residuals in double precision."""
        return np.square(self.residual, dtype=np.float64)

    def row(self, row: int) -> Examined:
        """Return one item."""
        part = slice(row, row + 1)
        kl = None if self.kl is None else self.kl[part]
        return Examined(self.residual[part], kl, {name: value[part] for name, value in self.named.items()})


def examine(model: Reconstruction, items: NDArray[np.float32]) -> Examined:
    """Pass items ``[item, ...]`` through a model, once and without gradients."""
    import torch

    with torch.inference_mode():
        residual, kl, named = model.examine(torch.from_numpy(items))
    divergence = None if kl is None else kl.numpy().astype(np.float64)
    return Examined(residual.numpy(), divergence, {name: value.numpy() for name, value in named.items()})
