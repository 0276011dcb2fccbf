"""Distance to the mean picture: what any learned model of pictures must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.grid import wanted
from dcase_asd.detectors.base import Batch, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import DataError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "MeanImage"]

INFO = Info(
    summary="mean difference from the mean of the normal pictures",
    implementation="MeanImage",
    source="no paper: the trivial detector that an autoencoder whose code collapsed becomes",
    input="map",
    cost="one pass; one subtraction a picture",
    strengths="nothing to tune; tells what position and brightness alone are worth",
    weaknesses="blind to everything but large differences from one fixed picture",
)


@configclass
class Config:
    """Configuration of :class:`MeanImage`.

    Attributes
    ----------
    distance : {"squared", "absolute"}
        Mean of squared or of absolute differences over all values.
    """

    distance: Literal["squared", "absolute"] = "squared"


class MeanImage(Detector[Config]):
    """Mean picture; ``Scores.map`` is the difference at each place, mean over channels."""

    incremental: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._sum: NDArray[np.float64] | None = None
        self._count = 0
        self._mean: NDArray[np.float64] | None = None

    def begin(self, *, seed: int) -> None:
        """Start a fit; the seed changes nothing."""
        del seed
        self._sum, self._count, self._mean = None, 0, None

    def observe(self, batch: Batch) -> None:
        """Add a batch to the sum."""
        like = None if self._sum is None else self._sum.shape
        x = check_input(batch.x, kind="map", like=like, name="training segments")
        total = x.sum(axis=0, dtype=np.float64)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(x)

    def finish(self) -> None:
        """Divide; raises ``DataError`` if there was no segment."""
        if self._sum is None or not self._count:
            raise DataError("mean_image: no training segments; check that the machine has clips of split 'train'")
        self._mean, self._sum = self._sum / self._count, None

    def score(self, x: NDArray[Any]) -> Scores:
        """Return mean differences and where they are (see :class:`Detector`)."""
        mean: NDArray[np.float64] = require_fitted(self._mean, self)
        gap = np.abs(check_input(x, kind="map", like=mean.shape) - mean)
        if self.config.distance == "squared":
            gap = gap**2
        return Scores(gap.reshape(len(gap), -1).mean(axis=1), gap.mean(axis=1).astype(np.float32))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the mean picture."""
        return {"mean": require_fitted(self._mean, self)}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned."""
        self._mean = np.asarray(wanted(tensors, "mean", owner=self), dtype=np.float64)
