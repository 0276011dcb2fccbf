"""Checks of ``<Label>_<i>.meta.yaml``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dcase_asd.errors import nearest
from dcase_asd.submission.formats import MAX_ABBREVIATION, YearFormat
from dcase_asd.submission.problems import Report

__all__ = ["check_meta", "load_meta"]

_MAX_DEPTH = 20
_LOAD_ERRORS = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError)


def check_meta(data: bytes, file: str, *, label: str | None, rules: YearFormat, report: Report) -> None:
    """Check a meta.yaml: readable, label, authors, complexity, results in percent.

    Parameters
    ----------
    data : bytes
        Content of the file.
    file : str
        Name for the report.
    label : str or None
        The label its folder has; None skips that check.
    rules : YearFormat
        The rules of the year.
    report : Report
        Where problems go.
    """
    meta = load_meta(data, file, report=report)
    if meta is None:
        return
    _check_submission(meta, file, label=label, report=report)
    system = _mapping(meta, "system", file, report)
    if system is not None:
        _mapping(system, "description", file, report)
        complexity = _mapping(system, "complexity", file, report)
        if complexity is not None:
            _check_parameters(complexity.get("total_parameters"), file, report)
    results = _mapping(meta, "results", file, report)
    if results is not None:
        machines = _mapping(results, "development_dataset", file, report)
        if machines is not None:
            _check_results(machines, file, rules=rules, report=report)


def load_meta(data: bytes, file: str, *, report: Report) -> Mapping[str, Any] | None:
    """Return the mapping a meta.yaml holds, or None after noting why there is none; aliases and deep nesting are refused."""
    if not data.strip():
        report.error("empty-file", file, "the file is empty", "Write the meta information.")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        report.error("encoding", file, "not UTF-8 text", "Save it as UTF-8.", value=failure)
        return None
    value, problem = _parse(text)
    tabs = [row for row, line in enumerate(text.splitlines(), start=1) if "\t" in line[: len(line) - len(line.lstrip())]]
    if problem is not None and tabs:
        mended, still = _parse(text.expandtabs(2))
        if still is None:
            value, problem = mended, None
            for row in tabs:
                report.error("yaml-tab", file, "indented by a TAB", "YAML allows blanks only: use two.", row=row)
    if problem is not None:
        remedy = "Mend the line; check the indentation."
        report.error("yaml", file, "not readable as YAML", remedy, row=problem[0], value=problem[1])
        return None
    return _mapping_or_none(value, file, report)


def _parse(text: str) -> tuple[object, tuple[int | None, str] | None]:
    """Return the value of a YAML text, and None or row and message of what is wrong; memory and depth are bounded."""
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            row = event.start_mark.line + 1 if event.start_mark else None
            if isinstance(event, yaml.AliasEvent):
                return None, (row, "aliases are not allowed")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                return None, (row, f"nested more than {_MAX_DEPTH} levels deep")
        return yaml.safe_load(text), None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, (mark.line + 1 if mark else None, str(error.problem))
    except (yaml.YAMLError, *_LOAD_ERRORS) as error:
        return None, (None, f"{type(error).__name__}: {error}")


def _mapping_or_none(value: object, file: str, report: Report) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    report.error("meta-key", file, "holds no mapping", "Write the keys submission, system, results.", value=type(value).__name__)
    return None


def _mapping(parent: Mapping[str, Any], key: str, file: str, report: Report) -> Mapping[str, Any] | None:
    value = parent.get(key)
    if isinstance(value, Mapping):
        return value
    report.error("meta-key", file, f"the mapping {key!r} is missing", "Add it as in the official example.", value=value)
    return None


def _check_submission(meta: Mapping[str, Any], file: str, *, label: str | None, report: Report) -> None:
    part = _mapping(meta, "submission", file, report)
    if part is None:
        return
    for key in ("label", "name", "abbreviation"):
        if not isinstance(part.get(key), str) or not part[key].strip():
            report.error("meta-key", file, f"submission.{key} is missing", "Add it.", value=part.get(key))
    found = part.get("label")
    if label is not None and isinstance(found, str) and found != label:
        report.error("label-mismatch", file, f"submission.label is not {label!r}", "Use the folder's name.", value=found)
    short = part.get("abbreviation")
    if isinstance(short, str) and len(short) > MAX_ABBREVIATION:
        what = f"the abbreviation has more than {MAX_ABBREVIATION} characters"
        report.warning("abbreviation", file, what, "Shorten it.", value=short)
    authors = part.get("authors")
    if not isinstance(authors, list) or not authors or not all(isinstance(a, Mapping) for a in authors):
        report.error("meta-key", file, "submission.authors is not a list of authors", "List them.")
    elif sum(author.get("corresponding") is True for author in authors) != 1:
        report.warning("authors", file, "not exactly one corresponding author", "Mark one with corresponding: true.")


def _check_parameters(value: object, file: str, report: Report) -> None:
    if value is None:
        report.warning("complexity", file, "complexity.total_parameters is missing", "Count them.")
    elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        report.error("complexity", file, "complexity.total_parameters is not a number", "Write a plain number.", value=value)


def _check_results(machines: Mapping[str, Any], file: str, *, rules: YearFormat, report: Report) -> None:
    for machine, values in machines.items():
        if machine not in rules.development:
            hint = nearest(str(machine), rules.development)
            what = f"results of a machine that is not in the development part of {rules.year}"
            report.error("unknown-machine", file, what, f"Remove it{hint}.", value=machine)
        elif not isinstance(values, Mapping):
            report.error("meta-key", file, f"no results under {machine}", "Add them or remove the machine.", value=values)
        else:
            _check_machine(str(machine), values, file, rules=rules, report=report)
    for machine in rules.development:
        if machine not in machines:
            report.warning("missing-result", file, "no development result of a machine", "Add it if you can.", value=machine)


def _check_machine(machine: str, values: Mapping[str, Any], file: str, *, rules: YearFormat, report: Report) -> None:
    numbers: dict[str, float] = {}
    other = set(rules.other_result_keys.values())
    keys = rules.other_result_keys if other & values.keys() - set(rules.result_keys.values()) else rules.result_keys
    for key in keys.values():
        value = values.get(key)
        if value is None:
            report.warning("missing-result", file, f"{machine}.{key} is missing", "Add it if you can.")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            report.error("bad-result", file, f"{machine}.{key} is not a percentage", "Write a number from 0 to 100.", value=value)
        else:
            numbers[key] = float(value)
    for key in sorted(map(str, values.keys() - set(keys.values()))):
        report.warning(
            "unknown-result", file, f"{machine}.{key} is not a result of {rules.year}", f"Use {', '.join(keys.values())}."
        )
    if numbers and 0 < max(numbers.values()) <= 1:
        for key, value in numbers.items():
            report.error("fraction", file, f"{machine}.{key} is a fraction, not percent", "Multiply by 100.", value=value)
