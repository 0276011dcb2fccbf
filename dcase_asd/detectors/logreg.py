"""Logistic regression on vectors: the linear classifier of supervised recipes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.grid import wanted
from dcase_asd.detectors._shared.supervised import SupervisedConfig, SupervisedDetector
from dcase_asd.detectors._shared.vectors import Standardisation
from dcase_asd.detectors.base import require_fitted
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "LogisticRegression"]

_log = logging.getLogger(__name__)

INFO = Info(
    summary="supervised: logistic regression with an L2 penalty; the score is the log odds of the positive class",
    implementation="LogisticRegression",
    source="Argese and Degni, Section IV-A and Table I (C 10, lbfgs, 1500 iterations, grid search on F1 over 5 folds)",
    input="vector",
    cost="seconds to minutes of training; one product per clip",
    strengths="convex: one solution, no seed; coefficients can be looked at",
    weaknesses="needs labelled anomalies; linear: blind to whatever depends on where in the picture it is",
)


@configclass
class Config(SupervisedConfig):
    """Configuration of :class:`LogisticRegression`; the keys of :class:`SupervisedConfig` apply too.

    Attributes
    ----------
    C : float
        Inverse of the penalty's weight.
    max_iter : int
        Iterations of L-BFGS at most; a fit that needs more is used as it is, with a warning in the log.
    standardise : bool
        z-score each dimension by the training segments first (the paper does so for its support vector machine alone).
    """

    C: float = 10.0
    max_iter: int = 1500
    standardise: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        SupervisedConfig.__post_init__(self)
        if not self.C > 0 or self.max_iter < 1:
            raise ConfigError(f"logreg: expected C > 0 and max_iter >= 1, got {self.C} and {self.max_iter}")


@dataclass(frozen=True)
class _Linear:
    """``coefficients [dim]`` and intercept in standardised units."""

    scale: Standardisation
    coefficients: NDArray[np.float64]
    intercept: float


class LogisticRegression(SupervisedDetector[Config, _Linear]):
    """Fitted by scikit-learn, kept as plain arrays."""

    def train(self, config: Config, x: NDArray[Any], label: NDArray[np.int64], *, seed: int, workdir: Path | None) -> _Linear:
        """Return the fitted model; the seed has no part in it."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression as Model

        del seed, workdir
        scale = Standardisation.fit(x) if config.standardise else Standardisation.none(x.shape[1])
        weight = None if config.class_weight == "none" else config.class_weight
        model = Model(C=config.C, solver="lbfgs", max_iter=config.max_iter, class_weight=weight)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(scale.apply(x), label)
        if caught:
            _log.warning("logreg: C %g is not at its optimum after %d iterations; raise max_iter", config.C, config.max_iter)
        return _Linear(scale, np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0]))

    def decide(self, model: _Linear, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return log odds."""
        return np.asarray(model.scale.apply(x) @ model.coefficients + model.intercept)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return coefficients, intercept and standardisation."""
        model = require_fitted(self._model, self)
        return {"coefficients": model.coefficients, "intercept": np.array([model.intercept]), **model.scale.state()}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        coefficients = np.asarray(wanted(tensors, "coefficients", owner=self))
        intercept = float(wanted(tensors, "intercept", owner=self)[0])
        self._model = _Linear(Standardisation.from_state(tensors, owner=self), coefficients, intercept)
        self._shape = coefficients.shape
