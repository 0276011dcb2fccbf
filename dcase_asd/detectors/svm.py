"""Support vector machine on standardised vectors: the kernel classifier of supervised recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.grid import wanted
from dcase_asd.detectors._shared.supervised import SupervisedConfig, SupervisedDetector
from dcase_asd.detectors._shared.vectors import Standardisation
from dcase_asd.detectors.base import require_fitted
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "SupportVectorMachine", "kernel_values"]

INFO = Info(
    summary="supervised: support vector machine with a kernel; the score is the signed distance in the kernel's space",
    implementation="SupportVectorMachine",
    source="Argese and Degni, Section IV-B and Table II (z-score, rbf, C 10, gamma scale, grid search on F1 over 5 folds)",
    input="vector",
    cost="training grows with the square of the clips; scoring with the number of support vectors",
    strengths="strong on a few thousand clips; one solution, no seed",
    weaknesses="needs labelled anomalies; far from all training clips every rbf score is the same",
)

Kernel = Literal["rbf", "poly", "sigmoid", "linear"]
#: Position is the code in saved states and never changes.
_KERNELS: tuple[Kernel, ...] = get_args(Kernel)
# Segments whose kernel values are in memory at a time.
_BLOCK = 256


@configclass
class Config(SupervisedConfig):
    """Configuration of :class:`SupportVectorMachine`; the keys of :class:`SupervisedConfig` apply too.

    Attributes
    ----------
    C : float
        Weight of errors against the margin.
    kernel : {"rbf", "poly", "sigmoid", "linear"}
    gamma : {"scale", "auto"} or float
        ``scale``: 1 / (dimensions x variance of all values); ``auto``: 1 / dimensions.
    degree : int
        Of ``poly``.
    coef0 : float
        Added in ``poly`` and ``sigmoid``.
    standardise : bool
        z-score each dimension by the training segments first.
    """

    C: float = 10.0
    kernel: Kernel = "rbf"
    gamma: Literal["scale", "auto"] | float = "scale"
    degree: int = 3
    coef0: float = 0.0
    standardise: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        SupervisedConfig.__post_init__(self)
        if not self.C > 0 or self.degree < 1 or (not isinstance(self.gamma, str) and not self.gamma > 0):
            raise ConfigError(f"svm: expected C > 0, gamma > 0 and degree >= 1, got {self.C}, {self.gamma} and {self.degree}")


@dataclass(frozen=True)
class _Machine:
    """Support vectors ``[vector, dim]`` as they came, their signed weights ``[vector]``, and the kernel."""

    scale: Standardisation
    support: NDArray[np.float32]
    weights: NDArray[np.float64]
    intercept: float
    kernel: Kernel
    gamma: float
    degree: int
    coef0: float


class SupportVectorMachine(SupervisedDetector[Config, _Machine]):
    """Fitted by scikit-learn (libsvm), kept as plain arrays."""

    def train(self, config: Config, x: NDArray[Any], label: NDArray[np.int64], *, seed: int, workdir: Path | None) -> _Machine:
        """Return the fitted machine; the seed has no part in it."""
        from sklearn.svm import SVC

        del seed, workdir
        scale = Standardisation.fit(x) if config.standardise else Standardisation.none(x.shape[1])
        values = scale.apply(x)
        gamma = _gamma(config.gamma, values)
        weight = None if config.class_weight == "none" else config.class_weight
        model = SVC(C=config.C, kernel=config.kernel, gamma=gamma, degree=config.degree, coef0=config.coef0, class_weight=weight)
        model.fit(values, label)
        return _Machine(
            scale=scale,
            support=np.asarray(x[model.support_], dtype=np.float32),
            weights=np.asarray(model.dual_coef_[0], dtype=np.float64),
            intercept=float(model.intercept_[0]),
            kernel=config.kernel,
            gamma=gamma,
            degree=config.degree,
            coef0=config.coef0,
        )

    def decide(self, model: _Machine, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return decision values."""
        support = model.scale.apply(model.support)
        result = np.empty(len(x))
        for first in range(0, len(x), _BLOCK):
            values = model.scale.apply(x[first : first + _BLOCK])
            similar = kernel_values(
                values, support, kernel=model.kernel, gamma=model.gamma, degree=model.degree, coef0=model.coef0
            )
            result[first : first + _BLOCK] = similar @ model.weights + model.intercept
        return result

    def state(self) -> dict[str, NDArray[Any]]:
        """Return support vectors, weights, kernel and standardisation."""
        model = require_fitted(self._model, self)
        return {
            "support": model.support,
            "weights": model.weights,
            "kernel": np.array([_KERNELS.index(model.kernel)], dtype=np.int64),
            "constants": np.array([model.intercept, model.gamma, model.degree, model.coef0], dtype=np.float64),
            **model.scale.state(),
        }

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        intercept, gamma, degree, coef0 = (float(value) for value in wanted(tensors, "constants", owner=self))
        self._model = _Machine(
            scale=Standardisation.from_state(tensors, owner=self),
            support=np.asarray(wanted(tensors, "support", owner=self)),
            weights=np.asarray(wanted(tensors, "weights", owner=self)),
            intercept=intercept,
            kernel=_KERNELS[int(wanted(tensors, "kernel", owner=self)[0])],
            gamma=gamma,
            degree=int(degree),
            coef0=coef0,
        )
        self._shape = self._model.support.shape[1:]


def kernel_values(
    x: NDArray[np.float64], y: NDArray[np.float64], *, kernel: Kernel, gamma: float, degree: int = 3, coef0: float = 0.0
) -> NDArray[np.float64]:
    """Return the kernel of every pair of rows, ``[x row, y row]``; as libsvm defines it (Chang and Lin 2011)."""
    products = x @ y.T
    if kernel == "linear":
        return np.asarray(products)
    if kernel == "rbf":
        squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2.0 * products
        # rounding can leave a distance of 0 slightly below it
        return np.asarray(np.exp(-gamma * np.maximum(squared, 0.0)))
    inner = gamma * products + coef0
    return np.asarray(np.tanh(inner) if kernel == "sigmoid" else inner**degree)


def _gamma(gamma: str | float, values: NDArray[np.float64]) -> float:
    if not isinstance(gamma, str):
        return gamma
    spread = float(values.var()) if gamma == "scale" else 1.0
    return 1.0 / (int(values.shape[1]) * (spread if spread > 0 else 1.0))
