"""What the extractors around a pretrained waveform network share: configuration, loading, embedding and state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import FormatError
from dcase_asd.extractors._shared.waveform_networks import (
    Checkpoint,
    embed_waveforms,
    fill,
    find_checkpoint,
    is_at_hand,
)
from dcase_asd.extractors.base import Extractor
from dcase_asd.io.state_dicts import read_state_dict

if TYPE_CHECKING:
    import torch

__all__ = ["CheckpointConfig", "WaveformExtractor"]

#: AudioSet's classes: what a published checkpoint without its classifier's bias is built for.
_AUDIOSET_CLASSES = 527


@configclass
class CheckpointConfig:
    """Where the checkpoint lies, and whether maps are wanted.

    Attributes
    ----------
    checkpoint : str
        Path of the published state dict; empty: under its published name in the folder ``$DCASE_ASD_WEIGHTS``.
    sha256 : str
        If given, the checkpoint must have it.
    return_map : bool
        Whether embedding also gives a map.
    """

    checkpoint: str = ""
    sha256: str = ""
    return_map: bool = False


C = TypeVar("C", bound=CheckpointConfig)


class WaveformExtractor(Extractor[C]):
    """A published network, read once and never trained; what is saved holds its weights and needs no checkpoint any more."""

    #: The published checkpoint.
    published: ClassVar[Checkpoint]
    #: Registered name, for messages.
    owner: ClassVar[str]
    #: Key of the state dict inside the checkpoint; empty: the checkpoint is the state dict.
    checkpoint_key: ClassVar[str] = ""
    #: Tensor with one value a class.
    class_tensor: ClassVar[str]

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._network: torch.nn.Module | None = None

    @abstractmethod
    def make_network(self, *, n_classes: int) -> torch.nn.Module:
        """Return the network with any weights."""

    @abstractmethod
    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return vector ``[segment, dim]`` and, if wanted, map of ``[segment, sample]``."""

    @abstractmethod
    def shortest(self) -> tuple[int, int]:
        """Return the samples that a segment must have at least, and the sampling rate in Hz."""

    def require(self) -> None:
        """Raise ``ConfigError`` if the checkpoint is missing or does not fit."""
        find_checkpoint(self.config.checkpoint, self.published, owner=self.owner, sha256=self.config.sha256)

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embed ``[segment, sample]`` at the network's rate; see :meth:`Extractor.embed`.

        Raises
        ------
        ConfigError
            If the checkpoint is missing or does not fit.
        FormatError
            For another shape, too short segments, or values that are not finite.
        """
        return self.run(segments, self.forward)

    def run(self, segments: NDArray[Any], forward: Any) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Run ``forward`` over segments in batches of one size; raises as :meth:`embed`."""
        self.network()
        n_samples_min, sample_rate_hz = self.shortest()
        return embed_waveforms(segments, forward, n_samples_min=n_samples_min, sample_rate_hz=sample_rate_hz)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network's weights."""
        from dcase_asd.training.checkpoint import model_arrays

        return model_arrays(self.network())

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; ``FormatError`` if it does not fit the configuration."""
        from dcase_asd.training.checkpoint import set_model

        if self.class_tensor not in tensors:
            raise FormatError(f"not the state of extractor {self.owner}: {self.class_tensor} is missing; re-run stage 3")
        network = self._built(n_classes=len(tensors[self.class_tensor]))
        set_model(network, dict(tensors), where=f"{self.owner} state")
        self._network = network

    def module_and_input(self, n_frames: int) -> tuple[Any, Any]:
        """Return the network and a segment of zeros; see :meth:`Extractor.module_and_input`."""
        import torch

        return self.network(), torch.zeros(1, n_frames)

    @classmethod
    def available(cls, checkpoint: str = "") -> bool:
        """Return whether the checkpoint lies at the path or in ``$DCASE_ASD_WEIGHTS``."""
        return is_at_hand(checkpoint, cls.published)

    def network(self) -> Any:
        """Return the network, read from its checkpoint the first time; raises ``ConfigError`` as :meth:`embed`."""
        if self._network is None:
            path = find_checkpoint(self.config.checkpoint, self.published, owner=self.owner, sha256=self.config.sha256)
            tensors = read_state_dict(path, key=self.checkpoint_key)
            network = self._built(n_classes=len(tensors.get(self.class_tensor, range(_AUDIOSET_CLASSES))))
            fill(network, tensors, where=str(path))
            self._network = network
        return self._network

    def _built(self, *, n_classes: int) -> torch.nn.Module:
        import torch

        # initial values are overwritten, but drawing them must not move anybody's random generator
        with torch.random.fork_rng(devices=[]):
            network = self.make_network(n_classes=n_classes)
        return network.eval().requires_grad_(requires_grad=False)
