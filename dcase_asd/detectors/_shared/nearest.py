"""Exact nearest-neighbour distances to several blocks of points in one pass, plain or relative to the points' local density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bank", "Reading", "squared_to_neighbors"]

#: Double precision, or single for banks of many patches.
Array = NDArray[Any]

#: Distances held at once: 4 M doubles, 32 MiB, about what stays in a last-level cache.
_CHUNK_VALUES = 4_194_304
#: Below this ratio of squared distance to squared lengths, cancellation in the matrix-product form may cost more than
#: 1e-5 (dim * eps / ratio, for dim of a few hundred); such distances are computed again from differences. By bytes of a
#: value; in single precision errors grow with the root of dim only, as they do in practice.
_CANCELLATION = {4: 1e-2, 8: 1e-8}


@dataclass(frozen=True)
class Reading:
    """One way to read the distances to a block of points.

    Attributes
    ----------
    block : str
        Name of the block.
    divisor : ndarray [point] or None
        Positive numbers that the squared distances to the block's points are divided by before the nearest are sought.
    """

    block: str
    divisor: Array | None = None


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
    readings : mapping of str to Reading
        What :meth:`nearest` returns, all from the same matrix product.
    """

    center: Array
    points: Array
    squared: Array
    blocks: Mapping[str, tuple[int, int]]
    readings: Mapping[str, Reading]

    @classmethod
    def of(cls, blocks: Mapping[str, Array], *, readings: Mapping[str, Reading] | None = None) -> Bank:
        """Make a bank of named blocks of points ``[point, dim]``; without readings, each block is read plainly."""
        points = np.concatenate(list(blocks.values()))
        center = points.mean(axis=0)
        points -= center
        squared = np.einsum("nd,nd->n", points, points)
        stops = np.cumsum([len(block) for block in blocks.values()]).tolist()
        places = dict(zip(blocks, zip([0, *stops[:-1]], stops, strict=True), strict=True))
        return cls(center, points, squared, places, readings or {name: Reading(name) for name in blocks})

    def nearest(self, query: Array, *, k: int) -> dict[str, Array]:
        """Return, per reading, the squared Euclidean distances (over the divisor) to the nearest points, ascending.

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
        shapes = {name: (len(query), min(k, self._size(one))) for name, one in self.readings.items()}
        found = {name: np.empty(shape, dtype=self.points.dtype) for name, shape in shapes.items()}
        step = max(1, _CHUNK_VALUES // len(self.points))
        for begin in range(0, len(query), step):
            rows = slice(begin, begin + step)
            centred = query[rows] - self.center
            # |q - b|^2 - |q|^2: the rest does not change which points are nearest
            partial = (-2 * centred) @ self.points.T
            partial += self.squared
            for name, one in self.readings.items():
                found[name][rows] = self._read(centred, partial, reading=one, k=found[name].shape[1])
        return found

    def _size(self, reading: Reading) -> int:
        start, stop = self.blocks[reading.block]
        return stop - start

    def _read(self, query: Array, partial: Array, *, reading: Reading, k: int) -> Array:
        start, stop = self.blocks[reading.block]
        length = np.einsum("nd,nd->n", query, query)
        block = partial[:, start:stop]
        if reading.divisor is None:
            smallest = block.min(axis=1, keepdims=True) if k == 1 else np.partition(block, k - 1, axis=1)[:, :k]
            nearest = smallest + length[:, None]
            plain = nearest
        else:
            # with divisors |q|^2 does change which points are nearest
            block = (block + length[:, None]) / reading.divisor
            index = np.argpartition(block, k - 1, axis=1)[:, :k]
            nearest = np.take_along_axis(block, index, axis=1)
            plain = nearest * reading.divisor[index]
        # |b| <= |q| + |q - b|, so |q|^2 stands for both lengths where the distance is small
        doubtful = np.flatnonzero((plain < _CANCELLATION[query.dtype.itemsize] * 4.0 * length[:, None]).any(axis=1))
        for row in doubtful:
            chosen = np.argpartition(block[row], k - 1)[:k]
            difference = self.points[start:stop][chosen] - query[row]
            exact = np.einsum("nd,nd->n", difference, difference)
            nearest[row] = exact if reading.divisor is None else exact / reading.divisor[chosen]
        nearest.sort(axis=1)
        return np.asarray(np.maximum(nearest, 0.0))


def squared_to_neighbors(points: Array, *, group: NDArray[np.int64], k: int) -> Array:
    """Return the squared distances ``[point, k]`` of each point to its k nearest points of other groups, ascending.

    Parameters
    ----------
    points : ndarray [point, dim], float64
    group : ndarray [point]
        Points of the same group are no neighbours of each other.
    k : int
        At most the number of points outside the largest group.
    """
    points = points - points.mean(axis=0)
    squared = np.einsum("nd,nd->n", points, points)
    out = np.empty((len(points), k))
    step = max(1, _CHUNK_VALUES // max(len(points), k * points.shape[1]))
    for begin in range(0, len(points), step):
        rows = slice(begin, begin + step)
        partial = (-2.0 * points[rows]) @ points.T + squared
        partial[group[rows, None] == group] = np.inf
        index = np.argpartition(partial, k - 1, axis=1)[:, :k]
        # from differences: close points would lose their digits in the matrix product
        difference = points[index] - points[rows, None]
        out[rows] = np.einsum("nkd,nkd->nk", difference, difference)
    out.sort(axis=1)
    return out
