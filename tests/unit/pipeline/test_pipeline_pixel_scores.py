"""Which pictures pixel metrics are taken from, and which systems have them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dcase_asd.io.tables import write_table
from dcase_asd.manifests.mvtec import Config, MvtecCorpus
from dcase_asd.manifests.schema import Labels
from dcase_asd.pipeline.pixel_scores import masked_pictures, pixel_scores, seen_sizes
from dcase_asd.pipeline.recipe import RunOptions, load_config
from dcase_asd.scores.maps import write_maps

SIDE = 32


@pytest.fixture
def corpus(tmp_path):
    """Category ``a`` with masks, ``b`` without; two normal and three defective test pictures each."""
    root = tmp_path / "Bilder é"
    rng = np.random.default_rng(0)
    for name in "ab":
        for part, n in (("train/good", 2), ("test/good", 2), ("test/hole", 3)):
            folder = root / name / part
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(rng.integers(0, 255, (SIDE, SIDE), dtype=np.uint8)).save(folder / f"{i}.png")
    truth = root / "a" / "ground_truth" / "hole"
    truth.mkdir(parents=True)
    for i in range(3):
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        mask[:16, :8] = 255
        Image.fromarray(mask).save(truth / f"{i}_mask.png")
    return root


def stage6(folder, pictures, *, sign):
    """Maps of one unit whose upper left quarter is high (sign 1) or low (sign -1) in every picture with a mask."""
    clips = sorted(p.clip_id for p in pictures)
    masked = {p.clip_id for p in pictures if p.mask}
    maps = np.zeros((len(clips), 4, 4))
    maps[[c in masked for c in clips], :2, :1] = sign
    write_table(folder / "segments.csv", pd.DataFrame({"clip_id": clips, "start_s": 0.0}))
    write_maps(folder, maps)


def test_pictures_with_and_normal_ones_without_masks_are_judged(corpus):
    manifest, labels = MvtecCorpus(Config()).scan(corpus)
    found = masked_pictures(manifest, labels, corpus)
    assert list(found) == ["a"]
    assert sorted((p.clip_id, p.mask is not None) for p in found["a"]) == [
        ("dev/a/test/good/0", False),
        ("dev/a/test/good/1", False),
        ("dev/a/test/hole/0", True),
        ("dev/a/test/hole/1", True),
        ("dev/a/test/hole/2", True),
    ]
    assert all(p.path.is_file() and (p.mask is None or p.mask.is_file()) for p in found["a"])


def test_a_defect_without_a_mask_is_neither_normal_nor_defective(corpus):
    manifest, labels = MvtecCorpus(Config()).scan(corpus)
    table = labels.table.copy()
    table.loc[table["clip_id"] == "dev/a/test/hole/1", "attributes"] = '{"defect": "hole"}'
    found = masked_pictures(manifest, Labels(table), corpus)
    assert len(found["a"]) == 4
    assert "dev/a/test/hole/1" not in {p.clip_id for p in found["a"]}


def test_the_labels_change_when_a_mask_does(corpus):
    before = MvtecCorpus(Config()).scan(corpus)[1]
    path = corpus / "a" / "ground_truth" / "hole" / "0_mask.png"
    Image.fromarray(np.full((SIDE, SIDE), 255, dtype=np.uint8)).save(path)
    after = MvtecCorpus(Config()).scan(corpus)[1]
    different = before.table["clip_id"][(before.table["attributes"] != after.table["attributes"]).to_numpy()]
    assert list(different) == ["dev/a/test/hole/0"]


def test_only_detectors_with_maps_have_pixel_metrics(corpus, tmp_path):
    manifest, labels = MvtecCorpus(Config()).scan(corpus)
    pictures = masked_pictures(manifest, labels, corpus)
    scores = tmp_path / "6_scores"
    for name, sign in (("seeing", 1.0), ("blind", -1.0), ("constant", 0.0)):
        stage6(scores / name / "0" / "a", pictures["a"], sign=sign)
    told = []
    systems = ["seeing:score=mse", "seeing:score=ssim", "blind", "constant", "gmm", "ensemble"]
    found = pixel_scores(
        scores, systems=systems, seed="0", pictures=pictures, sigma=0.0, seen={}, n_bootstrap=20, log=told.append
    )
    # a map is the detector's, whatever scores are made of it
    assert set(found) == {("seeing:score=mse", "a", "00"), ("seeing:score=ssim", "a", "00"), ("blind", "a", "00")}
    assert found["seeing:score=mse", "a", "00"] is found["seeing:score=ssim", "a", "00"]
    assert found["seeing:score=mse", "a", "00"].values["pixel_auroc"] > 0.98
    assert found["blind", "a", "00"].values["pixel_auroc"] < 0.1
    assert told == ["constant, a: all maps are constant, so pixels cannot be ranked"]


def test_a_mask_of_another_size_is_told_of_once(corpus, tmp_path):
    for path in (corpus / "a" / "ground_truth" / "hole").iterdir():
        Image.open(path).resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST).save(path)
    manifest, labels = MvtecCorpus(Config()).scan(corpus)
    pictures = masked_pictures(manifest, labels, corpus)
    stage6(tmp_path / "s" / "0" / "a", pictures["a"], sign=1.0)
    told = []
    found = pixel_scores(
        tmp_path, systems=["s"], seed="0", pictures=pictures, sigma=0.0, seen={}, n_bootstrap=20, log=told.append
    )
    assert found["s", "a", "00"].values["pixel_auroc"] > 0.98
    assert told == ["s, a: 3 masks of another size than their picture, first: 0_mask.png: mask resized from 64 x 64 pixels"]


def test_the_size_seen_is_that_of_stage_2_or_of_the_extractor(tmp_path):
    (tmp_path / "a.yaml").write_text(
        """
corpus: {name: mvtec}
features: {name: image, size: [96, 128]}
extra_features:
  grey: {name: image, size: [64, 32], mode: grey}
  sound: {name: log_mel}
extractors:
  wide: {name: backbone, weights: random}
  resized: {name: backbone, weights: random, input_size: [224, 192]}
  grey: {name: identity, features: grey}
  sound: {name: identity, features: sound}
detectors:
  a: {extractor: wide, name: patchcore}
  b: {extractor: resized, name: patchcore}
  c: {extractor: grey, name: mean_image}
  d: {extractor: sound, name: mean_image}
""",
        encoding="utf-8",
    )
    config = load_config(RunOptions(recipe=tmp_path, conf=tmp_path / "a.yaml"))
    assert seen_sizes(config) == {"a": (96, 128), "b": (224, 192), "c": (64, 32)}
