"""The MVTec AD recipe and the corrupted castings from pictures on disk to result pages."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import run_in_process

from dcase_asd.config import load_yaml
from dcase_asd.io.images import write_image
from dcase_asd.pipeline.recipe import RunOptions
from dcase_asd.synthesis.textures import synthesise_textures

ROOT = Path(__file__).resolve().parents[2]


def run(folder, conf, data):
    run_in_process(RunOptions(recipe=folder, conf=Path("conf") / conf, data_root=str(data)))
    return folder / "exp" / Path(conf).stem


@pytest.mark.slow
def test_the_ladder_of_one_model_for_all_categories_runs_through(tmp_path):
    data = synthesise_textures(tmp_path / "mvtec é", size="mini", seed=0, categories=["fabric", "part"], difficulty=0.2)
    shutil.copytree(ROOT / "recipes/mvtec/iad1/conf", tmp_path / "recipe" / "conf")
    experiment = run(tmp_path / "recipe", "mini.yaml", data)
    models = [p.relative_to(experiment / "5_detectors") for p in experiment.glob("5_detectors/cae/0/mvtec/*/main/config.json")]
    assert [p.parts[3] for p in models] == ["all"], "one model, not one a category"
    table = pd.read_csv(experiment / "8_evaluate/0/dev/all_systems.csv").set_index("system")
    shown = load_yaml(ROOT / "recipes/mvtec/iad1/conf/autoencoders.yaml")["evaluate"]["systems"]
    for pattern in shown:
        assert any(name.startswith(pattern.split(":")[0]) for name in table.index), pattern
    decisions = pd.read_csv(experiment / "8_evaluate/0/decisions.csv")
    thresholds = pd.read_csv(experiment / "8_evaluate/0/thresholds.csv").set_index(["system", "section"])["threshold"]
    scores = pd.read_csv(experiment / "7_ensemble/0/scores.csv")
    both = decisions.merge(scores, on=["clip_id", "system"])
    for system, value in (("co_de_mix_l2_refit:score=mse,threshold=refit", 0.0), ("vote", 0.5)):
        assert thresholds[system].tolist() == [value, value]
        own = both[both["system"] == system]
        np.testing.assert_array_equal(own["decision"], (own["score"] > value).astype(int))
    # a vote of seven equal voices
    votes = 7 * scores.loc[scores["system"] == "vote", "score"]
    np.testing.assert_allclose(votes, np.round(votes), atol=1e-9)
    metrics = json.loads((experiment / "8_evaluate/0/dev/metrics.json").read_text())
    sections = metrics["systems"]["cae:score=mse,threshold=ema"]["machines"]["mvtec"]["sections"]
    assert set(sections) == {"fabric", "part"}
    assert {"precision", "recall", "f1", "average_precision", "precision_base", "f1_trivial"} <= set(sections["part"]["values"])


def castings(root):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    disc = 90.0 + 80.0 * ((y - 20) ** 2 + (x - 20) ** 2 < 220)
    for folder, n in (("train/ok_front", 24), ("test/ok_front", 6), ("test/def_front", 2)):
        (root / folder).mkdir(parents=True)
        for i in range(n):
            noisy = disc + rng.normal(0, 4, (40, 40))
            write_image(root / folder / f"cast {i}.png", np.clip(noisy, 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2))
    return root


SYNTHETIC = """
base: synthetic.yaml
corpus: {name: image_folder, machine: casting}
split: {source_fraction: 0.6}
features: {name: image, size: [32, 32]}
extractors: {picture: {name: identity}}
detectors:
  cae: {extractor: picture, name: image_autoencoder, network: casting, widths: [4, 8], epochs: 1}
  mean_image: {extractor: picture, name: mean_image}
evaluate: {rule: pooled, threshold: false_alarm, false_alarm_rate: 0.2, systems: [cae, mean_image], report_clips: 0}
"""


def test_corrupted_castings_are_told_from_clean_ones(tmp_path):
    data, folder = castings(tmp_path / "Gußteile"), tmp_path / "recipe"
    (folder / "conf").mkdir(parents=True)
    # the recipe's own raw data, a smaller system
    raw = load_yaml(ROOT / "recipes/casting/iad1/conf/synthetic_objects.yaml")["raw"]
    (folder / "conf/synthetic.yaml").write_text(json.dumps({"raw": raw}), encoding="utf-8")
    (folder / "conf/small.yaml").write_text(SYNTHETIC, encoding="utf-8")
    experiment = run(folder, "small.yaml", data)
    table = pd.read_csv(experiment / "8_evaluate/0/dev/all_systems.csv").set_index("system")
    assert table.loc["mean_image", "casting AUC"] > 0.9
    corpus = next(folder.glob("downloads/*/corpus"))
    assert len(list(corpus.glob("test/objects/*.png"))) == len(list(corpus.glob("test/ok_front/*.png"))) == 6
    assert not (corpus / "test/def_front").exists()
    # other pictures, other twins: the stage notices
    (data / "test/ok_front/cast 0.png").unlink()
    run(folder, "small.yaml", data)
    assert len(list(corpus.glob("test/objects/*.png"))) == 5
