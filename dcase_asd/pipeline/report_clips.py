"""The machines' parts of the report: which clips, their sound, picture and score over time."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.evaluation.evaluate import truth_table
from dcase_asd.evaluation.report.clips import ChosenClip, choose_clips
from dcase_asd.evaluation.report.data import ClipReport, FeaturePicture, MachineReport, Sound
from dcase_asd.features.store import FeatureFolder, FeatureStore
from dcase_asd.io.arrays import load_array
from dcase_asd.io.tables import read_table
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.pipeline.pixel_scores import SEGMENT_SCHEMA, seen_sizes
from dcase_asd.pipeline.report_maps import ClipMaps, open_maps, shown_picture
from dcase_asd.pipeline.settings import plugin_config
from dcase_asd.pipeline.stage import Context
from dcase_asd.pipeline.stages.manifests import root_of_unit
from dcase_asd.pipeline.stages.scores import SCORE_SCHEMA

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["machine_reports"]


def machine_reports(context: Context, out: Path, unit: str, *, main: str, tables: tuple[Manifest, Labels]) -> list[MachineReport]:
    """Return one part per machine with labelled test clips; scores are those of the given unit of stage 7."""
    manifest, labels = tables
    scores = read_table(context.folders["ensemble"] / unit / "scores.csv", SCORE_SCHEMA)
    thresholds = read_table(out / unit / "thresholds.csv", _THRESHOLDS)
    table = manifest.table
    scored = table["clip_id"].isin(set(scores["clip_id"])) & table["clip_id"].isin(set(labels.table["clip_id"]))
    truth = truth_table(Manifest(table[scored].reset_index(drop=True)), labels)
    return [
        _machine(context, str(machine), rows, scores[scores["clip_id"].isin(set(rows["clip_id"]))], (main, thresholds, tables))
        for machine, rows in truth.groupby("machine", sort=True)
    ]


_THRESHOLDS = {"system": "str", "machine": "str", "section": "str", "threshold": "float", "n_normal": "int"}


def _machine(
    context: Context,
    machine: str,
    truth: pd.DataFrame,
    scores: pd.DataFrame,
    about: tuple[str, pd.DataFrame, tuple[Manifest, Labels]],
) -> MachineReport:
    main, thresholds, tables = about
    own = thresholds[(thresholds["system"] == main) & (thresholds["machine"] == machine)]["threshold"]
    main_scores = scores[scores["system"] == main]
    n = context.config["evaluate"]["report_clips"]
    chosen = choose_clips(truth, main_scores, n_anomalous=n, n_missed=n, n_false=n)
    maps = _maps(context, machine, main)
    kinds = tables[0].table.loc[tables[0].table["machine"] == machine, "kind"]
    return MachineReport(
        machine=machine,
        truth=truth,
        scores=scores,
        main_system=main,
        # several sections have thresholds of their own: one line would mislead
        threshold=float(own.iloc[0]) if len(own) == 1 else None,
        training_curves=_curves(context, machine),
        clips=_clips(context, machine, main, chosen, (*tables, maps)) if chosen else [],
        items="pictures" if (kinds == "image").all() else "clips",
        heat_floor=maps.typical if maps else None,
    )


def _maps(context: Context, machine: str, main: str) -> ClipMaps | None:
    from dcase_asd.pipeline.reporting import system_detectors

    detectors = system_detectors(context.config, main)
    return open_maps(context.folders["scores"], detectors=detectors, seed=context.config["seeds"][0], machine=machine)


def _curves(context: Context, machine: str) -> pd.DataFrame | None:
    """Return the loss curves of the first extractor that has any, first seed: ``epoch, name, value``."""
    import pandas as pd

    for path in sorted(context.folders["extractor"].glob(f"*/*/{machine}/losses.csv")):
        table = pd.read_csv(path).drop(columns=["step", "learning_rate"], errors="ignore")
        long = table.melt("epoch", var_name="name", value_name="value").dropna()
        # train_total and valid_total are two lines of one panel
        return long.assign(name=long["name"].str.replace("_", "/", n=1))
    return None


def _clips(
    context: Context,
    machine: str,
    main: str,
    chosen: list[ChosenClip],
    known: tuple[Manifest, Labels, ClipMaps | None],
) -> list[ClipReport]:
    manifest, labels, maps = known
    rows = manifest.table.set_index("clip_id")[["path", "kind"]]
    truths = labels.table.set_index("clip_id")["attributes"]
    source = maps.detector if maps and maps.detector != main else ""
    place = root_of_unit(context)
    sound = None
    result = []
    for clip in chosen:
        path, kind = rows.loc[clip.clip_id]
        report = ClipReport(
            clip_id=clip.clip_id,
            kind=clip.kind,
            score=clip.score,
            percentile=clip.percentile,
            is_anomaly=clip.is_anomaly,
            domain="" if kind == "image" else clip.domain,
            defect=json.loads(truths[clip.clip_id] or "{}").get("defect", ""),
            heat_source=source,
        )
        if kind == "image":
            result.append(_with_picture(report, place / path, (truths[clip.clip_id], place), maps, context))
            continue
        sound = sound or _sound_parts(context, machine, main)
        report = replace(report, sound=Sound(path=place / path) if kind == "audio" else None)
        result.append(_with_sound(context, report, sound, maps))
    return result


def _with_picture(report: ClipReport, path: Path, truth: tuple[str, Path], maps: ClipMaps | None, context: Context) -> ClipReport:
    picture, mask, _ = shown_picture(path, *truth)
    heat = None
    if maps is not None:
        sigma, seen = float(context.config["evaluate"]["pixel_sigma"]), seen_sizes(context.config).get(maps.detector)
        heat = maps.of_picture(report.clip_id, height=picture.shape[0], width=picture.shape[1], sigma=sigma, seen=seen)
    return replace(report, picture=picture, mask=mask, heat_map=heat)


@dataclass(frozen=True)
class _SoundParts:
    """What the clips of a machine share: features, and segment scores with their times."""

    folder: FeatureFolder
    store: FeatureStore
    rows: dict[str, int]
    rate: float
    starts: dict[str, NDArray[Any]]
    values: dict[str, NDArray[Any]]
    length_s: float


def _sound_parts(context: Context, machine: str, main: str) -> _SoundParts:
    folder = FeatureFolder(context.folders["features"])
    store = folder.open(machine, "test")
    rows = {str(c): i for i, c in enumerate(store.index["clip_id"])}
    return _SoundParts(folder, store, rows, folder.info["frame_rate_hz"], *_segments(context, machine, main))


def _with_sound(context: Context, report: ClipReport, parts: _SoundParts, maps: ClipMaps | None) -> ClipReport:
    clip_s = len(parts.store.clip(parts.rows[report.clip_id])) / parts.rate if parts.rate else 0.0
    starts = parts.starts.get(report.clip_id)
    # a segment of length 0 is the whole clip: its middle is the clip's
    times = None if starts is None else starts + (parts.length_s or clip_s) / 2
    feature = _picture(context, parts.folder, parts.store, parts.rows[report.clip_id])
    heat = None
    if maps is not None and feature is not None and starts is not None:
        heat = maps.of_sound(report.clip_id, starts, segment_s=parts.length_s, clip_s=clip_s)
    return replace(report, feature=feature, score_times_s=times, segment_scores=parts.values.get(report.clip_id), heat_map=heat)


def _picture(context: Context, folder: FeatureFolder, store: FeatureStore, row: int) -> FeaturePicture | None:
    plugin, config = plugin_config("features", context.config["features"])
    feature = plugin.implementation(config)
    clip = store.clip(row)
    bands, rate = getattr(feature, "band_hz", None), folder.info["frame_rate_hz"]
    if bands is None or clip.ndim != 2 or not rate:
        return None
    return FeaturePicture(
        values=np.asarray(clip, dtype=np.float32).T, band_hz=bands, start_s=0.0, end_s=len(clip) / rate, unit=feature.unit
    )


def _segments(context: Context, machine: str, main: str) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], float]:
    """Return per clip starts of segments and their scores, and a segment's length, from the first detector of a system."""
    from dcase_asd.pipeline.reporting import system_detectors

    config = context.config
    seed = config["seeds"][0]
    detector = system_detectors(config, main)[0]
    base = context.folders["scores"] / detector / str(seed) / machine
    table = read_table(base / "segments.csv", SEGMENT_SCHEMA)
    scores = np.asarray(load_array(base / "segments.npy")).mean(axis=1)
    length_s = float(config["extractors"][config["detectors"][detector]["entry"]["extractor"]]["entry"]["segments"]["length_s"])
    starts, values = {}, {}
    for clip, rows in table.groupby("clip_id").indices.items():
        order = rows[np.argsort(table["start_s"].to_numpy()[rows])]
        starts[str(clip)] = table["start_s"].to_numpy()[order]
        values[str(clip)] = scores[order].astype(np.float64)
    return starts, values, length_s
