"""The autoencoder of the official DCASE Task 2 baselines, with its two scores and the one its paper writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.covariance import whitening
from dcase_asd.detectors._shared.fit_sets import gather
from dcase_asd.detectors._shared.grid import as_scores, part_name, wanted
from dcase_asd.detectors._shared.items import WindowItems
from dcase_asd.detectors.base import Batches, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from dcase_asd.training.reconstruction import Reconstruction

__all__ = ["INFO", "PRESETS", "Config", "DcaseAutoencoder"]

Array = NDArray[np.float64]
Score = Literal["selective_mahalanobis", "mse", "mahalanobis_per_frame"]

INFO = Info(
    summary="official baseline of DCASE Task 2: dense autoencoder on 5 frames, MSE and selective Mahalanobis scores",
    implementation="DcaseAutoencoder",
    source="Harada et al., EUSIPCO 2023 (arXiv 2303.00455); code and presets: nttcslab/dcase2023_task2_baseline_ae",
    input="map",
    cost="100 epochs over all frames; official numbers need its log-mel (1024/512, 128 bands, dB) and whole clips",
    strengths="the row that every result is compared with; all scores from one training",
    weaknesses="no more than a baseline; on other features it is the official architecture, not the official baseline",
)

#: What a preset fills in for every field left at None. ``official``: the PyTorch baseline of 2023 to 2026. ``official_keras``:
#: the Keras baselines of 2020 to 2022 (their BN momentum .99 counts the old value: the same as torch's .01; Adam's epsilon
#: stays torch's 1e-8, Keras has 1e-7). ``cpu``: what trains in about 10 s per machine on one core on 110 clips of 6 s.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "official": {"epochs": 100, "batch_size": 256, "validation": "random", "initialisation": "torch"},
    "official_keras": {"epochs": 100, "batch_size": 512, "validation": "last", "initialisation": "glorot"},
    "cpu": {"epochs": 20, "batch_size": 256, "validation": "random", "initialisation": "torch"},
}

# nttcslab/dcase2023_task2_baseline_ae, networks/dcase2023t2_ae/network.py and baseline.yaml
_HIDDEN, _BOTTLENECK = (128, 128, 128, 128), 8
_MOMENTUM, _EPS = 0.01, 1e-3
_LEARNING_RATE, _VALID_FRACTION = 1e-3, 0.1
_DOMAINS = ("source", "target")


@configclass
class Config:
    """Configuration of :class:`DcaseAutoencoder`.

    Attributes
    ----------
    preset : {"official", "official_keras", "cpu"}
        Fills every field that is None; see :data:`PRESETS`.
    scores : tuple of {"selective_mahalanobis", "mse", "mahalanobis_per_frame"}
        Each is a part, all from the one network; the first is the score.
    n_context : int
        Frames of a vector (official: 5).
    epochs, batch_size : int
        A batch counts vectors.
    validation : {"random", "last"}
        Which tenth of the vectors validates: a random one (2023 on), or the last in the order of source then target clips.
    initialisation : {"torch", "glorot"}
        Of the weights: torch's default, or Keras's (Glorot uniform, biases zero).
    reg : float
        Added to the diagonal of each residual covariance, as a fraction of its mean variance. Official: 0.
    """

    preset: Literal["official", "official_keras", "cpu"] = "official"
    scores: tuple[Score, ...] = ("selective_mahalanobis", "mse")
    n_context: int = 5
    epochs: int | None = None
    batch_size: int | None = None
    validation: Literal["random", "last"] | None = None
    initialisation: Literal["torch", "glorot"] | None = None
    reg: float = 0.0

    def __post_init__(self) -> None:
        """Fill in the preset, so that a stored configuration says everything; refuse values out of range."""
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise ConfigError(f"scores: expected at least one and each once, got {list(self.scores)}")
        if min(self.n_context, self.epochs or 0) < 1 or (self.batch_size or 0) < 2 or not self.reg >= 0:
            raise ConfigError(
                f"expected n_context and epochs >= 1, batch_size >= 2 and reg >= 0; got {self.n_context}, {self.epochs}, "
                f"{self.batch_size} and {self.reg}"
            )


class DcaseAutoencoder(Detector[Config]):
    """The official autoencoder on ``[segment, 1, mel, frame]``, where a segment is a whole clip.

    With the residuals ``d_i [mel]`` of the ``n`` frames in all vectors of a clip and the residual covariances of source and
    target training vectors, ``Scores.parts`` holds

    ``score=mse``
        the mean of ``d_i^2`` over frames and bands;
    ``score=selective_mahalanobis``
        ``min over S of m S^-1 m^T`` with ``m`` the mean of ``d_i``: what the official code computes, the mean of the whole
        ``n x n`` matrix of ``d_i S^-1 d_j^T``;
    ``score=mahalanobis_per_frame``
        the mean over frames of ``min over S of d_i S^-1 d_i^T``, as the paper's text describes the score.

    A covariance is made after training, in evaluation mode, from one more shuffled pass over the training vectors: the mean of
    each batch and domain is removed, the squares are summed and divided by the number of vectors less one (five frames count
    once: a factor that both domains share). With fewer than two target vectors the target covariance is that of the source.
    The official models pool all sections of a machine; stage 5 fits each section on its own, which is the same since 2023.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._model: Reconstruction | None = None
        self._whiten: tuple[Array, ...] = ()

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Train the network, then estimate the covariances of its residuals.

        Raises
        ------
        DataError
            For non-finite values, a wrong shape, segments shorter than ``n_context`` frames, or a singular covariance (too few
            vectors, or a band without a residual; set ``reg``).
        TrainingError
            If there are too few vectors, or the loss is not finite.
        """
        from dcase_asd.training.contract import TrainConfig
        from dcase_asd.training.reconstruction import ItemBatches, split_items, train_reconstruction

        rows = gather(batches, kind="map")
        x = rows.all
        if x.shape[1] != 1:
            raise DataError(f"training segments: expected maps [segment, 1, mel, frame], got shape {x.shape}")
        items = WindowItems(x, self.config.n_context)
        batch_size = int(self.config.batch_size or 0)
        train, valid = split_items(len(items), valid_fraction=_VALID_FRACTION, how=self.config.validation or "random", seed=seed)
        model = self._build(x.shape[2], seed=seed)
        train_reconstruction(
            model,
            ItemBatches(items, train=train, valid=valid, batch_size=batch_size, seed=seed),
            config=TrainConfig(
                epochs=int(self.config.epochs or 0),
                optimiser="adam",
                learning_rate=_LEARNING_RATE,
                weight_decay=0.0,
                schedule="fixed",
                precision="fp32",
                checkpoint_minutes=0.0,
            ),
            seed=seed,
        )
        target = np.repeat(np.arange(len(x)) >= len(rows.source), items.n_windows)
        covariances = _residual_covariances(model, items, train=train, target=target, batch_size=batch_size, seed=seed)
        self._whiten = tuple(
            self._factor(covariance, domain=domain) for covariance, domain in zip(covariances, _DOMAINS, strict=True)
        )
        self._model = model

    def score(self, x: NDArray[Any]) -> Scores:
        """Return the wanted scores of whole clips (see :class:`Detector`)."""
        model = require_fitted(self._model, self)
        x = check_input(x, kind="map", like=(1, self._whiten[0].shape[0], -1))
        values: dict[Score, list[float]] = {name: [] for name in self.config.scores}
        for row in range(len(x)):
            windows = WindowItems(x[row : row + 1], self.config.n_context)
            residual = _frame_residuals(model, windows.take(np.arange(len(windows))))
            for name, found in values.items():
                found.append(_SCORES[name](residual, self._whiten))
        return as_scores([(part_name(score=name), np.array(found, dtype=np.float64)) for name, found in values.items()])

    def module_and_input(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return the network and all vectors of one clip; see :meth:`Detector.module_and_input`."""
        import torch

        model = require_fitted(self._model, self)
        items = WindowItems(np.zeros((1, *shape), dtype=np.float32), self.config.n_context)
        return model.network, torch.from_numpy(items.take(np.arange(len(items))))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the weights, and the whitening factor ``W`` with ``W S W^T = 1`` of each domain."""
        from dcase_asd.training.checkpoint import model_arrays

        arrays = model_arrays(require_fitted(self._model, self))
        whiten = {f"whiten.{name}": factor for name, factor in zip(_DOMAINS, self._whiten, strict=True)}
        return {**whiten, **{f"model.{name}": value for name, value in arrays.items()}}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing or do not fit."""
        from dcase_asd.training.checkpoint import set_model

        whiten = tuple(np.asarray(wanted(tensors, f"whiten.{name}", owner=self), dtype=np.float64) for name in _DOMAINS)
        model = self._build(len(whiten[0]), seed=0)
        arrays = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        set_model(model, arrays, where="dcase_autoencoder state")
        self._model, self._whiten = model.eval().requires_grad_(requires_grad=False), whiten

    def _build(self, n_mels: int, *, seed: int) -> Reconstruction:
        from torch import nn

        from dcase_asd.networks.dense_autoencoder import DenseAutoencoder
        from dcase_asd.training.reconstruction import Reconstruction
        from dcase_asd.training.seeding import isolated

        with isolated(seed, "weights"):
            network = DenseAutoencoder(
                self.config.n_context * n_mels, hidden=_HIDDEN, n_bottleneck=_BOTTLENECK, momentum=_MOMENTUM, eps=_EPS
            )
            if self.config.initialisation == "glorot":
                for layer in network.modules():
                    if isinstance(layer, nn.Linear):
                        nn.init.xavier_uniform_(layer.weight)
                        nn.init.zeros_(layer.bias)
        # the official features enter as they are, in dB
        return Reconstruction(network, mean=np.zeros(1, dtype=np.float32), std=np.ones(1, dtype=np.float32))

    def _factor(self, covariance: Array, *, domain: str) -> Array:
        ridge = self.config.reg * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        name = f"dcase_autoencoder, residuals of the {domain} domain (reg {self.config.reg})"
        # row-major, as a saved state comes back: products of another layout may round differently
        return np.ascontiguousarray(whitening(covariance + ridge, name=name))


