"""EfficientAD's hard features, map quantiles and teacher, by hand and against independent computations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_material import fit, fitted, made, pictures

from dcase_asd.detectors._shared.efficientad_model import hard_feature_loss, map_bounds
from dcase_asd.detectors._shared.picture_augmentation import FolderPictures, colour_changed, dead_leaves
from dcase_asd.detectors._shared.picture_sources import DistilBatches, OtherPictures, StudentBatches
from dcase_asd.detectors.base import save_detector
from dcase_asd.errors import ConfigError, DataError, FormatError, TrainingError
from dcase_asd.io.images import write_image
from dcase_asd.networks.pdn import PatchDescription

SMALL: dict[str, Any] = {
    "teacher": "random",
    "n_channels": 8,
    "width": 0.0625,
    "padding": True,
    "steps": 8,
    "batch_size": 4,
    "learning_rate": 1e-3,
}
DISTIL = {"network": "resnet18", "weights": "random", "layers": ["stem", "layer1"], "steps": 12, "batch_size": 4}


def test_hard_features_by_hand() -> None:
    """0, 1, ... 999 squared: the .9 quantile is at place 899.1, so the 100 values from place 900 on count."""
    errors = torch.arange(1000.0).sqrt().reshape(1, 10, 10, 10)
    target = torch.zeros_like(errors)
    assert hard_feature_loss(target, errors, quantile=0.9).item() == pytest.approx(np.arange(900, 1000).mean())
    assert hard_feature_loss(target, errors, quantile=0.999).item() == pytest.approx(999.0)
    assert hard_feature_loss(target, errors, quantile=0.0).item() == pytest.approx(np.arange(1000).mean(), rel=1e-5)


@pytest.mark.parametrize("quantile", [0.5, 0.97, 0.999])
def test_hard_features_are_those_of_the_public_code_for_a_single_picture(quantile: float) -> None:
    target, found = torch.randn(2, 1, 8, 13, 11, generator=torch.Generator().manual_seed(0)).unbind(0)
    distance = (target - found) ** 2
    expected = distance[distance >= torch.quantile(distance, q=quantile)].mean()
    torch.testing.assert_close(hard_feature_loss(target, found, quantile=quantile), expected)


def test_a_batch_averages_single_pictures() -> None:
    target, found = torch.randn(2, 5, 4, 6, 6, generator=torch.Generator().manual_seed(1)).unbind(0)
    single = torch.stack([hard_feature_loss(target[i : i + 1], found[i : i + 1], quantile=0.9) for i in range(5)])
    torch.testing.assert_close(hard_feature_loss(target, found, quantile=0.9), single.mean())


def test_quantiles_of_a_map_by_hand() -> None:
    assert map_bounds(np.arange(1001.0), low=0.9, high=0.995) == pytest.approx((900.0, 995.0))
    low, high = map_bounds(np.full(50, 3.0), low=0.9, high=0.995)
    assert low == 3.0
    assert high > low


def test_the_quantiles_of_held_out_maps_become_0_and_a_tenth() -> None:
    detector = fitted("efficientad", pictures(24), **SMALL)
    model = detector._model  # type: ignore[attr-defined]
    (a, b), (c, d) = model.bounds.tolist()
    place = torch.tensor([[[a, b, a]]])
    model.raw_maps = lambda _: (place, torch.tensor([[[c, d, d]]]))
    scores, where = model.judge(torch.zeros(1, 3, 32, 32))
    np.testing.assert_allclose(where[0, 0], [0.0, 0.1, 0.05], atol=1e-6)
    assert scores["map"].item() == pytest.approx(0.1, abs=1e-6)


def test_the_bounds_are_quantiles_of_both_maps_of_held_out_pictures() -> None:
    x = pictures(24)
    detector = fitted("efficientad", x, valid_fraction=0.5, **SMALL)
    from dcase_asd.training.reconstruction import split_items

    held_out = x[split_items(24, valid_fraction=0.5, how="random", seed=1)[1]]
    model = detector._model  # type: ignore[attr-defined]
    with torch.inference_mode():
        maps = model.raw_maps(torch.from_numpy(held_out))
    for found, part in zip(model.bounds.tolist(), maps, strict=True):
        np.testing.assert_allclose(found, np.quantile(part.numpy(), [0.9, 0.995]), rtol=1e-4)


def test_the_teachers_channels_are_standardised_on_training_pictures() -> None:
    x = pictures(24)
    model = fitted("efficientad", x, valid_fraction=0.04, **SMALL)._model  # type: ignore[attr-defined]
    from dcase_asd.networks.backbones import standardise_imagenet
    from dcase_asd.training.reconstruction import split_items

    train = x[split_items(24, valid_fraction=0.04, how="random", seed=1)[0]]
    with torch.inference_mode():
        taught = model._taught(standardise_imagenet(torch.from_numpy(train)))
    torch.testing.assert_close(taught.mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(taught.std(dim=(0, 2, 3)), torch.ones(8), atol=1e-2, rtol=0)


def test_training_leaves_the_teacher_alone_and_finds_a_spot() -> None:
    x = pictures(24)
    values = {**SMALL, "n_channels": 16, "width": 0.125, "batch_size": 2, "learning_rate": 2e-3}
    detector, before = (made("efficientad", **{**values, "steps": steps}) for steps in (150, 1))
    fit(detector, x)
    fit(before, x)
    teachers = [{k: v for k, v in d.state().items() if k.startswith("model.teacher.")} for d in (detector, before)]
    for name, value in teachers[0].items():
        np.testing.assert_array_equal(value, teachers[1][name])
    odd = pictures(1, seed=9)
    odd[:, :, 16:24, 8:16] = np.random.default_rng(0).random((3, 8, 8))
    scores = detector.score(odd)
    row, column = np.unravel_index(int(scores.map[0].argmax()), scores.map.shape[1:])
    assert (3 <= row <= 6, 1 <= column <= 4) == (True, True)
    assert scores.score[0] > detector.score(pictures(8, seed=5)).score.max()
    assert scores.score[0] == pytest.approx(float(scores.map.max()))


def test_without_padding_four_cells_at_each_border_are_0() -> None:
    detector = fitted("efficientad", pictures(8, shape=(1, 48, 64)), **{**SMALL, "padding": False, "steps": 3})
    where = detector.score(pictures(1, shape=(1, 48, 64))).map[0]
    assert where.shape == (12, 16)
    inner = np.zeros_like(where, dtype=bool)
    inner[4:-4, 4:-4] = True
    assert (where[~inner] == 0).all()
    assert (where[inner] != 0).any()


def test_a_distilled_teacher_resembles_its_backbone_and_serves_another_student(tmp_path: Path) -> None:
    x = pictures(20, shape=(3, 32, 32))
    losses = {}
    for steps in (2, 60):
        distil = {**DISTIL, "steps": steps, "learning_rate": 5e-3, "pictures": ""}
        detector = made("efficientad", **{**SMALL, "teacher": "distil", "steps": 3}, distil=distil)
        detector.workdir = tmp_path / f"work {steps}"
        fit(detector, x)
        rows = (detector.workdir / "teacher_losses.csv").read_text().splitlines()
        losses[steps] = float(rows[-1].split(",")[3])
    assert losses[60] < 0.9 * losses[2]
    save_detector(tmp_path / "détecteur", "efficientad", detector)
    path = tmp_path / "détecteur" / "tensors.safetensors"
    other = fitted("efficientad", x, seed=7, **{**SMALL, "teacher": str(path), "steps": 3})
    for name, value in detector.state().items():
        if name.startswith("model.teacher."):
            np.testing.assert_array_equal(other.state()[name], value)


def test_published_teachers_load_by_their_names(tmp_path: Path) -> None:
    """nelson1425/EfficientAD saves the state dictionary of a sequence with convolutions at 0, 3, 6 and 8."""
    torch.manual_seed(0)
    network = PatchDescription(8, width=0.0625)
    assert sorted(network.state_dict()) == [f"{n}.{kind}" for n in (0, 3, 6, 8) for kind in ("bias", "weight")]
    torch.save(network.state_dict(), tmp_path / "teacher é.pth")
    x = pictures(8)
    detector = fitted("efficientad", x, **{**SMALL, "teacher": str(tmp_path / "teacher é.pth"), "steps": 2})
    np.testing.assert_array_equal(detector.state()["model.teacher.0.weight"], network.state_dict()["0.weight"].numpy())
    with pytest.raises(FormatError, match="n_channels"):
        fitted("efficientad", x, **{**SMALL, "n_channels": 6, "teacher": str(tmp_path / "teacher é.pth")})


def test_an_interrupted_training_goes_on_with_its_teacher(tmp_path: Path) -> None:
    from dcase_asd.training import loop

    x, values = pictures(12), {**SMALL, "teacher": "distil", "distil": DISTIL, "steps": 6, "penalty": "dead_leaves"}
    whole, cut = made("efficientad", **values), made("efficientad", **values)
    fit(whole, x)
    cut.workdir = tmp_path / "work"
    done, real = [], loop.train

    def stops(*args: Any, **options: Any) -> Any:
        done.append(options["workdir"].name)
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(cut, x)
    fit(cut, x)
    assert done == ["teacher", "work"]
    for name, value in whole.state().items():
        np.testing.assert_array_equal(cut.state()[name], value, err_msg=name)


def test_colours_change_by_a_fifth_at_most_and_by_key_alone() -> None:
    x = 0.2 + 0.5 * pictures(40)
    changed = colour_changed(x, np.random.default_rng(3))
    np.testing.assert_array_equal(changed, colour_changed(x, np.random.default_rng(3)))
    kinds = np.random.default_rng(3).integers(3, size=40)
    assert set(kinds) == {0, 1, 2}
    for picture, new, kind in zip(x, changed, kinds, strict=True):
        grey = np.einsum("c,chw->hw", np.float32([0.299, 0.587, 0.114]), picture)
        other = {0: 0.0, 1: grey.mean(), 2: grey}[kind]
        # new = f x + (1 - f) other, one factor for the whole picture
        shift = picture - other
        factor = float((shift * (new - other)).sum() / (shift * shift).sum())
        assert 0.8 <= factor <= 1.2
        np.testing.assert_allclose(new, factor * picture + (1 - factor) * other, atol=1e-5)
    bright = colour_changed(np.ones((30, 1, 4, 4), dtype=np.float32), np.random.default_rng(0))
    assert bright.max() == 1.0


def test_dead_leaves_cover_the_picture_with_edges() -> None:
    x = dead_leaves(4, (3, 64, 64), np.random.default_rng(0))
    np.testing.assert_array_equal(x, dead_leaves(4, (3, 64, 64), np.random.default_rng(0)))
    assert x.min() >= 0
    assert x.max() <= 1
    assert (x.std(axis=(2, 3)) > 0.1).all()
    assert np.abs(x[0] - x[1]).mean() > 0.1


def test_batches_are_functions_of_the_step() -> None:
    x = pictures(10)
    for make in (
        lambda: DistilBatches(x, OtherPictures("dead_leaves", (3, 32, 32)), 2, 4, 0),
        lambda: StudentBatches(x, 4, 0, OtherPictures("dead_leaves", (3, 32, 32))),
    ):
        one, two = make(), make()
        two.batch(3, progress=0.0)
        for step in (5, 0):
            first, second = one.batch(step, progress=0.0), two.batch(step, progress=0.0)
            assert all(torch.equal(first[name], second[name]) for name in first)
    seen = torch.cat([StudentBatches(x, 5, 0).batch(step, progress=0.0)["x"] for step in range(2)])
    assert len(torch.unique(seen.flatten(1), dim=0)) == 10
    assert DistilBatches(x, None, 0, 4, 0).batch(0, progress=0.0)["x"].shape == (4, 3, 32, 32)


def test_pictures_of_a_folder_are_cropped_from_twice_the_size(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[:, None, None], (128, 128, 3)).copy()
    (tmp_path / "é").mkdir()
    write_image(tmp_path / "é" / "ramp.png", ramp)
    (tmp_path / "é" / "notes.txt").write_text("no picture")
    taken = FolderPictures(str(tmp_path / "é"), (3, 64, 64)).take(2, np.random.default_rng(0), grey_share=0.0)
    np.testing.assert_array_equal(taken[0, 0, :, 0], np.float32(np.arange(32, 96)) / np.float32(255))
    assert taken.shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("values", "shape", "error", "word"),
    [
        ({"teacher": "nowhere.pth"}, (3, 32, 32), DataError, r"nowhere\.pth: no such weights file"),
        ({"teacher": "distil", "distil": {**DISTIL, "weights": "gone.pth"}}, (3, 32, 32), DataError, r"gone\.pth"),
        ({"penalty": "no folder"}, (3, 32, 32), DataError, "no such folder"),
        ({"padding": False}, (3, 32, 32), ConfigError, "a side needs 33"),
        ({}, (3, 24, 64), ConfigError, "32 x 32"),
        ({}, (2, 32, 32), DataError, "1 or 3 channels"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], shape: tuple[int, int, int], error: type, word: str) -> None:
    with pytest.raises(error, match=word):
        fitted("efficientad", pictures(8, shape=shape), **{**SMALL, **values})
    if {"teacher", "penalty"} & set(values):  # files that are missing are told of before any work
        with pytest.raises(error, match=word):
            made("efficientad", **{**SMALL, **values}).require()


@pytest.mark.parametrize(
    "values",
    [{"map_quantiles": [0.9, 0.9]}, {"quantile": 1.0}, {"valid_fraction": 0.0}, {"width": 0}, {"distil": {"share": 1.0}}],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        made("efficientad", **values)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_pictures_to_train_and_to_calibrate(n: int) -> None:
    with pytest.raises(TrainingError, match="at least 2"):
        fitted("efficientad", pictures(n), **SMALL)


def test_paper_size_is_the_default() -> None:
    config = made("efficientad").config
    told = (config.steps, config.batch_size, config.learning_rate, config.weight_decay, config.quantile, config.map_quantiles)
    assert told == (70000, 1, 1e-4, 1e-5, 0.999, (0.9, 0.995))
    assert (config.distil.steps, config.distil.batch_size) == (60000, 16)
