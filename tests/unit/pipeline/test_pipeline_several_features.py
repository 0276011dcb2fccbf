"""Several features and segment lengths in one recipe: settings, stages 2 to 4, and what each extractor gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcase_asd.errors import ConfigError, UnknownNameError
from dcase_asd.features.segments import Embeddings
from dcase_asd.features.store import FeatureFolder
from dcase_asd.io.arrays import save_array
from dcase_asd.io.atomic import write_json
from dcase_asd.io.audio import write_audio
from dcase_asd.io.tables import write_table
from dcase_asd.manifests.schema import Manifest
from dcase_asd.pipeline.layout import Layout
from dcase_asd.pipeline.report_clips import _segments
from dcase_asd.pipeline.settings import resolve
from dcase_asd.pipeline.stage import Context, Resources, Stage
from dcase_asd.pipeline.stages.embeddings import EmbeddingsStage
from dcase_asd.pipeline.stages.extractor import ExtractorStage
from dcase_asd.pipeline.stages.features import FeaturesStage
from dcase_asd.pipeline.stages.manifests import _index
from dcase_asd.pipeline.stages.submit import _feature_names

VALUES = {
    "corpus": {"name": "dcase", "year": 2023},
    "features": {"name": "log_mel", "n_mels": 40},
    "extra_features": {"official": {"name": "log_mel", "n_mels": 16, "hop_s": 0.032, "standardise": "none", "highpass": None}},
    "segments": {"length_s": 0.5, "overlap": 0.5},
    "extractors": {
        "main": {"name": "identity"},
        "clips": {"name": "identity", "features": "official", "segments": {"length_s": 0}},
        "long": {"name": "identity", "segments": {"length_s": 0.8}},
    },
    "detectors": {"ae": {"extractor": "clips", "name": "dcase_autoencoder"}, "knn": {"extractor": "main", "name": "knn"}},
}
N_SAMPLES, RATE_HZ = 16000, 16000


def test_segments_of_an_extractor_override_those_of_the_recipe_key_by_key() -> None:
    extractors = resolve(VALUES)["extractors"]
    assert extractors["main"]["entry"] == {"features": "main", "segments": {"length_s": 0.5, "overlap": 0.5}}
    assert extractors["clips"]["entry"] == {"features": "official", "segments": {"length_s": 0.0, "overlap": 0.5}}
    assert extractors["long"]["entry"]["segments"] == {"length_s": 0.8, "overlap": 0.5}
    assert extractors["clips"]["extractor"] == {"name": "identity", "vector": "mean", "return_map": True}


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"extractors": {"a": {"name": "identity", "features": "offical"}}}, UnknownNameError, "official"),
        ({"extractors": {"a": {"name": "identity", "segments": {"lenght_s": 1}}}}, ConfigError, "length_s"),
        ({"extractors": {"a": {"name": "identity", "segments": 3}}}, ConfigError, "mapping"),
        ({"extractors": {"a": {"name": "identity", "vektor": "flat"}}}, ConfigError, "vector"),
        ({"extractors": {"a": "identity"}}, ConfigError, "mapping"),
        ({"extra_features": {"main": {"name": "log_mel"}}}, ConfigError, "choose another"),
        ({"extra_features": {"a/b": {"name": "log_mel"}}}, ConfigError, "letters"),
    ],
)
def test_wrong_entries_are_refused(change: dict[str, object], error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        resolve({**VALUES, "detectors": {}, **change})


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Two machines, 3 training and 2 test clips of one second each, after stage 1."""
    root = tmp_path / "données ü"
    rng = np.random.default_rng(0)
    rows = []
    for machine in ("fan", "valve"):
        for number in range(5):
            path = f"{machine}/{number}.wav"
            write_audio(root / path, 0.1 * rng.standard_normal(N_SAMPLES).clip(-3, 3), sample_rate_hz=RATE_HZ)
            row = {"clip_id": path, "path": path, "kind": "audio", "subset": "dev", "machine": machine, "section": "00"}
            row |= {"domain": "source", "split": "train" if number < 3 else "test", "attributes": {}, "n_samples": N_SAMPLES}
            rows.append(row | {"n_channels": 1, "sample_rate_hz": RATE_HZ, "sha256": ""})
    manifest = Manifest.from_rows(rows)
    manifest.write(tmp_path / "manifests" / "manifest.csv")
    write_json(tmp_path / "manifests" / "machines.json", _index(manifest))
    folders = {name: tmp_path / name for name in ("raw", "manifests", "features", "extractor", "embeddings")}
    return Context(resolve(VALUES), {**folders, "data_root": root}, Resources(), print)


