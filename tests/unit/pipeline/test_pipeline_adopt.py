"""Stage 5 adopts the detector that an extractor was trained with (a flow), instead of fitting one."""

import json

import numpy as np
import pandas as pd
import pytest

from dcase_asd import config as configs
from dcase_asd.detectors.base import load_detector
from dcase_asd.errors import ConfigError
from dcase_asd.features.segments import Embeddings, SegmentMeta
from dcase_asd.pipeline.settings import resolve
from dcase_asd.pipeline.stage import Context, Resources, Unit
from dcase_asd.pipeline.stages import detectors as stage_5
from dcase_asd.pipeline.stages import extractor as stage_3
from dcase_asd.registry import load

BASE = {
    "corpus": {"name": "dcase"},
    "features": {"name": "log_mel"},
    "extractors": {
        "oe": {"name": "outlier_exposure"},
        "oe_flow": {"name": "outlier_exposure", "flow_weight": 1e-7, "width": 0.125, "flow_steps": 2},
        "mean": {"name": "log_mel_statistics"},
    },
}


def resolved(**detector):
    return resolve({**BASE, "detectors": {"nf": {"extractor": "oe_flow", "name": "fastflow", "adopt": True, **detector}}})


@pytest.mark.parametrize(
    ("detector", "match"),
    [
        ({"extractor": "oe"}, "no detector that could be adopted.*flow_weight"),
        ({"extractor": "mean"}, "no detector that could be adopted"),
        ({"name": "knn"}, "trains fastflow that could be adopted, not knn"),
        ({"epochs": 3}, "'epochs' has no effect; possible: score, reduction"),
        ({"fit_split": "all"}, "fit_split 'all'"),
    ],
)
def test_what_cannot_be_adopted_is_refused_before_anything_runs(detector, match):
    with pytest.raises(ConfigError, match=match):
        resolved(**detector)


def test_a_unit_that_adopts_reads_the_extractors_folder(monkeypatch):
    monkeypatch.setattr(stage_5, "target_machines", lambda _: ["fän"])
    config = resolved()
    (unit,) = stage_5.DetectorsStage().units(Context(config, {}, Resources(), print))
    assert unit.inputs["extractor"] == ["oe_flow/0/fän/fastflow"]
    fitting = resolve({**BASE, "detectors": {"nf": {"extractor": "oe_flow", "name": "fastflow"}}})
    (unit,) = stage_5.DetectorsStage().units(Context(fitting, {}, Resources(), print))
    assert "extractor" not in unit.inputs


def _extractor(config, features, tmp_path):
    from dcase_asd.extractors.base import TrainingData

    plugin = load("extractors", "outlier_exposure")
    values = {key: value for key, value in config["extractors"]["oe_flow"]["extractor"].items() if key != "name"}
    extractor = plugin.implementation(
        configs.build(plugin.config, {**values, "epochs": 1, "batch_size": 4, "input_pool": [1, 1]})
    )
    extractor.fit(TrainingData(features, "fän", frozenset(), 40), seed=0, workdir=tmp_path / "work", log=lambda _: None)
    return extractor


def _features(folder):
    from dcase_asd.features.store import INDEX_COLUMNS, FeatureFolder
    from dcase_asd.io.arrays import save_array
    from dcase_asd.io.atomic import write_json
    from dcase_asd.io.tables import write_table

    write_json(folder / "feature.json", {"name": "log_mel", "config": {}, "frame_rate_hz": 10.0})
    for number, machine in enumerate(("fän", "valve")):
        index = pd.DataFrame(
            {
                "clip_id": [f"{machine}/{i}" for i in range(8)],
                "section": "00",
                "domain": "source",
                "attributes": "{}",
                "start": [40 * i for i in range(8)],
                "length": 40,
                "level_db": 0.0,
            },
            columns=list(INDEX_COLUMNS),
        )
        save_array(folder / machine / "train.npy", np.random.default_rng(number).normal(size=(320, 16)).astype(np.float32))
        write_table(folder / machine / "train.csv", index)
    return FeatureFolder(folder)


def test_the_adopted_detector_is_the_extractors_own_and_scores_as_the_entry_says(tmp_path, monkeypatch):
    features = _features(tmp_path / "f é")
    config = resolved(score="nll_logdet", reduction="max")
    monkeypatch.setattr(stage_5, "target_machines", lambda _: ["fän"])
    extractor = _extractor(config, features, tmp_path)
    x = np.random.default_rng(5).normal(size=(8, 40, 16)).astype(np.float32)
    vector, maps = extractor.embed(x)
    same = np.array(["00"] * 8, dtype=object)
    clips = np.array([f"fän/{i}" for i in range(8)], dtype=object)
    meta = SegmentMeta(clips, same, np.array(["source"] * 8, dtype=object), np.array(["{}"] * 8, dtype=object), np.zeros(8))
    Embeddings(vector, maps, None, meta).write(tmp_path / "emb" / "oe_flow/0/fän" / "train")
    # what stage 3 does after the fit
    unit_folder = tmp_path / "ext" / "oe_flow/0/fän"
    stage_3._save(extractor, "outlier_exposure", unit_folder)
    assert (unit_folder / "fastflow" / "config.json").is_file()

    monkeypatch.setattr(stage_5, "validation_clips", lambda *_, **__: frozenset({"fän/1", "fän/2"}))
    monkeypatch.setattr(stage_5.Manifest, "read", lambda _: None)
    stage = stage_5.DetectorsStage()
    folders = {"embeddings": tmp_path / "emb", "extractor": tmp_path / "ext", "manifests": tmp_path}
    (unit,) = stage.units(Context(config, folders, Resources(), print))
    out = tmp_path / "out" / unit.name
    stage.run(Context(unit.config, folders, Resources(), lambda _: None), Unit(unit.name, unit.config), out, tmp_path / "w")
    adopted = load_detector(out / "00" / "main")
    assert {n: v.tobytes() for n, v in adopted.state().items()} == {
        n: v.tobytes() for n, v in extractor.joint_state("fastflow").items()
    }
    assert (adopted.config.score, adopted.config.reduction, adopted.config.n_steps) == ("nll_logdet", "max", 2)
    assert json.loads((out / "00" / "main" / "calibration.json").read_text()) == {"clips": ["fän/1", "fän/2"]}
    assert np.isfinite(adopted.score(maps).score).all()
