"""What the classifying networks share: training settings, training on maps, and scoring in blocks of one size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.grid import tensor_to_text, text_to_tensor, wanted
from dcase_asd.detectors._shared.supervised import SupervisedConfig, SupervisedDetector, at_point
from dcase_asd.detectors.base import require_fitted
from dcase_asd.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from dcase_asd.training.classification import Classification

__all__ = ["NetworkClassifier", "NetworkConfig"]

# Pictures a forward pass takes when scoring; always exactly so many, the last filled up with zeros: kernels may round differently
# for another batch size.
_BLOCK = 16


@configclass
class NetworkConfig(SupervisedConfig):
    """What every classifying network can be told; the keys of :class:`SupervisedConfig` apply too.

    Attributes
    ----------
    epochs, batch_size, learning_rate, optimiser :
        See :class:`~dcase_asd.training.contract.TrainConfig`; the rate is fixed.
    flips : bool
        Training pictures are mirrored at random, both ways. Not for spectrograms.
    rotation_deg : float
        Training pictures are turned at random by up to so many degrees either way. Not for spectrograms.
    valid_fraction : float
        Share of each class's training pictures for validation.
    checkpoint : {"last", "best"}
        Which weights are kept: the last, or those of the lowest validation loss.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimiser: Literal["adam", "sgd"] = "adam"
    flips: bool = True
    rotation_deg: float = 15.0
    valid_fraction: float = 0.0
    checkpoint: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        SupervisedConfig.__post_init__(self)
        if self.epochs < 1 or self.batch_size < 2 or not self.learning_rate > 0:
            raise ConfigError(
                "expected epochs >= 1, batch_size >= 2 and learning_rate > 0; got "
                f"{self.epochs}, {self.batch_size} and {self.learning_rate}"
            )
        if not 0 <= self.valid_fraction < 1 or not 0 <= self.rotation_deg <= 180:
            raise ConfigError(
                f"expected 0 <= valid_fraction < 1 and 0 <= rotation_deg <= 180; got {self.valid_fraction}, {self.rotation_deg}"
            )
        if self.checkpoint == "best" and self.valid_fraction == 0:
            raise ConfigError("checkpoint: best needs validation; raise valid_fraction or take last")


C = TypeVar("C", bound=NetworkConfig)


class NetworkClassifier(SupervisedDetector[C, "tuple[C, Classification]"]):
    """A network with one logit on maps; the model is the configuration that was trained (a grid's best point) and the network."""

    kind: ClassVar[str] = "map"
    #: Keys that a network cannot be built again without.
    architecture: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def make_network(self, config: C, shape: tuple[int, ...], *, pretrained: bool) -> nn.Module:
        """Return a network for maps of a shape, to be trained (``pretrained``) or to be filled with a saved state."""

    def statistics(self, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and deviation that broadcast against a map; by default of each channel over all training maps."""
        mean, std = (np.asarray(f(x, axis=(0, 2, 3), dtype=np.float64)) for f in (np.mean, np.std))
        return mean[:, None, None].astype(np.float32), np.where(std > 0, std, 1.0)[:, None, None].astype(np.float32)

    def train(
        self, config: C, x: NDArray[Any], label: NDArray[np.int64], *, seed: int, workdir: Path | None
    ) -> tuple[C, Classification]:
        """Return the configuration and the trained network."""
        from dcase_asd.training.classification import Augmentation, LabelledPictures, split_by_class, train_classification
        from dcase_asd.training.contract import TrainConfig

        train, valid = split_by_class(label, valid_fraction=config.valid_fraction, seed=seed)
        # as scikit-learn's class_weight balanced, up to a factor that a fixed rate of Adam does not see
        weight = float((label == 0).sum() / (label == 1).sum()) if config.class_weight == "balanced" else 1.0
        model = self._build(
            config, x.shape[1:], statistics=self.statistics(x), seed=seed, positive_weight=weight, pretrained=True
        )
        source = LabelledPictures(
            x,
            label,
            train=train,
            valid=valid,
            batch_size=config.batch_size,
            seed=seed,
            augmentation=Augmentation(config.flips, config.rotation_deg),
        )
        settings = TrainConfig(
            epochs=config.epochs,
            optimiser=config.optimiser,
            learning_rate=config.learning_rate,
            weight_decay=0.0,
            schedule="fixed",
            precision="fp32",
            # the layout a loaded model has: another one may round differently
            channels_last=False,
        )
        train_classification(model, source, config=settings, seed=seed, workdir=workdir, checkpoint=config.checkpoint)
        return config, model

    def decide(self, model: tuple[C, Classification], x: NDArray[Any]) -> NDArray[np.float64]:
        """Return log odds."""
        import torch

        found = []
        for first in range(0, len(x), _BLOCK):
            part = x[first : first + _BLOCK]
            full = np.zeros((_BLOCK, *x.shape[1:]), dtype=np.float32)
            full[: len(part)] = part
            with torch.inference_mode():
                found.append(model[1].logit(torch.from_numpy(full)).numpy()[: len(part)])
        return np.concatenate(found).astype(np.float64) if found else np.zeros(0)

    def module_and_input(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return the network and one map; see :meth:`Detector.module_and_input`."""
        import torch

        return require_fitted(self._model, self)[1].network, torch.zeros(1, *shape)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return weights, standardisation, the shape of a map, and the keys the network is built by."""
        from dcase_asd.training.checkpoint import model_arrays

        config, model = require_fitted(self._model, self)
        about = {key: getattr(config, key) for key in self.architecture}
        arrays = {f"model.{name}": value for name, value in model_arrays(model).items()}
        return {"about": text_to_tensor(about), "shape": np.array(self._shape, dtype=np.int64), **arrays}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing or do not fit."""
        from dcase_asd.training.checkpoint import set_model

        about = tensor_to_text(wanted(tensors, "about", owner=self), name="about")
        shape = tuple(int(n) for n in wanted(tensors, "shape", owner=self))
        config = at_point(self.config, about)
        statistics = wanted(tensors, "model.mean", owner=self), wanted(tensors, "model.std", owner=self)
        model = self._build(config, shape, statistics=statistics, seed=0, positive_weight=1.0, pretrained=False)
        arrays = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        set_model(model, arrays, where=f"{type(self).__name__} state")
        self._model, self._shape = (config, model.eval().requires_grad_(requires_grad=False)), shape

    def _build(
        self,
        config: C,
        shape: tuple[int, ...],
        *,
        statistics: tuple[NDArray[Any], NDArray[Any]],
        seed: int,
        positive_weight: float,
        pretrained: bool,
    ) -> Classification:
        from dcase_asd.training.classification import Classification
        from dcase_asd.training.seeding import isolated

        with isolated(seed, "weights"):
            network = self.make_network(config, shape, pretrained=pretrained)
        return Classification(network, mean=statistics[0], std=statistics[1], positive_weight=positive_weight)
