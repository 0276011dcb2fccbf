"""Attribute strings in file names, and the tables ``attributes_<NN>.csv``.

A string is meant as ``k_v[_k_v]...`` and often is not: parameters contain ``_`` (``mic_pos``), ``-`` or nothing between name
and value (``spd1000_BckgA``), values contain ``.``. So names are matched against a vocabulary, longest first; the table beside
the recordings, where there is one, is both the vocabulary and the better source.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from dcase_asd.errors import ManifestError

__all__ = ["OPAQUE_KEY", "parse_attributes", "read_attribute_table", "vocabulary"]

#: The key under which a string that cannot be taken apart is kept whole: one class.
OPAQUE_KEY = "attribute"
_NONE = "noattribute"
_GLUED = re.compile(r"([A-Za-z][A-Za-z-]*?)(\d[\d.]*[A-Za-z]?)")


def parse_attributes(text: str, *, keys: Iterable[str]) -> dict[str, str]:
    """Take an attribute string apart.

    Parameters
    ----------
    text : str
        Such as ``car_A2_spd_28V_mic_1``; outer underscores do not matter; ``noAttribute`` and ``""`` mean none.
    keys : iterable of str
        Known parameter names, which may contain ``_``.

    Returns
    -------
    dict of str to str
        Parameter to value, in the order of the string. ``{"attribute": text}`` if the string does not begin with a
        parameter: one opaque class. Words that follow a complete pair and are no parameter belong to its value.
    """
    words = [word for word in text.strip().strip("_").split("_") if word]
    if not words or words[0].lower() == _NONE:
        return {}
    known = sorted({tuple(key.split("_")) for key in keys if key}, key=lambda key: (-len(key), key))
    result: dict[str, str] = {}
    last, position = "", 0
    while position < len(words):
        key, value, used = _pair(words[position:], known)
        if key and key not in result:
            result[key] = value
            last = key
        elif last:
            result[last] += "_" + "_".join(words[position : position + used])
        else:
            return {OPAQUE_KEY: "_".join(words)}
        position += used
    return result


def vocabulary(tables: Iterable[Mapping[str, Mapping[str, str]]]) -> set[str]:
    """Collect the parameter names of attribute tables as read by :func:`read_attribute_table`."""
    return {key for table in tables for attributes in table.values() for key in attributes}


def read_attribute_table(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Read ``attributes_<NN>.csv``.

    Parameters
    ----------
    path : path-like
        A CSV with the header ``file_name[,d1p,d1v[,d2p,d2v ...]]``: parameter name and value, pairwise.

    Returns
    -------
    dict of str to dict of str to str
        Stem of the clip to its attributes. Folder and ending are dropped, as some machines' tables lack them.

    Raises
    ------
    ManifestError
        If the header has no ``file_name``, a row has more cells than the header, a parameter has no value, or a clip stands
        twice with different attributes (file, row and value named).
    """
    source = Path(path)
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{source}: not a readable attribute table ({error})") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if "file_name" not in header:
        raise ManifestError(f"{source}: expected the header file_name,d1p,d1v,...; found {','.join(header) or 'nothing'}")
    table: dict[str, dict[str, str]] = {}
    for number, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            raise ManifestError(f"{source}: row {number}: {len(cells)} cells under a header of {len(header)}")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        stem, attributes = _clip_stem(row["file_name"]), _row_attributes(row, source, number)
        if table.setdefault(stem, attributes) != attributes:
            raise ManifestError(f"{source}: row {number}: {stem!r} stands twice with different attributes; keep one row")
    return table


def _pair(words: list[str], known: list[tuple[str, ...]]) -> tuple[str, str, int]:
    """Return parameter, value and number of words used at the head of ``words``; an empty parameter if there is none."""
    for key in known:
        if tuple(words[: len(key)]) == key and len(words) > len(key):
            return "_".join(key), words[len(key)], len(key) + 1
    head = words[0]
    for key in known:
        name = "_".join(key)
        rest = head[len(name) :]
        # glued: the value starts with a digit or a capital (spd1000, BckgA), so `noisy` is not `noise` + something
        if len(key) == 1 and rest and head.startswith(name) and (rest[0].isdigit() or rest[0].isupper()):
            return name, rest, 1
    match = _GLUED.fullmatch(head)
    return (match[1], match[2], 1) if match else ("", head, 1)


def _row_attributes(row: Mapping[str, str], source: Path, number: int) -> dict[str, str]:
    result: dict[str, str] = {}
    for column, name in row.items():
        if not re.fullmatch(r"d\d+p", column) or not name or name.lower() == _NONE:
            continue
        value = row.get(column[:-1] + "v", "")
        if not value:
            raise ManifestError(f"{source}: row {number}: parameter {name!r} in column {column} has no value in {column[:-1]}v")
        result[name] = value
    return result


def _clip_stem(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in {".wav", ".flac"} else path.name
