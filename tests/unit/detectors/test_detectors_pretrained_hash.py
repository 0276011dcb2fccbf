"""A model file says which file of pretrained weights it was made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.detectors.base import Batch, LabelledBatch, load_detector, save_detector
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.io.hashing import sha256_file

NETWORK = "efficientnet_lite0"
SMALL: dict[str, dict[str, Any]] = {
    "image_autoencoder": {"network": "transfer", "encoder": NETWORK, "encoder_weights": "FILE", "widths": [4], "epochs": 1},
    "effnet_st": {"network": NETWORK, "weights": "FILE", "n_project": 4, "widths": [4, 4, 4, 4], "epochs": 1, "batch_size": 4},
    "efficientad": {
        "n_channels": 4,
        "width": 0.0625,
        "padding": True,
        "steps": 1,
        "distil": {"network": NETWORK, "weights": "FILE", "layers": ["stage1"], "steps": 1, "batch_size": 2},
    },
    "fine_tuned": {"network": NETWORK, "weights": "FILE", "input_size": [32, 32], "epochs": 1, "batch_size": 4},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        whole = package.EfficientNet.from_name("efficientnet-lite0")
    path = tmp_path_factory.mktemp("Gewichte é") / "lite0.pth"
    torch.save(whole.state_dict(), path)
    return path


def filled(values: dict[str, Any], path: Path) -> dict[str, Any]:
    return {
        k: filled(v, path) if isinstance(v, dict) else str(path) if isinstance(v, str) and v == "FILE" else v
        for k, v in values.items()
    }


def fit(name: str, values: dict[str, Any]) -> Any:
    plugin = registry.load("detectors", name)
    detector = plugin.implementation(configs.build(plugin.config, values))
    x = np.random.default_rng(0).random((12, 3, 32, 32), dtype=np.float32)
    text = np.array(["{}"] * 12, dtype=object)
    clip = np.array([f"c{i}" for i in range(12)], dtype=object)
    meta = SegmentMeta(clip, np.array(["00"] * 12, dtype=object), np.array(["source"] * 12, dtype=object), text, np.zeros(12))
    batch = Batch(x, np.arange(12), meta)
    if detector.needs:
        batch = LabelledBatch(x, np.arange(12), meta, label=np.arange(12) % 2)
    detector.fit(lambda: [batch], seed=1)
    return detector


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_hash_of_the_weights_file_is_saved_and_comes_back(name: str, weights: Path, tmp_path: Path) -> None:
    expected = {NETWORK: sha256_file(weights)}
    for place in ("first", "again"):
        detector = fit(name, filled(SMALL[name], weights)) if place == "first" else load_detector(tmp_path / "first")
        save_detector(tmp_path / place, name, detector)
        record = json.loads((tmp_path / place / "config.json").read_text(encoding="utf-8"))
        assert record["pretrained_sha256"] == expected


def test_the_hash_of_a_teachers_file_is_saved(weights: Path, tmp_path: Path) -> None:
    first = fit("efficientad", filled(SMALL["efficientad"], weights))
    save_detector(tmp_path / "a", "efficientad", first)
    path = tmp_path / "a" / "tensors.safetensors"
    second = fit("efficientad", {**filled(SMALL["efficientad"], weights), "teacher": str(path)})
    assert second.pretrained_sha256 == {"teacher": sha256_file(path)}


def test_without_a_file_nothing_is_said(tmp_path: Path) -> None:
    save_detector(tmp_path, "mean_image", fit("mean_image", {}))
    assert "pretrained_sha256" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
