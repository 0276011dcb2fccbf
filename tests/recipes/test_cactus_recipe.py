"""The cactus recipe from pictures to answers, and who may see labels on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcase_asd.errors import ConfigError, ManifestError
from dcase_asd.features.segments import Embeddings
from dcase_asd.io.arrays import load_tensors
from dcase_asd.pipeline.recipe import RunOptions, load_config

sys.path.insert(0, str(Path(__file__).parent))
from cactus_tree import make_tree
from in_process import run_in_process

ROOT = Path(__file__).resolve().parents[2]
# a network less (its weights are untrained in mini.yaml anyway), and a detector of normal pictures beside the classifiers
CONF = """
base: mini.yaml
extractors:
  means: {name: identity, vector: mean, return_map: false}
detectors:
  one_class: {extractor: means, name: knn, n_neighbors: [1], metric: euclidean, fit_sets: [both]}
  cnn: {epochs: 12}
ensembles:
  vote: {members: [logreg, svm, cnn]}
  mean: {members: [logreg, svm, cnn]}
evaluate:
  systems: [vote, mean, logreg, svm, cnn]
  comparators: [one_class]
submit: {systems: [vote, mean, one_class]}
"""


def prepare(folder: Path) -> Path:
    """Copy the recipe, take the fourth classifier out and add the test's own configuration."""
    shutil.copytree(ROOT / "recipes/cactus/cls1/conf", folder / "conf")
    import yaml

    for name in ("all", "mini"):
        path = folder / "conf" / f"{name}.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        del values["detectors"]["resnet18"]
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    (folder / "conf" / "test.yaml").write_text(CONF, encoding="utf-8")
    return folder


def run(recipe: Path, data: Path, *overrides: str, conf: str = "conf/test.yaml", **plan: object) -> Path:
    options = RunOptions(recipe=recipe, conf=Path(conf), data_root=str(data), overrides=overrides, tag="t")
    run_in_process(options, **plan)
    return recipe / "exp" / "t"


@pytest.fixture(scope="module")
def truth(data: Path) -> dict[str, int]:
    return make_tree(data)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("Bilder é") / "cactus"


