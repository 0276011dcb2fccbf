"""A frozen ImageNet network as a teacher: its maps of pictures in [0, 1], and fixed projections of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.errors import FormatError
from dcase_asd.io.pretrained import RANDOM, find_weights
from dcase_asd.io.state_dicts import read_state_dict
from dcase_asd.networks.backbones import build_backbone, standardise_imagenet
from dcase_asd.networks.student import Projection, orthogonal_rows

__all__ = ["BackboneTeacher", "fit_projections"]

_CHUNK = 8
#: Deviation below which a channel counts as constant (its values are float32 numbers of order 1).
_LEAST_STD = 1e-6


class BackboneTeacher(nn.Module):
    """Maps of some layers of a frozen network, always in evaluation mode.

    Parameters
    ----------
    network : str
    layers : sequence of str
    weights : str or None
        As the ``backbone`` extractor's: a path, empty for the published file, ``random``; None builds the layers without
        looking for weights, because a saved state fills them.

    Attributes
    ----------
    sha256 : str
        Of the weights file; empty where there is none.

    Raises
    ------
    DataError
        If there is no weights file.
    """

    def __init__(self, network: str, layers: Sequence[str], *, weights: str | None) -> None:
        super().__init__()
        found, where, self.sha256 = None, "", ""
        if weights is not None and weights != RANDOM:
            file = find_weights(network, weights, download=False)
            found, where, self.sha256 = read_state_dict(file.path), str(file.path), file.sha256
        self.maps = build_backbone(network, layers, weights=found, where=where)
        self.layers = tuple(layers)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - torch's signature; a frozen network does not train
        """Stay in evaluation mode."""
        return super().train(mode=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return ``[picture, channel, h, w]`` of every layer for pictures ``[picture, 1 or 3, h, w]`` in [0, 1].

        Raises
        ------
        FormatError
            If the pictures are too small for the deepest layer.
        """
        try:
            with torch.no_grad():
                found = self.maps(standardise_imagenet(x))
        except RuntimeError as error:
            raise FormatError(
                f"pictures of {x.shape[2]} x {x.shape[3]} are too small for the teacher ({str(error)[:100]}); "
                "take a larger size or earlier layers"
            ) from error
        return [found[name] for name in self.layers]

    def channels(self, n_channels: int, size: tuple[int, int]) -> list[int]:
        """Return the channels of every layer's map."""
        return [part.shape[1] for part in self(torch.zeros(1, n_channels, *size))]


def fit_projections(
    projections: Sequence[Projection],
    maps: Iterator[Sequence[Tensor]],
    *,
    kind: Literal["orthogonal", "pca"],
) -> None:
    """Set statistics and matrices of fixed projections from a pass over the maps of normal pictures.

    Parameters
    ----------
    projections : sequence of Projection
        One for each map.
    maps : iterator of sequences of Tensor
        Batches of ``[picture, channel, h, w]``.
    kind : {"orthogonal", "pca"}
        Random orthonormal rows (columns, where the projection widens), drawn from torch's generator; or the principal
        components of the standardised channels, the strongest first (as many as there are; further outputs are 0).
    """
    moments = [_Moments(p.mean.shape[0]) for p in projections]
    for batch in maps:
        for moment, part in zip(moments, batch, strict=True):
            moment.add(part)
    for projection, moment in zip(projections, moments, strict=True):
        mean, covariance = moment.result()
        std = np.sqrt(np.diag(covariance))
        std = np.where(std > _LEAST_STD, std, 1.0)
        projection.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        projection.std.copy_(torch.from_numpy(std.astype(np.float32)))
        n_outputs, n_inputs = projection.matrix.shape
        if kind == "orthogonal":
            projection.matrix.copy_(orthogonal_rows(n_outputs, n_inputs))
            continue
        _, vectors = np.linalg.eigh(covariance / np.outer(std, std))
        strongest = vectors[:, ::-1][:, :n_outputs].T
        projection.matrix.zero_()
        projection.matrix[: len(strongest)] = torch.from_numpy(np.ascontiguousarray(strongest, dtype=np.float32))


class _Moments:
    """Running sums over positions, in double precision."""

    def __init__(self, n_channels: int) -> None:
        self.n = 0
        self.sum: NDArray[np.float64] = np.zeros(n_channels)
        self.products: NDArray[np.float64] = np.zeros((n_channels, n_channels))

    def add(self, part: Tensor) -> None:
        rows = part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]).double().numpy()
        self.n += len(rows)
        self.sum += rows.sum(axis=0)
        self.products += rows.T @ rows

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean = self.sum / self.n
        return mean, self.products / self.n - np.outer(mean, mean)


def chunks(x: NDArray[Any]) -> Iterator[Tensor]:
    """Yield pictures in batches of bounded size."""
    for first in range(0, len(x), _CHUNK):
        yield torch.from_numpy(x[first : first + _CHUNK])
