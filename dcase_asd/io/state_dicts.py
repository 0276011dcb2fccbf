"""State dictionaries: named tensors in a torch or safetensors file, read without executing anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dcase_asd.errors import DataError, FormatError
from dcase_asd.io.arrays import load_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["read_state_dict"]


def read_state_dict(path: str | Path, *, key: str = "") -> dict[str, torch.Tensor]:
    """Read a state dictionary from ``.safetensors`` or a torch file, or the one under ``key`` in it.

    Raises
    ------
    DataError
        If there is no such file.
    FormatError
        If it cannot be read, holds anything but named tensors, or lacks the key.
    """
    import torch

    source = Path(path).expanduser()
    if not source.is_file():
        raise DataError(f"{source}: no such weights file; give the path of a state dictionary (torch or .safetensors)")
    if source.suffix == ".safetensors" and not key:
        return {name: torch.from_numpy(value) for name, value in load_tensors(source).items()}
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types here (UnpicklingError, RuntimeError, EOFError, zipfile errors)
        raise FormatError(f"{source}: not a torch file of tensors ({_cause(error)}); fetch it again") from error
    tensors = loaded.get(key) if key and isinstance(loaded, Mapping) else loaded
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in tensors.items()
    ):
        under = f" under {key!r}" if key else ""
        raise FormatError(f"{source}: expected named tensors{under}; save them with torch.save(model.state_dict())")
    return dict(tensors)


def _cause(error: Exception) -> str:
    # torch goes on for paragraphs about switching its protection off; the reader's own reason comes last, if at all
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "neither a zip of tensors nor a pickle of them" if "weights_only" in str(error) else first[:200]
