"""Checks of one score or decision file: headerless ``file.wav,value``, one row a clip."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterator

from dcase_asd.errors import nearest
from dcase_asd.submission.formats import FileKey, YearFormat
from dcase_asd.submission.problems import Report

__all__ = ["belongs", "check_names", "check_rows"]

_BOM = "\ufeff"
_MAX_ROWS = 100_000
_MAX_HINTS = 20  # a nearest match is slow to find


def check_rows(data: bytes, file: str, *, key: FileKey, rules: YearFormat, report: Report) -> dict[str, int] | None:
    """Check the rows of a score or decision file.

    Parameters
    ----------
    data : bytes
        Content of the file. LF and CRLF line ends are fine.
    file : str
        Name for the report.
    key : FileKey
        What the file should hold.
    rules : YearFormat
        The rules of the year.
    report : Report
        Where problems go.

    Returns
    -------
    dict of str to int, or None
        Clip name to the row it first stands in; None if the file is not a table at all.
    """
    text = _decode(data, file, report)
    if text is None:
        return None
    names: dict[str, int] = {}
    values: list[float] = []
    for position, (row, fields) in enumerate(_rows(text, file, report)):
        if position == 0 and _is_header(fields):
            report.error("header-line", file, "has a header line", "Remove it.", row=row, value=",".join(fields))
            continue
        if len(fields) == 2:
            values += _value(fields[1], file, row, kind=key.kind, report=report)
        elif fields:
            report.error(
                "column-count", file, f"{len(fields)} columns instead of 2", "Write name,value.", row=row, value=",".join(fields)
            )
        else:
            report.error("blank-line", file, "a blank line", "Remove it.", row=row)
        if fields:
            _note_name(fields[0], names, file, row=row, report=report)
    if key.kind == "anomaly_score" and len(values) > 1 and len(set(values)) == 1:
        report.warning(
            "constant-scores", file, "every clip has the same score", "Check the detector: its AUC is 0.5.", value=values[0]
        )
    _check_grammar(names, file, key=key, rules=rules, report=report)
    return names


def belongs(name: str, *, key: FileKey, rules: YearFormat) -> bool:
    """Whether a clip name has the grammar of the year and the section (2021: and domain) of a file."""
    match = rules.row_pattern().fullmatch(name)
    return match is not None and (match["section"], match.groupdict().get("domain")) == (key.section, key.domain)


def check_names(
    names: dict[str, int], expected: Collection[str], file: str, *, key: FileKey, rules: YearFormat, report: Report
) -> None:
    """Note every clip that is expected and absent, or present and not expected.

    Parameters
    ----------
    names : dict of str to int
        Clip name to row, from :func:`check_rows`.
    expected : collection of str
        The clip names that must be there.
    file : str
        Name for the report.
    key : FileKey
        What the file should hold; clips of other sections were reported by :func:`check_rows` already.
    rules : YearFormat
        The rules of the year.
    report : Report
        Where problems go.
    """
    wanted = set(expected)
    for name in sorted(wanted - names.keys()):
        report.error("missing-row", file, "no row for a clip of the file list", "Add the row.", value=name)
    for name, row in names.items():
        if name not in wanted and belongs(name, key=key, rules=rules):
            report.error("extra-row", file, "the clip is not in the file list", "Remove the row.", row=row, value=name)


def _decode(data: bytes, file: str, report: Report) -> str | None:
    if not data.strip():
        report.error("empty-file", file, "the file is empty", "Write one row per clip.")
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        report.error("encoding", file, "not UTF-8 text", "Save it as UTF-8 without a byte order mark.", value=error)
        return None
    if text.startswith(_BOM):
        report.error("bom", file, "begins with a byte order mark", "Save it as UTF-8 without it: it spoils row 1.", row=1)
    return text.removeprefix(_BOM)


def _rows(text: str, file: str, report: Report) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for position, fields in enumerate(reader):
            if position >= _MAX_ROWS:
                report.error("too-large", file, f"more than {_MAX_ROWS} rows", "Write one row per clip.")
                return
            yield reader.line_num, fields
    except csv.Error as error:
        report.error("not-csv", file, "not readable as CSV", "Write name,value.", row=reader.line_num, value=error)


def _is_header(fields: list[str]) -> bool:
    return len(fields) > 1 and not any(field.lower().endswith(".wav") or _number(field) is not None for field in fields)


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _value(text: str, file: str, row: int, *, kind: str, report: Report) -> list[float]:
    number = _number(text)
    if number is None:
        report.error("not-a-number", file, "not a number", "Write a finite decimal number.", row=row, value=text)
        return []
    if not math.isfinite(number):
        report.error("not-finite", file, "NaN or infinity", "Every clip needs a finite value.", row=row, value=text)
        return []
    if kind == "decision_result" and number not in (0.0, 1.0):
        what = "a decision is 0 or 1; the official evaluator cuts fractions off"
        report.error("bad-decision", file, what, "Write 0 for normal, 1 for anomalous.", row=row, value=text)
    elif kind == "decision_result" and text.strip() not in ("0", "1"):
        report.warning("decision-form", file, "not written as 0 or 1", "Write a plain 0 or 1.", row=row, value=text)
    return [number]


def _note_name(name: str, names: dict[str, int], file: str, *, row: int, report: Report) -> None:
    if name in names:
        what = f"the clip stands in row {names[name]} already"
        report.error("duplicate-row", file, what, "Keep one row per clip.", row=row, value=name)
    else:
        names[name] = row


def _check_grammar(names: dict[str, int], file: str, *, key: FileKey, rules: YearFormat, report: Report) -> None:
    pattern, hints = rules.row_pattern(), _MAX_HINTS
    wanted = (key.section, key.domain)
    proper = [name for name in names if pattern.fullmatch(name)]
    for name, row in names.items():
        match = pattern.fullmatch(name)
        found = (match["section"], match.groupdict().get("domain")) if match else None
        if found == wanted:
            continue
        if found is None:
            hints -= 1
            hint = nearest(name, proper[:_MAX_HINTS]) if hints >= 0 else ""
            what, remedy = "not a clip name of the evaluation part", f"Use the names of the recordings{hint}."
            report.error("misnamed-row", file, what, remedy, row=row, value=name)
        elif rules.is_development(key.machine, found[0]):
            remedy = f"Score {rules.section_word} {key.section} of the evaluation part."
            report.error("development-part", file, "a clip of the development part", remedy, row=row, value=name)
        else:
            what = f"the clip does not belong to {rules.section_word} {' '.join(w for w in wanted if w)}"
            report.error("misnamed-row", file, what, "Move the row to its file.", row=row, value=name)
