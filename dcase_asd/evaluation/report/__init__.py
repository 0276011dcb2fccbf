"""The report of stage 8: one self-contained HTML page that opens offline.

Reads :class:`~dcase_asd.evaluation.report.data.ReportData` (tables, curves, clips; nothing from disk but sound files),
writes one ``.html`` whose bytes depend on the data alone: no date, no address, no script from elsewhere.
To add a figure: a function in ``figures.py`` or ``clip_figures.py`` returning SVG, a view, a line in the template.
"""

from __future__ import annotations

from dcase_asd.evaluation.report.clips import ChosenClip, choose_clips
from dcase_asd.evaluation.report.data import (
    ClipReport,
    FeaturePicture,
    MachineReport,
    ReportData,
    ReportOptions,
    Sound,
    SystemRow,
)
from dcase_asd.evaluation.report.page import render_report, write_report

__all__ = [
    "ChosenClip",
    "ClipReport",
    "FeaturePicture",
    "MachineReport",
    "ReportData",
    "ReportOptions",
    "Sound",
    "SystemRow",
    "choose_clips",
    "render_report",
    "write_report",
]
