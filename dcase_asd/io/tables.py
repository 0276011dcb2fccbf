"""CSV tables with a written schema: columns are checked on reading, text stays text, floats keep every bit."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dcase_asd.errors import FormatError
from dcase_asd.io.atomic import open_atomic

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_table", "write_table"]

#: From here on, whole numbers are not told apart by the float64 that checks them (2^53), and from 2^63 on they turn negative.
_LARGEST = 2.0**53


def write_table(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a CSV atomically: header line, LF line ends, floats in the shortest form that reads back equal."""
    with open_atomic(path) as stream:
        table.to_csv(stream, index=False, lineterminator="\n")


def read_table(path: str | os.PathLike[str], schema: Mapping[str, str]) -> pd.DataFrame:
    """Read a CSV whose header must hold exactly the columns of ``schema`` in that order.

    Parameters
    ----------
    path : path-like
        The file.
    schema : mapping of str to str
        Column name to ``"str"``, ``"int"`` or ``"float"``. Text columns keep ``""`` and ``"NA"`` as they are.

    Raises
    ------
    FormatError
        If the file is missing, its header differs, a row has more or fewer values, or a value does not fit its column's type
        (row and value named).
    """
    import pandas as pd

    source = Path(path)
    try:
        table = pd.read_csv(source, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8")
    except FileNotFoundError as error:
        raise FormatError(f"{source}: no such table") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise FormatError(f"{source}: not a readable CSV ({error})") from error
    if list(table.columns) != list(schema):
        raise FormatError(f"{source}: expected the columns {', '.join(schema)}; found {', '.join(map(str, table.columns))}")
    _refuse_ragged(source, n_columns=len(schema))
    for column, kind in schema.items():
        if kind != "str":
            table[column] = _numbers(source, table[column], kind)
    return table


def _refuse_ragged(source: Path, *, n_columns: int) -> None:
    # pandas fills a row that was cut off, and takes the first of too many values for a row label: all columns shift by one
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), start=1):
                if row and len(row) != n_columns:
                    raise FormatError(
                        f"{source}: row {number} has {len(row)} values, {n_columns} columns are expected: {row[:3]}"
                    )
    except csv.Error as error:
        raise FormatError(f"{source}: not a readable CSV ({error})") from error


def _numbers(source: Path, column: pd.Series, kind: str) -> pd.Series:
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").astype("float64")
    text = column.str.strip().str.lower()
    bad = (
        values.isna() & ~text.isin(["nan", ""])
        if kind == "float"
        else values.isna() | (values % 1 != 0) | (values.abs() >= _LARGEST)
    )
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise FormatError(f"{source}: row {row + 2}, column {column.name!r}: {column.iloc[row]!r} is not {kind}")
    # float() is exact where the fast parser may be one bit off
    return column.map(lambda v: float(v) if v.strip() else float("nan")) if kind == "float" else values.astype("int64")
