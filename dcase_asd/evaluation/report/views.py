"""From report data to what the template shows: texts, drawings, embedded sound; all numbers are formatted here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from dcase_asd.evaluation.report.clip_figures import ClipScales, clip_scales, sound_figure
from dcase_asd.evaluation.report.clips import limit_clips
from dcase_asd.evaluation.report.data import KINDS, ClipReport, MachineReport, ReportOptions, SystemRow
from dcase_asd.evaluation.report.figures import interval_axis, interval_bar
from dcase_asd.evaluation.report.media import EmbeddedSound, embed_sound
from dcase_asd.evaluation.report.photo_figure import photo_figure
from dcase_asd.evaluation.report.svg import score_label
from dcase_asd.evaluation.result_tables import machines_of, mean_over_machines, measures_of

__all__ = [
    "ClipGroup",
    "ClipView",
    "MetricTable",
    "ScoreLine",
    "ScoreTable",
    "clip_groups",
    "embed_sounds",
    "machine_table",
    "metric_tables",
    "score_table",
]

_HEADINGS = {
    "missed anomaly": ("Missed anomalies", "Anomalies with the lowest scores: the system took them for normal."),
    "false alarm": ("False alarms", "Normal {items} with the highest scores: the system took them for anomalies."),
    "most anomalous": ("Most anomalous", "The highest scores of this machine{rest}."),
}


@dataclass(frozen=True)
class ScoreLine:
    """A row of the score table, formatted; ``sort_key`` is the plain number."""

    system: str
    group: str
    score: str
    interval: str
    sort_key: str
    bar: Markup
    best: bool


@dataclass(frozen=True)
class ScoreTable:
    """The score table and the axis above its bars."""

    axis: Markup
    lines: Sequence[ScoreLine]


@dataclass(frozen=True)
class MetricTable:
    """Systems by machines (of one metric) or by measures: ``rows`` of (system, group, cells).

    A cell is (text, shade in per cent, is best).
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[tuple[str, int, bool]]]]


@dataclass(frozen=True)
class ClipView:
    """A clip, formatted."""

    clip: ClipReport
    score: str
    percentile: str
    figure: Markup | None
    sound: EmbeddedSound | None
    sound_note: str


@dataclass(frozen=True)
class ClipGroup:
    """The clips of one kind with their heading and what it means."""

    heading: str
    meaning: str
    clips: Sequence[ClipView]


def score_table(rows: Sequence[SystemRow]) -> ScoreTable:
    """Format the score table in per cent; the best score is marked."""
    ends = [v for r in rows for v in (r.score, r.low, r.high) if v is not None] or [0.0, 1.0]
    margin = max(0.05 * (max(ends) - min(ends)), 0.02)
    x_range = (max(min(ends) - margin, 0.0), min(max(ends) + margin, 1.0))
    best = max((r.score for r in rows), default=math.nan)
    lines = [
        ScoreLine(
            system=r.system,
            group=r.group,
            score=f"{100 * r.score:.2f}",
            interval="–" if r.low is None or r.high is None else f"{100 * r.low:.2f} to {100 * r.high:.2f}",
            sort_key=f"{r.score:.12g}",
            bar=interval_bar(r.score, r.low, r.high, x_range=x_range, css=r.group),
            best=r.score == best,
        )
        for r in rows
    ]
    return ScoreTable(interval_axis(x_range), lines)


def metric_tables(rows: Sequence[SystemRow]) -> list[MetricTable]:
    """Make one table per metric, machines as columns, in the order in which metrics and machines first appear.

    Where there are measures beside the score, there are too many for that: one table has their means over machines, and each
    machine shows its own (:func:`machine_table`).
    """
    machines = machines_of(rows)
    if not any(r.beside for r in rows):
        columns = {m: [[r.measures(name).get(m, math.nan) for name in machines] for r in rows] for m in measures_of(rows)}
        return [_metric_table(rows, machines, values, metric) for metric, values in columns.items()]
    if len(machines) < 2:
        return []
    measures = [m for m in measures_of(rows) if m != "score"]
    means = [[mean_over_machines(r, m) for m in measures] for r in rows]
    return [_metric_table(rows, measures, means, f"Mean of {len(machines)} machines (arithmetic)")]


def machine_table(rows: Sequence[SystemRow], machine: str) -> MetricTable | None:
    """Make one machine's table, measures as columns; None where there are none beside the score."""
    if not any(machine in r.beside for r in rows):
        return None
    measures = [m for m in measures_of(rows) if any(m in r.measures(machine) for r in rows)]
    return _metric_table(
        rows, measures, [[r.measures(machine).get(m, math.nan) for m in measures] for r in rows], "Every measure"
    )