@pytest.fixture(scope="module")
def made(data: Path, truth: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert len(truth) == 108
    return run(prepare(tmp_path_factory.mktemp("a recipe é") / "cls1"), data)


def test_classifiers_find_the_columns_and_brightness_does_not(made: Path) -> None:
    table = pd.read_csv(made / "8_evaluate/0/dev/classification.csv").set_index("system")
    # 20 pictures; always answering "cactus" would have table["f1_trivial"], about 0.75
    assert (table["n_pos"] + table["n_neg"] == 20).all()
    assert table.loc[["vote", "mean", "cnn"], "f1"].min() > 0.85
    assert (table["f1_low"] <= table["f1"]).all()
    assert (table["f1"] <= table["f1_high"]).all()
    scores = pd.read_csv(made / "8_evaluate/results_dev.csv").set_index("system")["score"]
    assert 0.2 < scores["level_up"] < 0.8
    assert scores["cnn"] > 0.9


def test_pages_show_f1_accuracy_base_rate_and_trivial_f1(made: Path) -> None:
    table = pd.read_csv(made / "8_evaluate/0/dev/classification.csv").set_index("system").loc["vote"]
    for name in ("table.txt", "RESULTS.md"):
        text = (made / "8_evaluate" / name).read_text(encoding="utf-8")
        assert f"base rate {100 * table['precision_base']:.2f}; always positive: F1 {100 * table['f1_trivial']:.2f}" in text
        assert f"{100 * table['f1']:.2f} [{100 * table['f1_low']:.2f}, {100 * table['f1_high']:.2f}]" in text
        assert f"{100 * table['accuracy']:.2f} [" in text


def test_decisions_are_the_signs_of_scores_and_the_majority_of_votes(made: Path) -> None:
    decisions = pd.read_csv(made / "8_evaluate/0/decisions.csv").pivot_table(index="clip_id", columns="system", values="decision")
    scores = pd.read_csv(made / "7_ensemble/0/scores.csv").pivot_table(index="clip_id", columns="system", values="score")
    for name in ("logreg", "svm", "cnn", "mean"):
        assert (decisions[name] == (scores[name] > 0)).all()
    assert (decisions["vote"] == (scores["vote"] > 0.5)).all()
    weights = json.loads((made / "7_ensemble/0/vote_vote.json").read_text(encoding="utf-8"))["cactus"]["weights"]
    share = sum(weights[name] * (scores[name] > 0) for name in weights)
    np.testing.assert_allclose(scores["vote"], share, atol=1e-9)
    # a system that does not decide by itself is cut by the rate of false alarms on held-out normal pictures
    thresholds = pd.read_csv(made / "8_evaluate/0/thresholds.csv").set_index("system")["threshold"]
    assert thresholds[["logreg", "svm", "cnn", "mean", "vote"]].tolist() == [0, 0, 0, 0, 0.5]
    assert thresholds["one_class"] > 0


def test_weights_come_from_held_out_training_pictures(made: Path) -> None:
    record = json.loads((made / "7_ensemble/0/vote_vote.json").read_text(encoding="utf-8"))["cactus"]
    calibration = json.loads((made / "5_detectors/svm/0/cactus/00/main/calibration.json").read_text(encoding="utf-8"))
    assert (record["n_normal"], record["n_positive"]) == (len(calibration["clips"]), len(calibration["anomalies"]))
    labels = pd.read_csv(next((made.parents[1] / "data").glob("*/labels.csv")))
    assert not set(labels["clip_id"]) & {*calibration["clips"], *calibration["anomalies"]}
    normal, positive = (
        pd.read_csv(made / f"6_scores/svm/0/cactus/{n}.csv")["score"] for n in ("calibration", "calibration_anomalies")
    )
    right = (normal <= 0).sum() + (positive > 0).sum()
    assert record["accuracy"]["svm"] == pytest.approx(right / (len(normal) + len(positive)))
    assert sum(record["weights"].values()) == pytest.approx(1.0)
    assert len(record["analysis"]["patterns"]) == 8
    log = next((made / "log/7_ensemble").glob("*.log")).read_text(encoding="utf-8")
    assert "weights cnn" in log
    assert "patterns of the other votes" in log


def test_answers_for_the_unlabelled_pictures(made: Path, data: Path, truth: dict[str, int]) -> None:
    from dcase_asd.submission.id_label import check_id_label, sample_ids

    columns, ids = sample_ids(data / "sample_submission.csv")
    record = json.loads((made / "9_submit/submission.json").read_text(encoding="utf-8"))
    assert record["predictions"] == ["predictions_vote.csv", "predictions_mean.csv", "predictions_one_class.csv"]
    for name in record["predictions"]:
        assert check_id_label(made / "9_submit" / name, ids=ids, columns=columns) == []
    answer = pd.read_csv(made / "9_submit/predictions_vote.csv").set_index("id")["label"]
    assert np.mean([answer[name] == truth[name] for name in ids]) > 0.8


def test_the_grid_tables_lie_beside_the_models(made: Path) -> None:
    table = pd.read_csv(made / "5_detectors/svm/0/cactus/00/main/grid.csv")
    assert len(table) == 4 * 3
    assert {"C", "gamma", "fold", "f1", "accuracy", "chosen"} <= set(table)
    assert (made / "5_detectors/cnn/0/cactus/00/main/losses.csv").is_file()


def test_a_detector_without_the_declaration_is_handed_normal_pictures_alone(made: Path) -> None:
    folder = made / "4_embeddings/means/0/cactus"
    normal, positive = Embeddings.read(folder / "train"), Embeddings.read(folder / "train_anomaly")
    seen = load_tensors(made / "5_detectors/one_class/0/cactus/00/main/tensors.safetensors")
    rows = {row.tobytes() for value in seen.values() if value.ndim == 2 for row in value.astype(np.float32)}
    assert any(row.tobytes() in rows for row in np.asarray(normal.vector))
    assert not any(row.tobytes() in rows for row in np.asarray(positive.vector))
    # nothing that crosses to it names a class
    for split in ("train", "train_anomaly", "test"):
        assert set(Embeddings.read(folder / split).meta.attributes) == {"{}"}
    calibration = json.loads((made / "5_detectors/one_class/0/cactus/00/main/calibration.json").read_text(encoding="utf-8"))
    assert set(calibration) == {"clips"}
    assert set(calibration["clips"]) <= set(normal.meta.clip_id)


def test_test_labels_change_nothing_before_they_are_judged(made: Path, data: Path, tmp_path: Path) -> None:
    """All test labels turned round: the models, their scores, the weights and the answers keep their bytes."""
    other = prepare(tmp_path / "cls1")
    target = run(other, data, stop_stage="manifests").parents[1]
    (labels,) = target.glob("data/*/labels.csv")
    table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    table["is_anomaly"] = table["is_anomaly"].map({"0": "1", "1": "0"})
    table.to_csv(labels, index=False, lineterminator="\n")
    turned = run(other, data)
    for pattern in ("5_detectors/**/*.safetensors", "6_scores/**/*.csv", "7_ensemble/**/*.csv", "7_ensemble/**/vote_*.json"):
        files = sorted(p.relative_to(made) for p in made.glob(pattern))
        assert files
        for name in files:
            assert (made / name).read_bytes() == (turned / name).read_bytes(), name
    assert (made / "9_submit/predictions_vote.csv").read_bytes() == (turned / "9_submit/predictions_vote.csv").read_bytes()
    assert (made / "8_evaluate/0/dev/classification.csv").read_bytes() != (
        turned / "8_evaluate/0/dev/classification.csv"
    ).read_bytes()


def test_a_corpus_without_labelled_anomalies_is_refused_before_anything_is_fitted(
    tmp_path: Path, data: Path, truth: dict
) -> None:
    assert truth
    root = tmp_path / "normal alone"
    shutil.copytree(data / "train", root / "good")
    recipe = prepare(tmp_path / "cls1")
    (recipe / "conf/alone.yaml").write_text(
        "raw: {source: none}\ncorpus: {name: image_folder, machine: cactus}\nfeatures: {name: image, size: [8, 8]}\n"
        "extractors: {pixels: {name: identity, vector: flat}}\ndetectors: {logreg: {extractor: pixels, name: logreg}}\n"
        "description: alone\n",
        encoding="utf-8",
    )
    (root / "test").mkdir()
    shutil.copy(next((data / "test").iterdir()), root / "test")
    (root / "good").rename(root / "train")
    with pytest.raises(ManifestError, match=r"'logreg' learns from labels.*'cactus' has no .* split train_anomaly"):
        run(recipe, root, conf="conf/alone.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ensembles.vote.members=[logreg,one_class]", "'one_class' is none"),
        (
            "ensembles.vote={name: vote, members: [one_class], weigh_by: accuracy, thresholds: {one_class: 1.0}}",
            "weigh_by: accuracy is known",
        ),
        ("ensembles.vote.weights={logreg: 1}", "leave one of the two out"),
        ("ensembles.mean.weigh_by=accuracy", "belong to name: vote"),
        ("detectors.svm.grid={degree: [x]}", "grid point"),
        ("submit.year=2023", "no challenge submission"),
        ("submit.columns=[id,id]", "two different names"),
    ],
)
def test_votes_and_grids_that_cannot_be_are_refused_at_once(tmp_path: Path, override: str, message: str) -> None:
    recipe = prepare(tmp_path / "cls1")
    with pytest.raises(ConfigError, match=message):
        load_config(RunOptions(recipe=recipe, conf=Path("conf/test.yaml"), overrides=(override,)))


@pytest.mark.slow
def test_the_smallest_configuration_runs_as_a_user_runs_it(tmp_path: Path, data: Path, truth: dict[str, int]) -> None:
    """All four classifiers, two seeds, cross-fitted, in worker processes."""
    assert truth
    shutil.copytree(ROOT / "recipes/cactus/cls1/conf", tmp_path / "é" / "conf")
    command = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(tmp_path / "é"), "--conf", "conf/mini.yaml"]
    options = ["--data_root", str(data), "--tag", "t", "--seeds", "0,1", "--nj", "2", "detectors.svm.fit_split=all"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "predictions_vote.csv" in done.stdout
    record = json.loads((tmp_path / "é/exp/t/7_ensemble/all_seeds/vote_vote.json").read_text(encoding="utf-8"))
    assert set(record["cactus"]["weights"]) == {"logreg", "svm", "cnn", "resnet18"}
    folds = sorted(p.name for p in (tmp_path / "é/exp/t/5_detectors/svm/0/cactus/00").iterdir())
    assert folds == ["fold0", "fold1", "fold2", "main"]
