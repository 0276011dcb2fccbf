"""Dense autoencoders: layers of Linear, batch normalisation and ReLU down to a bottleneck and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["DenseAutoencoder", "dense_layers"]


def dense_layers(sizes: Sequence[int], *, momentum: float = 0.1, eps: float = 1e-5) -> nn.Sequential:
    """Return Linear, BatchNorm1d and ReLU for each step between sizes; with one size only, nothing.

    Parameters
    ----------
    sizes : sequence of int
        Values before the first layer and after each.
    momentum, eps : float
        Of the batch normalisation, in torch's sense of momentum (weight of the new batch; Keras counts the old one).
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out, momentum=momentum, eps=eps), nn.ReLU()]
    return nn.Sequential(*layers)


class DenseAutoencoder(nn.Module):
    """Encoder and mirrored decoder; every layer but the output is Linear, batch normalisation, ReLU, the bottleneck too.

    With ``hidden=(128,) * 4, n_bottleneck=8, momentum=0.01, eps=1e-3`` on 640 values this is the autoencoder of the official
    DCASE Task 2 baselines (2020 to 2026): 640-128-128-128-128-8-128-128-128-128-640.

    Parameters
    ----------
    n_values : int
        Values of an item; an item of several axes is flattened and comes out in its own shape.
    hidden : sequence of int
        Sizes of the encoder's layers; the decoder has them in reverse order.
    n_bottleneck : int
    momentum, eps : float
        See :func:`dense_layers`.

    Raises
    ------
    ConfigError
        If a size is not positive.
    """

    def __init__(
        self, n_values: int, *, hidden: Sequence[int], n_bottleneck: int, momentum: float = 0.1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        if min(n_values, n_bottleneck, *hidden) < 1:
            raise ConfigError(f"layer sizes must be positive, got {n_values} values, hidden {list(hidden)}, {n_bottleneck}")
        self.encoder = dense_layers([n_values, *hidden, n_bottleneck], momentum=momentum, eps=eps)
        self.decoder = dense_layers([n_bottleneck, *reversed(hidden)], momentum=momentum, eps=eps)
        self.output = nn.Linear(hidden[0] if hidden else n_bottleneck, n_values)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of ``[item, ...]``, same shape."""
        rebuilt: Tensor = self.output(self.decoder(self.encoder(x.flatten(1))))
        return rebuilt.view_as(x)
