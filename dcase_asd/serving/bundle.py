"""Bundles: a fitted model as a folder or zip of JSON and safetensors; nothing in it is executed.

Layout::

    config.json             format and version, the resolved model, threshold, scale of scores, SHA-256 of it and of all others
    provenance.json         versions, commit, counts of recordings (no paths)
    README.md               model card
    calibration.safetensors scores of normal recordings
    normals.safetensors     embeddings of normal recordings (for ``update``)
    embedder0/, <member>/   saved extractors and detectors
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from dcase_asd.errors import FormatError, UsageError
from dcase_asd.io.archives import ZIP_ERRORS, check_directory
from dcase_asd.io.atomic import atomic_path, refuse_unwritable, remove_tree, write_json
from dcase_asd.io.hashing import sha256_file, sha256_tree

__all__ = [
    "CONFIG",
    "FORMAT",
    "VERSION",
    "alone",
    "is_bundle",
    "opened",
    "read_config",
    "refuse_target",
    "verify",
    "write_config",
    "written",
]

FORMAT = "dcase_asd bundle"
#: Raised when a reader of the old version would misread a new bundle.
VERSION = 2
CONFIG = "config.json"
_DIGEST = "sha256"

# A bundle with PANNs weights has 0.35 GB and some dozen files; far beyond that it is an attack or a mistake.
_MAX_BYTES = 4 * 2**30
_MAX_FILES = 1000
_MAX_NAME = 200
_COPY_BYTES = 2**20


@contextlib.contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder to fill; then put it at ``path`` as it is, or zipped if the name ends in ``.zip``.

    The bundle appears whole or not at all. An existing bundle is replaced, anything else is not.

    Raises
    ------
    UsageError
        If ``path`` exists and is no bundle, or cannot be written to.
    """
    refuse_target(path)
    target = Path(path).resolve()  # through a link: what it leads to is replaced, and it stays
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        if target.suffix == ".zip":
            _zip(folder, target)
            return
        folder.chmod(0o755)
        _swap(folder, target)
    finally:
        remove_tree(folder)


def _swap(folder: Path, target: Path) -> None:
    """Put a folder in another's place; stopped anywhere, there is the old one or the new one, whole."""
    aside = folder.with_name(f"{folder.name}.old")
    try:
        if target.exists():
            target.rename(aside)
        folder.rename(target)
    finally:
        if aside.exists() and not target.exists():
            aside.rename(target)
        remove_tree(aside)


