"""What the reconstruction detectors share: input forms, standardisation, training and the scoring of errors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors._shared.examined import Examined, examine
from dcase_asd.detectors._shared.fit_sets import TrainingRows, gather
from dcase_asd.detectors._shared.grid import as_scores, part_name, wanted
from dcase_asd.detectors._shared.items import SegmentItems, WindowItems, over_time
from dcase_asd.detectors._shared.reconstruction_config import ReconstructionConfig
from dcase_asd.detectors.base import Batches, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from dcase_asd.training.contract import TrainConfig
    from dcase_asd.training.reconstruction import ItemBatches, Reconstruction

__all__ = ["Form", "ReconstructionDetector"]

Form = Literal["flat", "frames", "image"]
# Whole segments a forward pass takes when scoring; always exactly so many, the last filled up with zeros: kernels may round
# differently for another batch size.
_BLOCK = 8
_VECTOR_AXES = 2
# A few units in the last place of float32 (1.2e-7), the type of features.
_ROUNDING = 1e-6
#: Adam's eps in torch.
_TORCH_EPS = 1e-8


C = TypeVar("C", bound=ReconstructionConfig)


class ReconstructionDetector(Detector[C]):
    """A network that rebuilds normal segments; the score is the mean squared error of the standardised values.

    For maps, ``Scores.map`` is the squared error over frequency and time, mean over channels (with ``frames``: mean over the
    windows that hold a frame).
    """

    #: See :class:`~dcase_asd.training.reconstruction.Reconstruction`.
    reduction: ClassVar[Literal["mean", "sum"]] = "mean"

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._model: Reconstruction | None = None
        self._shape: tuple[int, ...] = ()

    @abstractmethod
    def make_network(self, shape: tuple[int, ...], *, form: Form) -> nn.Module:
        """Return an untrained network for items of a shape."""

    def loss_weights(self) -> dict[str, float]:
        """Return weights of loss terms other than 1."""
        return {}

    def initialise(self, network: nn.Module, *, seed: int) -> None:
        """Change the weights that a network is made with, before training."""

    def train_config(self) -> TrainConfig:
        """Return how the network is trained."""
        from dcase_asd.training.contract import TrainConfig

        config = self.config
        return TrainConfig(
            epochs=config.epochs,
            optimiser="adam",
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            group_eps={} if config.adam_eps == _TORCH_EPS else {"": config.adam_eps},
            schedule=config.schedule,
            plateau_factor=config.plateau_factor,
            plateau_epochs=config.plateau_epochs,
            stop_epochs=config.stop_epochs,
            monitor=config.monitor,
            precision="fp32",
            # the layout a loaded model has: another one may round differently
            channels_last=False,
            checkpoint_minutes=0.0,
        )

    def training_place(self, x: NDArray[Any]) -> dict[str, Any]:
        """Return ``workdir``, ``device`` and ``identity`` of a training on ``x``; by default nothing is kept."""
        del x
        return {}

    def learn_classes(self, rows: TrainingRows) -> NDArray[np.int64] | None:
        """Return the class of every item, where the network learns one."""
        del rows
        return None

    def hold_out(
        self, rows: TrainingRows, n_items: int, labels: NDArray[np.int64] | None, *, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the items to train on and those to validate on; by default any, as the official baseline draws them."""
        from dcase_asd.training.reconstruction import split_items

        del rows
        return split_items(n_items, valid_fraction=self.config.valid_fraction, how="random", seed=seed, labels=labels)

    def augmentation(self) -> Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]] | None:
        """Return what changes training items at random; None for nothing."""
        return None

    def make_model(self, network: nn.Module, *, statistics: tuple[NDArray[Any], NDArray[Any]]) -> Reconstruction:
        """Return the network with its loss and the statistics that standardise its input."""
        from dcase_asd.training.reconstruction import Reconstruction

        return Reconstruction(network, mean=statistics[0], std=statistics[1], reduction=self.reduction)

    def after_training(self, model: Reconstruction, source: ItemBatches) -> None:
        """Learn from the trained model what is not a weight."""

    def convolves(self) -> bool:
        """Return whether the network takes pictures ``[channel, freq, time]``, windows of frames included."""
        return False

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Train the network on segments of both domains.

        Raises
        ------
        DataError
            For non-finite values, a wrong shape, or segments shorter than a window.
        TrainingError
            If there are too few segments, or the loss is not finite.
        """
        from dcase_asd.training.reconstruction import ItemBatches, train_reconstruction

        config = self.config
        rows = gather(batches, kind="any")
        x = rows.all
        items = self._items(x, shape=x.shape[1:])
        labels = self.learn_classes(rows)
        train, valid = self.hold_out(rows, len(items), labels, seed=seed)
        model = self._build(x.shape[1:], statistics=self._statistics(x), seed=seed)
        self.initialise(model.network, seed=seed)
        source = ItemBatches(
            items,
            train=train,
            valid=valid,
            batch_size=config.batch_size,
            seed=seed,
            labels=labels,
            augment=self.augmentation(),
        )
        train_reconstruction(
            model,
            source,
            config=self.train_config(),
            seed=seed,
            loss_weights=self.loss_weights(),
            checkpoint=config.checkpoint,
            **self.training_place(x),
        )
        self.after_training(model, source)
        self._model, self._shape = model, tuple(x.shape[1:])

    def score(self, x: NDArray[Any]) -> Scores:
        """Return mean squared errors and, for maps, where they are (see :class:`Detector`)."""
        model = require_fitted(self._model, self)
        frames = self._form(self._shape) == "frames"
        like = (*self._shape[:-1], -1) if frames else self._shape
        x = check_input(x, kind="any", like=like)
        parts: dict[str, list[float]] = {}
        maps: list[NDArray[np.float64]] = []
        for found in self._windows(model, x) if frames else self._segments(model, x):
            for name, value in self.segment_scores(found).items():
                parts.setdefault(name, []).append(value)
            if len(self._shape) > 1:
                maps.append(self.segment_map(found, frames=frames))
        scores = as_scores([(name, np.array(values)) for name, values in parts.items()] or [("", np.zeros(0))])
        return Scores(scores.score, np.stack(maps).astype(np.float32) if maps else None, scores.parts)

    def segment_scores(self, found: Examined) -> dict[str, float]:
        """Return the scores of one segment by part name."""
        return {part_name(score="reconstruction"): float(found.squared.mean())}

    def segment_map(self, found: Examined, *, frames: bool) -> NDArray[np.float64]:
        """Return where the errors of one segment are, ``[freq, time]``."""
        squared = found.squared
        if not frames:
            return np.asarray(squared[0].mean(axis=0))
        if self.convolves():
            squared = squared.transpose(0, 3, 1, 2)
        return over_time(squared.mean(axis=2))

    def module_and_input(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return the network and all items of one segment; see :meth:`Detector.module_and_input`."""
        import torch

        model = require_fitted(self._model, self)
        items = self._items(np.zeros((1, *shape), dtype=np.float32), shape=shape)
        return model.network, torch.from_numpy(items.take(np.arange(len(items))))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return weights, standardisation and the shape of a training segment."""
        from dcase_asd.training.checkpoint import model_arrays

        arrays = model_arrays(require_fitted(self._model, self))
        return {"segment_shape": np.array(self._shape, dtype=np.int64), **{f"model.{k}": v for k, v in arrays.items()}}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing or do not fit."""
        from dcase_asd.training.checkpoint import set_model

        shape = tuple(int(n) for n in wanted(tensors, "segment_shape", owner=self))
        statistics = wanted(tensors, "model.mean", owner=self), wanted(tensors, "model.std", owner=self)
        model = self._build(shape, statistics=statistics, seed=0)
        arrays = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        set_model(model, arrays, where=f"{type(self).__name__} state")
        self._model, self._shape = model.eval().requires_grad_(requires_grad=False), shape

    def _form(self, shape: tuple[int, ...]) -> Form:
        vector = len(shape) + 1 == _VECTOR_AXES
        form = self.config.input_form
        if vector and self.convolves():
            raise DataError(f"a convolutional network needs maps, got vectors {shape}; set input: map on the entry")
        if form == "auto":
            return "flat" if vector else "image" if self.convolves() else "frames"
        if vector and form != "flat":
            raise DataError(
                f"input_form {form} needs maps, got vectors {shape}; set input: map on the entry, or input_form: flat"
            )
        return form

    def _items(self, x: NDArray[Any], *, shape: tuple[int, ...]) -> SegmentItems | WindowItems:
        if self._form(shape) != "frames":
            return SegmentItems(x)
        return WindowItems(x, self.config.n_context, self.convolves())

    def _statistics(self, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and deviation that broadcast against an item."""
        form, how = self._form(x.shape[1:]), self.config.standardise
        if how == "auto":
            how = "element" if form == "flat" else "band"
        if how == "none":
            return np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)
        over: tuple[int, ...] = (0,)
        if x.ndim > _VECTOR_AXES and (how == "band" or form == "frames"):
            over = (0, 3)
        values = [np.asarray(f(x, axis=over, dtype=np.float64, keepdims=len(over) > 1)) for f in (np.mean, np.std)]
        if len(over) > 1:
            # [1, channel, freq, 1] to the axes of an item
            rows = form == "frames" and not self.convolves()
            values = [v[0, :, :, 0] if rows else v[0] for v in values]
        mean, std = values
        # a constant value has no scale: what rounding leaves of its deviation must not be divided by
        scale = np.where(std > _ROUNDING * np.abs(mean), std, 1.0)
        return mean.astype(np.float32), scale.astype(np.float32)

    def _build(self, shape: tuple[int, ...], *, statistics: tuple[NDArray[Any], NDArray[Any]], seed: int) -> Reconstruction:
        from dcase_asd.training.seeding import isolated

        form = self._form(shape)
        item = (shape[0], shape[1], self.config.n_context) if form == "frames" else shape
        with isolated(seed, "weights"):
            return self.make_model(self.make_network(item, form=form), statistics=statistics)

    def _segments(self, model: Reconstruction, x: NDArray[Any]) -> Iterator[Examined]:
        for first in range(0, len(x), _BLOCK):
            part = x[first : first + _BLOCK]
            full = np.zeros((_BLOCK, *x.shape[1:]), dtype=np.float32)
            full[: len(part)] = part
            found = examine(model, full)
            for row in range(len(part)):
                yield found.row(row)

    def _windows(self, model: Reconstruction, x: NDArray[Any]) -> Iterator[Examined]:
        for row in range(len(x)):
            windows = WindowItems(x[row : row + 1], self.config.n_context, self.convolves())
            yield examine(model, windows.take(np.arange(len(windows))))
