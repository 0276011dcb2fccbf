"""The student of a frozen backbone: fixed projections, balanced losses, z-scored maps."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from picture_material import fit, fitted, made, pictures

from dcase_asd.detectors._shared.backbone_teacher import BackboneTeacher, fit_projections
from dcase_asd.detectors._shared.effnet_model import balanced
from dcase_asd.errors import ConfigError, DataError, TrainingError, UnknownNameError
from dcase_asd.networks.student import Projection, Student, orthogonal_rows

SMALL: dict[str, Any] = {
    "network": "resnet18",
    "weights": "random",
    "layers": ["stem", "layer1"],
    "n_project": 16,
    "widths": [8, 8, 16, 16],
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
}


def test_a_balanced_loss_by_hand() -> None:
    assert balanced(torch.tensor(3.0), torch.tensor(0.0)).item() == 3.0
    assert balanced(torch.tensor(3.0), torch.tensor(math.log(2.0))).item() == pytest.approx(1.5 + math.log(2.0))
    # the best variance is the loss itself
    s = torch.tensor(math.log(3.0), requires_grad=True)
    balanced(torch.tensor(3.0), s).backward()
    assert s.grad is not None
    assert s.grad.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(8, 5), (5, 8), (6, 6)])
def test_orthogonal_projections_keep_lengths(rows: int, columns: int) -> None:
    matrix = orthogonal_rows(rows, columns)
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(min(rows, columns)), atol=1e-5, rtol=0)


def _maps() -> torch.Tensor:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(12, 7, 5, 6)) * np.array([9.0, 4, 3, 2, 1, 0.5, 0])[:, None, None]
    mixed[:, 1] += mixed[:, 0]
    return torch.from_numpy((mixed + 5.0).astype(np.float32))


@pytest.mark.parametrize("kind", ["orthogonal", "pca"])
def test_projected_channels_are_standardised_first(kind: str) -> None:
    maps, projection = _maps(), Projection(7, 3)
    fit_projections([projection], iter([[maps[:5]], [maps[5:]]]), kind=kind)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, 7).double().numpy()
    np.testing.assert_allclose(projection.mean.numpy(), rows.mean(axis=0), rtol=1e-5)
    std = np.where(rows.std(axis=0) > 1e-6, rows.std(axis=0), 1.0)
    np.testing.assert_allclose(projection.std.numpy(), std, rtol=1e-4)
    found = projection(maps).permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-3)
    if kind == "pca":
        from sklearn.decomposition import PCA

        expected = PCA(3).fit((rows - rows.mean(axis=0)) / std).explained_variance_
        np.testing.assert_allclose(found.var(axis=0, ddof=1), expected, rtol=1e-3)


def test_principal_components_beyond_the_channels_are_0() -> None:
    projection = Projection(7, 9)
    fit_projections([projection], iter([[_maps()]]), kind="pca")
    assert projection(_maps())[:, 7:].abs().max() == 0


def test_the_teacher_and_its_projection_do_not_train() -> None:
    x = pictures(20)
    states = []
    for epochs in (1, 4):
        detector = fitted("effnet_st", x, **{**SMALL, "epochs": epochs})
        states.append(detector.state())
    for name, value in states[0].items():
        if name.startswith(("model.teacher.", "model.projections.")):
            np.testing.assert_array_equal(value, states[1][name], err_msg=name)
    changed = [name for name in states[0] if not np.array_equal(states[0][name], states[1][name])]
    assert any(name.startswith("model.student.heads") for name in changed)
    assert "model.log_variance" in changed


def test_the_teacher_stays_in_evaluation_mode() -> None:
    teacher = BackboneTeacher("resnet18", ["stem", "layer1"], weights="random")
    teacher.train()
    assert not any(part.training for part in teacher.modules())
    assert teacher.channels(1, (32, 32)) == [64, 64]


@pytest.mark.parametrize("projection", ["orthogonal", "pca"])
def test_every_map_is_z_scored_on_held_out_pictures(projection: str) -> None:
    from dcase_asd.training.reconstruction import split_items

    x = pictures(20)
    detector = fitted("effnet_st", x, valid_fraction=0.3, projection=projection, top_share=1.0, **SMALL)
    held_out = x[split_items(20, valid_fraction=0.3, how="random", seed=1)[1]]
    model = detector._model  # type: ignore[attr-defined]
    with torch.inference_mode():
        maps = [part.numpy() for part in model.raw_maps(torch.from_numpy(held_out))]
    z = [(part - part.mean()) / part.std() for part in maps]
    scores = detector.score(held_out)
    np.testing.assert_allclose(scores.map, np.mean(z, axis=0), atol=1e-3)
    np.testing.assert_allclose(scores.score, np.mean(z, axis=0).mean(axis=(1, 2)), atol=1e-3)
    assert scores.map.shape == (6, 16, 16)


def test_a_saved_state_needs_no_weights_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from dcase_asd.detectors._shared import backbone_teacher

    x = pictures(12)
    detector = fitted("effnet_st", x, **SMALL)
    other = made("effnet_st", **{**SMALL, "weights": "gone.pth"})
    monkeypatch.setattr(backbone_teacher, "find_weights", lambda *_, **__: pytest.fail("looked for weights"))
    other.load_state(detector.state())
    assert other.score(x).score.tobytes() == detector.score(x).score.tobytes()


def test_a_spot_is_found() -> None:
    detector = fitted("effnet_st", pictures(40), **{**SMALL, "epochs": 20})
    odd = pictures(1, seed=9)
    odd[:, :, 20:28, 8:16] = np.random.default_rng(0).random((3, 8, 8))
    where = detector.score(odd).map[0]
    row, column = np.unravel_index(int(where.argmax()), where.shape)
    assert (9 <= row <= 14, 3 <= column <= 8) == (True, True)
    assert detector.score(odd).score[0] > detector.score(pictures(10, seed=5)).score.max()


@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_the_decoder_returns_the_picture_whatever_its_size(size: tuple[int, int]) -> None:
    taps, rebuilt = Student(3, n_outputs=(4, 5), widths=(2, 3, 4, 5))(torch.zeros(2, 3, *size))
    assert rebuilt.shape == (2, 3, *size)
    halves, eighths = ([-(-side // part) for side in size] for part in (2, 8))
    assert [list(tap.shape[1:]) for tap in taps] == [[4, *halves], [5, *eighths]]


@pytest.mark.parametrize(
    ("values", "error", "word"),
    [
        ({"weights": "gone.pth"}, DataError, r"gone\.pth"),
        ({"layers": ["stem", "layer9"]}, UnknownNameError, "layer9"),
        ({"layers": ["stem"]}, ConfigError, "early and a middle"),
        ({"widths": [8, 8]}, ConfigError, "four"),
        ({"valid_fraction": 0}, ConfigError, "valid_fraction"),
        ({"top_share": 2}, ConfigError, "top_share"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], error: type, word: str) -> None:
    with pytest.raises(error, match=word):
        fitted("effnet_st", pictures(8), **{**SMALL, **values})


def test_one_picture_wrong_channels_and_another_size() -> None:
    with pytest.raises(TrainingError, match="at least 2"):
        fitted("effnet_st", pictures(1), **SMALL)
    with pytest.raises(DataError, match="1 or 3 channels"):
        fitted("effnet_st", pictures(8, shape=(5, 32, 32)), **SMALL)
    detector = made("effnet_st", **SMALL)
    fit(detector, pictures(8))
    with pytest.raises(DataError, match="fitted on"):
        detector.score(pictures(1, shape=(3, 32, 48)))
