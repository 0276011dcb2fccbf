"""The machines' parts of the report: which clips, their sound, picture and score over time."""

from __future__ import annotations

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
from dcase_asd.pipeline.settings import plugin_config
from dcase_asd.pipeline.stage import Context
from dcase_asd.pipeline.stages.manifests import _root_of_unit
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
        _machine(context, str(machine), rows, scores[scores["clip_id"].isin(set(rows["clip_id"]))], (main, thresholds, manifest))
        for machine, rows in truth.groupby("machine", sort=True)
    ]


_THRESHOLDS = {"system": "str", "machine": "str", "section": "str", "threshold": "float", "n_normal": "int"}


def _machine(
    context: Context,
    machine: str,
    truth: pd.DataFrame,
    scores: pd.DataFrame,
    about: tuple[str, pd.DataFrame, Manifest],
) -> MachineReport:
    main, thresholds, manifest = about
    own = thresholds[(thresholds["system"] == main) & (thresholds["machine"] == machine)]["threshold"]
    main_scores = scores[scores["system"] == main]
    n = context.config["evaluate"]["report_clips"]
    chosen = choose_clips(truth, main_scores, n_anomalous=n, n_missed=n, n_false=n)
    return MachineReport(
        machine=machine,
        truth=truth,
        scores=scores,
        main_system=main,
        # several sections have thresholds of their own: one line would mislead
        threshold=float(own.iloc[0]) if len(own) == 1 else None,
        training_curves=_curves(context, machine),
        clips=_clips(context, machine, main, chosen, manifest) if chosen else [],
    )


def _curves(context: Context, machine: str) -> pd.DataFrame | None:
    """Return the loss curves of the first extractor that has any, first seed: ``epoch, name, value``."""
    import pandas as pd

    for path in sorted(context.folders["extractor"].glob(f"*/*/{machine}/losses.csv")):
        table = pd.read_csv(path).drop(columns=["step", "learning_rate"], errors="ignore")
        long = table.melt("epoch", var_name="name", value_name="value").dropna()
        # train_total and valid_total are two lines of one panel
        return long.assign(name=long["name"].str.replace("_", "/", n=1))
    return None


def _clips(context: Context, machine: str, main: str, chosen: list[ChosenClip], manifest: Manifest) -> list[ClipReport]:
    folder = FeatureFolder(context.folders["features"])
    store = folder.open(machine, "test")
    rate = folder.info["frame_rate_hz"]
    times, values, length_s = _segments(context, machine, main)
    rows = {c: i for i, c in enumerate(store.index["clip_id"])}
    paths = dict(zip(manifest.table["clip_id"], zip(manifest.table["path"], manifest.table["kind"], strict=True), strict=True))
    root = _root_of_unit(context)
    result = []
    for clip in chosen:
        path, kind = paths[clip.clip_id]
        at = times.get(clip.clip_id)
        if at is not None and length_s == 0:
            # a segment is the whole clip: its middle is the clip's
            at = at + len(store.clip(rows[clip.clip_id])) / rate / 2 if rate else at
        result.append(
            ClipReport(
                clip_id=clip.clip_id,
                kind=clip.kind,
                score=clip.score,
                percentile=clip.percentile,
                is_anomaly=clip.is_anomaly,
                domain=clip.domain,
                sound=Sound(path=root / path) if kind == "audio" else None,
                feature=_picture(context, folder, store, rows[clip.clip_id]),
                score_times_s=at,
                segment_scores=values.get(clip.clip_id),
            )
        )
    return result


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
    """Return per clip centres of segments and their scores, and a segment's length, from the first detector of a system.

    Segments of length 0 are whole clips; their time is the start.
    """
    from dcase_asd.pipeline.reporting import system_detectors

    config = context.config
    seed = config["seeds"][0]
    detector = system_detectors(config, main)[0]
    base = context.folders["scores"] / detector / str(seed) / machine
    table = read_table(base / "segments.csv", {"clip_id": "str", "start_s": "float"})
    scores = np.asarray(load_array(base / "segments.npy")).mean(axis=1)
    length_s = float(config["extractors"][config["detectors"][detector]["entry"]["extractor"]]["entry"]["segments"]["length_s"])
    times, values = {}, {}
    for clip, rows in table.groupby("clip_id").indices.items():
        order = rows[np.argsort(table["start_s"].to_numpy()[rows])]
        times[str(clip)] = table["start_s"].to_numpy()[order] + length_s / 2
        values[str(clip)] = scores[order].astype(np.float64)
    return times, values, length_s