@contextlib.contextmanager
def alone(path: str | os.PathLike[str]) -> Iterator[None]:
    """Wait for another process that changes a bundle, and keep others waiting: of two updates at once, neither is lost.

    Where the file system has no locks (some network ones), nothing waits.
    """
    if os.name == "nt" or not Path(path).exists():  # no such locks there; what is missing is said by the reader
        yield
        return
    import fcntl

    while True:
        handle = os.open(path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in {errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF}:
                    raise
            # the one that was waited for has put another in its place
            if os.path.samestat(os.fstat(handle), Path(path).stat()):
                yield
                return
        finally:
            os.close(handle)


def refuse_target(path: str | os.PathLike[str]) -> None:
    """Raise ``UsageError`` if no bundle can be written at ``path``: anything but a bundle is there, or the place is read-only."""
    target = Path(path)
    if target.exists() and not is_bundle(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target}: exists and is no bundle; choose another name or remove it")
    refuse_unwritable(target, folder=True)


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Return whether a path looks like a bundle (a cheap guess, no check)."""
    source = Path(path)
    try:
        if source.is_dir():
            text = (source / CONFIG).read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(source) as archive:
                text = archive.read(CONFIG).decode()
    except (KeyError, *ZIP_ERRORS):
        return False
    return FORMAT in text


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the folder of a bundle; a zip is unpacked to a temporary folder first.

    Raises
    ------
    FormatError
        If there is nothing, or a zip is damaged, too large, or has members that lead out of it.
    """
    source = Path(path)
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise FormatError(f"{source}: no such bundle; make one with dcase-asd fit")
    with tempfile.TemporaryDirectory(prefix="dcase_asd_bundle_") as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                check_directory(archive)
                _unpack(archive, Path(folder), source)
        except ZIP_ERRORS as error:
            raise FormatError(f"{source}: not a readable bundle ({error}); copy it again, or fit again") from error
        yield Path(folder)


def read_config(folder: Path, *, name: str) -> dict[str, Any]:
    """Return ``config.json`` of a bundle of a version that this program knows.

    Raises
    ------
    FormatError
        If it is missing or damaged, of another program, or of a newer version.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise FormatError(f"{name}: no {CONFIG} in it; it is no bundle of dcase_asd") from error
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{name}: {CONFIG} is damaged ({error}); make the bundle again") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise FormatError(f"{name}: format {found!r}, expected {FORMAT!r}; it was made by another program")
    version = config.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise FormatError(f"{name}: format_version {version!r} is no version; make the bundle again")
    if version > VERSION:
        made = config.get("dcase_asd", "unknown")
        raise FormatError(f"{name}: bundle version {version} (dcase_asd {made}) is newer than {VERSION}; update dcase_asd")
    if version < VERSION:
        raise FormatError(f"{name}: bundle version {version} is of an early version without a threshold a condition; fit again")
    # bundles of before it was written have none
    if _DIGEST in config and config[_DIGEST] != _digest_of(config):
        raise FormatError(f"{name}: {CONFIG} is not what was written (SHA-256 differs); copy the bundle again, or fit again")
    return dict(config)


def write_config(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``config.json`` with a digest of itself: a wrong digit in a threshold is as bad as one in a tensor."""
    write_json(folder / CONFIG, {**record, _DIGEST: _digest_of(record)})


def _digest_of(record: Mapping[str, Any]) -> str:
    told = {key: value for key, value in record.items() if key != _DIGEST}
    return sha256(json.dumps(told, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def verify(folder: Path, files: Mapping[str, str], *, name: str) -> None:
    """Hold every file against its SHA-256 in ``config.json``.

    Raises
    ------
    FormatError
        Naming the first file that is missing, changed, or outside the folder.
    """
    if not isinstance(files, dict) or not files:
        raise FormatError(f"{name}: {CONFIG} lists no files; make the bundle again")
    for relative, digest in files.items():
        if not _harmless(relative):
            raise FormatError(f"{name}: file name {relative!r} leads out of the bundle")
        path = folder / relative
        if not path.is_file():
            raise FormatError(f"{name}: {relative} is missing; copy the bundle again")
        if sha256_file(path) != digest:
            raise FormatError(f"{name}: {relative} is not what was written (SHA-256 differs); copy the bundle again")


def digests(folder: Path) -> dict[str, str]:
    """Return ``{relative path: SHA-256}`` of everything in a folder but ``config.json`` at its top."""
    found = sha256_tree(folder)
    return {path: digest for path, digest in found.items() if path != CONFIG}


def _zip(folder: Path, target: Path) -> None:
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            # a fixed date: the same model gives the same bytes
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(info, "w") as stream:
                shutil.copyfileobj(source, stream, _COPY_BYTES)


def _unpack(archive: zipfile.ZipFile, folder: Path, source: Path) -> None:
    members = [info for info in archive.infolist() if not info.is_dir()]
    size = sum(info.file_size for info in members)
    if len(members) > _MAX_FILES or size > _MAX_BYTES:
        raise FormatError(f"{source}: {len(members)} files of {size} bytes; a bundle has at most {_MAX_FILES} and {_MAX_BYTES}")
    for info in members:
        if not _harmless(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
            raise FormatError(f"{source}: member {info.filename!r} leads out of the bundle")
        target = folder / info.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as stream, target.open("wb") as out:
            # zipfile stops at the declared size and checks the CRC
            shutil.copyfileobj(stream, out, _COPY_BYTES)


def _harmless(name: str) -> bool:
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or {"\\", ":", "\0"} & set(name)
    return bool(path.parts) and len(name) <= _MAX_NAME and not leads_out
