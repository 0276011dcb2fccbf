"""A defect of a submission, and the list that collects them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

__all__ = ["MAX_PER_FILE", "MAX_PROBLEMS", "Problem", "Report"]

Severity = Literal["error", "warning"]

#: Problems of one code listed per file; the rest is counted. No official score file has more rows (2020: about 460).
MAX_PER_FILE = 1000
#: Problems listed in all. Four systems of 2022 whose every row is wrong have 4 x 42 x 200 = 33600.
MAX_PROBLEMS = 100_000
_MAX_VALUE = 120  # characters of a foreign value that are shown


@dataclass(frozen=True)
class Problem:
    """One defect.

    Attributes
    ----------
    severity : str
        ``error``: the submission is refused or scored wrongly; ``warning``: worth a look.
    file : str
        Path inside the submission.
    row : int or None
        Line of the file, from 1; None where the whole file is meant.
    value : str or None
        What was found.
    what, remedy : str
        What is wrong, and what to do.
    code : str
        A stable name of the defect, for programs.
    """

    severity: Severity
    file: str
    row: int | None
    value: str | None
    what: str
    remedy: str
    code: str

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}:{self.row}"
        found = "" if self.value is None else f" (found {self.value!r})"
        return f"{self.severity}: {place}: {self.what}{found}. {self.remedy} [{self.code}]"


class Report:
    """Collects problems; bounded however many defects a file has."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._counts: Counter[tuple[Severity, str, str]] = Counter()
        self._n_dropped = 0

    def error(self, code: str, file: str, what: str, remedy: str, *, row: int | None = None, value: object = None) -> None:
        """Note a defect that makes the submission invalid."""
        self._add(Problem("error", file, row, _shown(value), what, remedy, code))

    def warning(self, code: str, file: str, what: str, remedy: str, *, row: int | None = None, value: object = None) -> None:
        """Note something worth a look."""
        self._add(Problem("warning", file, row, _shown(value), what, remedy, code))

    @property
    def has_errors(self) -> bool:
        """Whether an error was noted so far."""
        return any(severity == "error" for severity, _, _ in self._counts)

    def finish(self) -> list[Problem]:
        """Return all problems by file and row, errors first; suppressed repetitions are one line with their count."""
        what, remedy = "more problems of this kind", "See the ones listed."
        rest = [
            Problem(severity, file, None, str(n - MAX_PER_FILE), what, remedy, code)
            for (severity, file, code), n in self._counts.items()
            if n > MAX_PER_FILE
        ]
        if self._n_dropped:
            rest.append(Problem("error", ".", None, str(self._n_dropped), "more problems", "See the ones listed.", "more"))
        return sorted(
            self._problems + rest, key=lambda p: (p.severity, p.file, p.row is not None, p.row or 0, p.code, p.value or "")
        )

    def _add(self, problem: Problem) -> None:
        if len(self._problems) >= MAX_PROBLEMS:
            self._n_dropped += 1
            return
        key = (problem.severity, problem.file, problem.code)
        self._counts[key] += 1
        if self._counts[key] <= MAX_PER_FILE:
            self._problems.append(problem)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."
