"""PANNs: the Cnn14 of the PANNs family, through the package ``panns-inference``.

The package's ``__init__`` runs ``wget`` where a label file is missing, and its tagger runs ``wget`` for the checkpoint.
Only its module ``models`` is used here, imported by itself, so that nothing is fetched, written or printed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

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
    from types import ModuleType

    import torch

__all__ = ["CHECKPOINT", "INFO", "Config", "Panns"]

INFO = Info(
    summary="pretrained AudioSet embedding of Cnn14 (2048 dimensions); nothing is trained",
    implementation="Panns",
    source="Kong et al., PANNs, IEEE/ACM TASLP 28, 2020 (Cnn14: AudioSet mAP 0.431)",
    input="waveform",
    cost="80.8 M parameters; about 0.5 s of CPU for 5 s of sound",
    strengths="the best known pretrained embedding of its kind; needs no other machines",
    weaknesses="large checkpoint to fetch by hand; many dimensions for few recordings",
)

#: The tensors of Cnn14 alone are 327 MB; panns-inference takes anything below 300 MB for an interrupted download as well.
CHECKPOINT = Checkpoint(
    file="Cnn14_mAP=0.431.pth",
    address="https://zenodo.org/records/3987831",
    n_bytes=327_400_000,
    least_bytes=300_000_000,
    licence="CC BY 4.0 (Zenodo record 3987831)",
)

#: Under this name the package's folder is known to the import system, without its ``__init__`` being run.
_PRIVATE = "_dcase_asd_panns"
#: Cnn14 as published (panns_inference:inference.py): 32 kHz, window 1024, hop 320, 64 mel bands from 50 to 14000 Hz.
_SHAPE = {"sample_rate": 32000, "window_size": 1024, "hop_size": 320, "mel_bins": 64, "fmin": 50, "fmax": 14000}
#: Five poolings by two leave one frame of 32, at a hop of 320 samples.
_SAMPLES_MIN = 31 * 320


@configclass
class Config:
    """Where the checkpoint lies, and whether maps are wanted.

    Attributes
    ----------
    checkpoint : str
        Path of ``Cnn14_mAP=0.431.pth``; empty: that name in the folder ``$DCASE_ASD_WEIGHTS``.
    sha256 : str
        If given, the checkpoint must have it.
    return_map : bool
        Whether embedding also gives the map of the last convolution block (2048 channels).
    """

    checkpoint: str = ""
    sha256: str = ""
    return_map: bool = False


class Panns(Extractor[Config]):
    """Embedding of Cnn14: its 2048 activations before the AudioSet classifier."""

    input_rate_hz: ClassVar[float | None] = float(_SHAPE["sample_rate"])

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._network: torch.nn.Module | None = None

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embed ``[segment, sample]`` at 32 kHz; see :meth:`Extractor.embed`.

        Raises
        ------
        ConfigError
            If the checkpoint is missing or does not fit.
        FormatError
            For another shape, too short segments, or values that are not finite.
        """
        self._loaded()
        return embed_waveforms(segments, self._forward, n_samples_min=_SAMPLES_MIN, sample_rate_hz=_SHAPE["sample_rate"])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the network's weights, so that what is saved needs no checkpoint any more."""
        from dcase_asd.training.checkpoint import model_arrays

        return model_arrays(self._loaded())

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; ``FormatError`` if it is not a Cnn14."""
        from dcase_asd.training.checkpoint import set_model

        if "fc_audioset.bias" not in tensors:
            raise FormatError("not the state of a panns extractor: fc_audioset.bias is missing")
        network = _built(n_classes=len(tensors["fc_audioset.bias"]))
        set_model(network, dict(tensors), where="panns state")
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
        network = self._loaded()
        if not self.config.return_map:
            return network(waveform)["embedding"], None
        seen: list[torch.Tensor] = []
        last_block = network.get_submodule("conv_block6")
        handle = last_block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            vector = network(waveform)["embedding"]
        finally:
            handle.remove()
        # Cnn14 keeps time before frequency
        return vector, seen[0].transpose(2, 3)

    def _loaded(self) -> torch.nn.Module:
        if self._network is None:
            path = find_checkpoint(self.config.checkpoint, CHECKPOINT, owner="panns", sha256=self.config.sha256)
            tensors = read_state_dict(path, key="model")
            network = _built(n_classes=len(tensors.get("fc_audioset.bias", range(527))))
            fill(network, tensors, where=str(path))
            self._network = network
        return self._network


def _built(*, n_classes: int) -> torch.nn.Module:
    import torch

    # initial values are overwritten, but drawing them must not move anybody's random generator
    with torch.random.fork_rng(devices=[]):
        network: torch.nn.Module = _models().Cnn14(**_SHAPE, classes_num=n_classes)
    return network.eval().requires_grad_(requires_grad=False)


def _models() -> ModuleType:
    """Import ``panns_inference.models`` without running the package's ``__init__``."""
    import importlib
    from importlib.util import find_spec
    from types import ModuleType

    spec = find_spec("panns_inference")  # finds the folder, imports nothing
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("panns: the package panns-inference is not installed; run pip install panns-inference")
    if _PRIVATE not in sys.modules:
        package = ModuleType(_PRIVATE)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[_PRIVATE] = package
    return importlib.import_module(f"{_PRIVATE}.models")
