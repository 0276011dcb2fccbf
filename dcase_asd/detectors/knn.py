"""k nearest neighbours: the whole grid of k and fit sets from one pass over the distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.covariance import Moments, Shrinkage, check_shrinkage, shrink, whitening
from dcase_asd.detectors._shared.fit_sets import (
    FitSet,
    FitSetConfig,
    TrainingRows,
    available_fit_sets,
    gather,
    pseudo_target,
)
from dcase_asd.detectors._shared.grid import (
    as_scores,
    check_sizes,
    fitting_sizes,
    part_name,
    tensor_to_text,
    text_to_tensor,
    wanted,
)
from dcase_asd.detectors._shared.nearest import Bank, Reading, squared_to_neighbors
from dcase_asd.detectors.base import Batches, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "Knn"]

Array = NDArray[np.float64]

INFO = Info(
    summary="distance to the nearest training embeddings, a whole grid of k and fit sets at once",
    implementation="Knn",
    source="Ramaswamy et al. 2000; Mahalanobis distance and grid as in Fujimura 2023, Section 4.2; "
    "local_density: Wilkinghoff et al., ICASSP 2025",
    input="vector",
    cost="n_train x dim per segment, all training embeddings kept",
    strengths="no training, follows any shape of the normal set; few target clips count fully with separate_domains",
    weaknesses="memory and time grow with the training set; cosine forgets length and is bounded by 2",
)

#: Smallest local density, relative to the mean of its fit set: copies of a point must not make its neighbourhood infinitely
#: anomalous. Our choice; training segments that are no copies lie far above it.
_LEAST_DENSITY = 1e-3

#: Blocks of points that a fit set consists of.
_BLOCKS: dict[FitSet, tuple[str, ...]] = {
    "source": ("source",),
    "both": ("source", "target"),
    "pseudo_target": ("pseudo_target",),
}


@configclass
class Config(FitSetConfig):
    """Configuration of :class:`Knn`; the keys of :class:`FitSetConfig` apply too.

    Attributes
    ----------
    n_neighbors : tuple of int
        Grid of k; the default is that of Fujimura 2023, Section 4.2.
    oversize : {"skip", "error"}
        A k above the number of points of a fit set is left out (logged; its part is missing) or refused.
    reduce : {"mean", "kth"}
        Mean of the distances to the k nearest, or the distance to the k-th alone.
    metric : {"mahalanobis", "euclidean", "cosine"}
        Cosine is 1 - cosine similarity.
    covariance : {"shared", "per_set"}
        Covariance of the Mahalanobis metric. ``shared``: one for the whole grid, of all original segments (of the source
        segments where ``source`` is the only fit set), so that one distance pass serves all; ``per_set``: that of each fit
        set's own rows, one pass a fit set. With ``shared``, fit set ``source`` beside others hence sees target segments
        through the metric; choose ``per_set`` where that must not be.
    shrinkage : float or "ledoit_wolf"
        Shrinkage of that covariance towards a multiple of the identity.
    separate_domains : bool
        Fit set ``both``: the smaller one of the scores against source and against target points, so that a segment need
        be near one domain only, however few points it has. k is then limited by the smaller domain.
    local_density : int
        K of local-density normalisation, 0 for none: the distance to each training point is divided by the mean distance of
        that point to its K nearest points of other clips in the same fit set (for ``pseudo_target``: to its K nearest other
        mixtures), before the k nearest are sought. Sparse points, such as those of few target clips, then reach as far as
        dense ones (Wilkinghoff et al., "Keeping the balance: anomaly score calculation for domain generalization",
        ICASSP 2025). No mean distance counts as less than a thousandth of the average in its fit set.
    """

    n_neighbors: tuple[int, ...] = (1, 2, 4, 16, 32)
    oversize: Literal["skip", "error"] = "skip"
    reduce: Literal["mean", "kth"] = "mean"
    metric: Literal["mahalanobis", "euclidean", "cosine"] = "mahalanobis"
    covariance: Literal["shared", "per_set"] = "shared"
    shrinkage: Shrinkage = "ledoit_wolf"
    separate_domains: bool = False
    local_density: int = 0

    def __post_init__(self) -> None:
        FitSetConfig.__post_init__(self)
        check_sizes(self.n_neighbors, key="n_neighbors")
        check_shrinkage(self.shrinkage)
        if self.local_density < 0:
            raise ConfigError(f"local_density: expected a number of neighbours or 0 for none, got {self.local_density}")


@dataclass(frozen=True)
class _Pass:
    """One pass over distances: a metric, the points under it, and the fit sets read off it."""

    fit_sets: tuple[FitSet, ...]
    whiten: Array | None
    bank: Bank


class Knn(Detector[Config]):
    """k-nearest-neighbour detector.

    ``Scores.parts`` has one entry per fit set and k, named ``fit_set=both,k=4``, in the order of the configuration;
    ``Scores.score`` is the first of them. With a grid of one there are no parts.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._state: dict[str, NDArray[Any]] | None = None
        self._grid: list[tuple[FitSet, tuple[int, ...]]] = []
        self._passes: list[_Pass] = []

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Keep the training segments and the metric.

        Raises
        ------
        DataError
            For non-finite values, a wrong shape, too few segments or (with ``local_density``) clips, or a singular covariance.
        """
        rows = gather(batches)
        fit_sets = available_fit_sets(self.config, n_target=len(rows.target), owner="knn")
        blocks = self._blocks(rows, fit_sets, seed=seed)
        grid = [(name, self._sizes(name, blocks)) for name in fit_sets]
        state: dict[str, NDArray[Any]] = {f"block.{name}": block for name, block in blocks.items()}
        state["grid"] = text_to_tensor(grid)
        if self.config.metric == "mahalanobis":
            state |= self._metrics(fit_sets, blocks, rows=rows)
        if self.config.local_density:
            for name in fit_sets:
                state |= self._densities(name, state, rows=rows)
        self.load_state(state)

    def _blocks(self, rows: TrainingRows, fit_sets: tuple[FitSet, ...], *, seed: int) -> dict[str, NDArray[Any]]:
        needed = {block for name in fit_sets for block in _BLOCKS[name]}
        blocks: dict[str, NDArray[Any]] = {}
        if "source" in needed:
            blocks["source"] = rows.source
        if "target" in needed and len(rows.target):
            blocks["target"] = rows.target
        if "pseudo_target" in needed:
            blocks["pseudo_target"] = pseudo_target(rows, config=self.config, seed=seed)
        return blocks

    def _sizes(self, fit_set: FitSet, blocks: Mapping[str, NDArray[Any]]) -> tuple[int, ...]:
        counts = [len(blocks[name]) for name in _BLOCKS[fit_set] if name in blocks]
        limit = min(counts) if self.config.separate_domains else sum(counts)
        where = f"knn: fit set {fit_set!r}"
        return fitting_sizes(self.config.n_neighbors, limit=limit, policy=self.config.oversize, key="n_neighbors", where=where)

    def _metrics(
        self, fit_sets: tuple[FitSet, ...], blocks: Mapping[str, NDArray[Any]], *, rows: TrainingRows
    ) -> dict[str, NDArray[Any]]:
        if self.config.covariance == "per_set":
            members = {name: [blocks[b] for b in _BLOCKS[name] if b in blocks] for name in fit_sets}
            return {f"whiten.{name}": self._whiten(np.concatenate(part), name=name) for name, part in members.items()}
        original = rows.source if fit_sets == ("source",) else rows.all
        return {"whiten": self._whiten(original, name="all fit sets")}

    def _whiten(self, x: NDArray[Any], *, name: str) -> Array:
        moments = Moments.of(x)
        amount = moments.ledoit_wolf() if self.config.shrinkage == "ledoit_wolf" else float(self.config.shrinkage)
        return whitening(shrink(moments.covariance(), amount), name=f"knn: {name}")

    def _densities(self, fit_set: FitSet, state: Mapping[str, NDArray[Any]], *, rows: TrainingRows) -> dict[str, Array]:
        names = [name for name in _BLOCKS[fit_set] if f"block.{name}" in state]
        counts = [len(state[f"block.{name}"]) for name in names]
        group = np.arange(sum(counts))  # every mixture for itself
        if rows.source_clip is not None and rows.target_clip is not None and "pseudo_target" not in names:
            clips = {"source": rows.source_clip, "target": rows.target_clip}
            group = np.unique(np.concatenate([clips[name] for name in names]), return_inverse=True)[1]
        n_others = len(group) - int(np.bincount(group).max())
        if self.config.local_density > n_others:
            raise DataError(
                f"knn: fit set {fit_set!r}: local_density {self.config.local_density} exceeds the {n_others} training segments "
                "of other clips that some segment has; use a smaller number, more clips, or 0 for none"
            )
        whiten = self._whitening(fit_set, state)
        points = np.concatenate([self._transform(state[f"block.{name}"], whiten) for name in names])
        density = self._distance(squared_to_neighbors(points, group=group, k=self.config.local_density)).mean(axis=1)
        if not density.any():
            raise DataError(f"knn: fit set {fit_set!r}: all training segments are equal, local_density is undefined; set it to 0")
        parts = np.split(np.maximum(density, _LEAST_DENSITY * density.mean()), np.cumsum(counts)[:-1])
        return {f"density.{fit_set}.{name}": part for name, part in zip(names, parts, strict=True)}

    def score(self, x: NDArray[Any]) -> Scores:
        """Return distances to the nearest training segments (see :class:`Detector`)."""
        state = require_fitted(self._state, self)
        dim = next(value.shape[1] for name, value in state.items() if name.startswith("block."))
        x = check_input(x, kind="vector", like=(dim,))
        largest = max(max(sizes) for _, sizes in self._grid)
        found: dict[str, dict[str, Array]] = {}
        for one in self._passes:
            nearest = one.bank.nearest(self._transform(x, one.whiten), k=largest)
            distances = {name: self._distance(squared) for name, squared in nearest.items()}
            for fit_set in one.fit_sets:
                found[fit_set] = {b: distances[self._reading_name(fit_set, b)] for b in _BLOCKS[fit_set] if b in one.bank.blocks}
        parts = [
            (part_name(fit_set=name, k=k), values)
            for name, sizes in self._grid
            for k, values in zip(sizes, self._reduced(name, sizes, found[name]), strict=True)
        ]
        return as_scores(parts, n_wanted=len(self.config.fit_sets) * len(self.config.n_neighbors))

    def _distance(self, squared: NDArray[Any]) -> Array:
        squared = np.asarray(squared, dtype=np.float64)
        # for unit vectors 1 - cosine = |a - b|^2 / 2
        return squared / 2.0 if self.config.metric == "cosine" else np.sqrt(squared)

    def _transform(self, x: NDArray[Any], whiten: Array | None) -> Array:
        x = np.asarray(x, dtype=np.float64)
        if self.config.metric == "cosine":
            length = np.linalg.norm(x, axis=1)
            if not length.all():
                raise DataError(
                    f"knn: segment {int(np.argmin(length))} is all zeros, its cosine is undefined; use another metric"
                )
            return np.asarray(x / length[:, None])
        return x if whiten is None else np.asarray(x @ whiten.T)

    def _reduced(self, fit_set: FitSet, sizes: tuple[int, ...], distances: Mapping[str, Array]) -> list[Array]:
        candidates = [distances[name] for name in _BLOCKS[fit_set] if name in distances]
        if not self.config.separate_domains and len(candidates) > 1:
            candidates = [np.sort(np.concatenate(candidates, axis=1), axis=1)]
        columns = np.asarray(sizes) - 1
        reduced = [self._over_neighbors(nearest[:, : max(sizes)])[:, columns] for nearest in candidates]
        return list(np.ascontiguousarray(np.minimum.reduce(reduced).T))

    def _over_neighbors(self, nearest: Array) -> Array:
        if self.config.reduce == "kth":
            return nearest
        return np.asarray(np.cumsum(nearest, axis=1) / np.arange(1, nearest.shape[1] + 1))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the points as they came (``block.*``), whitening matrices, local densities and the fitted grid."""
        return dict(require_fitted(self._state, self))

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        grid = tensor_to_text(wanted(tensors, "grid", owner=self), name="grid")
        self._grid = [(name, tuple(sizes)) for name, sizes in grid]
        names = [name for name, _ in self._grid]
        per_set = self.config.metric == "mahalanobis" and self.config.covariance == "per_set"
        self._passes = [self._pass(group, tensors) for group in ([(name,) for name in names] if per_set else [tuple(names)])]
        self._state = dict(tensors)

    def _pass(self, fit_sets: tuple[FitSet, ...], tensors: Mapping[str, NDArray[Any]]) -> _Pass:
        whiten = self._whitening(fit_sets[0], tensors)
        # a fit without target segments has no target block: "both" equals "source" then
        needed = dict.fromkeys(block for name in fit_sets for block in _BLOCKS[name])
        present = [name for name in needed if name != "target" or "block.target" in tensors]
        points = {name: self._transform(wanted(tensors, f"block.{name}", owner=self), whiten) for name in present}
        places = [(name, block) for name in fit_sets for block in _BLOCKS[name] if block in points]
        readings = {self._reading_name(*place): self._reading(*place, tensors) for place in places}
        return _Pass(fit_sets, whiten, Bank.of(points, readings=readings))

    def _whitening(self, fit_set: str, tensors: Mapping[str, NDArray[Any]]) -> Array | None:
        if self.config.metric != "mahalanobis":
            return None
        return wanted(tensors, f"whiten.{fit_set}" if self.config.covariance == "per_set" else "whiten", owner=self)

    def _reading_name(self, fit_set: str, block: str) -> str:
        # plain distances to a block serve every fit set; local densities are those of one fit set
        return f"{fit_set}.{block}" if self.config.local_density else block

    def _reading(self, fit_set: str, block: str, tensors: Mapping[str, NDArray[Any]]) -> Reading:
        if not self.config.local_density:
            return Reading(block)
        density = wanted(tensors, f"density.{fit_set}.{block}", owner=self)
        # what is divided is the squared distance, which for cosine is the distance itself
        return Reading(block, density if self.config.metric == "cosine" else np.square(density))
