"""Farthest-first traversal (greedy k-center): exact, and blocked, so that it runs at the speed of a matrix product.

The greedy step (Gonzalez 1985; PatchCore, Algorithm 1) takes the point farthest from all taken ones. Done one by one, it
reads all points for every pick. Here a stored distance is an upper bound, since it can only fall: the ``pool`` points of
the largest bounds are kept apart and picked from, with their distances kept true, for as long as the best of them is no nearer
than the largest bound outside the pool. Each such pick is the one that the plain loop would make. Then all points are
brought up to date by one matrix product for all picks of the round (lazy evaluation as of Minoux 1978, for k-center).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.io.memory import free_bytes

__all__ = ["Coreset", "StreamingCoreset", "farthest_first"]

#: Points picked from between two updates of all points, and most picks of one such round; flat from 1 k to 4 k points.
_POOL, _BLOCK = 2048, 256
#: Rows updated at a time: a block of distances of 1 k x 256 in single precision is 1 MiB and stays in the cache.
_ROWS = 1_024
#: Squared distances below this share of a point's squared length are rounding (found: 2e-6 up to 1536 dimensions in single
#: precision): the point is a duplicate of a pick. Its own length, because beside a far outlier's all other points would count as
#: duplicates.
_DUPLICATE = {4: 4e-6, 8: 4e-14}


@dataclass(frozen=True)
class Coreset:
    """Chosen rows.

    Attributes
    ----------
    index : ndarray [pick] of int
        Rows in the order they were picked; fewer than asked for if there are fewer distinct points.
    radius : float
        Covering radius: every point lies within this distance of a picked one.
    """

    index: NDArray[np.int64]
    radius: float


def farthest_first(points: NDArray[Any], k: int, *, start: int = 0, pool: int = _POOL, block: int = _BLOCK) -> Coreset:
    """Pick up to ``k`` rows, each the farthest from all before it.

    Parameters
    ----------
    points : ndarray [point, dim]
        float32 or float64; the work is done in that precision.
    k : int
        Picks wanted. Once no point is farther than rounding from its nearest pick, the rest are duplicates and picking
        ends.
    start : int
        The first pick.
    pool, block : int
        Tuning; the result does not depend on them (but for ties and rounding).

    Raises
    ------
    DataError
        If there is no point, or ``k`` or ``start`` is out of range.
    """
    if not len(points) or k < 1 or not 0 <= start < len(points):
        raise DataError(f"coreset: expected points, k >= 1 and start below their number; got {len(points)}, {k} and {start}")
    x = points - points.mean(axis=0)  # distances do not change, cancellation shrinks
    squared = np.einsum("nd,nd->n", x, x)
    bound = _difference(x, x[start])
    bound[start] = -1.0  # a picked point is never picked again
    picks = [start]
    while len(picks) < k:
        fresh = _round(x, squared, bound, k=min(block, k - len(picks)), pool=pool)
        if not fresh:
            break
        _update(x, squared, bound, fresh)
        picks += fresh
    return Coreset(np.asarray(picks, dtype=np.int64), float(np.sqrt(max(float(bound.max()), 0.0))))


def _round(x: NDArray[Any], squared: NDArray[Any], bound: NDArray[Any], *, k: int, pool: int) -> list[int]:
    """Pick up to ``k`` rows from the pool; stop where a point outside it might be farther."""
    rounding = _DUPLICATE[x.dtype.itemsize] * squared
    inside, outside = _split(np.where(bound > rounding, bound, -1.0), pool)
    y, length, distance, rounding = x[inside], squared[inside], bound[inside], rounding[inside]
    fresh: list[int] = []
    while len(fresh) < k:
        best = int(distance.argmax())
        if distance[best] < 0.0 or distance[best] < outside:
            break
        if distance[best] <= rounding[best]:
            distance[best] = -1.0
            continue
        fresh.append(int(inside[best]))
        new = length - 2.0 * (y @ y[best])
        new += length[best]
        np.minimum(distance, new, out=distance)
        distance[best] = -1.0
    return fresh


def _split(bound: NDArray[Any], pool: int) -> tuple[NDArray[np.int64], float]:
    """Return the rows of the ``pool`` largest bounds and the largest bound of the others."""
    if len(bound) <= pool:
        return np.arange(len(bound)), -np.inf
    order = np.argpartition(bound, len(bound) - pool - 1)
    return np.sort(order[-pool:]), float(bound[order[-pool - 1]])


def _update(x: NDArray[Any], squared: NDArray[Any], bound: NDArray[Any], fresh: list[int]) -> None:
    import torch

    # |x - p|^2 less |x|^2, which does not change which pick is nearest; torch's row minimum uses all threads
    points, lengths, bounds = (torch.from_numpy(part) for part in (x, squared, bound))
    picked = torch.from_numpy(np.ascontiguousarray(-2.0 * x[fresh].T))
    offset = torch.from_numpy(squared[fresh])
    for first in range(0, len(x), _ROWS):
        rows = slice(first, first + _ROWS)
        nearest = torch.addmm(offset, points[rows], picked).amin(dim=1)
        nearest += lengths[rows]
        torch.minimum(bounds[rows], nearest.clamp_(min=0.0), out=bounds[rows])
    bound[fresh] = -1.0


def _difference(x: NDArray[Any], row: NDArray[Any]) -> NDArray[Any]:
    distance = np.empty(len(x), dtype=x.dtype)
    for first in range(0, len(x), _ROWS):
        gap = x[first : first + _ROWS] - row
        distance[first : first + _ROWS] = np.einsum("nd,nd->n", gap, gap)
    return distance


class StreamingCoreset:
    """A coreset of a stream of any length in bounded memory.

    Points are collected until there are ``chunk`` of them; then bank and chunk together are reduced to ``limit``. A
    stream that fits into one chunk is reduced once, by the exact traversal of all points.

    Parameters
    ----------
    ratio : float
        Share of all points seen that the coreset holds in the end.
    limit : int
        Most points kept between chunks and in the end.
    chunk : int
        Points collected before a reduction; memory is ``(limit + chunk) * dim`` values and one batch.
    seed : int
        Draws the first pick of every reduction.
    """

    def __init__(self, *, ratio: float, limit: int, chunk: int, seed: int) -> None:
        self._ratio, self._limit, self._chunk = ratio, limit, chunk
        self._rng = np.random.default_rng([seed, 0x636F7265])  # apart from other uses of the same seed
        self._parts: list[NDArray[np.float32]] = []
        self._n_waiting = 0
        self._bank: NDArray[np.float32] | None = None
        self._drift = 0.0
        self.n_seen = 0

    def add(self, points: NDArray[np.float32]) -> None:
        """Take points ``[point, dim]``, of which copies are kept; raises ``DataError`` if they cannot fit into memory."""
        self._refuse_too_much(points)
        for first in range(0, len(points), self._chunk):
            part = points[first : first + self._chunk]
            if self._n_waiting + len(part) > self._chunk:
                self._bank, radius = self._reduce(self._limit)
                # what was dropped before is within the earlier bound of a point that is within this radius of the bank
                self._drift += radius
            self._parts.append(np.array(part, dtype=np.float32))
            self._n_waiting += len(part)
            self.n_seen += len(part)

    def _refuse_too_much(self, points: NDArray[np.float32]) -> None:
        """Raise ``DataError`` while there is room to say so: beyond memory the system ends the process without a word."""
        kept = 0 if self._bank is None else len(self._bank)
        n = min(self._n_waiting + len(points), self._chunk) + kept
        # the new points, then all of them put together and once more centred
        needed = (min(len(points), self._chunk) + 2 * n) * points.shape[1] * 4
        free = free_bytes()
        if free is not None and needed > free:
            raise DataError(
                f"coreset: {n} points of {points.shape[1]} values need {needed / 2**30:.1f} GiB, free are {free / 2**30:.1f}; "
                f"lower `chunk` ({self._chunk}) and `limit` ({self._limit}) of the detector, or make the maps smaller "
                "(features.size, fewer layers)"
            )

    def finish(self) -> tuple[NDArray[np.float32], float]:
        """Return the coreset ``[pick, dim]`` and a radius that covers every point seen (exact if there was one chunk)."""
        size = max(1, min(self._limit, round(self._ratio * self.n_seen)))
        bank, radius = self._reduce(size)
        return bank, self._drift + radius

    def _reduce(self, size: int) -> tuple[NDArray[np.float32], float]:
        points = np.concatenate([*([] if self._bank is None else [self._bank]), *self._parts])
        self._parts, self._n_waiting = [], 0
        if size >= len(points):
            return points, 0.0
        chosen = farthest_first(points, size, start=int(self._rng.integers(len(points))))
        return points[chosen.index], chosen.radius
