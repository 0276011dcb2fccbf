"""Small made-up report data for the tests of the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dcase_asd.evaluation.report import ClipReport, FeaturePicture, MachineReport, ReportData, Sound, SystemRow, choose_clips


def make_truth(machine: str, *, n: int = 10) -> pd.DataFrame:
    rows = [
        {"clip_id": f"{machine}_{domain}_{'anomaly' if bad else 'normal'}_{i:03d}", "is_anomaly": bad, "domain": domain}
        for bad in (0, 1)
        for domain in ("source", "target")
        for i in range(n)
    ]
    return pd.DataFrame(rows).assign(section="00")


def make_scores(truth: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    tables = [
        truth[["clip_id"]].assign(system=system, score=rng.normal(size=len(truth)) + gap * truth["is_anomaly"])
        for system, gap in (("flow", 1.0), ("knn", 0.4))
    ]
    return pd.concat(tables, ignore_index=True)


def make_clip(clip_id: str = "clip", *, kind: Any = "most anomalous", **changes: Any) -> ClipReport:
    rng = np.random.default_rng(len(clip_id))
    clip = ClipReport(
        clip_id=clip_id,
        kind=kind,
        score=1.5,
        percentile=97.5,
        is_anomaly=True,
        domain="source",
        sound=Sound(waveform=0.1 * np.sin(np.arange(8000) * 0.3), sample_rate_hz=16000),
        feature=FeaturePicture(values=rng.normal(size=(16, 40)), band_hz=np.linspace(100, 7900, 16), start_s=0, end_s=0.5),
        score_times_s=np.array([0.1, 0.25, 0.4]),
        segment_scores=np.array([1.0, 2.0, 1.5]),
    )
    return replace(clip, **changes)


def make_machine(machine: str = "ToyCar", **changes: Any) -> MachineReport:
    truth = make_truth(machine)
    scores = make_scores(truth)
    chosen = choose_clips(truth, scores[scores["system"] == "flow"], n_anomalous=1, n_missed=1, n_false=1)
    curves = pd.DataFrame({"epoch": [1, 2, 1, 2], "name": ["train/loss"] * 2 + ["valid/loss"] * 2, "value": [2.0, 1.0, 2.1, 1.4]})
    report = MachineReport(
        machine=machine,
        truth=truth,
        scores=scores,
        main_system="flow",
        threshold=0.5,
        training_curves=curves,
        clips=[make_clip(c.clip_id, kind=c.kind, score=c.score, is_anomaly=c.is_anomaly, domain=c.domain) for c in chosen],
    )
    return replace(report, **changes)


def make_rows() -> list[SystemRow]:
    cells = {"ToyCar": {"AUC source": 0.8123, "AUC target": 0.6, "pAUC": 0.55}, "fan": {"AUC source": 0.7, "pAUC": 0.52}}
    return [
        SystemRow(system="flow", group="ours", score=0.6543, low=0.64, high=0.67, per_machine=cells),
        SystemRow(system="their baseline", group="comparator", score=0.61, low=0.6, high=0.62, per_machine={}),
        SystemRow(system="mean distance", group="trivial", score=0.5, per_machine={"fan": {"AUC source": 0.5}}),
    ]


def make_data(**changes: Any) -> ReportData:
    data = ReportData(
        title="A report",
        subtitle="of made-up data",
        provenance={"seed": "1", "rule": "official 2023"},
        system_table=make_rows(),
        machines=[make_machine("ToyCar"), make_machine("fan")],
        notes=["Made up."],
    )
    return replace(data, **changes)
