"""PaDiM: a Gaussian of some channels at every position; the Mahalanobis distance of the oddest position decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.grid import wanted
from dcase_asd.detectors._shared.map_pooling import check_top_share, top_mean
from dcase_asd.detectors._shared.position_gaussians import (
    PositionMoments,
    by_position,
    dual_form,
    dual_squared,
    primal_form,
    primal_of_segments,
    primal_squared,
)
from dcase_asd.detectors.base import Batch, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "Padim"]

INFO = Info(
    summary="Mahalanobis distance at every position of a feature map, with a map of where",
    implementation="Padim",
    source="Defard et al., PaDiM, ICPR 2020, Eq. 1-2; shrinkage: Ledoit & Wolf 2004",
    input="map",
    cost="one pass; positions x channels^2 memory and work per segment; smaller (dual form) below as many segments as channels",
    strengths="constant cost per picture whatever the training set; sharp where products stand in the same place",
    weaknesses="needs aligned pictures (or sounds): every position is its own model",
)

#: Segments that wait before they enter the sums, per channel: 1.5 times the memory of the sums, and none are needed for a
#: training set as large as one category of MVTec AD.
_BLOCK = 3


@configclass
class Config:
    """Configuration of :class:`Padim`.

    Attributes
    ----------
    n_channels : int
        Channels drawn at random of all (paper: 100 of 448 for ResNet-18, 550 of 1792 for WRN-50-2); all if there are
        no more.
    shrinkage : {"eps", "ledoit_wolf"}
        ``eps``: adds ``eps`` to the variances; ``ledoit_wolf``: estimates at every position how far to trust its
        covariance, worth it with few pictures.
    eps : float
        Paper: 0.01. Not used by ``ledoit_wolf``.
    blur : float
        Standard deviation of a Gaussian blur of the distances, in cells of the map, before the largest is taken;
        0: none. The 4 pixels of public code are 0.5 cells where a cell is 8 pixels.
    top_share : float
        Score of a segment: the mean of this share of its largest distances; 0: the largest alone (the paper).
    """

    n_channels: int = 100
    shrinkage: Literal["eps", "ledoit_wolf"] = "eps"
    eps: float = 0.01
    blur: float = 0.0
    top_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_top_share(self.top_share)
        if self.n_channels < 1 or not self.eps > 0.0 or not self.blur >= 0.0:
            raise ConfigError(
                f"expected n_channels >= 1, eps > 0 and blur >= 0; got {self.n_channels}, {self.eps} and {self.blur}"
            )


class Padim(Detector[Config]):
    """PaDiM on maps ``[segment, channel, h, w]``, all of one size; ``Scores.map`` has the distance at every position.

    All domains are fitted on alike. The channels drawn are part of the state. Deviations from the paper and from Özcan and Özcan:
    the map is not blurred before its largest value is taken unless ``blur`` says so (pixel metrics blur it in any case), and
    coarser layers are joined as the extractor ``backbone`` does, bilinearly and after a mean over 3 x 3 positions that PaDiM does
    not have (``neighbourhood: 1`` leaves it out).
    """

    incremental: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._seed = 0
        self._channels: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._forget()
        self._state: dict[str, NDArray[Any]] | None = None

    def begin(self, *, seed: int) -> None:
        """Start an incremental fit; what was fitted before stays in use until :meth:`finish`."""
        self._seed = seed
        self._forget()

    def _forget(self) -> None:
        """Drop what a fit collects."""
        self._shape: tuple[int, ...] = ()
        self._waiting: NDArray[np.float32] = np.empty((0, 0, 0), dtype=np.float32)
        self._n_waiting = 0
        self._moments: PositionMoments | None = None

    def observe(self, batch: Batch) -> None:
        """Add one batch to the moments; fewer segments than channels are kept as they are."""
        x = check_input(batch.x, kind="map", like=self._shape or None, name="training segments")
        if not self._shape:
            self._shape = x.shape[1:]
            n = min(self.config.n_channels, x.shape[1])
            rng = np.random.default_rng([self._seed, 0x7061])  # apart from other uses of the same seed
            self._channels = np.sort(rng.choice(x.shape[1], size=n, replace=False)).astype(np.int64)
        if self._n_waiting + len(x) > self._waiting.shape[1]:
            self._make_room(len(x))
        place = self._waiting[:, self._n_waiting : self._n_waiting + len(x)]
        by_position(x.reshape(*x.shape[:2], -1), self._channels, out=place)
        self._n_waiting += len(x)

    def _make_room(self, n: int) -> None:
        """Add what waits to the moments, if there is more than the space for it; memory that is not written to costs nothing."""
        room = _BLOCK * len(self._channels)
        if self._n_waiting and self._n_waiting + n > room:
            self._flush()
        if self._waiting.shape[1] < max(room, n):
            self._waiting = np.empty((self._shape[1] * self._shape[2], max(room, n), len(self._channels)), dtype=np.float32)

    def _flush(self) -> None:
        kept = self._waiting[:, : self._n_waiting]
        if self._moments is None:
            shift = np.asarray(kept.mean(axis=1, dtype=np.float64))
            self._moments = PositionMoments.empty(shift, with_fourth=self.config.shrinkage == "ledoit_wolf")
        self._moments.add(kept)
        self._n_waiting = 0

    def finish(self) -> None:
        """Factorise the covariances.

        Raises
        ------
        DataError
            If there are fewer than two segments.
        """
        n = self._n_waiting + (self._moments.n if self._moments is not None else 0)
        if n < 2:
            raise DataError(f"padim: {n} segments, at least 2 are needed; add normal data")
        if self._moments is not None and self._n_waiting:
            self._flush()
        waiting, moments = self._waiting[:, : self._n_waiting], self._moments
        shape, channels = self._shape, self._channels
        self._forget()
        state: dict[str, NDArray[Any]] = {"channels": channels, "shape": np.array(shape, dtype=np.int64)}
        options: dict[str, Any] = {"eps": self.config.eps, "shrinkage": self.config.shrinkage}
        if moments is not None:
            state |= {"mean": moments.mean(), "whiten": primal_form(moments, **options)}
        elif n >= len(channels):
            state["mean"], state["whiten"] = primal_of_segments(waiting, **options)
        else:
            state["mean"], state["dual"], state["ridge"] = dual_form(waiting, **options)
        self.load_state(state)

    def score(self, x: NDArray[Any]) -> Scores:
        """Return the largest (blurred) distance, and all of them as a map (see :class:`Detector`)."""
        state = require_fitted(self._state, self)
        shape = tuple(int(size) for size in state["shape"])
        x = check_input(x, kind="map", like=shape)
        rows = x.reshape(*x.shape[:2], -1)[:, state["channels"]]
        if "whiten" in state:
            squared = primal_squared(rows, state["mean"], state["whiten"])
        else:
            squared = dual_squared(rows, state["mean"], state["dual"], state["ridge"])
        distance = np.sqrt(squared).T.reshape(len(x), *shape[1:])
        if self.config.blur > 0.0:
            from scipy.ndimage import gaussian_filter

            distance = gaussian_filter(distance, sigma=(0.0, self.config.blur, self.config.blur))
        score = top_mean(distance.reshape(len(x), -1), share=self.config.top_share)
        return Scores(score=score, map=distance.astype(np.float32))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the channels, means, and whitening matrices or dual forms."""
        return dict(require_fitted(self._state, self))

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        names = ("channels", "shape", "mean", *(("dual", "ridge") if "dual" in tensors else ("whiten",)))
        self._state = {name: wanted(tensors, name, owner=self) for name in names}
