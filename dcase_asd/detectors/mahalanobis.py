"""One Gaussian per fit set, fitted in one pass with bounded memory; optionally one per domain (selective Mahalanobis)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.covariance import Moments, Shrinkage, check_shrinkage, shrink, whitening
from dcase_asd.detectors._shared.fit_sets import FitSet, FitSetConfig, available_fit_sets, is_target, mixture_moments
from dcase_asd.detectors._shared.grid import as_scores, part_name, tensor_to_text, text_to_tensor, wanted
from dcase_asd.detectors.base import Batch, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import DataError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "Mahalanobis"]

Array = NDArray[np.float64]

INFO = Info(
    summary="Mahalanobis distance to the mean of the training embeddings, per domain if wanted",
    implementation="Mahalanobis",
    source="selective Mahalanobis: Harada et al. 2023 (arXiv 2303.00455); shrinkage: Ledoit & Wolf 2004",
    input="vector",
    cost="dim^2 per segment; one pass, O(dim^2) memory",
    strengths="tiny, streaming, exact; hard to beat where normal embeddings form one cloud",
    weaknesses="one cloud only: several operating conditions look like one wide Gaussian",
)


@configclass
class Config(FitSetConfig):
    """Configuration of :class:`Mahalanobis`; the keys of :class:`FitSetConfig` apply too.

    Attributes
    ----------
    shrinkage : float or "ledoit_wolf"
        Shrinkage of each covariance towards a multiple of the identity.
    separate_domains : bool
        Fit set ``both``: the smaller one of the distances to the source and to the target Gaussian, each with its own
        mean and covariance. A domain with fewer than two segments has no covariance of its own and uses that of the
        other domain around its own mean; a domain with none is left out.
    squared : bool
        Squared distances, which average to the dimension on normal data.
    """

    shrinkage: Shrinkage = "ledoit_wolf"
    separate_domains: bool = False
    squared: bool = False

    def __post_init__(self) -> None:
        FitSetConfig.__post_init__(self)
        check_shrinkage(self.shrinkage)


class Mahalanobis(Detector[Config]):
    """Mahalanobis detector; ``Scores.parts`` has one entry per fit set, ``fit_set=both``, if there are several.

    The Gaussian of fit set ``pseudo_target`` is exact, not sampled: for z = w s + (1 - w) t with independent w, s, t the
    mean and covariance of z follow from those of s and t and the first two moments of w. ``pseudo_target_amount`` does
    not matter then, and its Ledoit-Wolf amount is that of the original segments of both domains.
    """

    incremental: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._moments: tuple[Moments, Moments] | None = None
        self._state: dict[str, NDArray[Any]] | None = None
        self._names: list[str] = []

    def begin(self, *, seed: int) -> None:  # noqa: ARG002 - nothing is random here
        """Start an incremental fit; what was fitted before stays in use until :meth:`finish`."""
        self._moments = None

    def observe(self, batch: Batch) -> None:
        """Add one batch to the running moments of its domains."""
        like = None if self._moments is None else self._moments[0].shift.shape
        x = check_input(batch.x, kind="vector", like=like, name="training segments")
        if self._moments is None:
            shift = np.asarray(x, dtype=np.float64).mean(axis=0)
            self._moments = Moments.empty(shift), Moments.empty(shift)
        mask = is_target(batch.meta.domain)
        for moments, rows in zip(self._moments, (x[~mask], x[mask]), strict=True):
            if len(rows):
                moments.add(rows)

    def finish(self) -> None:
        """Turn the moments into means and whitening matrices.

        Raises
        ------
        DataError
            If there are fewer than two source segments, or a covariance is singular.
        """
        if self._moments is None or self._moments[0].n < 2:
            n = 0 if self._moments is None else self._moments[0].n
            raise DataError(f"mahalanobis: {n} source segments, at least 2 are needed; add normal recordings")
        source, target = self._moments
        fit_sets = available_fit_sets(self.config, n_target=target.n, owner="mahalanobis")
        state: dict[str, NDArray[Any]] = {"fit_sets": text_to_tensor(fit_sets)}
        for name in fit_sets:
            for number, (mean, covariance) in enumerate(self._gaussians(name, source, target)):
                state[f"{name}.{number}.mean"] = mean
                state[f"{name}.{number}.whiten"] = whitening(covariance, name=f"mahalanobis: fit set {name!r}")
        self._moments = None
        self.load_state(state)

    def _gaussians(self, fit_set: FitSet, source: Moments, target: Moments) -> list[tuple[Array, Array]]:
        if fit_set == "source" or not target.n:
            return [(source.mean(), self._covariance(source))]
        if fit_set == "pseudo_target":
            return [self._mixture(source, target)]
        if not self.config.separate_domains:
            both = source.merged(target)
            return [(both.mean(), self._covariance(both))]
        own = target if target.n > 1 else source
        return [(source.mean(), self._covariance(source)), (target.mean(), self._covariance(own))]

    def _mixture(self, source: Moments, target: Moments) -> tuple[Array, Array]:
        first, second = mixture_moments(self.config)
        gap = source.mean() - target.mean()
        covariance = second * source.covariance() + (1.0 - 2.0 * first + second) * target.covariance()
        covariance += (second - first**2) * np.outer(gap, gap)
        return first * source.mean() + (1.0 - first) * target.mean(), shrink(covariance, self._amount(source.merged(target)))

    def _covariance(self, moments: Moments) -> Array:
        return shrink(moments.covariance(), self._amount(moments))

    def _amount(self, moments: Moments) -> float:
        return moments.ledoit_wolf() if self.config.shrinkage == "ledoit_wolf" else float(self.config.shrinkage)

    def score(self, x: NDArray[Any]) -> Scores:
        """Return distances to the nearest Gaussian of each fit set (see :class:`Detector`)."""
        state = require_fitted(self._state, self)
        x = check_input(x, kind="vector", like=state[f"{self._names[0]}.0.mean"].shape)
        parts = []
        for name in self._names:
            squared = [
                _squared(x, state[f"{name}.{n}.mean"], state[f"{name}.{n}.whiten"]) for n in range(self._count(name, state))
            ]
            nearest = np.minimum.reduce(squared)
            parts.append((part_name(fit_set=name), nearest if self.config.squared else np.sqrt(nearest)))
        return as_scores(parts, n_wanted=len(self.config.fit_sets))

    @staticmethod
    def _count(name: str, state: Mapping[str, NDArray[Any]]) -> int:
        return 2 if f"{name}.1.mean" in state else 1

    def state(self) -> dict[str, NDArray[Any]]:
        """Return means and whitening matrices per fit set."""
        return dict(require_fitted(self._state, self))

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        names = tensor_to_text(wanted(tensors, "fit_sets", owner=self), name="fit_sets")
        for name in names:
            for number in range(self._count(name, tensors)):
                wanted(tensors, f"{name}.{number}.mean", owner=self)
                wanted(tensors, f"{name}.{number}.whiten", owner=self)
        self._names, self._state = list(names), dict(tensors)


def _squared(x: NDArray[Any], mean: Array, whiten: Array) -> Array:
    y = (np.asarray(x, dtype=np.float64) - mean) @ whiten.T
    return np.asarray(np.einsum("nd,nd->n", y, y))
