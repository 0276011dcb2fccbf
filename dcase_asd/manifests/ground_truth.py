"""Truth about evaluation clips, from what the organisers publish; it goes to ``labels.csv`` and nowhere else.

Two forms are read. A folder in the layout of the official evaluators::

    ground_truth_data/ground_truth_<machine>_section_<NN>_test.csv         file,0|1        1: anomaly
    ground_truth_domain/...                                                file,0|1        1: target
    ground_truth_attributes/...                                            file,true name[,true name with attributes]
    (2021: ..._section_<NN>_<source|target>_test.csv, domain in the name)

or one file ``eval_data_list*.csv``, or a folder with one such file: a line with the machine alone, then
``file,true name[,0|1]``.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path

from dcase_asd.errors import ManifestError
from dcase_asd.manifests.dcase_names import clip_key, parse_clip_name

__all__ = ["Truth", "read_ground_truth"]

_FILE = re.compile(r"ground_truth_(?P<machine>.+)_(?:section|id)_\d{2}(?:_(?P<domain>source|target))?(?:_test)?\.csv")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The truth about one clip.

    Attributes
    ----------
    is_anomaly : int
        0 normal, 1 anomaly.
    domain : str
        ``source``, ``target`` or ``unknown``.
    attributes : str
        The attribute string of the true name; empty if it is not published.
    """

    is_anomaly: int
    domain: str = "unknown"
    attributes: str = ""


def read_ground_truth(place: Path) -> dict[tuple[str, str], Truth]:
    """Read a folder in the evaluators' layout or an ``eval_data_list*.csv``.

    Parameters
    ----------
    place : Path
        The folder (or the ``ground_truth_data`` folder in it, or one with a single ``eval_data_list*.csv``) or the file.

    Returns
    -------
    dict of (str, str) to Truth
        Machine type and clip key (:func:`~dcase_asd.manifests.dcase_names.clip_key`) to the truth.

    Raises
    ------
    ManifestError
        If nothing of the kind is there, or a row is malformed or contradicts another (file, row and value named).
    """
    if place.is_file():
        return _read_list(place)
    base = place.parent if place.name == "ground_truth_data" else place
    files = sorted((base / "ground_truth_data").glob("*.csv"))
    lists = sorted(place.glob("eval_data_list*.csv"))
    if not files and len(lists) == 1:
        return _read_list(lists[0])
    if not files:
        raise ManifestError(
            f"{place}: no ground truth; expected ground_truth_data/ground_truth_<machine>_section_<NN>_test.csv (a clone of the "
            f"year's official evaluator) or one file eval_data_list*.csv"
        )
    result: dict[tuple[str, str], Truth] = {}
    for path in files:
        result.update(_read_section(path, base))
    return result


def _read_section(path: Path, base: Path) -> dict[tuple[str, str], Truth]:
    match = _FILE.fullmatch(path.name)
    if not match:
        raise ManifestError(f"{path}: expected a name of the form ground_truth_<machine>_section_<NN>_test.csv")
    flags = _flags(path)
    domains = {}
    if (base / "ground_truth_domain" / path.name).is_file():
        domains = {key: ("source", "target")[flag] for key, flag in _flags(base / "ground_truth_domain" / path.name).items()}
        strangers = sorted(set(domains) ^ set(flags))
        if strangers:
            raise ManifestError(
                f"{base / 'ground_truth_domain' / path.name}: {strangers[0]!r} stands in only one of ground_truth_domain and "
                f"ground_truth_data; fetch the ground truth again"
            )
    attributes = {}
    if (base / "ground_truth_attributes" / path.name).is_file():
        rows = _rows(base / "ground_truth_attributes" / path.name, at_least=2)
        attributes = {clip_key(row[0]): parse_clip_name(row[-1]).attributes for _, row in rows}
    fallback = match["domain"] or ("source" if "_id_" in path.name else "unknown")
    return {
        (match["machine"], key): Truth(is_anomaly=flag, domain=domains.get(key, fallback), attributes=attributes.get(key, ""))
        for key, flag in flags.items()
    }


def _read_list(path: Path) -> dict[tuple[str, str], Truth]:
    result: dict[tuple[str, str], Truth] = {}
    machine = ""
    for number, row in _rows(path, at_least=1):
        if len(row) == 1 or not any(row[1:]):
            machine = row[0]
            continue
        if not machine:
            raise ManifestError(f"{path}: row {number}: {row[0]!r} stands before any machine name")
        truth = _from_name(path, number, row[1])
        if len(row) > 2 and row[2]:
            truth = replace(truth, is_anomaly=_flag(path, number, row[2]))
        key = (machine, clip_key(row[0]))
        if result.setdefault(key, truth) != truth:
            raise ManifestError(f"{path}: row {number}: {row[0]!r} stands twice with different truths")
    if not result:
        raise ManifestError(f"{path}: no row of the form file,true name")
    return result


def _from_name(path: Path, number: int, name: str) -> Truth:
    parsed = parse_clip_name(name)
    if not parsed.label:
        raise ManifestError(f"{path}: row {number}: the true name {name!r} says neither normal nor anomaly")
    return Truth(is_anomaly=int(parsed.label == "anomaly"), domain=parsed.domain, attributes=parsed.attributes)


def _flags(path: Path) -> dict[str, int]:
    result: dict[str, int] = {}
    for number, row in _rows(path, at_least=2):
        key, flag = clip_key(row[0]), _flag(path, number, row[1])
        if result.setdefault(key, flag) != flag:
            raise ManifestError(f"{path}: row {number}: {row[0]!r} stands twice with different values")
    return result


def _flag(path: Path, number: int, text: str) -> int:
    if text not in {"0", "1"}:
        raise ManifestError(f"{path}: row {number}: expected 0 or 1, found {text!r}")
    return int(text)


def _rows(path: Path, *, at_least: int) -> list[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(stream), start=1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a readable table ({error})") from error
    rows = [(number, row) for number, row in rows if any(row)]
    short = next((item for item in rows if len(item[1]) < at_least), None)
    if short:
        raise ManifestError(f"{path}: row {short[0]}: expected {at_least} cells, found {len(short[1])}")
    return rows
