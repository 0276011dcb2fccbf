"""The slider recipe from nothing to a table per machine ID, and on recordings given by --data_root."""

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

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = {"autoencoders", "ae", "vae", "cae", "stats_nearest", "mean_mixture", "level_up", "level_down"}


def dcase_asd(*options: str, cwd: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dcase_asd", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("Schlitten é 1") / "asd1"
    shutil.copytree(ROOT / "recipes/slider/asd1/conf", folder / "conf")
    dcase_asd("run", "--recipe", ".", "--conf", "conf/mini.yaml", "--nj", "1", cwd=folder)
    return folder


def test_auc_and_pauc_of_each_machine_id_in_one_command(recipe: Path) -> None:
    page = dcase_asd("results", "--sections", "exp/mini", cwd=recipe)
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| slider | 0")]
    assert [row[1] for row in rows] == ["00", "02", "04"]
    head = next(line for line in page.splitlines() if line.startswith("| machine | section |"))
    for name in SYSTEMS:
        assert f"{name} AUC" in head
        assert f"{name} pAUC" in head
    values = np.array([[float(cell.strip(" |")) for cell in row[2:]] for row in rows])
    assert ((values >= 0) & (values <= 100)).all()


def test_every_model_learnt_something_of_its_own(recipe: Path) -> None:
    table = pd.read_csv(recipe / "exp/mini/7_ensemble/0/scores.csv")
    wide = table.pivot_table(index="clip_id", columns="system", values="score")
    learned = [name for name in wide.columns if name.split(":")[0] in {"ae", "vae", "cae"}]
    assert len(learned) >= 3
    assert (wide[learned].std() > 0).all()
    assert (wide[learned].corr().abs().to_numpy()[np.triu_indices(len(learned), 1)] < 1.0 - 1e-9).all()


def test_flattened_vectors_are_z_scored_by_normal_training_segments(recipe: Path) -> None:
    from dcase_asd.features.segments import Embeddings
    from dcase_asd.io.arrays import load_tensors

    embeddings = Embeddings.read(recipe / "exp/mini/4_embeddings/spectrogram/0/slider/train")
    assert embeddings.map is not None
    place = next((recipe / "exp/mini/5_detectors/ae/0/slider/00").glob("main"))
    held_out = set(json.loads((place / "calibration.json").read_text())["clips"])
    meta = embeddings.meta
    rows = [i for i in range(len(meta)) if meta.section[i] == "00" and meta.clip_id[i] not in held_out]
    state = load_tensors(place / "tensors.safetensors")
    flat = np.asarray(embeddings.map)[rows].astype(np.float64)
    np.testing.assert_allclose(state["model.mean"].reshape(-1), flat.mean(axis=0).reshape(-1), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(state["model.std"].reshape(-1), flat.std(axis=0).reshape(-1), rtol=1e-4, atol=1e-4)


def test_recordings_at_a_data_root(recipe: Path) -> None:
    """The same recordings, as a folder of somebody's, give the same features."""
    corpus = next((recipe / "downloads").glob("*/corpus"))
    options = ("raw.source=none", "--data_root", str(corpus), "--tag", "own", "--dumpdir", "own", "--stop_stage", "2")
    dcase_asd("run", "--recipe", ".", "--conf", "conf/mini.yaml", *options, "--nj", "1", cwd=recipe)
    for name in ("train.npy", "train.csv", "test.npy", "test.csv"):
        one, other = (next((recipe / place).glob(f"*/slider/{name}")) for place in ("dump", "own"))
        assert one.read_bytes() == other.read_bytes(), name
