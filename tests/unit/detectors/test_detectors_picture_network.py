"""What the picture detectors share: value range, whole clips held out, loss curves, operations counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_material import fit, fitted, made, pictures

from dcase_asd import config as configs
from dcase_asd.detectors._shared.fit_sets import TrainingRows
from dcase_asd.detectors._shared.picture_network import _split
from dcase_asd.submission.complexity import measure

SMALL = Path(__file__).resolve().parents[2] / "contracts" / "small"
NAMES = ("efficientad", "effnet_st", "ganomaly")


def small(name: str) -> dict[str, Any]:
    return configs.load_yaml(SMALL / f"{name}.yaml")["config"]


@pytest.mark.parametrize("name", NAMES)
def test_values_in_decibels_score_as_pictures_do(name: str) -> None:
    """The range is taken from training, so that an affine change of all values changes nothing but rounding."""
    x, new = pictures(30, shape=(1, 32, 32)), pictures(5, seed=4, shape=(1, 32, 32))
    low, span = x.min(), x.max() - x.min()
    values = small(name)
    one = fitted(name, (x - low) / span, **values).score((new - low) / span)
    two = fitted(name, 60.0 * (x - low) / span - 80.0, **values).score(60.0 * (new - low) / span - 80.0)
    np.testing.assert_allclose(two.score, one.score, rtol=0.05)
    assert np.corrcoef(one.map.ravel(), two.map.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_curve_is_left_and_operations_can_be_counted(name: str, tmp_path: Path) -> None:
    detector = made(name, **small(name))
    detector.workdir = tmp_path / "work"
    fit(detector, pictures(20, shape=(1, 32, 32)))
    curve = (tmp_path / "work" / "losses.csv").read_text().splitlines()
    assert curve[0].startswith("epoch,step,learning_rate,train_")
    assert len(curve) > 1
    module, x = detector.module_and_input((1, 32, 32))
    assert module(x).ndim == 3
    assert measure(module, x).macs > 1e4


def test_segments_of_a_clip_are_held_out_together() -> None:
    clips = np.repeat([f"c{i}" for i in range(10)], 3)
    rows = TrainingRows(np.zeros((24, 1)), np.zeros((6, 1)), clips[:24], clips[24:])
    train, valid = _split(rows, share=0.2, seed=0)
    assert len(valid) == 6
    assert not set(clips[train]) & set(clips[valid])
    assert sorted(np.concatenate([train, valid])) == list(range(30))
    everything, none = _split(rows, share=0.0, seed=0)
    assert (len(everything), len(none)) == (30, 0)
