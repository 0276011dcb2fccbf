"""SHA-256 of files, folders and JSON values."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["sha256_file", "sha256_json", "sha256_tree"]


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # a file name that is no UTF-8 is held as surrogates, and refused by name where the manifest is made
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def sha256_tree(folder: str | os.PathLike[str], *, exclude: Iterable[str] = ()) -> dict[str, str]:
    """Return ``{relative posix path: sha256}`` of every file below ``folder``, sorted by path.

    Parameters
    ----------
    folder : path-like
        The folder to hash.
    exclude : iterable of str
        File names (not paths) to leave out, such as the completion record itself.
    """
    root, skip = Path(folder), set(exclude)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name not in skip)
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in files}
