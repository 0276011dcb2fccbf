"""The organisers' ground truth: folders of an evaluator's clone, or ``eval_data_list*.csv``.

Layouts (headerless, LF or CRLF):

* ``ground_truth_data/ground_truth_<machine>_section_<NN>_test.csv`` (``file,0|1``, 1 = anomaly) and
  ``ground_truth_domain/`` (same names, 1 = target), 2022 on; where present, ``ground_truth_attributes/``
  (``anonymous.wav,true_stem[,...]``) lets score files use the true names as well, as the 2023+ evaluators do.
* 2021: ``ground_truth_data/ground_truth_<machine>_section_<NN>_<domain>_test.csv``.
* ``eval_data_list*.csv``: a line with a machine's name alone, then ``anonymous.wav,true_name.wav``, 2020 with a third column 0|1.

The 2022 labels exist in three contradicting versions; only Kota-Dohi/dcase2022_evaluator is right for ToyCar and ToyTrain.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.evaluate import TRUTH_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GroundTruth", "csv_rows", "read_ground_truth"]

Unit = tuple[str, ...]
_FILE = re.compile(r"^ground_truth_(?P<machine>.+)_section_(?P<section>\d{2})(?:_(?P<domain>source|target))?_test\.csv$")
# RoboticArm 2024 lacks "_test" (section_00_source_normal_0035_weight15_BckgF.wav)
_TRUE_NAME = re.compile(r"^section_(?P<section>\d{2})_(?P<domain>source|target)(?:_test)?_(?P<label>normal|anomaly)_\d+")
_SECTION = re.compile(r"^(?:id|section)_(?P<section>\d{2})_")
_DOMAIN_OF = {"0": "source", "1": "target"}


@dataclass(frozen=True)
class GroundTruth:
    """The truth of a year's evaluation set.

    Attributes
    ----------
    year : int
    table : DataFrame
        ``clip_id, machine, section, domain, is_anomaly``; clip ids are ``<machine>/<file>.wav``.
    clips : mapping of unit to mapping of str to str
        Per score file, that is (machine, section, domain or ""): accepted file name to clip id.
    """

    year: int
    table: pd.DataFrame
    clips: Mapping[Unit, Mapping[str, str]]

    @property
    def units(self) -> list[Unit]:
        """The score files expected: (machine, section, domain or "")."""
        return sorted(self.clips)

    def example(self, kind: str, unit: Unit) -> str:
        """Return the official name of a unit's file."""
        machine, section, domain = unit
        if self.year == 2020:
            return f"{kind}_{machine}_id_{section}.csv"
        return f"{kind}_{machine}_section_{section}{'_' + domain if domain else ''}_test.csv"


def read_ground_truth(path: Path, *, year: int) -> GroundTruth:
    """Read the truth from an evaluator's clone or from its ``eval_data_list*.csv``.

    Raises
    ------
    FormatError
        If there is neither, or a row is malformed, doubled or contradicts its neighbour file (file and row named).
    """
    import pandas as pd

    place = Path(path)
    if place.is_file():
        rows = list(_from_list(place, year))
    elif (place / "ground_truth_data").is_dir():
        rows = list(_from_folders(place, year))
    elif (listed := sorted(place.glob("eval_data_list*.csv"))) and len(listed) == 1:
        rows = list(_from_list(listed[0], year))
    else:
        raise FormatError(
            f"{place}: neither an eval_data_list*.csv nor a folder with ground_truth_data/ (2022 on: and ground_truth_domain/); "
            "give a clone of the year's evaluator repository"
        )
    clips: dict[Unit, dict[str, str]] = {}
    for row in rows:
        machine, section = row.clip_id.split("/", 1)[0], row.section
        names = clips.setdefault((machine, section, row.domain if year == 2021 else ""), {})
        for name in row.names:
            if names.setdefault(name, row.clip_id) != row.clip_id:
                raise FormatError(f"{row.where}: {name!r} names two clips")
    table = pd.DataFrame(
        [(row.clip_id, row.clip_id.split("/", 1)[0], row.section, row.domain, row.is_anomaly) for row in rows],
        columns=list(TRUTH_COLUMNS),
    )
    twice = table["clip_id"].duplicated().to_numpy()
    if twice.any():
        raise FormatError(
            f"{rows[int(twice.argmax())].where}: {table['clip_id'][twice].iloc[0]} stands twice; keep one row per clip"
        )
    return GroundTruth(year, table, clips)


