"""PatchCore: distance of every patch to a coreset of normal patches; the farthest patch decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.coreset import StreamingCoreset
from dcase_asd.detectors._shared.grid import wanted
from dcase_asd.detectors._shared.map_pooling import check_top_share, top_mean
from dcase_asd.detectors._shared.nearest import Bank
from dcase_asd.detectors.base import Batch, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "PatchCore"]

INFO = Info(
    summary="nearest-neighbour distance of patch features to a coreset of normal ones, with a map of where",
    implementation="PatchCore",
    source="Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022, Algorithm 1 and Eq. 6-7",
    input="map",
    cost="fit: a matrix product per ~100 picks; score: positions x coreset x channels; memory bounded by limit and chunk",
    strengths="small defects anywhere; no training; fits in one pass, on any number of pictures or segments",
    weaknesses="score scale depends on the coreset: thresholds must be set again; slow with a large coreset",
)

#: Rows of the bank that are taken to double precision at a time: 12 MB at 1536 dimensions.
_ROWS = 1_024


@configclass
class Config:
    """Configuration of :class:`PatchCore`.

    Attributes
    ----------
    ratio : float
        Share of the training patches that the coreset keeps (paper: 0.01 to 0.25).
    limit : int
        Most patches kept, whatever the ratio.
    chunk : int
        Patches in memory before they are reduced. What fits into one chunk is reduced by the exact traversal; longer
        streams chunk by chunk, with a somewhat larger covering radius, which the state holds.
    neighbors : int
        Neighbours of the nearest coreset patch that weight the score (Eq. 7; anomalib: 9); 1: unweighted.
    top_share : float
        Score of a segment: the mean of this share of its largest distances; 0: the largest alone (the paper). A larger
        share suits changes that are spread out, as in sound and in texture.
    """

    ratio: float = 0.1
    limit: int = 20_000
    chunk: int = 200_000
    neighbors: int = 9
    top_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse sizes out of range."""
        check_top_share(self.top_share)
        if not 0.0 < self.ratio <= 1.0:
            raise ConfigError(f"ratio: expected a share above 0 up to 1, got {self.ratio}")
        if min(self.limit, self.chunk, self.neighbors) < 1:
            raise ConfigError(
                f"limit, chunk and neighbors: expected at least 1, got {self.limit}, {self.chunk} and {self.neighbors}"
            )


class PatchCore(Detector[Config]):
    """PatchCore on maps ``[segment, channel, h, w]``; ``Scores.map`` has the distance at every position.

    No random projection before the coreset: it loses covering radius, and the blocked traversal is quick without.
    Distances are Euclidean, not squared. All domains are fitted on alike. Özcan and Özcan blur the map before they take its
    largest value; here, as in the paper, the score is that of the map as it is, and the blur is left to pixel metrics. faiss,
    which they search by, is not used even where it is installed: the product of matrices is quicker (benchmark ``nearest``).
    """

    incremental: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._stream: StreamingCoreset | None = None
        self._channels = 0
        self._seed = 0
        self._state: dict[str, NDArray[Any]] | None = None
        self._bank: Bank | None = None

    def begin(self, *, seed: int) -> None:
        """Start an incremental fit; what was fitted before stays in use until :meth:`finish`."""
        self._stream, self._seed = None, seed

    def observe(self, batch: Batch) -> None:
        """Add the patches of one batch."""
        like = None if self._stream is None else (self._channels, -1, -1)
        x = check_input(batch.x, kind="map", like=like, name="training segments")
        if self._stream is None:
            self._channels = x.shape[1]
            self._stream = StreamingCoreset(
                ratio=self.config.ratio, limit=self.config.limit, chunk=self.config.chunk, seed=self._seed
            )
        self._stream.add(_patches(x))

    def finish(self) -> None:
        """Reduce to the coreset.

        Raises
        ------
        DataError
            If there was no segment.
        """
        if self._stream is None or not self._stream.n_seen:
            raise DataError("patchcore: 0 segments, at least 1 is needed; add normal data")
        bank, radius = self._stream.finish()
        n_seen = self._stream.n_seen
        self._stream = None
        self.load_state(
            {
                "bank": bank,
                "covering_radius": np.array([radius]),
                "n_patches": np.array([n_seen], dtype=np.int64),
            }
        )

    def score(self, x: NDArray[Any]) -> Scores:
        """Return the weighted distance of the farthest patch, and all distances as a map (see :class:`Detector`)."""
        bank = require_fitted(self._bank, self)
        x = check_input(x, kind="map", like=(bank.points.shape[1], -1, -1))
        n, _, height, width = x.shape
        patches = _patches(x)
        distance = np.sqrt(bank.nearest(patches, k=1)["bank"][:, 0]).reshape(n, height * width)
        farthest = distance.argmax(axis=1)
        score = top_mean(distance, share=self.config.top_share)
        if self.config.neighbors > 1 and len(bank.points) > 1:
            score = score * self._weights(bank, patches.reshape(n, height * width, -1)[np.arange(n), farthest])
        return Scores(score=score, map=distance.reshape(n, height, width).astype(np.float32))

    def _weights(self, bank: Bank, patches: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return 1 less the softmax share of the nearest coreset patch among its own neighbours (Eq. 7)."""
        points = bank.points
        weights = np.empty(len(patches))
        for row, patch in enumerate(patches):
            centred = np.asarray(patch, dtype=np.float64) - bank.center
            nearest = int(_squared(points, centred).argmin())
            # the nearest patch is the first of its own neighbours
            around = np.argsort(_squared(points, points[nearest].astype(np.float64)), kind="stable")[: self.config.neighbors]
            distance = np.sqrt(_squared(points[around], centred))
            first = np.sqrt(_squared(points[nearest][None], centred))[0]
            weights[row] = 1.0 - np.exp(first - distance.max()) / np.exp(distance - distance.max()).sum()
        return weights

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the coreset, its covering radius and the number of patches it stands for."""
        return dict(require_fitted(self._state, self))

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        for name in ("bank", "covering_radius", "n_patches"):
            wanted(tensors, name, owner=self)
        self._state = dict(tensors)
        self._bank = Bank.of({"bank": np.asarray(tensors["bank"])})


def _squared(points: NDArray[np.floating], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances in double precision; a bank of single precision is never copied whole."""
    squared = np.empty(len(points))
    for first in range(0, len(points), _ROWS):
        gap = points[first : first + _ROWS] - to
        squared[first : first + _ROWS] = np.einsum("nd,nd->n", gap, gap)
    return squared


def _patches(x: NDArray[Any]) -> NDArray[np.float32]:
    """View maps as rows ``[segment * position, channel]`` in single precision."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1), dtype=np.float32).reshape(-1, x.shape[1])
