"""What detectors that learn from labels share: gathering both classes, the grid search, and the sign of the score."""

from __future__ import annotations

import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd import config as configs
from dcase_asd.config import configclass
from dcase_asd.detectors._shared.grid_search import GridScore, cross_validation, grid_points, search
from dcase_asd.detectors.base import Batches, Detector, LabelledBatch, Scores, check_input, require_fitted
from dcase_asd.errors import ConfigError, DataError, nearest

__all__ = ["ClassWeight", "LabelledRows", "SupervisedConfig", "SupervisedDetector", "gather_labelled"]

ClassWeight = Literal["none", "balanced"]
_SEARCH_KEYS = ("grid", "grid_folds", "grid_score")
_log = logging.getLogger(__name__)


@configclass
class SupervisedConfig:
    """What every detector that learns from labels can be told.

    Attributes
    ----------
    class_weight : {"none", "balanced"}
        ``balanced``: errors on a class count in inverse proportion to its size.
    grid : mapping of str to list
        Keys of this configuration to the values tried; every combination is judged by cross-validation on the training segments,
        the best one is fitted on all of them, and the whole table is written beside the model (``grid.csv``). Empty: no search.
    grid_folds : int
    grid_score : {"f1", "accuracy"}
        What the best combination has the highest mean of.
    """

    class_weight: ClassWeight = "none"
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    grid_folds: int = 5
    grid_score: GridScore = "f1"

    def __post_init__(self) -> None:
        """Refuse grids over keys or values that do not exist."""
        known = [item.name for item in dataclasses.fields(self) if item.name not in _SEARCH_KEYS]
        for key, values in self.grid.items():
            if key not in known:
                raise ConfigError(f"grid: unknown key {key!r}{nearest(key, known)}; known: {', '.join(known)}")
            if not values or len(set(map(repr, values))) != len(values):
                raise ConfigError(f"grid.{key}: expected distinct values, at least one; got {list(values)}")
        for point in grid_points(self.grid) if self.grid else []:
            at_point(self, point)
        if self.grid_folds < 2:
            raise ConfigError(f"grid_folds: expected at least 2, got {self.grid_folds}")


C = TypeVar("C", bound=SupervisedConfig)
S = TypeVar("S", bound=SupervisedConfig)
M = TypeVar("M")


def at_point(config: S, point: Mapping[str, Any]) -> S:
    """Return a configuration with a point's values and no grid; raises ``ConfigError`` for a value that is refused."""
    values = {**configs.to_dict(config), "grid": {}, **point}
    return configs.build(type(config), values, where=f"grid point {dict(point)}")


@dataclass(frozen=True)
class LabelledRows:
    """All training segments in the order of their keys.

    Attributes
    ----------
    x : ndarray [segment, ...]
    label : ndarray [segment]
        0 or 1, both present.
    clip : ndarray [segment] of str
    """

    x: NDArray[Any]
    label: NDArray[np.int64]
    clip: NDArray[Any]


def gather_labelled(batches: Batches, *, kind: str, owner: str) -> LabelledRows:
    """Collect one pass over labelled training segments; batch boundaries and order do not matter.

    Raises
    ------
    DataError
        If there is no segment, batches carry no labels, a class is missing, a shape is wrong, or a value is not finite.
    """
    parts, keys, labels, clips = [], [], [], []
    like: tuple[int, ...] | None = None
    for batch in batches():
        if not isinstance(batch, LabelledBatch):
            raise DataError(
                f"{owner} learns from labels, and its training segments have none; it is for recipes whose corpus gives labelled "
                "training clips of both classes, not for normal clips alone"
            )
        parts.append(check_input(batch.x, kind=kind, like=like, name="training segments"))
        like = parts[-1].shape[1:]
        keys.append(np.asarray(batch.key))
        labels.append(np.asarray(batch.label))
        clips.append(np.asarray(batch.meta.clip_id))
    if not parts:
        raise DataError("training segments: none given; check that the machine has labelled training clips")
    order = np.argsort(np.concatenate(keys), kind="stable")
    x, label, clip = (np.concatenate(column)[order] for column in (parts, labels, clips))
    counts = {value: int(np.count_nonzero(label == value)) for value in (0, 1)}
    if sum(counts.values()) != len(label) or not all(counts.values()):
        raise DataError(
            f"{owner}: expected training segments labelled 0 and 1, both present; of {len(label)} there are "
            f"{counts[0]} and {counts[1]}"
        )
    return LabelledRows(x, label.astype(np.int64), clip)


class SupervisedDetector(Detector[C], Generic[C, M]):
    """A classifier behind the detector interface: its score is the decision value, above 0 for the positive class.

    Subclasses say how to train a model of type ``M`` and how it decides.
    """

    needs: ClassVar[tuple[str, ...]] = ("labels",)
    #: Input kind, as in :func:`~dcase_asd.detectors.base.check_input`.
    kind: ClassVar[str] = "vector"

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._model: M | None = None
        self._shape: tuple[int, ...] = ()

    @abstractmethod
    def train(self, config: C, x: NDArray[Any], label: NDArray[np.int64], *, seed: int, workdir: Path | None) -> M:
        """Return a model of segments ``x`` and their labels; ``workdir`` may keep checkpoints."""

    @abstractmethod
    def decide(self, model: M, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return decision values ``[segment]``."""

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Search the grid, if there is one, and train on all segments.

        Raises
        ------
        DataError
            As :func:`gather_labelled`, or if a class has fewer clips than the search has folds.
        TrainingError
            If the training fails.
        """
        name = type(self).__name__
        data = gather_labelled(batches, kind=self.kind, owner=name)
        config = self.config
        if config.grid:
            folds = cross_validation(data.label, data.clip, n_folds=config.grid_folds, seed=seed)

            def trial(point: Mapping[str, Any], train: NDArray[np.int64], valid: NDArray[np.int64]) -> NDArray[np.float64]:
                model = self.train(at_point(config, point), data.x[train], data.label[train], seed=seed, workdir=None)
                return self.decide(model, data.x[valid])

            found = search(grid_points(config.grid), folds, label=data.label, trial=trial, by=config.grid_score)
            if self.workdir is not None:
                self.workdir.mkdir(parents=True, exist_ok=True)
                found.write(self.workdir / "grid.csv")
            _log.info("%s: of %d grid points %s is taken", name, len(grid_points(config.grid)), dict(found.best))
            config = at_point(config, found.best)
        self._model = self.train(config, data.x, data.label, seed=seed, workdir=self.workdir)
        self._shape = tuple(data.x.shape[1:])

    def score(self, x: NDArray[Any]) -> Scores:
        """Return decision values: above 0 for the positive class, the higher the surer."""
        model = require_fitted(self._model, self)
        return Scores(self.decide(model, check_input(x, kind=self.kind, like=self._shape)))