def _metric_table(rows: Sequence[SystemRow], columns: Sequence[str], cells: Sequence[Sequence[float]], title: str) -> MetricTable:
    values = np.array(cells, dtype=float)
    filled = np.where(np.isnan(values), -1.0, values)
    best = (filled == filled.max(axis=0)) & (filled >= 0)
    lines = [
        (r.system, r.group, [_cell(v, bool(b)) for v, b in zip(values[i], best[i], strict=True)]) for i, r in enumerate(rows)
    ]
    return MetricTable(title, columns, lines)


def _cell(value: float, best: bool) -> tuple[str, int, bool]:
    if math.isnan(value):
        return "–", 0, False
    return f"{100 * value:.2f}", round(max(value - 0.5, 0.0) * 2 * 100), best  # no shade at chance


def embed_sounds(machines: Sequence[MachineReport], options: ReportOptions) -> dict[tuple[str, str], EmbeddedSound]:
    """Embed sounds until ``options.max_sound_bytes`` is used up; the machines take turns, so that each keeps its first clips."""
    shown = [(m.machine, limit_clips(m.clips, limit=options.max_clips_per_machine)) for m in machines]
    longest = max((len(clips) for _, clips in shown), default=0)
    turns = [(name, clips[i]) for i in range(longest) for name, clips in shown if i < len(clips)]
    embedded: dict[tuple[str, str], EmbeddedSound] = {}
    left = options.max_sound_bytes
    for name, clip in turns:
        if clip.sound is None:
            continue
        sound = embed_sound(clip.sound, max_s=options.max_clip_s, where=f"{name}: clip {clip.clip_id!r}")
        if len(sound.address) <= left:
            embedded[name, clip.clip_id] = sound
            left -= len(sound.address)
    return embedded


def clip_groups(
    report: MachineReport, *, sounds: dict[tuple[str, str], EmbeddedSound], options: ReportOptions
) -> list[ClipGroup]:
    """Format the clips of a machine by kind, with ranges shared by all of them.

    Maps share a range within a kind only: beside the plainest anomalies, what raised a false alarm would not be seen.
    """
    clips = limit_clips(report.clips, limit=options.max_clips_per_machine)
    scales = clip_scales(clips, heat_floor=report.heat_floor)
    groups = []
    kinds = {c.kind for c in report.clips}
    rest = ", apart from the false alarms above" if "false alarm" in kinds else ""
    if "most anomalous" in kinds and len(kinds) == 1:
        rest = f"; no mistake to show, every anomaly scores above every normal {report.items.removesuffix('s')}"
    for kind in KINDS:
        own = [c for c in clips if c.kind == kind]
        shared = replace(scales, heat=clip_scales(own, heat_floor=report.heat_floor).heat)
        views = [
            _clip_view(c, report, scales=shared, sound=sounds.get((report.machine, c.clip_id)), options=options) for c in own
        ]
        if views:
            heading, meaning = _HEADINGS[kind]
            groups.append(ClipGroup(heading, meaning.format(items=report.items, rest=rest), views))
    return groups


def _clip_view(
    clip: ClipReport, report: MachineReport, *, scales: ClipScales, sound: EmbeddedSound | None, options: ReportOptions
) -> ClipView:
    score = score_label(clip.score)
    truth = "an anomaly" if clip.is_anomaly else "normal"
    about = f"clip {clip.clip_id} of {report.machine}, in truth {truth}, clip score {score}"
    if clip.picture is not None:
        shown = ["Picture", *(["its true defect"] if clip.mask is not None else [])]
        shown += ["its anomaly map"] if clip.heat_map is not None else []
        label = f"{' and '.join(shown)}: {about}."
        figure = photo_figure(clip, scales=scales, max_px=options.max_picture_px, label=label)
    else:
        label = f"Over time: {_drawn(clip)}; {about}{_peak(clip)}."
        figure = sound_figure(clip, scales=scales, max_px=options.max_picture_px, label=label)
    return ClipView(clip, score, f"{clip.percentile:.1f}", figure, sound, _sound_note(clip, sound, options))


def _drawn(clip: ClipReport) -> str:
    names = {"spectrogram": clip.feature, "anomaly map": clip.heat_map, "segment scores": clip.segment_scores}
    return ", ".join(name for name, value in names.items() if value is not None)


def _peak(clip: ClipReport) -> str:
    if clip.segment_scores is None or clip.score_times_s is None or len(clip.segment_scores) == 0:
        return ""
    best = int(np.argmax(clip.segment_scores))
    return f", highest segment score {score_label(float(clip.segment_scores[best]))} at {clip.score_times_s[best]:.1f} s"


def _sound_note(clip: ClipReport, sound: EmbeddedSound | None, options: ReportOptions) -> str:
    if sound is not None:
        whole = sound.shown_s > sound.total_s - 1e-3
        length = f"{sound.shown_s:.1f} s" if whole else f"first {sound.shown_s:.1f} of {sound.total_s:.1f} s"
        return f"{length}, played at {sound.gain_db:+.1f} dB".replace("-", "−")
    if clip.sound is not None:
        return f"sound left out: the page's limit of {options.max_sound_bytes / 1e6:g} MB of sound is used up"
    return ""
