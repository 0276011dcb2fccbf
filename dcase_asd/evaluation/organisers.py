"""The organisers' files: score folders, decision folders and ground truth of every year, and :func:`evaluate_folder`.

Score files (headerless ``file.wav,score``; decisions ``file.wav,0|1``), by year:

* 2020 ``anomaly_score_<machine>_id_<NN>.csv`` (no decisions)
* 2021 ``anomaly_score_<machine>_section_<NN>_<domain>_test.csv``
* 2022 on ``anomaly_score_<machine>_section_<NN>_test.csv``, or the baseline's
  ``anomaly_score_DCASE2023T2<machine>_section_<NN>_test_seed<seed><tag>_Eval.csv``. The 2022 task page omits ``_test`` and the
  evaluator requires it: both are read, the former with a warning.

Unlike the organisers' tools, which sort rows and compare positions, rows are joined by file name. Ground truth: see
:mod:`dcase_asd.evaluation.ground_truth`.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.evaluate import evaluate_scores
from dcase_asd.evaluation.ground_truth import GroundTruth, csv_rows, read_ground_truth
from dcase_asd.evaluation.results import Metrics
from dcase_asd.evaluation.rules import rule_of_year

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ScoreFolder", "evaluate_folder", "name_folders", "read_score_folder"]

_LOG = logging.getLogger(__name__)
_NAME = re.compile(
    r"^(?P<kind>anomaly_score|decision_result)_(?:DCASE\d{4}T2)?(?P<machine>.+?)"
    r"_(?:id|section)_(?P<section>\d{2})(?:_(?P<domain>source|target))?(?P<test>_test)?(?:_seed.*)?\.csv$"
)
_COLUMNS = {"anomaly_score": "score", "decision_result": "decision"}


@dataclass(frozen=True)
class ScoreFolder:
    """What a system handed in.

    Attributes
    ----------
    scores : DataFrame
        ``clip_id, system, score``; clip ids are ``<machine>/<file>.wav``.
    decisions : DataFrame or None
        ``clip_id, system, decision``; None if the folder holds no decision file.
    """

    scores: pd.DataFrame
    decisions: pd.DataFrame | None


def evaluate_folder(
    scores: Path | Mapping[str, Path],
    ground_truth: Path,
    *,
    year: int,
    rule: str | None = None,
    interval: bool | Literal["if_possible"] = "if_possible",
    n_bootstrap: int = 0,
    seed: int = 0,
    provenance: Mapping[str, str] | None = None,
) -> Metrics:
    """Evaluate one score folder, or several by system name, against the organisers' ground truth.

    Parameters
    ----------
    scores : path or mapping of str to path
        A folder of score files (the system is called as the folder), or system names to folders.
    ground_truth : path
        A clone of the year's evaluator, or its ``eval_data_list*.csv``.
    year : int
        Challenge year: file names, and the rule unless ``rule`` is given.
    rule : str, optional
        Another rule's name, such as ``own_domain``.
    interval, n_bootstrap, seed, provenance
        As in :func:`~dcase_asd.evaluation.evaluate.evaluate_scores`.

    Raises
    ------
    FormatError
        If a file is missing or a row is malformed, doubled, unknown or missing (file and row named).
    UnknownNameError
        If the year or rule is unknown.
    """
    import pandas as pd

    name = rule_of_year(year).name if rule is None else rule
    truth = read_ground_truth(ground_truth, year=year)
    folders = scores if isinstance(scores, Mapping) else {Path(scores).resolve().name: Path(scores)}
    read = [read_score_folder(folder, truth, system=system) for system, folder in folders.items()]
    decided = [entry.decisions for entry in read if entry.decisions is not None]
    if decided and len(decided) < len(read):
        without = [system for system, entry in zip(folders, read, strict=True) if entry.decisions is None]
        raise FormatError(f"{', '.join(without)}: no decision_result files, while other systems have them; evaluate them apart")
    return evaluate_scores(
        pd.concat([entry.scores for entry in read], ignore_index=True),
        truth.table,
        rule=name,
        decisions=pd.concat(decided, ignore_index=True) if decided else None,
        interval=interval,
        n_bootstrap=n_bootstrap,
        seed=seed,
        provenance=provenance,
    )


def name_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Return a system's name for each score folder: the folder's own, or where two are called the same, what tells them apart.

    ``exp/a/task2/Doe_1`` and ``exp/b/task2/Doe_1`` become ``a-task2-Doe_1`` and ``b-task2-Doe_1``.

    Raises
    ------
    FormatError
        If a folder is given twice.
    """
    places = [Path(folder).resolve() for folder in folders]
    twice = next((place for i, place in enumerate(places) if place in places[:i]), None)
    if twice is not None:
        raise FormatError(f"{twice}: given twice; name each score folder once")
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        shared = Path(os.path.commonpath(places))
        names = ["-".join(place.relative_to(shared).parts) or place.name for place in places]
    return dict(zip(names, map(Path, folders), strict=True))


