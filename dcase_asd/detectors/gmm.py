"""Gaussian mixtures: a grid of numbers of components and fit sets, scored by the negative log-likelihood."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.covariance import shrink, whitening
from dcase_asd.detectors._shared.fit_sets import FitSet, FitSetConfig, available_fit_sets, gather, rows_of
from dcase_asd.detectors._shared.grid import (
    as_scores,
    check_sizes,
    fitting_sizes,
    part_name,
    tensor_to_text,
    text_to_tensor,
    wanted,
)
from dcase_asd.detectors.base import Batches, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "Gmm"]

Array = NDArray[np.float64]
_log = logging.getLogger(__name__)

INFO = Info(
    summary="negative log-likelihood under Gaussian mixtures, a grid of component numbers and fit sets",
    implementation="Gmm",
    source="Fujimura 2023, Section 4.2; EM of scikit-learn",
    input="vector",
    cost="EM per grid point; n_components x dim^2 per segment (full), x dim (diag)",
    strengths="several operating conditions become several components; a true likelihood",
    weaknesses="full covariances of hundreds of dimensions are near singular on few segments: raise reg, or use pca_dim or diag",
)


@configclass
class Config(FitSetConfig):
    """Configuration of :class:`Gmm`; the keys of :class:`FitSetConfig` apply too.

    Attributes
    ----------
    n_components : tuple of int
        Grid; the default is that of Fujimura 2023, Section 4.2.
    oversize : {"skip", "error"}
        A number of components above the number of segments of a fit set is left out (logged; its part is missing) or refused.
    covariance : {"full", "diag", "tied", "shrunk"}
        ``shrunk``: full in EM, then each component's covariance is shrunk towards a multiple of the identity.
    shrinkage : float
        Amount for ``shrunk``, 0 to 1.
    reg : float
        Added to the covariance diagonals, as a fraction of the mean variance of the fit set, so that it does not
        depend on the scale of the embeddings.
    pca_dim : int
        Project on the leading principal components of the fit set first; 0: do not. What lies outside of them is not
        seen by the score then.
    n_init, max_iter, tol
        EM restarts, iterations and convergence threshold; defaults of scikit-learn.
    """

    n_components: tuple[int, ...] = (1, 2, 4, 16, 32)
    oversize: Literal["skip", "error"] = "skip"
    covariance: Literal["full", "diag", "tied", "shrunk"] = "full"
    shrinkage: float = 0.1
    reg: float = 1e-3
    pca_dim: int = 0
    n_init: int = 1
    max_iter: int = 100
    tol: float = 1e-3

    def __post_init__(self) -> None:
        FitSetConfig.__post_init__(self)
        check_sizes(self.n_components, key="n_components")
        if not (self.reg >= 0 and 0 <= self.shrinkage <= 1 and self.pca_dim >= 0 and self.n_init > 0 and self.max_iter > 0):
            raise ConfigError(
                f"reg and pca_dim must not be negative, shrinkage within [0, 1], n_init and max_iter positive; got reg "
                f"{self.reg}, pca_dim {self.pca_dim}, shrinkage {self.shrinkage}, n_init {self.n_init}, max_iter {self.max_iter}"
            )


class Gmm(Detector[Config]):
    """Gaussian-mixture detector.

    ``Scores.parts`` has one entry per fit set and number of components, named ``fit_set=both,n_components=4``, in the
    order of the configuration; ``Scores.score`` is the first of them. With a grid of one there are no parts.
    All parts are densities in the original units, except that ``pca_dim`` scores the projection.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._state: dict[str, NDArray[Any]] | None = None
        self._grid: list[tuple[FitSet, tuple[int, ...]]] = []

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Run EM for every grid point.

        Raises
        ------
        DataError
            For non-finite values, a wrong shape, too few segments, or a singular covariance.
        """
        rows = gather(batches)
        if len(rows.source) < 2:
            raise DataError(f"gmm: {len(rows.source)} source segments, at least 2 are needed; add normal recordings")
        state: dict[str, NDArray[Any]] = {}
        grid = []
        for name in available_fit_sets(self.config, n_target=len(rows.target), owner="gmm"):
            x = np.asarray(rows_of(name, rows, config=self.config, seed=seed), dtype=np.float64)
            where = f"gmm: fit set {name!r}"
            sizes = fitting_sizes(
                self.config.n_components, limit=len(x), policy=self.config.oversize, key="n_components", where=where
            )
            grid.append((name, sizes))
            space = _space(x, pca_dim=self.config.pca_dim, where=where)
            state |= {f"{name}.{key}": value for key, value in space.items()}
            projected = _project(x, space)
            for k in sizes:
                mixture = self._mixture(projected, k, seed=seed, where=f"{where}, n_components {k}")
                state |= {f"{name}.{k}.{key}": value for key, value in mixture.items()}
        state["grid"] = text_to_tensor(grid)
        self.load_state(state)

    def _mixture(self, x: Array, k: int, *, seed: int, where: str) -> dict[str, NDArray[Any]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        model = GaussianMixture(
            k,
            covariance_type="full" if self.config.covariance == "shrunk" else self.config.covariance,
            reg_covar=self.config.reg,
            n_init=self.config.n_init,
            max_iter=self.config.max_iter,
            tol=self.config.tol,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # "did not converge" and "fewer distinct points than clusters" are reported through the log and the state
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                model.fit(x)
            except ValueError as error:
                remedy = "raise reg, choose covariance diag, or set pca_dim"
                raise DataError(
                    f"{where}: EM failed on {len(x)} segments of {x.shape[1]} dimensions ({error}); {remedy}"
                ) from error
        if not model.converged_:
            _log.warning("%s: EM did not converge in %d iterations", where, self.config.max_iter)
        return {
            "weight": model.weights_,
            "mean": model.means_,
            "whiten": self._whiten(model.covariances_, where=where),
            "converged": np.array([model.converged_], dtype=np.uint8),
        }

    def _whiten(self, covariances: Array, *, where: str) -> Array:
        if self.config.covariance == "diag":
            return np.asarray(1.0 / np.sqrt(covariances))
        full = covariances[None] if self.config.covariance == "tied" else covariances
        if self.config.covariance == "shrunk":
            full = np.stack([shrink(one, self.config.shrinkage) for one in full])
        return np.stack([whitening(one, name=where) for one in full])

    def score(self, x: NDArray[Any]) -> Scores:
        """Return negative log-likelihoods in nats (see :class:`Detector`)."""
        state = require_fitted(self._state, self)
        x = check_input(x, kind="vector", like=state[f"{self._grid[0][0]}.center"].shape)
        parts = []
        for name, sizes in self._grid:
            space = {key: state[f"{name}.{key}"] for key in ("center", "scale", "components") if f"{name}.{key}" in state}
            projected = _project(x, space)
            offset = projected.shape[1] * float(np.log(space["scale"][0]))
            for k in sizes:
                mixture = {key: state[f"{name}.{k}.{key}"] for key in ("weight", "mean", "whiten")}
                parts.append((part_name(fit_set=name, n_components=k), offset + _negative_log_likelihood(projected, **mixture)))
        return as_scores(parts, n_wanted=len(self.config.fit_sets) * len(self.config.n_components))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return per fit set the centre, scale and projection, and per mixture weights, means and whitening factors."""
        return dict(require_fitted(self._state, self))

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        grid = tensor_to_text(wanted(tensors, "grid", owner=self), name="grid")
        for name, sizes in grid:
            keys = [f"{name}.center", f"{name}.scale"] + [
                f"{name}.{k}.{key}" for k in sizes for key in ("weight", "mean", "whiten")
            ]
            for key in keys + ([f"{name}.components"] if self.config.pca_dim else []):
                wanted(tensors, key, owner=self)
        self._grid = [(name, tuple(sizes)) for name, sizes in grid]
        self._state = dict(tensors)


