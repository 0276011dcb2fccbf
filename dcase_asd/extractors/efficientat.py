"""EfficientAT: a MobileNetV3 distilled on AudioSet, small enough for a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.extractors._shared.waveform_networks import (
    Checkpoint,
    embed_waveforms,
    fill,
    find_checkpoint,
    is_at_hand,
    read_state_dict,
)
from dcase_asd.extractors.base import Extractor
from dcase_asd.registry import Info

if TYPE_CHECKING:
    import torch

    from dcase_asd.networks.mobilenetv3_audio import AudioMobileNetV3

__all__ = ["CHECKPOINT", "INFO", "Config", "EfficientAt"]

INFO = Info(
    summary="pretrained AudioSet embedding of a small MobileNetV3; nothing is trained",
    implementation="EfficientAt",
    source="Schmid, Koutini, Widmer, ICASSP 2023 (mn04_as: AudioSet mAP 0.432)",
    input="waveform",
    cost="1 M parameters; about 30 ms of CPU for 5 s of sound",
    strengths="knows everyday sounds without any training; needs no other machines",
    weaknesses="trained on YouTube: what is special about one machine may be invisible to it",
)

#: Width 0.4, the smallest that matches PANNs Cnn14 on AudioSet.
CHECKPOINT = Checkpoint(
    file="mn04_as_mAP_432.pt",
    address="https://github.com/fschmid56/EfficientAT/releases/tag/v0.0.1",
    n_bytes=4_066_513,
    least_bytes=3_900_000,
    licence="MIT (EfficientAT)",
)


@configclass
class Config:
    """Which network, and what of it.

    Attributes
    ----------
    checkpoint : str
        Path of the published state dict; empty: ``mn04_as_mAP_432.pt`` in the folder ``$DCASE_ASD_WEIGHTS``.
    sha256 : str
        If given, the checkpoint must have it.
    width : float
        Width of the network the checkpoint belongs to.
    layer : int
        Layer whose map is pooled: 0 the first convolution, 1 to 15 the blocks, 16 or -1 the last convolution.
    pooling : {"mean", "max", "mean_max"}
        Over frequency and time; the last concatenates both.
    return_map : bool
        Whether embedding also gives the layer's map.
    """

    checkpoint: str = ""
    sha256: str = ""
    width: float = 0.4
    layer: int = -1
    pooling: Literal["mean", "max", "mean_max"] = "mean"
    return_map: bool = False

    def __post_init__(self) -> None:
        """Refuse layers that do not exist."""
        if not -17 <= self.layer <= 16:
            raise ConfigError(f"layer: expected -17 to 16, got {self.layer}")


class EfficientAt(Extractor[Config]):
    """Pooled feature maps of a pretrained MobileNetV3 (384 dimensions at the last layer of width 0.4)."""

    input_rate_hz: ClassVar[float | None] = 32000.0

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._network: AudioMobileNetV3 | None = None

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embed ``[segment, sample]`` at 32 kHz; see :meth:`Extractor.embed`.

        Raises
        ------
        ConfigError
            If the checkpoint is missing or does not fit.
        FormatError
            For another shape, too short segments, or values that are not finite.
        """
        front_end = self._loaded().front_end
        return embed_waveforms(
            segments, self._forward, n_samples_min=front_end.n_samples_min, sample_rate_hz=front_end.sample_rate_hz
        )

    def tags(self, segments: NDArray[Any]) -> NDArray[np.float32]:
        """Return AudioSet class probabilities ``[segment, 527]`` of ``[segment, sample]``; raises as :meth:`embed`."""
        network = self._loaded()
        return embed_waveforms(
            segments,
            lambda x: (network(x).sigmoid(), None),
            n_samples_min=network.front_end.n_samples_min,
            sample_rate_hz=network.front_end.sample_rate_hz,
        )[0]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network's weights, so that what is saved needs no checkpoint any more."""
        from dcase_asd.training.checkpoint import model_arrays

        return model_arrays(self._loaded())

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; ``FormatError`` if it does not fit the configuration."""
        from dcase_asd.training.checkpoint import set_model

        if "classifier.5.bias" not in tensors:
            raise FormatError("not the state of an efficientat extractor: classifier.5.bias is missing")
        network = self._built(n_classes=len(tensors["classifier.5.bias"]))
        set_model(network, dict(tensors), where="efficientat state")
        self._network = network

    def module_and_input(self, n_frames: int) -> tuple[Any, Any]:
        """Return the network and a segment of zeros; see :meth:`Extractor.module_and_input`."""
        import torch

        return self._loaded(), torch.zeros(1, n_frames)

    @staticmethod
    def available(checkpoint: str = "") -> bool:
        """Return whether the checkpoint lies at the path or in ``$DCASE_ASD_WEIGHTS``."""
        return is_at_hand(checkpoint, CHECKPOINT)

    def _forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        import torch

        features = self._loaded().maps(waveform, layer=self.config.layer)
        pooled = {"mean": lambda: [features.mean(dim=(2, 3))], "max": lambda: [features.amax(dim=(2, 3))]}
        pooled["mean_max"] = lambda: [*pooled["mean"](), *pooled["max"]()]
        return torch.cat(pooled[self.config.pooling](), dim=1), features if self.config.return_map else None

    def _loaded(self) -> AudioMobileNetV3:
        if self._network is None:
            path = find_checkpoint(self.config.checkpoint, CHECKPOINT, owner="efficientat", sha256=self.config.sha256)
            tensors = read_state_dict(path)
            network = self._built(n_classes=len(tensors.get("classifier.5.bias", range(527))))
            fill(network, tensors, where=str(path))
            self._network = network
        return self._network

    def _built(self, *, n_classes: int) -> AudioMobileNetV3:
        import torch

        from dcase_asd.networks.mobilenetv3_audio import AudioMobileNetV3

        # initial values are overwritten, but drawing them must not move anybody's random generator
        with torch.random.fork_rng(devices=[]):
            network = AudioMobileNetV3(width=self.config.width, n_classes=n_classes)
        return network.eval().requires_grad_(requires_grad=False)