def _frame_residuals(model: Reconstruction, vectors: NDArray[np.float32]) -> Array:
    """Return input minus reconstruction of vectors ``[vector, frame, 1, mel]`` as rows ``[vector * frame, mel]``."""
    import torch

    with torch.inference_mode():
        residual, _ = model.residual(torch.from_numpy(vectors))
    rows: Array = residual.numpy().reshape(-1, vectors.shape[-1]).astype(np.float64)
    return rows


def _batches(train: NDArray[np.int64], batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    from dcase_asd.training.seeding import generator

    order = generator(seed, "covariance").permutation(train)
    for first in range(0, len(order), batch_size):
        # the official code passes over a batch of one
        if len(order) - first > 1:
            yield order[first : first + batch_size]


def _residual_covariances(
    model: Reconstruction, items: WindowItems, *, train: NDArray[np.int64], target: NDArray[np.bool_], batch_size: int, seed: int
) -> tuple[Array, Array]:
    """Return the official residual covariances of the source and the target training vectors."""
    n_mels = items.x.shape[2]
    sums, counts = [np.zeros((n_mels, n_mels)), np.zeros((n_mels, n_mels))], [0, 0]
    for rows in _batches(train, batch_size, seed):
        vectors = items.take(rows)
        for domain, chosen in enumerate((~target[rows], target[rows])):
            if chosen.any():
                residual = _frame_residuals(model, vectors[chosen])
                residual -= residual.mean(axis=0)
                sums[domain] += residual.T @ residual
                counts[domain] += int(chosen.sum())
    if counts[0] < 2:
        raise DataError(f"dcase_autoencoder: {counts[0]} source vectors to train on, at least 2 are needed; add recordings")
    source = sums[0] / (counts[0] - 1)
    return source, sums[1] / (counts[1] - 1) if counts[1] > 1 else source


def _mse(residual: Array, whiten: tuple[Array, ...]) -> float:
    del whiten
    return float(np.mean(residual**2))


def _selective_mahalanobis(residual: Array, whiten: tuple[Array, ...]) -> float:
    mean = residual.mean(axis=0)
    return min(float(np.sum((factor @ mean) ** 2)) for factor in whiten)


def _mahalanobis_per_frame(residual: Array, whiten: tuple[Array, ...]) -> float:
    distances = [np.sum((residual @ factor.T) ** 2, axis=1) for factor in whiten]
    return float(np.minimum(*distances).mean())


_SCORES = {
    "mse": _mse,
    "selective_mahalanobis": _selective_mahalanobis,
    "mahalanobis_per_frame": _mahalanobis_per_frame,
}
