"""Pretrained networks that read waveforms: where their checkpoints lie, and embedding that does not depend on the batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.io.hashing import sha256_file

if TYPE_CHECKING:
    import torch

__all__ = ["WEIGHTS_VARIABLE", "Checkpoint", "embed_waveforms", "fill", "find_checkpoint", "is_at_hand"]

#: Environment variable: a folder of checkpoints under their published names.
WEIGHTS_VARIABLE = "DCASE_ASD_WEIGHTS"

# Segments a forward pass takes; always exactly so many, the last filled up with zeros: kernels may round differently for
# another batch size.
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A published checkpoint.

    Attributes
    ----------
    file : str
        Its published name.
    address : str
        Where it is to be had.
    n_bytes : int
        Expected size.
    least_bytes : int
        A smaller file is an interrupted download.
    licence : str
    """

    file: str
    address: str
    n_bytes: int
    least_bytes: int
    licence: str


def find_checkpoint(given: str, known: Checkpoint, *, owner: str, sha256: str = "") -> Path:
    """Return the checkpoint's path: the configured one, or the published name in the folder ``$DCASE_ASD_WEIGHTS``.

    Nothing is ever downloaded.

    Raises
    ------
    ConfigError
        If there is none, it is cut short, or its SHA-256 is not the configured one; address and size are named.
    """
    path = _place(given, known)
    source = f"{known.file} ({known.n_bytes / 1e6:.1f} MB) from {known.address}"
    if path is None or not path.is_file():
        where = f"no such file: {path}" if path else f"no checkpoint path is configured and ${WEIGHTS_VARIABLE} is not set"
        raise ConfigError(
            f"{owner}: the checkpoint is missing ({where}). Download {source}, then set `checkpoint` to it or "
            f"${WEIGHTS_VARIABLE} to its folder; nothing is downloaded on its own"
        )
    size = path.stat().st_size
    if size < known.least_bytes:
        raise ConfigError(
            f"{owner}: checkpoint {path} has {size} bytes, at least {known.least_bytes} expected; download {source}"
        )
    if sha256 and (found := sha256_file(path)) != sha256.lower():
        raise ConfigError(f"{owner}: checkpoint {path} has SHA-256 {found}, {sha256} was configured; download {source}")
    return path


def is_at_hand(given: str, known: Checkpoint) -> bool:
    """Return whether :func:`find_checkpoint` would find a file of a plausible size."""
    path = _place(given, known)
    return path is not None and path.is_file() and path.stat().st_size >= known.least_bytes


def _place(given: str, known: Checkpoint) -> Path | None:
    if given:
        return Path(given).expanduser()
    folder = os.environ.get(WEIGHTS_VARIABLE, "")
    return Path(folder).expanduser() / known.file if folder else None


def fill(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Fill a network from a state dict; every name and shape must agree.

    Raises
    ------
    ConfigError
        Naming the first tensor that does not fit.
    """
    own = network.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        side = "lacks" if name in own else "has the unknown tensor"
        raise ConfigError(f"checkpoint {where}: {side} {name!r}; it belongs to another network or width")
    for name, value in own.items():
        if value.shape != tensors[name].shape:
            raise ConfigError(
                f"checkpoint {where}: {name!r} has shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}; "
                "it belongs to another network or width"
            )
    network.load_state_dict(dict(tensors))


def embed_waveforms(
    segments: NDArray[Any],
    forward: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]],
    *,
    n_samples_min: int,
    sample_rate_hz: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Run ``forward`` over ``segments [segment, sample]`` in batches of one fixed size.

    Returns
    -------
    vector : ndarray [segment, dim]
    map : ndarray [segment, channel, freq, time] or None

    Raises
    ------
    FormatError
        For another number of axes, no segment, too short segments, or values that are not finite.
    """
    import torch

    if segments.ndim != 2 or not len(segments):
        raise FormatError(f"expected waveform segments [segment, sample], got {segments.shape}; use features.name: waveform")
    if segments.shape[1] < n_samples_min:
        raise FormatError(
            f"segments of {segments.shape[1]} samples at {sample_rate_hz} Hz, the network needs at least {n_samples_min}; "
            "lengthen the segments"
        )
    vectors, maps = [], []
    for first in range(0, len(segments), _BATCH):
        part = np.asarray(segments[first : first + _BATCH], dtype=np.float32)
        if not np.isfinite(part).all():
            raise FormatError(f"segments {first}..{first + len(part) - 1}: samples are not finite; re-run stage 2")
        full = np.zeros((_BATCH, part.shape[1]), dtype=np.float32)
        full[: len(part)] = part
        with torch.inference_mode():
            vector, feature_map = forward(torch.from_numpy(full))
        vectors.append(vector[: len(part)].cpu().numpy())
        if feature_map is not None:
            maps.append(np.ascontiguousarray(feature_map[: len(part)].cpu().numpy()))
    return np.concatenate(vectors), np.concatenate(maps) if maps else None
