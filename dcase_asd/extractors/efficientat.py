"""EfficientAT: a MobileNetV3 distilled on AudioSet, small enough for a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError
from dcase_asd.extractors._shared.waveform_extractor import CheckpointConfig, WaveformExtractor
from dcase_asd.extractors._shared.waveform_networks import Checkpoint
from dcase_asd.registry import Info

if TYPE_CHECKING:
    import torch

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
class Config(CheckpointConfig):
    """Which network, and what of it; the keys of :class:`CheckpointConfig` apply too (the map is the layer's).

    Attributes
    ----------
    width : float
        Width of the network the checkpoint belongs to.
    layer : int
        Layer whose map is pooled: 0 the first convolution, 1 to 15 the blocks, 16 or -1 the last convolution.
    pooling : {"mean", "max", "mean_max"}
        Over frequency and time; the last concatenates both.
    """

    width: float = 0.4
    layer: int = -1
    pooling: Literal["mean", "max", "mean_max"] = "mean"

    def __post_init__(self) -> None:
        """Refuse layers that do not exist."""
        if not -17 <= self.layer <= 16:
            raise ConfigError(f"layer: expected -17 to 16, got {self.layer}")


class EfficientAt(WaveformExtractor[Config]):
    """Pooled feature maps of a pretrained MobileNetV3 (384 dimensions at the last layer of width 0.4)."""

    input_rate_hz: ClassVar[float | None] = 32000.0
    published: ClassVar[Checkpoint] = CHECKPOINT
    owner: ClassVar[str] = "efficientat"
    class_tensor: ClassVar[str] = "classifier.5.bias"

    def tags(self, segments: NDArray[Any]) -> NDArray[np.float32]:
        """Return AudioSet class probabilities ``[segment, 527]`` of ``[segment, sample]``; raises as :meth:`embed`."""
        return self.run(segments, lambda x: (self.network()(x).sigmoid(), None))[0]

    def make_network(self, *, n_classes: int) -> torch.nn.Module:
        """Return the network of the configured width."""
        from dcase_asd.networks.mobilenetv3_audio import AudioMobileNetV3

        return AudioMobileNetV3(width=self.config.width, n_classes=n_classes)

    def shortest(self) -> tuple[int, int]:
        """Return what the front end needs: one frame at its rate."""
        front_end = self.network().front_end
        return front_end.n_samples_min, front_end.sample_rate_hz

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the layer's pooled map and, if wanted, the map."""
        import torch

        features = self.network().maps(waveform, layer=self.config.layer)
        pooled = {"mean": lambda: [features.mean(dim=(2, 3))], "max": lambda: [features.amax(dim=(2, 3))]}
        pooled["mean_max"] = lambda: [*pooled["mean"](), *pooled["max"]()]
        return torch.cat(pooled[self.config.pooling](), dim=1), features if self.config.return_map else None
