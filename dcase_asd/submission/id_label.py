"""Two-column answers (``id,label``) for pictures without labels: written, and checked row by row.

Source: Argese and Degni, Section VIII (``ensemble_predictions.csv``), and the sample file of
www.kaggle.com/c/aerial-cactus-identification, which has the same form.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dcase_asd.errors import FormatError, nearest
from dcase_asd.io.atomic import write_text
from dcase_asd.submission.problems import Problem, Report

__all__ = ["COLUMNS", "check_id_label", "sample_ids", "write_id_label"]

#: Names of the two columns unless told otherwise.
COLUMNS = ("id", "label")
#: A sample with more bytes is none; 4000 file names have 150 kB.
_MOST_BYTES = 100_000_000


def write_id_label(path: str | os.PathLike[str], labels: Mapping[str, int], *, columns: Sequence[str] = COLUMNS) -> None:
    """Write one row per picture, sorted by id, LF line ends.

    Parameters
    ----------
    path : path-like
    labels : mapping of str to int
        File name to 0 or 1.
    columns : sequence of str
        Names of the two columns.

    Raises
    ------
    FormatError
        If there is no picture, a label is neither 0 nor 1, or an id cannot stand in a CSV without quotes.
    """
    if not labels:
        raise FormatError(f"{path}: no picture to answer for")
    for name, value in labels.items():
        if value not in (0, 1) or not name or set(name) & set(',"\r\n'):
            raise FormatError(f"{path}: {name!r} with label {value!r}: expected a file name without commas or quotes, and 0 or 1")
    rows = "".join(f"{name},{int(labels[name])}\n" for name in sorted(labels))
    write_text(Path(path), f"{columns[0]},{columns[1]}\n{rows}")


def check_id_label(path: str | os.PathLike[str], *, ids: Iterable[str], columns: Sequence[str] = COLUMNS) -> list[Problem]:
    """Return every defect of an answer file; an empty list means it can be sent.

    Parameters
    ----------
    path : path-like
    ids : iterable of str
        The pictures that must be answered for, each once.
    columns : sequence of str
        The header expected.
    """
    report, source, wanted = Report(), Path(path), set(ids)
    file = source.name
    try:
        rows = _read(source)
    except FormatError as error:
        report.error("unreadable", file, str(error), "Write a UTF-8 CSV with a header and two columns.")
        return report.finish()
    if not rows or rows[0] != list(columns):
        found = ",".join(rows[0]) if rows else ""
        report.error("header", file, f"the header is not {','.join(columns)}", "Name the columns so.", row=1, value=found)
    first: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2:
            report.error("cells", file, f"{len(row)} cells, not 2", "Write id and label.", row=number, value=",".join(row))
            continue
        name, label = row
        if name in first:
            report.error("twice", file, f"answered in row {first[name]} already", "Keep one row.", row=number, value=name)
        elif name not in wanted:
            remedy = f"Remove the row or correct the name{nearest(name, wanted) if len(wanted) < 1000 else ''}."
            report.error("unknown", file, "no picture of this name is asked for", remedy, row=number, value=name)
        first.setdefault(name, number)
        if label not in ("0", "1"):
            report.error("label", file, "the label is neither 0 nor 1", "Write 0 or 1, no score.", row=number, value=label)
    for name in sorted(wanted - first.keys()):
        report.error("missing", file, "a picture has no row", "Add it.", value=name)
    return report.finish()


def sample_ids(path: str | os.PathLike[str]) -> tuple[tuple[str, str], list[str]]:
    """Return the two column names and the ids of a sample answer file; raises ``FormatError`` if it is none."""
    rows = _read(Path(path))
    if len(rows) < 2 or any(len(row) != 2 for row in rows):
        raise FormatError(f"{path}: not a sample answer: expected a header and rows of two cells")
    return (rows[0][0], rows[0][1]), [row[0] for row in rows[1:]]


def _read(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FormatError(f"{path}: larger than {_MOST_BYTES // 10**6} MB, so no table of ids and labels")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [[cell.strip() for cell in row] for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: not a readable table ({error})") from error
