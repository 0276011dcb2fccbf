"""Put the page together: one HTML file with everything in it."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import jinja2
from markupsafe import Markup

from dcase_asd.evaluation.report.checks import check_report
from dcase_asd.evaluation.report.data import GROUPS, ReportData, ReportOptions
from dcase_asd.evaluation.report.machine_views import machine_view
from dcase_asd.evaluation.report.media import palette_stops
from dcase_asd.evaluation.report.views import embed_sounds, machine_table, metric_tables, score_table
from dcase_asd.io.atomic import write_text

__all__ = ["render_report", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(path: str | os.PathLike[str], data: ReportData, *, options: ReportOptions | None = None) -> Path:
    """Write the page atomically; the same data gives the same bytes.

    Returns
    -------
    pathlib.Path
        The written file.

    Raises
    ------
    FormatError
        If the data does not fit together (:func:`~dcase_asd.evaluation.report.checks.check_report`).
    AudioError
        If a clip's sound cannot be read.
    """
    target = Path(path)
    write_text(target, render_report(data, options=options))
    return target


def render_report(data: ReportData, *, options: ReportOptions | None = None) -> str:
    """Return the page as text; raises as :func:`write_report` does."""
    check_report(data)
    options = options or ReportOptions()
    sounds = embed_sounds(data.machines, options)
    machines = [
        machine_view(
            m,
            anchor=f"machine-{i}",
            rule=data.auc_rule,
            sounds=sounds,
            options=options,
            table=machine_table(data.system_table, m.machine),
        )
        for i, m in enumerate(data.machines, start=1)
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,  # always: clip ids and system names are foreign text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = (_TEMPLATES / "script.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        data=data,
        headline=_headline(data),
        scores=score_table(data.system_table),
        metrics=metric_tables(data.system_table),
        machines=machines,
        n_test_clips=sum(len(m.truth) for m in data.machines),
        gradients={name: palette_stops(name) for name in ("viridis", "inferno")},
        n_sounds=len(sounds),
        sound_megabytes=f"{sum(len(s.address) for s in sounds.values()) / 1e6:.1f}",
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    """Return (what, score in per cent, system) of the best row of every group."""
    names = {"ours": "best of ours", "comparator": "best comparator", "trivial": "best trivial baseline"}
    best = []
    for group in GROUPS:
        rows = [r for r in data.system_table if r.group == group]
        if rows:
            row = max(rows, key=lambda r: r.score)
            best.append((names[group], f"{100 * row.score:.2f}", row.system))
    return best
