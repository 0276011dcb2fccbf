"""A CSV that says what each clip of a machine's folder is."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dcase_asd.errors import ManifestError, nearest
from dcase_asd.manifests.clip_files import ARRAY_SUFFIXES, AUDIO_SUFFIXES, summarise

__all__ = ["Columns", "PlacedClip", "read_rows", "read_split_table"]


@dataclass(frozen=True, kw_only=True)
class PlacedClip:
    """One clip of a folder corpus before its file was read.

    Attributes
    ----------
    path, folder : Path
        The file, and the folder of its machine (clip ids count from there).
    machine, section, domain, split : str
        As in the manifest; the true domain, also of a test clip.
    attributes : dict of str to str
        The true attributes.
    is_anomaly : int or None
        0 normal, 1 anomaly, None unknown.
    """

    path: Path
    folder: Path
    machine: str
    section: str
    domain: str
    split: str
    attributes: dict[str, str] = field(default_factory=dict)
    is_anomaly: int | None = None


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns and meanings of values; see the configuration of the ``folder`` corpus."""

    file_column: str
    split_column: str
    domain_column: str
    label_column: str
    section_column: str
    machine_column: str
    attribute_columns: tuple[str, ...]
    train_values: tuple[str, ...]
    test_values: tuple[str, ...]
    exclude_values: tuple[str, ...]
    normal_values: tuple[str, ...]
    anomaly_values: tuple[str, ...]
    other_machines: dict[str, str]
    section: str


def read_split_table(path: Path, *, machine: str, columns: Columns) -> list[PlacedClip]:
    """Read the table of one machine.

    Parameters
    ----------
    path : Path
        The CSV (UTF-8, header line); files are relative to its folder.
    machine : str
        The machine of rows that are not sent elsewhere.
    columns : Columns
        What the columns and values mean.

    Returns
    -------
    list of PlacedClip
        In the order of the table, without excluded rows.

    Raises
    ------
    ManifestError
        For a missing file column, a file that is missing, outside the folder or named twice, and a value that means nothing
        (row, value and remedy named).
    """
    clips: list[PlacedClip] = []
    seen: set[str] = set()
    absent: list[str] = []
    for number, row in read_rows(path, columns.file_column):
        where = f"{path}: row {number}"
        file = row[columns.file_column]
        if file in seen:
            raise ManifestError(f"{where}: {file!r} stands twice; keep one row")
        seen.add(file)
        clip = _place(row, machine=machine, columns=columns, where=where, path=_inside(path.parent, file, where))
        if clip is None:
            continue
        if not clip.path.is_file():
            absent.append(file)
        clips.append(clip)
    if absent:
        raise ManifestError(f"{path}: {len(absent)} of {len(seen)} files are not there: {summarise(absent)}")
    return clips


def _place(row: Mapping[str, str], *, machine: str, columns: Columns, where: str, path: Path) -> PlacedClip | None:
    split = row.get(columns.split_column) or columns.train_values[0]
    elsewhere = columns.other_machines.get(row.get(columns.machine_column, ""))
    if split in columns.exclude_values:
        return None
    if elsewhere is None and split not in columns.train_values + columns.test_values:
        value = row.get(columns.machine_column, "")
        raise ManifestError(
            f"{where}: {columns.split_column} {split!r} is none of {', '.join(columns.train_values + columns.test_values)}; "
            f"leave such rows out with exclude_values=[{split}], or make them a "
            f"machine of its own with other_machines={{{value}: <name>}}"
        )
    is_anomaly = _label(row.get(columns.label_column, ""), columns, where) if elsewhere is None else None
    is_train = elsewhere is not None or split in columns.train_values
    if is_train and is_anomaly == 1:
        raise ManifestError(f"{where}: an anomaly among the training clips; only normal clips train")
    return PlacedClip(
        path=path,
        folder=path.parents[len(PurePosixPath(row[columns.file_column]).parts) - 1],
        machine=elsewhere or machine,
        section=row.get(columns.section_column) or columns.section,
        domain=_domain(row.get(columns.domain_column, ""), where),
        split="train" if is_train else "test",
        attributes={name: row[name] for name in columns.attribute_columns if row.get(name)},
        is_anomaly=is_anomaly,
    )


def _label(text: str, columns: Columns, where: str) -> int | None:
    value = text.lower()
    if value in columns.normal_values:
        return 0
    if value in columns.anomaly_values:
        return 1
    if not value:
        return None
    known = columns.normal_values + columns.anomaly_values
    raise ManifestError(
        f"{where}: {columns.label_column} {text!r}{nearest(value, known)} is none of {', '.join(known)}; extend normal_values or "
        f"anomaly_values, or send the rows to a machine of its own with other_machines"
    )


def _domain(text: str, where: str) -> str:
    if text.lower() in {"", "source", "target"}:
        return text.lower() or "source"
    raise ManifestError(f"{where}: domain {text!r} is neither source nor target")


def _inside(folder: Path, file: str, where: str) -> Path:
    parts = PurePosixPath(file).parts
    if not parts or file.startswith("/") or ".." in parts or "\\" in file or ":" in file:
        raise ManifestError(f"{where}: file {file!r} must be a path below {folder}, with '/' between its parts")
    suffixes = AUDIO_SUFFIXES + ARRAY_SUFFIXES
    if PurePosixPath(file).suffix.lower() not in suffixes:
        raise ManifestError(f"{where}: file {file!r} ends in none of {', '.join(suffixes)}")
    return folder / file


def read_rows(path: Path, file_column: str) -> list[tuple[int, dict[str, str]]]:
    """Return row number (the header is 1) and cells by column of a CSV; raises ``ManifestError`` naming file and row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [cell.strip() for cell in next(reader, [])]
            rows = [(number, [cell.strip() for cell in cells]) for number, cells in enumerate(reader, start=2) if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a readable table ({error})") from error
    if file_column not in header:
        raise ManifestError(
            f"{path}: no column {file_column!r}{nearest(file_column, header)}; found {', '.join(header) or 'nothing'}"
        )
    uneven = next((item for item in rows if len(item[1]) != len(header)), None)
    if uneven:
        raise ManifestError(f"{path}: row {uneven[0]}: {len(uneven[1])} cells under a header of {len(header)}; quote commas")
    return [(number, dict(zip(header, cells, strict=True))) for number, cells in rows]
