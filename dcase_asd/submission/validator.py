"""Find every defect of a submission at once, without writing to disk.

Sources: ``dcase.community/challenge20XX/submission`` (layout, labels), the official evaluators (file names), and the defects
real submissions had: TAB-indented meta.yaml and fractions (``OptimusPrimus/dcase2020_task2``), development IDs, a header line and
three columns, a missing ``task2/`` and names without ``_test`` (``liuyoude/DCASE2022Task2-Record``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dcase_asd.errors import nearest
from dcase_asd.manifests.schema import Manifest
from dcase_asd.submission.formats import (
    FILE_NAME,
    MAX_SYSTEMS,
    SYSTEM_LABEL,
    TOP_FOLDER,
    FileKey,
    YearFormat,
    year_format,
)
from dcase_asd.submission.members import MAX_CSV_BYTES, MAX_META_BYTES, MAX_REPORT_BYTES, Members, open_members
from dcase_asd.submission.meta import check_meta
from dcase_asd.submission.problems import Problem, Report
from dcase_asd.submission.score_files import belongs, check_names, check_rows

__all__ = ["FileLists", "Problem", "check_members", "check_score_folder", "check_submission", "manifest_file_lists"]

#: (machine, section) to the clip names of its test part; sections without an entry are checked by their name grammar only.
FileLists = Mapping[tuple[str, str], Sequence[str]]
_REPORT_SUFFIX = ".technical_report.pdf"
_META_SUFFIX = ".meta.yaml"


def check_submission(
    path: str | os.PathLike[str], *, year: int, file_lists: FileLists | None = None, machines: Sequence[str] = ()
) -> list[Problem]:
    """Return every defect of a submission; an empty list means it can be sent.

    Parameters
    ----------
    path : path-like
        The zip, the folder that holds ``task2``, or the folder ``task2`` itself. A zip is read in place, within bounds.
    year : int
        The challenge year, 2020 to 2026.
    file_lists : mapping, optional
        The clips each machine and section must have (see :data:`FileLists`). Without it, names are checked by their grammar, and
        score files against decision files.
    machines : sequence of str
        The evaluation machines that must be there, for a corpus that has some of the year's only; empty means all.

    Returns
    -------
    list of Problem
        Errors first, then by file and row. A missing technical report is a warning: it may be handed in later.

    Raises
    ------
    UnknownNameError
        If the year is not known.
    """
    rules, report = year_format(year, machines=machines), Report()
    folder = _package_folder(path)
    with open_members(folder or path, report, prefix=f"{TOP_FOLDER}/" if folder else "") as members:
        if not members.sizes and report.has_errors:
            return report.finish()  # it could not be opened: what it lacks is beside the point
        _check_package(members, rules=rules, lists=file_lists or {}, report=report)
    return report.finish()


def check_members(
    members: Members, *, year: int, file_lists: FileLists | None = None, machines: Sequence[str] = ()
) -> list[Problem]:
    """Return every defect of a submission whose files are at hand as :class:`Members` (as :func:`check_submission`)."""
    report = Report()
    _check_package(members, rules=year_format(year, machines=machines), lists=file_lists or {}, report=report)
    return report.finish()


def check_score_folder(
    path: str | os.PathLike[str], *, year: int, file_lists: FileLists | None = None, machines: Sequence[str] = ()
) -> list[Problem]:
    """Return every defect of a bare folder (or zip) of score and decision files of one system; parameters as above."""
    rules, report = year_format(year, machines=machines), Report()
    with open_members(path, report) as members:
        if not members.sizes and report.has_errors:
            return report.finish()
        names = _visible(members, report)
        _check_score_files(members, names, rules=rules, lists=file_lists or {}, folder=".", report=report)
    return report.finish()


def manifest_file_lists(manifest: Manifest) -> dict[tuple[str, str], list[str]]:
    """Return the test clips of the evaluation part of a manifest as file lists, sorted by name."""
    lists: dict[tuple[str, str], list[str]] = {}
    table = manifest.select(subset="eval", split="test").table
    for machine, section, path in zip(table["machine"], table["section"], table["path"], strict=True):
        lists.setdefault((machine, section), []).append(PurePosixPath(path).name)
    return {key: sorted(names) for key, names in sorted(lists.items())}


@dataclass(frozen=True)
class _Table:
    file: str
    key: FileKey
    names: dict[str, int]


def _package_folder(path: str | os.PathLike[str]) -> Path | None:
    """Return the folder ``task2`` that is meant; None for a zip or a folder without one."""
    folder = Path(path).absolute()
    inner = folder / TOP_FOLDER
    if inner.is_dir():
        return inner  # what lies beside it, the zip for example, is not in the package
    return folder if folder.name == TOP_FOLDER and folder.is_dir() else None


def _check_package(members: Members, *, rules: YearFormat, lists: FileLists, report: Report) -> None:
    names = _visible(members, report)
    systems: dict[str, list[str]] = {}
    loose = []
    for name in names:
        if PurePosixPath(name).suffix.lower() in (".csv", ".yaml", ".yml"):
            systems.setdefault(str(PurePosixPath(name).parent), []).append(name)
        else:
            loose.append(name)
    _check_layout(systems, report)
    for folder, files in sorted(systems.items()):
        _check_system(members, folder, files, rules=rules, lists=lists, report=report)
    _check_reports(members, loose, systems, report)


def _visible(members: Members, report: Report) -> list[str]:
    hidden = [n for n in members.sizes if any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(n).parts)]
    for name in hidden:
        report.warning("stray-file", name, "a hidden file of the operating system", "Leave it out of the package.")
    return sorted(set(members.sizes) - set(hidden))


def _check_layout(systems: Mapping[str, list[str]], report: Report) -> None:
    if not systems:
        report.error("no-system", ".", "no system found", f"Put {TOP_FOLDER}/<Label>_<i>/ with its files into the package.")
    labels = {folder: SYSTEM_LABEL.fullmatch(PurePosixPath(folder).name) for folder in sorted(systems)}
    bases = [match["base"] for match in labels.values() if match]
    for folder, match in labels.items():
        if folder != TOP_FOLDER and str(PurePosixPath(folder).parent) != TOP_FOLDER:
            what = f"the folder does not lie in {TOP_FOLDER}/"
            report.error("missing-top-folder", folder, what, f"Move it to {TOP_FOLDER}/{PurePosixPath(folder).name}/.")
        if match is None:
            remedy = "Name it <Surname>_<INST>_task2_<i>, no other underscores."
            report.error("bad-label", folder, "the folder's name is not a label", remedy, value=PurePosixPath(folder).name)
        elif int(match["index"][:4]) > MAX_SYSTEMS:
            what = f"only {MAX_SYSTEMS} systems may be submitted, numbered from 1"
            report.error("too-many-systems", folder, what, "Choose the best ones.", value=match["index"])
        if match is not None and match["base"] != bases[0]:
            report.error("label-mismatch", folder, f"another label than {bases[0]}", "Use one label.", value=match["base"])
    if len(systems) > MAX_SYSTEMS and all(m is None or int(m["index"][:4]) <= MAX_SYSTEMS for m in labels.values()):
        report.error("too-many-systems", ".", f"more than {MAX_SYSTEMS} systems", "Choose the best ones.", value=len(systems))


def _check_system(
    members: Members, folder: str, files: list[str], *, rules: YearFormat, lists: FileLists, report: Report
) -> None:
    label = PurePosixPath(folder).name if SYSTEM_LABEL.fullmatch(PurePosixPath(folder).name) else None
    metas = [name for name in files if not name.lower().endswith(".csv")]
    wanted = f"{folder}/{label}{_META_SUFFIX}" if label else None
    if not metas:
        report.error("missing-file", wanted or folder, "no meta.yaml", "Write the meta information of the system.")
    for name in metas:
        if wanted is not None and name != wanted:
            report.error("label-mismatch", name, "the meta file is not named by its folder", f"Name it {wanted}.")
        data = members.read(name, MAX_META_BYTES, report)
        if data is not None:
            check_meta(data, name, label=label, rules=rules, report=report)
    tables = [name for name in files if name.lower().endswith(".csv")]
    _check_score_files(members, tables, rules=rules, lists=lists, folder=folder, report=report)


def _check_reports(members: Members, loose: list[str], systems: Mapping[str, list[str]], report: Report) -> None:
    matches = [SYSTEM_LABEL.fullmatch(PurePosixPath(folder).name) for folder in sorted(systems)]
    base = next((match["base"] for match in matches if match), None)
    reports = [name for name in loose if name.lower().endswith(".pdf")]
    wanted = f"{TOP_FOLDER}/{base or '<Label>'}{_REPORT_SUFFIX}"
    if not reports and systems:
        report.warning("missing-report", wanted, "no technical report", "Add the PDF before the deadline.")
    for name in reports:
        if base is not None and PurePosixPath(name).name != PurePosixPath(wanted).name:
            report.error("label-mismatch", name, "the report is not named by the label", f"Name it {wanted}.")
        elif base is not None and name != wanted:
            report.error("missing-top-folder", name, f"the report does not lie in {TOP_FOLDER}/", f"Move it to {wanted}.")
        data = members.read(name, MAX_REPORT_BYTES, report)
        if data is not None and not data.startswith(b"%PDF-"):
            report.warning("bad-report", name, "not a PDF", "Put the technical report there.")
    for name in loose:
        if name not in reports:
            report.warning("stray-file", name, "not a file of a submission", "Leave it out of the package.")


def _check_score_files(
    members: Members, names: Sequence[str], *, rules: YearFormat, lists: FileLists, folder: str, report: Report
) -> None:
    tables, seen = [], set()
    for name in names:
        key = _file_key(name, rules=rules, report=report)
        if key is None:
            continue
        seen.add(key)
        data = members.read(name, MAX_CSV_BYTES, report)
        rows = None if data is None else check_rows(data, name, key=key, rules=rules, report=report)
        if rows is not None:
            tables.append(_Table(name, key, rows))
    for key, expected in rules.expected_files().items():
        if key not in seen:
            report.error("missing-file", str(PurePosixPath(folder) / expected), "the file is missing", "Write it.")
    _check_clips(tables, rules=rules, lists=lists, report=report)


def _file_key(name: str, *, rules: YearFormat, report: Report) -> FileKey | None:
    """Return what a file holds if that belongs into this year's submission; its wrong spelling is noted, not held against it."""
    found = PurePosixPath(name).name
    expected = rules.expected_files()
    match = FILE_NAME.fullmatch(found)
    if match is None:
        report.error(
            "unknown-file", name, "not the name of a score file", f"Rename or remove it{nearest(found, expected.values())}."
        )
        return None
    key = FileKey(match["kind"], match["machine"], match["section"], match["domain"] if None not in rules.domains else None)
    if key in expected:
        if found != expected[key]:
            what = "the official evaluator looks for another name"
            report.error("misnamed-file", name, what, f"Name it {expected[key]}.", value=found)
        return key
    _note_unexpected(key, name, rules=rules, report=report)
    return None


