"""Exact nearest-neighbour distances to several blocks of points in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bank"]

#: Double precision, or single for banks of many patches.
Array = NDArray[Any]

#: Distances held at once: 4 M doubles, 32 MiB, about what stays in a last-level cache.
_CHUNK_VALUES = 4_194_304
#: Below this ratio of squared distance to squared lengths, cancellation in the matrix-product form may cost more than
#: 1e-5 (dim * eps / ratio, for dim of a few hundred); such distances are computed again from differences. By bytes of a
#: value; in single precision errors grow with the root of dim only, as they do in practice.
_CANCELLATION = {4: 1e-2, 8: 1e-8}


@dataclass(frozen=True)
class Bank:
    """Points to search, centred at their mean (distances do not change, cancellation shrinks).

    Attributes
    ----------
    center : ndarray [dim]
    points : ndarray [point, dim]
        Centred points, block after block.
    squared : ndarray [point]
        Squared lengths of the centred points.
    blocks : mapping of str to (start, stop)
    """

    center: Array
    points: Array
    squared: Array
    blocks: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, blocks: Mapping[str, Array]) -> Bank:
        """Make a bank of named blocks of points ``[point, dim]``."""
        points = np.concatenate(list(blocks.values()))
        center = points.mean(axis=0)
        points -= center
        squared = np.einsum("nd,nd->n", points, points)
        stops = np.cumsum([len(block) for block in blocks.values()]).tolist()
        places = dict(zip(blocks, zip([0, *stops[:-1]], stops, strict=True), strict=True))
        return cls(center, points, squared, places)

    def nearest(self, query: Array, *, k: int) -> dict[str, Array]:
        """Return, per block, the squared Euclidean distances to the nearest points, ascending.

        Parameters
        ----------
        query : ndarray [query, dim]
            Of the points' type.
        k : int
            Neighbours wanted; a block with fewer points gives all it has.

        Returns
        -------
        mapping of str to ndarray [query, min(k, n_points of the block)]
        """
        sizes = {name: min(k, stop - start) for name, (start, stop) in self.blocks.items()}
        found = {name: np.empty((len(query), size), dtype=self.points.dtype) for name, size in sizes.items()}
        step = max(1, _CHUNK_VALUES // len(self.points))
        for begin in range(0, len(query), step):
            rows = slice(begin, begin + step)
            centred = query[rows] - self.center
            # |q - b|^2 - |q|^2: the rest does not change which points are nearest
            partial = (-2 * centred) @ self.points.T
            partial += self.squared
            for name, size in sizes.items():
                found[name][rows] = self._block(centred, partial, name=name, k=size)
        return found

    def _block(self, query: Array, partial: Array, *, name: str, k: int) -> Array:
        start, stop = self.blocks[name]
        length = np.einsum("nd,nd->n", query, query)
        block = partial[:, start:stop]
        smallest = block.min(axis=1, keepdims=True) if k == 1 else np.partition(block, k - 1, axis=1)[:, :k]
        nearest = smallest + length[:, None]
        # |b| <= |q| + |q - b|, so |q|^2 stands for both lengths where the distance is small
        doubtful = np.flatnonzero((nearest < _CANCELLATION[query.dtype.itemsize] * 4.0 * length[:, None]).any(axis=1))
        for row in doubtful:
            index = np.argpartition(block[row], k - 1)[:k]
            difference = self.points[start:stop][index] - query[row]
            nearest[row] = np.einsum("nd,nd->n", difference, difference)
        nearest.sort(axis=1)
        return np.asarray(np.maximum(nearest, 0.0))