def _run(stage: Stage, context: Context) -> None:
    out = context.folders[stage.name]
    for unit in stage.units(context):
        (out / unit.name).mkdir(parents=True)
        stage.run(replace(context, config=unit.config), unit, out / unit.name, out / "work")
    stage.finish(context, out)
    stage.check(context, out)


def test_each_extractor_gets_its_own_features_and_segments(context: Context) -> None:
    for stage in (FeaturesStage(), ExtractorStage(), EmbeddingsStage()):
        _run(stage, context)
    main = FeatureFolder(context.folders["features"])
    assert main.machines() == ["fan", "valve"]  # the folder of extra features is no machine
    official = FeatureFolder(context.folders["features"] / "_extra" / "official")
    assert official.info["frame_rate_hz"] == 31.25
    store = official.open("fan", "test")
    assert store.data.shape[1] == 16

    def read(extractor: str) -> Embeddings:
        return Embeddings.read(context.folders["embeddings"] / extractor / "0" / "fan" / "test")

    whole, half = read("clips"), read("main")
    assert whole.map is not None
    np.testing.assert_array_equal(whole.map[1, 0].T, store.clip(1))
    assert whole.power is None
    assert half.map is not None
    assert half.map.shape[1:] == (1, 40, 31)  # 0.5 s at 62.5 frames per second
    assert len(half.meta) > len(whole.meta) == 2
    long = read("long").map
    assert long is not None
    assert long.shape[3] == 50


def test_a_change_of_extra_features_touches_only_those_who_read_them(context: Context) -> None:
    stage = FeaturesStage()
    assert {unit.name for unit in stage.units(context)} == {"fan", "valve", "_extra/official/fan", "_extra/official/valve"}
    inputs = {unit.name: unit.inputs["features"] for unit in EmbeddingsStage().units(context)}
    assert inputs["main/0/fan"] == ["fan", "feature.json"]
    assert inputs["clips/0/fan"] == ["_extra/official/fan", "_extra/official/feature.json"]


def test_a_trained_extractor_depends_on_the_stores_of_its_own_features(context: Context) -> None:
    extractors = {"oe": {"name": "outlier_exposure"}, "other": {"name": "outlier_exposure", "features": "official"}}
    config = resolve({**VALUES, "extractors": extractors, "detectors": {}})
    inputs = {u.name: u.inputs["features"] for u in ExtractorStage().units(replace(context, config=config))}
    assert inputs["oe/0/fan"] == ["fan", "valve", "feature.json"]
    assert inputs["other/0/fan"] == [f"_extra/official/{n}" for n in ("fan", "valve", "feature.json")]


def test_folder_of_features_changes_with_the_extra_ones_only_if_there_are_some(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "tag", None, tmp_path / "exp", tmp_path / "dump")
    config = resolve(VALUES)
    with_extra = layout.folder(FeaturesStage(), config, {})
    without = layout.folder(FeaturesStage(), {**config, "extra_features": {}}, {})
    before_there_were_any = {key: value for key, value in config.items() if key != "extra_features"}
    assert with_extra != without == layout.folder(FeaturesStage(), before_there_were_any, {})


def test_a_submission_names_the_features_of_its_systems() -> None:
    config = resolve({**VALUES, "extra_features": {"official": {"name": "stft"}}})
    assert _feature_names(config, ["ae", "knn"]) == ["stft", "log_mel"]


def test_the_report_places_scores_by_the_segments_of_the_system_s_extractor(context: Context, tmp_path: Path) -> None:
    context = replace(context, folders={**context.folders, "scores": tmp_path / "scores"})
    for system, starts in (("ae", [0.0]), ("knn", [0.25, 0.0])):
        base = tmp_path / "scores" / system / "0" / "fan"
        write_table(base / "segments.csv", pd.DataFrame({"clip_id": "fan/4.wav", "start_s": starts}))
        save_array(base / "segments.npy", np.arange(len(starts), dtype=np.float32)[:, None])
    starts_s, values, length_s = _segments(context, "fan", "knn")
    np.testing.assert_allclose(starts_s["fan/4.wav"], [0.0, 0.25])
    np.testing.assert_allclose(values["fan/4.wav"], [1.0, 0.0])
    assert length_s == 0.5
    starts_s, _, length_s = _segments(context, "fan", "ae")
    assert (length_s, list(starts_s["fan/4.wav"])) == (0.0, [0.0])
