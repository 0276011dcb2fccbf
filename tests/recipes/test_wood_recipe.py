"""The wood recipe from end to end on a tree of a few pictures with masks: six models, every stage."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import numpy as np
import pandas as pd
import pytest

from dcase_asd.detectors.base import load_detector
from dcase_asd.io.arrays import load_array
from dcase_asd.io.images import write_image

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "effnet_st",
    "efficientad",
    "padim",
    "patchcore",
    "vae",
    *(f"autoencoder_conv:score={name}" for name in ("mse", "abs_mix")),
}
GANOMALY = {f"ganomaly:score={name}" for name in ("latent", "reconstruction", "sum")}
SIDE = 48


def planks(root: Path) -> Path:
    """Vertical grain; defects are a dark bar, their masks jpg-like: the same stem."""
    rng = np.random.default_rng(3)
    grain = 120 + 60 * np.sin(np.arange(SIDE) / 2.5)
    counts = {"train/good": 28, "test/good": 6, "test/hole": 5}
    for folder, n in counts.items():
        for number in range(n):
            picture = grain[None, :, None] + rng.normal(scale=6.0, size=(SIDE, SIDE, 1)) + np.array([30.0, 0.0, -40.0])
            mask = np.zeros((SIDE, SIDE, 1), dtype=np.uint8)
            if folder == "test/hole":
                top, left = rng.integers(4, SIDE - 20, size=2)
                picture[top : top + 14, left : left + 8] = 15.0
                mask[top : top + 14, left : left + 8] = 255
                write_image(_made(root / "ground_truth/hole" / f"{number:03d}_mask.png"), mask)
            write_image(_made(root / folder / f"{number:03d}.png"), np.clip(picture, 0, 255).astype(np.uint8))
    return root


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.slow
def test_the_smallest_configuration_goes_through_every_stage(tmp_path):
    data = planks(tmp_path / "Bretter é")
    recipe = tmp_path / "recipe"
    copytree(ROOT / "recipes/wood/iad1", recipe, ignore=ignore_patterns("exp", "dump", "data", "downloads"))
    command = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(recipe), "--conf", "conf/mini.yaml"]
    command += ["--tag", "t", "--nj", "1", "--data_root", str(data)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    exp = recipe / "exp/t"
    table = pd.read_csv(exp / "8_evaluate/0/dev/all_systems.csv").set_index("system")
    assert set(table.index) == MODELS | GANOMALY | {"gmm", "pooled_nn", "mean_image", "level_up", "level_down"}
    assert table.filter(like="AUC").notna().all(axis=None)
    # a fit that takes long leaves its loss curves beside the model
    for name, files in {"ganomaly": ["losses.csv"], "efficientad": ["losses.csv", "teacher_losses.csv"]}.items():
        folder = exp / "5_detectors" / name / "0/wood/00/main"
        assert sorted(path.name for path in folder.glob("*.csv")) == files
    pictures = load_array(exp / "4_embeddings/picture/0/wood/test/map.npy")
    where = load_detector(exp / "5_detectors/efficientad/0/wood/00/main").score(pictures).map
    assert where.shape == (11, 16, 16)
