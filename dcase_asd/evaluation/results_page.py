"""The generated ``RESULTS.md`` of a recipe; never typed, never edited."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.report.checks import check_rows
from dcase_asd.evaluation.report.data import SystemRow

__all__ = ["results_markdown"]

_MARKS = {"ours": "", "comparator": " †", "trivial": " ‡"}
_MEANINGS = {
    "comparator": "† comparator: a plain or published method to compare with",
    "trivial": "‡ trivial: a baseline without a learned model",
}


def results_markdown(
    rows: Sequence[SystemRow], *, title: str, environment: Mapping[str, str], command: str, score_name: str = "Official score"
) -> str:
    """Return the results page as GitHub Markdown.

    Parameters
    ----------
    rows : sequence of SystemRow
        The systems, in the order to show.
    title : str
        Heading.
    environment : mapping of str to str
        What the numbers depend on: package versions, seed, config and git hash ..., in the order to show.
    command : str
        The command that makes the page again.
    score_name : str
        What the score is called.

    Returns
    -------
    str
        One table, systems by machines, all in per cent with two decimals (as the challenge's tables); ends with a newline.

    Raises
    ------
    FormatError
        If there is no row, a system stands twice, or a value lies outside [0, 1].
    """
    if not rows:
        raise FormatError(f"{title}: a results page needs at least one system; run stage 8 first")
    check_rows(rows)
    metrics = list(dict.fromkeys(k for r in rows for values in r.per_machine.values() for k in values))
    machines = list(dict.fromkeys(m for r in rows for m in r.per_machine))
    head = ["System", f"{_plain(score_name)} [95 % interval]", *machines]
    lines = [
        "<!-- Generated from the metrics files; edits are lost. The command below makes it again. -->",
        f"# {_plain(title)}",
        "",
        *_code([f"{name}: {value}" for name, value in environment.items()]),
        "Made by:",
        "",
        *_code([command]),
        _legend(metrics, score_name),
        "",
        _row(head),
        _row(["---", "---:", *("---:" for _ in machines)]),
        *(
            _row(
                [
                    _plain(r.system) + _MARKS[r.group],
                    _score(r, best=max(rows, key=lambda x: x.score)),
                    *_cells(r, machines, metrics),
                ]
            )
            for r in rows
        ),
    ]
    marks = [text for group, text in _MEANINGS.items() if any(r.group == group for r in rows)]
    return "\n".join([*lines, *(["", "; ".join(marks) + "."] if marks else [])]) + "\n"


def _legend(metrics: Sequence[str], score_name: str) -> str:
    each = f" A machine's cell: {' / '.join(_plain(m) for m in metrics)}." if metrics else ""
    return f"Per cent.{each} A dash: not known. Bold: the highest {_plain(score_name[:1].lower() + score_name[1:])}."


def _score(row: SystemRow, *, best: SystemRow) -> str:
    score = f"{100 * row.score:.2f}"
    shown = f"**{score}**" if row.score == best.score else score
    return shown if row.low is None or row.high is None else f"{shown} [{100 * row.low:.2f}, {100 * row.high:.2f}]"


def _cells(row: SystemRow, machines: Sequence[str], metrics: Sequence[str]) -> list[str]:
    values = [[row.per_machine.get(machine, {}).get(metric, math.nan) for metric in metrics] for machine in machines]
    return [" / ".join("–" if math.isnan(v) else f"{100 * v:.2f}" for v in cell) for cell in values]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _code(lines: Sequence[str]) -> list[str]:
    """Return a fenced block; the fence is longer than any run of backticks inside."""
    text = "\n".join(lines)
    fence = "`" * 3
    while fence in text:
        fence += "`"
    return [f"{fence}text", text, fence, ""]


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup, and line ends."""
    one_line = " ".join(text.split())
    return "".join("\\" + c if c in "\\`*_[]<>|#&" else c for c in one_line)