def read_score_folder(folder: Path, truth: GroundTruth, *, system: str) -> ScoreFolder:
    """Read every score and decision file of ``folder`` and check its rows against the truth.

    Raises
    ------
    FormatError
        If the folder is missing, a file is missing, named unlike any year's, or of a machine and section the truth does not know;
        if decisions exist for some sections only; or as the rows demand (file and row named).
    """
    import pandas as pd

    found = _score_files(Path(folder), truth)
    tables = {}
    for kind, column in _COLUMNS.items():
        files = found[kind]
        if not files and kind == "decision_result":
            continue
        missing = [unit for unit in truth.units if unit not in files]
        if missing:
            raise FormatError(
                f"{folder}: no {kind} file for {', '.join(' '.join(filter(None, unit)) for unit in missing[:5])} "
                f"({len(missing)} of {len(truth.units)} missing); expected names such as {truth.example(kind, missing[0])}"
            )
        rows = [row for unit, path in files.items() for row in _read_rows(path, truth, unit, kind)]
        table = pd.DataFrame(rows, columns=["clip_id", column])
        table.insert(1, "system", system)
        tables[column] = table
    return ScoreFolder(tables["score"], tables.get("decision"))


def _score_files(folder: Path, truth: GroundTruth) -> dict[str, dict[tuple[str, ...], Path]]:
    if not folder.is_dir():
        raise FormatError(f"{folder}: no such folder; give the folder that holds the anomaly_score_*.csv files")
    found: dict[str, dict[tuple[str, ...], Path]] = {"anomaly_score": {}, "decision_result": {}}
    untested = []
    for path in sorted(folder.glob("*.csv")):
        match = _NAME.match(path.name)
        if match is None:
            if path.name.startswith(("anomaly_score", "decision_result")):
                raise FormatError(f"{path}: misnamed; expected a name such as {truth.example('anomaly_score', truth.units[0])}")
            continue
        unit = (match["machine"], match["section"], match["domain"] or "")
        if unit not in truth.units:
            raise FormatError(
                f"{path}: the ground truth has no {' '.join(filter(None, unit))}; are these scores of the development set, or of "
                f"another year? Known: {', '.join(' '.join(filter(None, known)) for known in truth.units[:8])} ..."
            )
        files = found[match["kind"]]
        if unit in files:
            raise FormatError(f"{path}: a second file for {' '.join(filter(None, unit))}, beside {files[unit].name}")
        files[unit] = path
        if truth.year >= 2021 and not match["test"]:
            untested.append(path.name)
    if untested:
        _LOG.warning(
            "%s: %d file names lack _test (as %s): the official evaluator would not find them", folder, len(untested), untested[0]
        )
    return found


def _read_rows(path: Path, truth: GroundTruth, unit: tuple[str, ...], kind: str) -> list[tuple[str, float]]:
    clips = truth.clips[unit]
    rows: dict[str, tuple[int, float]] = {}
    for number, row in csv_rows(path):
        where = f"{path}: row {number}"
        if len(row) != 2:
            raise FormatError(f"{where}: {len(row)} columns in {','.join(row)!r}; expected two: file name and {_COLUMNS[kind]}")
        clip = clips.get(row[0].strip())
        if clip is None:
            raise FormatError(f"{where}: {row[0]!r} is no clip of {path.name}'s ground truth; expected names as {min(clips)}")
        if clip in rows:
            raise FormatError(f"{where}: {row[0]!r} stands in row {rows[clip][0]} already; keep one row per clip")
        rows[clip] = (number, _number(row[1], kind, where))
    missing = sorted(set(clips.values()) - set(rows))
    if missing:
        names = ", ".join(clip.split("/", 1)[1] for clip in missing[:5])
        raise FormatError(f"{path}: {len(missing)} clips are missing: {names}{' ...' if len(missing) > 5 else ''}")
    return [(clip, value) for clip, (_, value) in rows.items()]


def _number(text: str, kind: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise FormatError(f"{where}: {text!r} is not a number; score files have no header line") from None
    if kind == "decision_result":
        if value not in {0.0, 1.0}:
            raise FormatError(f"{where}: decision {text!r}; expected 0 (normal) or 1 (anomaly)")
        return value
    if not math.isfinite(value):
        raise FormatError(f"{where}: score {text!r} is not finite")
    return value