def _note_unexpected(key: FileKey, name: str, *, rules: YearFormat, report: Report) -> None:
    machine, section = key.machine, key.section
    if rules.is_development(machine, section):
        what = f"{machine} {rules.section_word} {section} belongs to the development part of {rules.year}"
        report.error("development-part", name, what, "Submit the evaluation part.", value=f"{machine} {section}")
    elif machine not in rules.evaluation:
        what = f"not a machine of the evaluation part of {rules.year}"
        remedy = f"Use {', '.join(sorted(rules.evaluation))}{nearest(machine, rules.evaluation)}."
        report.error("unknown-machine", name, what, remedy, value=machine)
    elif section not in rules.evaluation[machine]:
        what = f"{machine} has no evaluation {rules.section_word} {section} in {rules.year}"
        report.error("unknown-section", name, what, f"Use {', '.join(rules.evaluation[machine])}.", value=section)
    elif key.kind not in rules.kinds:
        report.warning("stray-file", name, f"{rules.year} asks for no decisions", "Leave it out of the package.")
    else:
        report.error("misnamed-file", name, "the domain is missing from the name", f"Name it {key.kind}_..._source_test.csv.")


def _check_clips(tables: Sequence[_Table], *, rules: YearFormat, lists: FileLists, report: Report) -> None:
    """Hold every file against the file list, or against the union of the files (scores, decisions) of its part."""
    parts: dict[tuple[str | None, ...], set[str]] = {}
    for table in tables:
        clips = (name for name in table.names if belongs(name, key=table.key, rules=rules))
        parts.setdefault(table.key[1:], set()).update(clips)
    for table in tables:
        _, machine, section, domain = table.key
        expected = lists.get((machine, section))
        if expected is not None:
            part = [name for name in expected if domain is None or f"_{domain}_" in name]
            check_names(table.names, part, table.file, key=table.key, rules=rules, report=report)
            continue
        for name in sorted(parts[table.key[1:]] - table.names.keys()):
            what = "no row for a clip that the other file of this part has"
            report.error("missing-row", table.file, what, "Give every clip a score and a decision.", value=name)
