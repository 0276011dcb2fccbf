"""Classifiers behind the detector interface, against scikit-learn and by hand."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.detectors._shared.grid_search import cross_validation, grid_points, search
from dcase_asd.detectors._shared.supervised import gather_labelled
from dcase_asd.detectors.base import LabelledBatch, batches_of
from dcase_asd.errors import ConfigError, DataError, FormatError, TrainingError, UnknownNameError
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.networks.backbones import build_backbone
from dcase_asd.networks.classifiers import FineTuned, SmallCnn
from dcase_asd.training.classification import Augmentation, augment, split_by_class

RNG = np.random.default_rng(20)
N, DIM = 120, 8
Y = (RNG.random(N) < 0.35).astype(np.int64)
X = (RNG.normal(size=(N, DIM)) * np.arange(1, DIM + 1) + 5.0 + 1.5 * Y[:, None]).astype(np.float32)
NEW = (RNG.normal(size=(50, DIM)) * np.arange(1, DIM + 1) + 5.5).astype(np.float32)


def about(n: int, *, per_clip: int = 1) -> SegmentMeta:
    text = np.array(["00"] * n, dtype=object)
    clips = np.array([f"é {i // per_clip}" for i in range(n)], dtype=object)
    return SegmentMeta(clips, text, text, text, np.zeros(n))


def fitted(name: str, x: np.ndarray = X, y: np.ndarray = Y, *, workdir: Path | None = None, seed: int = 0, **values: object):
    plugin = registry.load("detectors", name)
    detector = plugin.implementation(configs.build(plugin.config, values))
    detector.workdir = workdir
    detector.fit(batches_of(x, about(len(x)), np.arange(len(x)), label=y), seed=seed)
    return detector


def standardised(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float64) - X.mean(axis=0, dtype=np.float64)) / X.std(axis=0, dtype=np.float64)


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_logistic_regression_is_that_of_scikit_learn(class_weight):
    peer = SklearnLogistic(C=0.5, max_iter=1500, class_weight=None if class_weight == "none" else class_weight)
    peer.fit(X.astype(np.float64), Y)
    own = fitted("logreg", C=0.5, class_weight=class_weight)
    np.testing.assert_allclose(own.score(NEW).score, peer.decision_function(NEW.astype(np.float64)), rtol=1e-9, atol=1e-9)
    scaled = SklearnLogistic(C=0.5, max_iter=1500).fit(standardised(X), Y)
    own = fitted("logreg", C=0.5, standardise=True)
    np.testing.assert_allclose(own.score(NEW).score, scaled.decision_function(standardised(NEW)), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("gamma", ["scale", "auto", 0.05])
@pytest.mark.parametrize("kernel", ["rbf", "poly", "sigmoid", "linear"])
def test_the_support_vector_machine_is_that_of_scikit_learn(kernel, gamma):
    peer = SVC(C=2.0, kernel=kernel, gamma=gamma, coef0=0.3).fit(standardised(X), Y)
    own = fitted("svm", C=2.0, kernel=kernel, gamma=gamma, coef0=0.3)
    np.testing.assert_allclose(own.score(NEW).score, peer.decision_function(standardised(NEW)), rtol=1e-8, atol=1e-8)
    assert (own.score(NEW).score > 0).tolist() == (peer.predict(standardised(NEW)) == 1).tolist()
    assert len(own.state()["support"]) == len(peer.support_)


def test_the_grid_search_is_that_of_scikit_learn_and_its_whole_table_is_kept(tmp_path):
    grid = {"C": [0.01, 0.1, 1.0], "standardise": [False, True]}
    own = fitted("logreg", grid=grid, grid_folds=5, workdir=tmp_path / "ü", seed=7)
    folds = StratifiedKFold(5, shuffle=True, random_state=7)
    peer = GridSearchCV(SklearnLogistic(max_iter=1500), {"C": grid["C"]}, scoring="f1", cv=folds).fit(X.astype(np.float64), Y)
    table = pd.read_csv(tmp_path / "ü" / "grid.csv")
    assert len(table) == 6 * 5
    raw = table[~table["standardise"]].groupby("C")["f1"].mean()
    np.testing.assert_allclose(raw.to_numpy(), peer.cv_results_["mean_test_score"], rtol=1e-12)
    # every single fold, not the means alone
    for fold in range(5):
        ours = table[~table["standardise"] & (table["fold"] == fold)].sort_values("C")["f1"]
        np.testing.assert_allclose(ours, peer.cv_results_[f"split{fold}_test_score"], rtol=1e-12)
    means = table.groupby("point")["f1"].mean()
    chosen = table[table["chosen"] == 1]
    assert chosen["point"].unique().tolist() == [means.idxmax()]
    best = chosen.iloc[0]
    again = fitted("logreg", C=float(best["C"]), standardise=bool(best["standardise"]))
    assert own.score(NEW).score.tobytes() == again.score(NEW).score.tobytes()


def test_of_equal_points_the_first_is_taken_and_accuracy_may_decide():
    label = np.array([0, 0, 0, 0, 1, 1])
    folds = [(np.arange(6), np.arange(6))]
    decided = {"a": [1, 1, 1, 1, 1, 1], "b": [-1, -1, -1, -1, -1, -1], "c": [1, 1, 1, 1, 1, 1]}

    def trial(point, train, valid):
        del train, valid
        return np.array(decided[point["which"]], dtype=float)

    points = grid_points({"which": ["b", "a", "c"]})
    by_f1 = search(points, folds, label=label, trial=trial, by="f1")
    assert by_f1.best == {"which": "a"}
    assert [row["f1"] for row in by_f1.rows] == [0.0, f1_score(label, [1] * 6), f1_score(label, [1] * 6)]
    assert search(points, folds, label=label, trial=trial, by="accuracy").best == {"which": "b"}


def test_segments_of_a_clip_stay_in_one_fold_with_the_shares_of_the_classes():
    label = np.repeat(np.array([0, 1, 1, 0, 0, 1, 0, 0]), 5)
    clips = np.repeat(np.array([f"c{i}" for i in range(8)]), 5)
    folds = cross_validation(label, clips, n_folds=3, seed=1)
    assert sorted(np.concatenate([valid for _, valid in folds]).tolist()) == list(range(40))
    for train, valid in folds:
        assert not set(clips[train]) & set(clips[valid])
        assert set(label[valid]) == {0, 1}
    with pytest.raises(DataError, match="one has 3; lower grid_folds"):
        cross_validation(label, clips, n_folds=4, seed=1)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"c": [1]}, "unknown key 'c'.*known: class_weight, C"),
        ({"C": []}, "at least one"),
        ({"C": [1, 1]}, "distinct"),
        ({"C": [1, -1]}, "C > 0"),
        ({"C": ["much"]}, r"grid point .*C.*much"),
        ({"grid_folds": [2]}, "unknown key"),
    ],
)
def test_a_grid_that_cannot_be_searched_is_refused_before_anything_runs(grid, message):
    plugin = registry.load("detectors", "logreg")
    with pytest.raises(ConfigError, match=message):
        configs.build(plugin.config, {"grid": grid})


def test_a_fit_that_does_not_converge_says_so_and_raises_no_warning(caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted("logreg", max_iter=2)
    assert "is not at its optimum after 2 iterations" in caplog.text


def test_labels_must_be_of_both_classes_and_in_the_order_of_keys():
    x, y = X[:6], np.array([0, 1, 0, 1, 1, 0])
    whole = gather_labelled(batches_of(x, about(6), np.arange(6), label=y), kind="vector", owner="d")
    parts = [LabelledBatch(x[rows], np.array(rows), about(6).take(np.array(rows)), y[rows]) for rows in ([4, 5], [0, 2], [3, 1])]
    assert gather_labelled(lambda: parts, kind="vector", owner="d").label.tolist() == whole.label.tolist() == y.tolist()
    wrong = [LabelledBatch(x, np.arange(6), about(6), np.array([0, 1, 2, 1, 1, 0]))]
    with pytest.raises(DataError, match="labelled 0 and 1"):
        gather_labelled(lambda: wrong, kind="vector", owner="d")


def pictures(n: int = 80, *, size: int = 16, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.5).astype(np.int64)
    x = rng.random((n, 3, size, size)) * 0.5
    for row in np.flatnonzero(y):
        # somewhere, and every channel as bright as in a picture of the other class: a linear model has little to go by
        x[row, 1] -= 0.6 / size
        x[row, 1, :, rng.integers(0, size)] += 0.6
    return x.astype(np.float32), y


def test_the_small_network_has_the_layers_of_the_paper():
    network = SmallCnn(3, (32, 32), filters=32, n_hidden=64, dropout=0.25)
    # two convolutions with two batch normalisations, 64 maps of 8 x 8 into 64 units, one output
    expected = (3 * 9 * 32 + 32) + 2 * 32 + (32 * 9 * 64 + 64) + 2 * 64 + (64 * 8 * 8 * 64 + 64) + (64 + 1)
    assert sum(p.numel() for p in network.parameters()) == expected
    kinds = [type(m).__name__ for m in network.layers[0]]
    assert kinds == ["Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU", "Dropout"]
    with pytest.raises(DataError, match="4 x 4"):
        SmallCnn(3, (3, 9), filters=2, n_hidden=2, dropout=0.0)


def test_the_small_network_finds_columns_that_a_linear_model_misses(tmp_path):
    x, y = pictures(160)
    new, truth = pictures(120, seed=4)
    network = fitted(
        "cnn_classifier", x, y, epochs=25, filters=8, n_hidden=16, batch_size=16, workdir=tmp_path / "w", rotation_deg=5
    )
    accuracy = ((network.score(new).score > 0) == truth).mean()
    assert accuracy > 0.9
    linear = fitted("logreg", x.reshape(len(x), -1), y)
    assert ((linear.score(new.reshape(len(new), -1)).score > 0) == truth).mean() < accuracy
    curve = pd.read_csv(tmp_path / "w" / "losses.csv")
    assert len(curve) == 25
    assert curve["train_cross_entropy"].iloc[-1] < curve["train_cross_entropy"].iloc[0]


def test_a_network_can_be_searched_and_remembers_the_point_it_was_built_by(tmp_path):
    x, y = pictures(60)
    grid = {"filters": [2, 3], "learning_rate": [0.01]}
    found = fitted("cnn_classifier", x, y, epochs=2, n_hidden=4, grid=grid, grid_folds=2, workdir=tmp_path)
    table = pd.read_csv(tmp_path / "grid.csv")
    chosen = int(table.loc[table["chosen"] == 1, "filters"].iloc[0])
    assert found.state()["model.network.layers.0.0.weight"].shape[0] == chosen
    other = type(found)(found.config)
    other.load_state(found.state())
    assert other.score(x).score.tobytes() == found.score(x).score.tobytes()


def test_validation_keeps_the_best_weights_and_the_shares_of_the_classes(tmp_path):
    label = np.array([0] * 40 + [1] * 10)
    train, valid = split_by_class(label, valid_fraction=0.2, seed=0)
    assert (label[valid].sum(), len(valid)) == (2, 10)
    assert not set(train) & set(valid)
    x, _ = pictures(40)
    # labels without meaning: the validation loss soon rises
    y = np.random.default_rng(1).permutation(np.arange(40) % 2)
    values = {"filters": 4, "n_hidden": 8, "batch_size": 8, "learning_rate": 0.01, "valid_fraction": 0.25, "dropout": 0.0}
    best = fitted("cnn_classifier", x, y, epochs=12, checkpoint="best", workdir=tmp_path, **values)
    curve = pd.read_csv(tmp_path / "losses.csv")
    epoch = int(curve.loc[curve["valid_cross_entropy"].idxmin(), "epoch"])
    assert epoch < 12
    # the rate is fixed and every batch a function of its step: ending there gives the same bits
    ended = fitted("cnn_classifier", x, y, epochs=epoch, **values)
    assert best.score(x).score.tobytes() == ended.score(x).score.tobytes()
    with pytest.raises(ConfigError, match="needs validation"):
        fitted("cnn_classifier", x, y, checkpoint="best")
    with pytest.raises(TrainingError):
        split_by_class(np.array([0, 0, 0, 1]), valid_fraction=0.5, seed=0)


def test_flips_and_rotations_move_pixels_and_invent_none():
    x = torch.rand(40, 2, 9, 9)
    same = augment(x, Augmentation(), rng=np.random.default_rng(0))
    assert torch.equal(same, x)
    flipped = augment(x, Augmentation(flips=True), rng=np.random.default_rng(0))
    kinds = set()
    for before, after in zip(x, flipped, strict=True):
        forms = {"as is": before, "h": before.flip(1), "v": before.flip(2), "both": before.flip(1, 2)}
        kinds |= {name for name, form in forms.items() if torch.equal(form, after)}
    assert kinds == {"as is", "h", "v", "both"}
    again = augment(x, Augmentation(flips=True), rng=np.random.default_rng(0))
    assert torch.equal(flipped, again)


def test_a_turn_of_a_wide_picture_turns_and_does_not_shear():
    x = torch.zeros(1, 1, 21, 41)
    x[0, 0, 10, 30] = 1.0

    class Fixed:
        def uniform(self, low, high, n):
            return np.full(n, max(low, high))

    turned = augment(x, Augmentation(rotation_deg=90.0), rng=Fixed())
    row, column = divmod(int(turned.argmax()), 41)
    # ten pixels right of the centre becomes ten above or below it
    assert column == 20
    assert abs(row - 10) == 10


def test_fine_tuning_leaves_the_frozen_stages_as_they_came(tmp_path):
    x, y = pictures(24, size=32)
    donor = build_backbone("resnet18", ("layer4",), weights=None, seed=5)
    whole = {name.removeprefix("stages."): value for name, value in donor.state_dict().items()}
    names = {"stem.0": "conv1", "stem.1": "bn1"}
    weights = {
        next((name.replace(a, b, 1) for a, b in names.items() if name.startswith(a)), name): v for name, v in whole.items()
    }
    weights |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path / "poids é.pth"
    torch.save(weights, path)
    values = {"weights": str(path), "input_size": [32, 32], "epochs": 1, "batch_size": 8}
    found = fitted("fine_tuned", x, y, **values)
    state = {name.removeprefix("model.network.backbone.stages."): value for name, value in found.state().items()}
    for name, value in whole.items():
        trained = name.startswith("layer4") and name.endswith(("weight", "bias"))
        assert np.array_equal(state[name], value.numpy()) != trained, name
    # the model holds all it needs: the file may go
    path.unlink()
    other = type(found)(found.config)
    other.load_state(found.state())
    assert other.score(x).score.tobytes() == found.score(x).score.tobytes()
    with pytest.raises(DataError, match="no such checkpoint"):
        fitted("fine_tuned", x, y, **values)


def test_fine_tuning_refuses_what_is_no_picture_and_stages_that_are_not():
    backbone = build_backbone("resnet18", ("layer4",), weights=None)
    with pytest.raises(UnknownNameError, match="layer5"):
        FineTuned(backbone, trained=("layer5",), input_size=(0, 0))
    with pytest.raises(ConfigError, match="1 or 3"):
        fitted("fine_tuned", np.repeat(pictures(8)[0], 2, axis=1), np.arange(8) % 2, weights="random")
    with pytest.raises(ConfigError, match="input_size"):
        configs.build(registry.load("detectors", "fine_tuned").config, {"input_size": [0, 5]})


def test_a_damaged_state_is_named():
    x, y = pictures(20)
    found = fitted("cnn_classifier", x, y, epochs=1, filters=2, n_hidden=2)
    state = found.state()
    for name in ("about", "shape", "model.mean"):
        with pytest.raises(FormatError, match=name):
            type(found)(found.config).load_state({k: v for k, v in state.items() if k != name})
    with pytest.raises(FormatError, match="do not fit"):
        type(found)(found.config).load_state({k: v for k, v in state.items() if "weight" not in k})