@dataclass(frozen=True)
class _Row:
    where: str
    clip_id: str
    names: tuple[str, ...]
    section: str
    domain: str
    is_anomaly: int


def _from_folders(root: Path, year: int) -> Iterator[_Row]:
    files = sorted((root / "ground_truth_data").glob("*.csv"))
    if not files:
        raise FormatError(f"{root / 'ground_truth_data'}: no csv file; give a clone of the year's evaluator repository")
    for path in files:
        match = _FILE.match(path.name)
        if match is None or (match["domain"] is None) == (year == 2021):
            kind = (
                "ground_truth_<machine>_section_<NN>_<domain>_test.csv"
                if year == 2021
                else "ground_truth_<machine>_section_<NN>_test.csv"
            )
            raise FormatError(f"{path}: misnamed for {year}; expected {kind}")
        labels = _pairs(path)
        domains = {} if match["domain"] else _pairs(root / "ground_truth_domain" / path.name)
        attributes = root / "ground_truth_attributes" / path.name
        true_names = _true_names(attributes) if attributes.is_file() else {}
        if not match["domain"] and domains.keys() != labels.keys():
            odd = sorted(domains.keys() ^ labels.keys())[0]
            raise FormatError(f"{path}: {odd} stands in only one of ground_truth_data and ground_truth_domain")
        for name, (number, label) in labels.items():
            domain = match["domain"] or _DOMAIN_OF[domains[name][1]]
            names = (name, *([true_names[name]] if name in true_names else []))
            yield _Row(f"{path}: row {number}", f"{match['machine']}/{name}", names, match["section"], domain, int(label))


def _pairs(path: Path) -> dict[str, tuple[int, str]]:
    """Return ``{file: (row, "0" or "1")}``."""
    found: dict[str, tuple[int, str]] = {}
    for number, row in csv_rows(path):
        if len(row) != 2 or row[1].strip() not in {"0", "1"}:
            raise FormatError(f"{path}: row {number}: {','.join(row)!r}; expected file name and 0 or 1")
        if row[0] in found:
            raise FormatError(f"{path}: row {number}: {row[0]} stands in row {found[row[0]][0]} already")
        found[row[0]] = (number, row[1].strip())
    return found


def _true_names(path: Path) -> dict[str, str]:
    return {row[0]: f"{row[1].removesuffix('.wav')}.wav" for _, row in csv_rows(path) if len(row) >= 2}


def _from_list(path: Path, year: int) -> Iterator[_Row]:
    machine = ""
    for number, row in csv_rows(path):
        where = f"{path}: row {number}"
        if len(row) == 1:
            machine = row[0].strip()
            continue
        found = _SECTION.match(row[0])
        if not machine or found is None or len(row) != (3 if year == 2020 else 2):
            raise FormatError(f"{where}: {','.join(row)!r} is no row of an {year} list under a line with the machine's name")
        if year == 2020:
            if row[2].strip() not in {"0", "1"}:
                raise FormatError(f"{where}: label {row[2]!r}; expected 0 or 1")
            yield _Row(where, f"{machine}/{row[0]}", (row[0],), found["section"], "unknown", int(row[2]))
            continue
        true = _TRUE_NAME.match(row[1])
        if true is None or true["section"] != found["section"]:
            raise FormatError(
                f"{where}: no section, domain and label in {row[1]!r}; expected section_NN_<domain>_test_<label>_..."
            )
        names = tuple(dict.fromkeys([row[0], row[1].strip()]))
        yield _Row(where, f"{machine}/{row[0]}", names, found["section"], true["domain"], int(true["label"] == "anomaly"))


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield row number (from 1) and fields of a headerless CSV, empty lines left out.

    Raises
    ------
    FormatError
        If the file is missing or is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), start=1):
                if any(field.strip() for field in row):
                    yield number, row
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; from 2022 on ground truth labels and domains come in pairs of files") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: not a readable CSV in UTF-8 ({error})") from error
