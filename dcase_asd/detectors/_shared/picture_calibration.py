"""What a trained picture autoencoder learns from held-out normal pictures: thresholds, and whether it is sound."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors._shared.examined import Examined, examine
from dcase_asd.errors import DataError

if TYPE_CHECKING:
    from dcase_asd.training.picture_reconstruction import PictureReconstruction
    from dcase_asd.training.reconstruction import ItemBatches

__all__ = ["measure_divergences", "refit_thresholds", "warn_of_wide_code"]

_log = logging.getLogger(__name__)
#: Pictures of a forward pass.
_BLOCK = 8
#: Nats below which a latent dimension tells nothing.
_COLLAPSED = 0.01
_MIN_HELD_OUT = 2


def refit_thresholds(
    model: PictureReconstruction,
    source: ItemBatches,
    *,
    score: Callable[[Examined], float],
    classes: Sequence[str],
    beta: float,
    quantile: float,
) -> NDArray[np.float64]:
    """Return the threshold of each class from clean held-out pictures: ``mu + beta sigma``, or a quantile if it is positive.

    Raises
    ------
    DataError
        If a class has fewer than two held-out pictures.
    """
    errors = np.array([score(found) for found in _passed(model, source)])
    labels = np.asarray(source.labels)[source.valid]
    values = np.zeros(len(classes))
    for label, name in enumerate(classes):
        own = errors[labels == label]
        if len(own) < _MIN_HELD_OUT:
            raise DataError(
                f"image_autoencoder: threshold: refit has {len(own)} held-out pictures of class {name!r}, at least "
                f"{_MIN_HELD_OUT} are needed; add normal pictures or raise valid_fraction"
            )
        values[label] = np.quantile(own, quantile) if quantile > 0 else own.mean() + beta * own.std()
    return values


def measure_divergences(model: PictureReconstruction, source: ItemBatches) -> None:
    """Keep the mean divergence of every latent dimension over held-out pictures, log it, and warn if the latent collapsed."""
    import torch

    rows = source.valid if len(source.valid) else source.train
    total = torch.zeros(model.network.n_code)
    with torch.inference_mode():
        for first in range(0, len(rows), _BLOCK):
            x = torch.from_numpy(source.items.take(rows[first : first + _BLOCK]))
            kl = model.network.encode((x - model.mean) / model.std)[1]
            total += 0.0 if kl is None else kl.sum(dim=0)
    nats = total / len(rows)
    model.kl_per_dimension.copy_(nats)
    _log.info("image_autoencoder: divergence of the latent dimensions in nats: %s", ", ".join(f"{n:.3g}" for n in nats))
    if not bool((nats > _COLLAPSED).any()):
        _log.warning(
            "image_autoencoder: the latent collapsed: none of its %d dimensions carries %g nats, every picture is rebuilt "
            "as the same one; lower beta, or set reduction: sum",
            len(nats),
            _COLLAPSED,
        )


def warn_of_wide_code(model: PictureReconstruction, *, n_values: int) -> None:
    """Warn if more values pass the bottleneck than a picture has."""
    if model.network.n_code > n_values:
        _log.warning(
            "image_autoencoder: the bottleneck of %d values is larger than the picture's %d; nothing but its training keeps "
            "the network from copying its input, defects included",
            model.network.n_code,
            n_values,
        )


def _passed(model: PictureReconstruction, source: ItemBatches) -> Iterator[Examined]:
    for first in range(0, len(source.valid), _BLOCK):
        part = source.valid[first : first + _BLOCK]
        found = examine(model, source.items.take(part))
        for row in range(len(part)):
            yield found.row(row)
