"""Refuse report data that would draw a wrong page; every message names the machine, the clip and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.report.data import GROUPS, KINDS, ClipReport, MachineReport, ReportData, SystemRow

__all__ = ["check_report", "check_rows"]


def check_report(data: ReportData) -> None:
    """Check a whole report.

    Raises
    ------
    FormatError
        If names stand twice, columns are missing, scores are not finite or incomplete, or arrays do not fit together.
    """
    check_rows(data.system_table)
    _distinct("machine", (m.machine for m in data.machines))
    if data.auc_rule not in ("official", "own_domain"):
        raise FormatError(f"auc_rule {data.auc_rule!r} is neither 'official' nor 'own_domain'")
    for machine in data.machines:
        _check_machine(machine)
        for clip in machine.clips:
            _check_clip(clip, f"{machine.machine}: clip {clip.clip_id!r}")


def check_rows(rows: Sequence[SystemRow]) -> None:
    """Check the score table's rows.

    Raises
    ------
    FormatError
        If a system stands twice, a group is unknown, a value lies outside [0, 1], or an interval is upside down.
    """
    _distinct("system", (r.system for r in rows))
    for row in rows:
        if row.group not in GROUPS:
            raise FormatError(f"system {row.system!r}: group {row.group!r} is none of {', '.join(GROUPS)}")
        if (row.low is None) != (row.high is None):
            raise FormatError(f"system {row.system!r}: interval {row.low} to {row.high} has one end; give both or neither")
        if not 0 <= row.score <= 1:
            raise FormatError(f"system {row.system!r}: score {row.score} is not in [0, 1]; give fractions")
        # a bootstrap interval need not hold the score, nor end inside [0, 1] where it is symmetric
        if row.low is not None and row.high is not None and not -1 <= row.low <= row.high <= 2:
            raise FormatError(f"system {row.system!r}: {row.low} to {row.high} is no interval of a score in [0, 1]")
        for machine in {**row.per_machine, **row.beside}:
            for metric, value in row.measures(machine).items():
                if not math.isnan(value) and not 0 <= value <= 1:
                    raise FormatError(f"system {row.system!r}, {machine}, {metric}: {value} is not in [0, 1]; give fractions")


def _distinct(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FormatError(f"{what} {name!r} stands twice in the report; names must differ")
        seen.add(name)


def _check_machine(report: MachineReport) -> None:
    where = report.machine
    _columns(f"{where}: truth", report.truth.columns, ("clip_id", "is_anomaly", "domain", "section"))
    _columns(f"{where}: scores", report.scores.columns, ("clip_id", "system", "score"))
    if report.training_curves is not None:
        _columns(f"{where}: training_curves", report.training_curves.columns, ("epoch", "name", "value"))
    _distinct(f"{where}: clip_id", report.truth["clip_id"])
    if not report.truth["is_anomaly"].isin([0, 1]).all():
        raise FormatError(f"{where}: truth: is_anomaly must be 0 or 1, found {sorted(set(report.truth['is_anomaly']))}")
    for system, table in report.scores.groupby("system", sort=True):
        _distinct(f"{where}: system {system!r}: clip_id", table["clip_id"])
        bad = ~np.isfinite(table["score"].to_numpy(dtype=float))
        if bad.any():
            clip = table["clip_id"].iloc[int(bad.argmax())]
            raise FormatError(f"{where}: system {system!r}: the score of clip {clip!r} is not finite")
        missing = set(report.truth["clip_id"]) - set(table["clip_id"])
        if missing:
            raise FormatError(f"{where}: system {system!r} has no score for {len(missing)} clips, such as {min(missing)!r}")
    if report.main_system not in set(report.scores["system"]):
        raise FormatError(f"{where}: main_system {report.main_system!r} has no scores; there are {set(report.scores['system'])}")
    _distinct(f"{where}: shown clip", (c.clip_id for c in report.clips))


def _columns(where: str, found: Iterable[str], wanted: Sequence[str]) -> None:
    missing = [c for c in wanted if c not in set(found)]
    if missing:
        raise FormatError(f"{where} lacks the columns {', '.join(missing)}; expected {', '.join(wanted)}")


def _check_clip(clip: ClipReport, where: str) -> None:
    if clip.kind not in KINDS:
        raise FormatError(f"{where}: kind {clip.kind!r} is none of {', '.join(KINDS)}")
    if not math.isfinite(clip.score):
        raise FormatError(f"{where}: score {clip.score} is not finite")
    if clip.sound is not None and clip.sound.waveform is None and clip.sound.path is None:
        raise FormatError(f"{where}: a sound needs a waveform or a path")
    if clip.sound is not None and clip.sound.waveform is not None and not clip.sound.sample_rate_hz:
        raise FormatError(f"{where}: a waveform needs its sample_rate_hz")
    if clip.feature is not None:
        shape, bands = clip.feature.values.shape, np.asarray(clip.feature.band_hz)
        if len(shape) != 2 or 0 in shape or bands.shape != shape[:1] or (np.diff(bands) <= 0).any():
            raise FormatError(f"{where}: feature {shape} needs [freq, time] and {shape[:1]} rising band_hz, got {bands.shape}")
        if not clip.feature.start_s < clip.feature.end_s:
            raise FormatError(f"{where}: feature spans {clip.feature.start_s} to {clip.feature.end_s} s; it must have a length")
    _check_maps(clip, where)


def _check_maps(clip: ClipReport, where: str) -> None:
    times, values = clip.score_times_s, clip.segment_scores
    if (times is None) != (values is None) or (times is not None and values is not None and len(times) != len(values)):
        raise FormatError(f"{where}: score_times_s and segment_scores must have the same length")
    if clip.picture is not None and (clip.picture.ndim != 3 or clip.picture.shape[2] != 3 or clip.picture.dtype != np.uint8):
        raise FormatError(f"{where}: picture must be [height, width, 3] uint8, got {clip.picture.shape} {clip.picture.dtype}")
    if clip.mask is not None and (clip.picture is None or clip.mask.shape != clip.picture.shape[:2]):
        found = None if clip.picture is None else clip.picture.shape
        raise FormatError(f"{where}: mask {clip.mask.shape} needs a picture of its height and width, got {found}")
    if clip.heat_map is not None and clip.heat_map.ndim != 2:
        raise FormatError(f"{where}: heat_map must have two axes, got the shape {clip.heat_map.shape}")
    arrays = {"segment_scores": values, "score_times_s": times, "heat_map": clip.heat_map}
    arrays["feature"] = None if clip.feature is None else clip.feature.values
    for name, array in arrays.items():
        if array is not None and not np.isfinite(np.asarray(array, dtype=float)).all():
            raise FormatError(f"{where}: {name} has NaN or infinite values")