def _space(x: Array, *, pca_dim: int, where: str) -> dict[str, Array]:
    """Centre, scale (root mean variance) and, if wanted, the leading principal axes of a fit set."""
    center = x.mean(axis=0)
    centred = x - center
    if pca_dim > min(x.shape):
        raise DataError(f"{where}: pca_dim {pca_dim} exceeds what {x.shape[0]} segments of {x.shape[1]} dimensions span")
    space = {"center": center}
    if pca_dim:
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        space["components"] = np.ascontiguousarray(axes[:pca_dim])
        centred = centred @ space["components"].T
    scale = float(np.sqrt(np.mean(centred**2)))
    if scale <= np.finfo(np.float64).eps * float(np.abs(center).max(initial=0.0)) or scale == 0.0:
        raise DataError(f"{where}: all training segments are the same; check the extractor that made them")
    return {**space, "scale": np.array([scale])}


def _project(x: NDArray[Any], space: Mapping[str, Array]) -> Array:
    centred = np.asarray(x, dtype=np.float64) - space["center"]
    return np.asarray((centred @ space["components"].T if "components" in space else centred) / space["scale"][0])


def _negative_log_likelihood(x: Array, *, weight: Array, mean: Array, whiten: Array) -> Array:
    """Return ``-log sum_k w_k N(x; mean_k, (W_k^T W_k)^-1)`` per row of ``x [segment, dim]``.

    ``whiten`` is ``[component, dim]`` (diagonal) or ``[component or 1, dim, dim]`` (lower triangular).
    """
    dim = x.shape[1]
    log_joint = np.empty((len(x), len(weight)))
    for k, center in enumerate(mean):
        factor = whiten[k if len(whiten) > 1 else 0]
        difference = x - center
        y = difference * factor if factor.ndim == 1 else difference @ factor.T
        log_det = np.log(factor if factor.ndim == 1 else np.diag(factor)).sum()
        log_joint[:, k] = np.log(weight[k]) + log_det - 0.5 * (dim * np.log(2.0 * np.pi) + np.einsum("nd,nd->n", y, y))
    peak = log_joint.max(axis=1)
    return np.asarray(-(peak + np.log(np.exp(log_joint - peak[:, None]).sum(axis=1))))
