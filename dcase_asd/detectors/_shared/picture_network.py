"""What detectors that train a network on whole pictures share: value range, held-out normals, fixed batches, the state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors._shared.fit_sets import TrainingRows, gather
from dcase_asd.detectors._shared.grid import as_scores, wanted
from dcase_asd.detectors.base import Batches, Detector, Scores, check_input, require_fitted

if TYPE_CHECKING:
    from dcase_asd.detectors._shared.picture_model import PictureModel

__all__ = ["PictureDetector"]

C = TypeVar("C")
# Segments of a forward pass when scoring; always exactly so many, the last filled up: kernels may round differently for
# another batch size.
_BLOCK = 8


class PictureDetector(Detector[C]):
    """A detector that is one torch module; everything it learned, frozen teachers included, is the module's state.

    Maps whose training values lie in [0, 1] (pictures of the ``identity`` extractor) are taken as they are; others (log-mels)
    are moved and scaled by the smallest and largest training value, and not clipped.
    """

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._model: PictureModel | None = None
        self._shape: tuple[int, int, int] = (0, 0, 0)

    @abstractmethod
    def build(self, shape: tuple[int, int, int]) -> PictureModel:
        """Return the model for segments ``(channel, h, w)``, to be trained or filled from a saved state."""

    @abstractmethod
    def train_model(self, model: PictureModel, x: NDArray[np.float32], held_out: NDArray[np.float32], *, seed: int) -> None:
        """Train and calibrate on prepared pictures in [0, 1]."""

    def held_out_share(self) -> float:
        """Return the share of the training clips that is kept for calibration."""
        return 0.0

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Train on segments of both domains; whole clips are held out where the model is calibrated.

        Raises
        ------
        DataError
            For non-finite values or a wrong shape, or if weights cannot be found.
        ConfigError
            If the pictures are too small for the network.
        TrainingError
            If there are too few clips, or the loss is not finite.
        """
        from dcase_asd.training.seeding import isolated

        rows = gather(batches, kind="map")
        x = rows.all
        channel, height, width = (int(n) for n in x.shape[1:])
        train, valid = _split(rows, share=self.held_out_share(), seed=seed)
        with isolated(seed, "weights"):
            model = self.build((channel, height, width))
        model.prepare.set_range(x)
        self.train_model(model, model.prepared(x[train]), model.prepared(x[valid]), seed=seed)
        self._model, self._shape = model.frozen(), (channel, height, width)

    def score(self, x: NDArray[Any]) -> Scores:
        """Return the scores and the map of where; the map has the network's own grid."""
        model = require_fitted(self._model, self)
        x = check_input(x, kind="map", like=self._shape)
        parts: dict[str, list[NDArray[np.float64]]] = {}
        maps = []
        for first in range(0, max(len(x), 1), _BLOCK):
            part = x[first : first + _BLOCK]
            full = np.zeros((_BLOCK, *self._shape), dtype=np.float32)
            full[: len(part)] = part
            scores, where = model.judged(full)
            for name, values in scores.items():
                parts.setdefault(name, []).append(values[: len(part)])
            maps.append(where[: len(part)])
        result = as_scores([(name, np.concatenate(values)) for name, values in parts.items()])
        return Scores(result.score, np.concatenate(maps), result.parts)

    def module_and_input(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return the model as it scores, and one segment; see :meth:`Detector.module_and_input`."""
        import torch

        from dcase_asd.detectors._shared.picture_model import Judge

        return Judge(require_fitted(self._model, self)), torch.zeros(1, *shape)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the model's tensors and the shape of a segment."""
        from dcase_asd.training.checkpoint import model_arrays

        arrays = model_arrays(require_fitted(self._model, self))
        return {"segment_shape": np.array(self._shape, dtype=np.int64), **{f"model.{k}": v for k, v in arrays.items()}}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing or do not fit."""
        self._fill(tensors, self.build)

    def _fill(self, tensors: Mapping[str, NDArray[Any]], build: Callable[[tuple[int, int, int]], PictureModel]) -> None:
        from dcase_asd.training.checkpoint import set_model
        from dcase_asd.training.seeding import isolated

        channel, height, width = (int(n) for n in wanted(tensors, "segment_shape", owner=self))
        with isolated(0, "weights"):
            model = build((channel, height, width))
        arrays = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        set_model(model, arrays, where=f"{type(self).__name__} state")
        self._model, self._shape = model.frozen(), (channel, height, width)


def _split(rows: TrainingRows, *, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows to train on and rows held out; segments of a clip stay together, because they resemble each other."""
    from dcase_asd.training.reconstruction import split_items

    clips = np.concatenate([np.asarray(part, dtype=str) for part in (rows.source_clip, rows.target_clip) if part is not None])
    names, of = np.unique(clips, return_inverse=True)
    train, valid = split_items(len(names), valid_fraction=share, how="random", seed=seed)
    return np.flatnonzero(np.isin(of, train)), np.flatnonzero(np.isin(of, valid))
