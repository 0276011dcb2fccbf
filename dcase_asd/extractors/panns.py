"""PANNs: the Cnn14 of the PANNs family, through the package ``panns-inference``.

The package's ``__init__`` runs ``wget`` where a label file is missing, and its tagger runs ``wget`` for the checkpoint.
Only its module ``models`` is used here, imported by itself, so that nothing is fetched, written or printed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError
from dcase_asd.extractors._shared.waveform_extractor import CheckpointConfig, WaveformExtractor
from dcase_asd.extractors._shared.waveform_networks import Checkpoint
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
class Config(CheckpointConfig):
    """The keys of :class:`CheckpointConfig`; the map is that of the last convolution block (2048 channels)."""


class Panns(WaveformExtractor[Config]):
    """Embedding of Cnn14: its 2048 activations before the AudioSet classifier."""

    input_rate_hz: ClassVar[float | None] = float(_SHAPE["sample_rate"])
    published: ClassVar[Checkpoint] = CHECKPOINT
    owner: ClassVar[str] = "panns"
    checkpoint_key: ClassVar[str] = "model"
    class_tensor: ClassVar[str] = "fc_audioset.bias"

    def make_network(self, *, n_classes: int) -> torch.nn.Module:
        """Return Cnn14."""
        network: torch.nn.Module = _models().Cnn14(**_SHAPE, classes_num=n_classes)
        return network

    def shortest(self) -> tuple[int, int]:
        """Return what leaves one frame after all poolings."""
        return _SAMPLES_MIN, _SHAPE["sample_rate"]

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the embedding and, if wanted, the map of the last block."""
        network = self.network()
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
