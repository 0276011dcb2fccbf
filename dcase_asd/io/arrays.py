"""Arrays on disk: memory-mapped ``.npy`` and ``.safetensors``.

safetensors 0.8.0 writes wrong values for arrays that are not C-contiguous without saying so; everything is therefore
saved through :func:`save_tensors`, which makes arrays contiguous, reads the file back and compares.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import FormatError
from dcase_asd.io.atomic import atomic_path

#: What numpy's reader raises on damaged headers, over and above what it documents.
_NPY_ERRORS = (ValueError, OSError, EOFError, SyntaxError, TokenError, TypeError, OverflowError, MemoryError, RecursionError)

__all__ = ["load_array", "load_tensors", "save_array", "save_tensors"]


def save_array(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write one array as ``.npy``, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)


def load_array(path: str | os.PathLike[str], *, mmap: bool = True) -> NDArray[Any]:
    """Open a ``.npy`` file, memory-mapped and read-only by default.

    Raises
    ------
    FormatError
        If the file is missing, truncated, or not a plain ``.npy`` array.
    """
    source = Path(path)
    try:
        array = np.load(source, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise FormatError(f"{source}: no such array file; re-run the stage that writes it") from error
    except _NPY_ERRORS as error:
        raise FormatError(f"{source}: not a readable .npy array ({error}); re-run the stage that writes it") from error
    if not isinstance(array, np.ndarray):
        raise FormatError(f"{source}: expected one .npy array, found an archive")
    return array


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays as ``.safetensors``, atomically; read back and compare before the file appears."""
    from safetensors.numpy import load_file, save_file

    contiguous = {name: np.array(value, order="C", copy=True) for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        # an empty metadata mapping makes a header that does not read back when there is no tensor (safetensors 0.8.0)
        save_file(contiguous, str(temporary), metadata=dict(metadata) if metadata else None)
        written = load_file(str(temporary))
        for name, value in contiguous.items():
            if written[name].dtype != value.dtype or written[name].tobytes() != value.tobytes():
                raise FormatError(f"{path}: tensor {name!r} did not survive writing; the file was not kept")


def load_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read every array of a ``.safetensors`` file.

    Raises
    ------
    FormatError
        If the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    source = Path(path)
    try:
        return dict(load_file(str(source)))
    except FileNotFoundError as error:
        raise FormatError(f"{source}: no such tensor file") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{source}: not a readable safetensors file ({error})") from error
