"""The image recipes: every configuration resolves, and the smallest goes through every stage."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dcase_asd.pipeline.recipe import RunOptions, load_config

ROOT = Path(__file__).resolve().parents[3]
CONFS = sorted((ROOT / "recipes").glob("*/iad1/conf/*.yaml"))


@pytest.mark.parametrize("conf", CONFS, ids=lambda p: f"{p.parents[2].name}-{p.stem}")
def test_every_image_configuration_resolves(conf):
    resolved = load_config(RunOptions(recipe=conf.parents[1], conf=conf))
    assert resolved["features"]["name"] == "image"
    assert resolved["evaluate"]["rule"] == ("supervised" if conf.stem == "supervised" else "pooled")


def _run(recipe, folder, conf):
    skipped = shutil.ignore_patterns("exp", "dump", "data", "downloads")
    shutil.copytree(ROOT / "recipes" / recipe, folder, ignore=skipped, dirs_exist_ok=True)
    command = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(folder), "--conf", f"conf/{conf}", "--tag", "t"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return pd.read_csv(folder / "exp/t/8_evaluate/0/dev/all_systems.csv").set_index("system")


@pytest.mark.slow
def test_the_smallest_image_recipe_goes_through_every_stage(tmp_path):
    table = _run("textures/iad1", tmp_path / "Bilder é", "mini.yaml")
    assert set(table.index) == {"patchcore", "padim", "gmm", "pooled_nn", "mean_image", "level_up", "level_down"}
    # the parts lie in one place and the defects are plain: even an untrained network sees them
    assert table.loc[["patchcore", "padim"], "part AUC"].min() > 0.9
    assert table.loc["level_up", "part AUC"] == pytest.approx(1 - table.loc["level_down", "part AUC"])
    stage8 = tmp_path / "Bilder é/exp/t/8_evaluate"
    values = json.loads((stage8 / "0/dev/metrics.json").read_text(encoding="utf-8"))["systems"]
    # masks are there, so pixels are judged, and only of systems that say where
    for system in ("patchcore", "padim"):
        pixels = {m: entry["sections"]["00"]["values"] for m, entry in values[system]["machines"].items()}
        assert all(v["pixel_auroc"] > 0.7 and v["pixel_auroc_error"] < 0.01 for v in pixels.values())
        assert pixels["part"]["pixel_aupro"] > 0.7
    assert not any("pixel_auroc" in e["sections"]["00"]["values"] for e in values["gmm"]["machines"].values())
    for page in ("table.txt", "RESULTS.md"):
        text = (stage8 / page).read_text(encoding="utf-8")
        assert all(word in text for word in ("pixel AUROC", "AUPRO@0.3", "mean of 3", "F1", "always")), page


SOUND = """
base: oe.yaml
raw: {size: mini}
machines: [ToyCar]
features: {n_mels: 64}
extractors:
  oe: {return_map: true, epochs: 1, width: 0.125, batch_size: 16}
  untrained: {name: backbone, network: resnet18, weights: random, input_size: [64, 64]}
detectors:
  oe_patchcore: {extractor: oe, name: patchcore, ratio: 0.05}
  oe_padim: {extractor: oe, name: padim}
  picture_patchcore: {extractor: untrained, name: patchcore, ratio: 0.02, top_share: 1.0}
  picture_nn: {extractor: untrained, name: knn, n_neighbors: [1]}
evaluate: {threshold: false_alarm, false_alarm_rate: 0.2, n_bootstrap: 100, report_clips: 0}
submit: {year: 0}
"""


@pytest.mark.slow
def test_image_detectors_run_on_maps_of_sound(tmp_path):
    folder = tmp_path / "Klänge é"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf/sound.yaml").write_text(SOUND, encoding="utf-8")
    table = _run("synthetic/asd1", folder, "sound.yaml")
    added = ["oe_patchcore", "oe_padim", "picture_patchcore", "picture_nn"]
    scores = table.loc[added].filter(like="AUC")
    assert scores.notna().all(axis=None)
    # four systems that read different things do not score alike
    assert len(scores.drop_duplicates()) == len(added)
