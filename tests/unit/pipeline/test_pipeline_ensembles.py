"""Stage 7: ensembles of ensembles, and ensembles grid point by grid point (Fujimura 2023, Section 4.1 and Tables 2 to 4)."""

import numpy as np
import pandas as pd
import pytest

from dcase_asd.errors import ConfigError, DataError
from dcase_asd.pipeline.reporting import system_detectors
from dcase_asd.pipeline.score_tables import shared_clips
from dcase_asd.pipeline.settings import resolve
from dcase_asd.pipeline.stage import Context, Resources, Unit
from dcase_asd.pipeline.stages import ensemble as stage_7

CLIPS = [f"fän/{split}/{i}" for split in ("test", "train") for i in range(6)]
EXTRACTOR = {"mean": {"name": "log_mel_statistics"}}
GRID = {"extractor": "mean", "name": "knn", "n_neighbors": [1, 2]}
DETECTORS = {"a1_knn": GRID, "a2_knn": GRID, "b": {"extractor": "mean", "name": "mahalanobis"}}


def resolved(ensembles):
    base = {"corpus": {"name": "dcase"}, "features": {"name": "log_mel"}, "extractors": EXTRACTOR, "detectors": DETECTORS}
    return resolve({**base, "ensembles": ensembles})


def scores_of(system, clips, rng):
    return pd.DataFrame({"clip_id": clips, "system": system, "score": rng.normal(3.0, 2.0, len(clips))})


SYSTEMS = {"a1_knn": ["a1_knn:k=1", "a1_knn:k=2"], "a2_knn": ["a2_knn:k=1", "a2_knn:k=2"], "b": ["b"]}


@pytest.fixture
def run(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    tables = {}
    for name, clips in (("scores", CLIPS[:6]), ("calibration", CLIPS[6:])):
        for detector, systems in SYSTEMS.items():
            table = pd.concat([scores_of(s, clips, rng) for s in systems])
            tables[detector, name] = table
            folder = tmp_path / "6_scores é" / detector / "0" / "fän"
            folder.mkdir(parents=True, exist_ok=True)
            table.to_csv(folder / f"{name}.csv", index=False)

    class FakeManifest:
        table = pd.DataFrame({"clip_id": CLIPS, "machine": "fän", "section": "00", "subset": "dev"})

    monkeypatch.setattr(stage_7.Manifest, "read", lambda _: FakeManifest)

    def go(ensembles):
        config = {"ensembles": resolved(ensembles)["ensembles"], "statistics": "calibration", "rule": "dcase2023", "decided": []}
        unit = Unit("0", config=config, inputs={"scores": [f"{d}/0/fän" for d in SYSTEMS]})
        folders = {"manifests": tmp_path, "scores": tmp_path / "6_scores é"}
        stage_7.EnsembleStage().run(Context(config, folders, Resources(), lambda _: None), unit, tmp_path / "out", tmp_path)
        made = pd.read_csv(tmp_path / "out" / "scores.csv").pivot_table(index="clip_id", columns="system", values="score")
        return made.loc[CLIPS[:6]], tables

    return go


def z(tables, system):
    """Scores of a system, standardised by those of its normal clips."""
    detector = system.split(":")[0]
    test, normal = (
        tables[detector, n][tables[detector, n]["system"] == system]["score"].to_numpy() for n in ("scores", "calibration")
    )
    return (test - normal.mean()) / normal.std(), (normal - normal.mean()) / normal.std()


def test_by_part_averages_equal_grid_points(run):
    made, tables = run({"a": {"members": ["a?_knn"], "by_part": True}})
    assert {"a:k=1", "a:k=2"} <= set(made.columns)
    assert "a" not in made.columns
    for part in ("k=1", "k=2"):
        expected = (z(tables, f"a1_knn:{part}")[0] + z(tables, f"a2_knn:{part}")[0]) / 2
        np.testing.assert_allclose(made[f"a:{part}"], expected, rtol=1e-9)


def test_an_ensemble_counts_as_one_member_of_another(run):
    made, tables = run({"a": {"members": ["a?_knn"]}, "both": {"members": ["a", "b"]}})
    four = [z(tables, s) for d in ("a1_knn", "a2_knn") for s in SYSTEMS[d]]
    test, normal = (np.mean([pair[i] for pair in four], axis=0) for i in (0, 1))
    np.testing.assert_allclose(made["a"], test, rtol=1e-9)
    standard = (test - normal.mean()) / normal.std()
    np.testing.assert_allclose(made["both"], (standard + z(tables, "b")[0]) / 2, rtol=1e-9)


def test_a_pattern_never_takes_an_ensemble_in(run):
    made, tables = run({"a0_knn": {"members": ["b"]}, "all": {"members": ["a?_knn"]}})
    four = [z(tables, s)[0] for d in ("a1_knn", "a2_knn") for s in SYSTEMS[d]]
    np.testing.assert_allclose(made["all"], np.mean(four, axis=0), rtol=1e-9)


def test_detectors_behind_nested_ensembles_are_found():
    config = resolved({"a": {"members": ["a?_knn"], "by_part": True}, "x": {"members": ["a", "b"]}})
    assert system_detectors(config, "x") == ["a1_knn", "a2_knn", "b"]
    assert system_detectors(config, "a:k=1") == ["a1_knn", "a2_knn"]


@pytest.mark.parametrize(
    ("ensembles", "match"),
    [
        ({"x": {"members": ["later"]}, "later": {"members": ["b"]}}, "no ensemble before this one"),
        ({"x": {"members": ["x"]}}, "matches no detector"),
        ({"b": {"members": ["a1_knn"]}}, "a detector has this name too"),
        ({"x": {"members": ["a?_knn"], "by_part": True, "n_best": 2}}, "by_part"),
    ],
)
def test_ensembles_that_cannot_be(ensembles, match):
    with pytest.raises(ConfigError, match=match):
        resolved(ensembles)


def held_out(system, clips, machine="fan"):
    return pd.DataFrame({"clip_id": clips, "system": system, "machine": machine, "score": np.arange(len(clips), dtype=float)})


def test_members_held_out_on_different_clips_meet_on_those_they_share():
    cross_fitted, plain = held_out("svm", ["a", "b", "c", "d"]), held_out("cnn", ["b", "d"])
    # a machine with other members is counted by its own
    other, alone = held_out("svm", ["p", "q"], "valve"), held_out("elsewhere", ["a"])
    found = shared_clips(pd.concat([cross_fitted, plain, other, alone]), ["svm", "cnn"])
    assert sorted(zip(found["system"], found["clip_id"], found["score"], strict=True)) == [
        ("cnn", "b", 0.0), ("cnn", "d", 1.0), ("svm", "b", 1.0), ("svm", "d", 3.0), ("svm", "p", 0.0), ("svm", "q", 1.0)
    ]  # fmt: skip


def test_members_that_share_no_held_out_clip_are_told_why():
    with pytest.raises(DataError, match="fan: cnn, svm have no held-out clip in common; give them the same fit_split"):
        shared_clips(pd.concat([held_out("svm", ["a"]), held_out("cnn", ["b"])]), ["svm", "cnn"])
