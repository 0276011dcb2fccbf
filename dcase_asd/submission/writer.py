"""Write a submission: the folder tree and the zip, the same bytes for the same input, and never an invalid one."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import FormatError
from dcase_asd.io.atomic import atomic_path
from dcase_asd.submission.formats import BASE_LABEL, MAX_SYSTEMS, TOP_FOLDER, FileKey, YearFormat, year_format
from dcase_asd.submission.members import memory_members
from dcase_asd.submission.validator import FileLists, check_members

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CLIP_COLUMNS", "Author", "Dataset", "SystemEntry", "write_submission"]

#: What :attr:`SystemEntry.clips` holds; ``decision`` may be absent in 2020, ``domain`` is used in 2021 only.
CLIP_COLUMNS = ("machine", "section", "domain", "file_name", "score", "decision")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: bytes must not depend on the clock
_FILE_MODE = 0o100644 << 16  # a plain file, rw-r--r--


@dataclass(frozen=True)
class Author:
    """An author of a system, as in ``submission.authors`` of the official meta.yaml."""

    lastname: str
    firstname: str
    email: str
    institution: str
    location: str
    department: str | None = None
    corresponding: bool = False


@dataclass(frozen=True)
class Dataset:
    """An external dataset that a system used."""

    name: str
    url: str


@dataclass(frozen=True)
class SystemEntry:
    """One system of a submission.

    Attributes
    ----------
    name, abbreviation : str
        As shown in the result tables; the abbreviation has at most 10 characters.
    clips : pandas.DataFrame
        One row a clip, columns as in :data:`CLIP_COLUMNS`; every machine and section of the year's evaluation part.
    authors : sequence of Author
        In the order of the lists; one is marked corresponding.
    description : mapping of str to (str, int or None)
        ``system.description``: input_sampling_rate, data_augmentation, machine_learning_method, ...
    total_parameters : int
        Parameters of all subsystems together (see :mod:`dcase_asd.submission.complexity`).
    macs : int or None
        Multiply-accumulate operations for one clip; written from 2023 on.
    external_datasets : sequence of Dataset
        Data and pretrained models from outside the challenge.
    source_code : str or None
        Address of the code.
    results : mapping of str to mapping
        Development machine to ``auc``, ``auc_source``, ``auc_target``, ``pauc`` in PERCENT, as the year asks
        (2020 arithmetic means, 2021 on harmonic means over sections): ``year_format(year).result_keys``.
    """

    name: str
    abbreviation: str
    clips: pd.DataFrame
    authors: Sequence[Author]
    description: Mapping[str, str | int | None]
    total_parameters: int
    macs: int | None = None
    external_datasets: Sequence[Dataset] = ()
    source_code: str | None = None
    results: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def write_submission(
    out: Path,
    *,
    year: int,
    label: str,
    systems: Sequence[SystemEntry],
    report: Path | None,
    file_lists: FileLists | None = None,
    machines: Sequence[str] = (),
) -> Path:
    """Write ``out/task2/...`` and ``out/<label>.zip``; nothing is written if the validator finds an error.

    Parameters
    ----------
    out : pathlib.Path
        Folder to write into. An older ``task2`` and zip of the same label in it are replaced.
    year : int
        The challenge year.
    label : str
        ``<Surname>_<INST>_task2``; system ``i`` (from 1, in the given order) gets ``<label>_<i>``.
    systems : sequence of SystemEntry
        One to four systems.
    report : pathlib.Path or None
        The technical report (PDF). Without it none is written, no placeholder either; the validator then warns.
    file_lists : mapping, optional
        (machine, section) to the clips that must be there; makes the check complete.
    machines : sequence of str
        The evaluation machines to write, for a corpus that has some of the year's only; empty means all.

    Returns
    -------
    pathlib.Path
        The zip.

    Raises
    ------
    FormatError
        If label, number of systems, columns or the report are wrong, or the result would not pass
        :func:`~dcase_asd.submission.validator.check_submission`; the message lists every error with file and row.
    """
    rules = year_format(year, machines=machines)
    if BASE_LABEL.fullmatch(label) is None:
        raise FormatError(f"label {label!r}: expected <Surname>_<INST>_task2 without other underscores, such as Doe_XYZ_task2")
    if not 1 <= len(systems) <= MAX_SYSTEMS:
        raise FormatError(f"{len(systems)} systems: a submission has 1 to {MAX_SYSTEMS}")
    files: dict[str, bytes] = {}
    if report is not None:
        files[f"{TOP_FOLDER}/{label}.technical_report.pdf"] = _read_report(Path(report))
    for index, system in enumerate(systems, start=1):
        name = f"{label}_{index}"
        files[f"{TOP_FOLDER}/{name}/{name}.meta.yaml"] = _meta(system, name, rules)
        files.update({f"{TOP_FOLDER}/{name}/{file}": text.encode() for file, text in _score_files(system, name, rules)})
    errors = [
        p
        for p in check_members(memory_members(files), year=year, file_lists=file_lists, machines=machines)
        if p.severity == "error"
    ]
    if errors:
        raise FormatError("the submission would not be valid:\n" + "\n".join(map(str, errors)))
    _write_tree(Path(out), files)
    target = Path(out) / f"{label}.zip"
    _write_zip(target, files)
    return target


def _read_report(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: the technical report cannot be read ({error.strerror}); give a PDF or None") from error
    if not data.startswith(b"%PDF-"):
        raise FormatError(f"{path}: expected a PDF, found {data[:8]!r}")
    return data


def _meta(system: SystemEntry, label: str, rules: YearFormat) -> bytes:
    import yaml

    authors = []
    for author in system.authors:
        place = {"institution": author.institution, "department": author.department, "location": author.location}
        person: dict[str, Any] = {"lastname": author.lastname, "firstname": author.firstname, "email": author.email}
        if author.corresponding:
            person["corresponding"] = True
        authors.append({**person, "affiliation": {key: value for key, value in place.items() if value is not None}})
    complexity: dict[str, int | None] = {"total_parameters": system.total_parameters}
    if rules.has_macs:
        complexity["MACS"] = system.macs
    meta = {
        "submission": {"label": label, "name": system.name, "abbreviation": system.abbreviation, "authors": authors},
        "system": {
            "description": dict(system.description),
            "complexity": complexity,
            "external_datasets": [{"name": d.name, "url": d.url} for d in system.external_datasets],
            "source_code": system.source_code,
        },
        "results": {"development_dataset": {m: _results(m, v, rules) for m, v in sorted(system.results.items())}},
    }
    return yaml.safe_dump(meta, sort_keys=False, allow_unicode=True, width=10_000).encode()


def _results(machine: str, values: Mapping[str, float], rules: YearFormat) -> dict[str, float]:
    if set(values) != set(rules.result_keys):
        wanted = ", ".join(rules.result_keys)
        raise FormatError(f"results of {machine}: expected {wanted} in percent for {rules.year}; found {', '.join(values)}")
    return {official: float(values[ours]) for ours, official in rules.result_keys.items()}


def _score_files(system: SystemEntry, name: str, rules: YearFormat) -> Iterator[tuple[str, str]]:
    """Yield name and text of every score and decision file."""
    table = system.clips
    optional = {c for c, needed in (("decision", rules.has_decisions), ("domain", None not in rules.domains)) if not needed}
    missing = [column for column in CLIP_COLUMNS if column not in table.columns and column not in optional]
    if missing:
        raise FormatError(f"{name}: clips lack the columns {', '.join(missing)}; found {', '.join(map(str, table.columns))}")
    by_domain = None not in rules.domains
    keys = ["machine", "section", "domain"] if by_domain else ["machine", "section"]
    for values, part in table.groupby(keys, sort=True, dropna=False):
        machine, section = str(values[0]), str(values[1])
        domain = str(values[2]) if by_domain else None
        rows = part.sort_values("file_name", kind="stable")
        for kind in rules.kinds:
            column = "score" if kind == "anomaly_score" else "decision"
            lines = [f"{file},{_number(value, column)}\n" for file, value in zip(rows["file_name"], rows[column], strict=True)]
            yield rules.file_name(FileKey(kind, machine, section, domain)), "".join(lines)


def _number(value: object, column: str) -> str:
    """Return the shortest text that reads back as the same number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)  # the validator names file, row and value
    if column == "decision" and number in (0.0, 1.0):
        return str(int(number))
    return repr(number)


def _write_tree(out: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside the old tree, then swap."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / TOP_FOLDER
    with tempfile.TemporaryDirectory(prefix=f".{TOP_FOLDER}.", dir=out) as scratch:
        for name, data in files.items():
            path = Path(scratch) / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        old = Path(scratch) / "old"
        if target.exists():
            target.rename(old)
        try:
            (Path(scratch) / "new" / TOP_FOLDER).rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


def _write_zip(target: Path, files: Mapping[str, bytes]) -> None:
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
            info.external_attr = _FILE_MODE
            info.create_system = 3  # unix, whatever this runs on
            archive.writestr(info, files[name], compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
