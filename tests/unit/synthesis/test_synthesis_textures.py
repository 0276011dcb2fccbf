"""Simulated surfaces: layout, masks, determinism, difficulty."""

import json

import numpy as np
import pytest

from dcase_asd.errors import UnknownNameError, UsageError
from dcase_asd.io.hashing import sha256_tree
from dcase_asd.io.images import read_image
from dcase_asd.manifests.mvtec import Config, MvtecCorpus
from dcase_asd.synthesis import synthesise
from dcase_asd.synthesis.textures import CATEGORIES, DEFECTS, SIZES, defective_picture, normal_picture


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return synthesise(tmp_path_factory.mktemp("étoffes") / "a b", layout="textures", size="mini", machines=["part", "wood"])


def test_the_corpus_is_read_as_mvtec_with_a_mask_for_every_defect(corpus):
    manifest, labels = MvtecCorpus(Config()).scan(corpus)
    size = SIZES["mini"]
    assert manifest.machines == ["part", "wood"]
    counts = manifest.table.groupby(["machine", "split"]).size().to_dict()
    assert counts[("part", "train")] == size.n_train
    assert counts[("wood", "test")] == size.n_good + len(DEFECTS) * size.n_defect
    truths = [json.loads(text) for text in labels.table["attributes"][labels.table["is_anomaly"] == 1]]
    assert {t["defect"] for t in truths} == set(DEFECTS)
    for truth in truths:
        mask = read_image(corpus / truth["mask"])
        assert mask.shape == (size.side, size.side, 1)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.002 < (mask > 0).mean() < 0.25


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_mask_marks_what_changed_and_difficulty_fades_it(category, defect):
    kept = {"side": 96, "seed": 3}
    size = []
    for difficulty in (0.0, 1.0):
        picture, mask = defective_picture(category, defect, name="x é", difficulty=difficulty, **kept)
        normal = normal_picture(category, name="x é", **kept)
        gap = np.abs(picture.astype(int) - normal).max(axis=2)
        assert gap[~mask].max() <= 2, "outside of the mask only rounding differs"
        assert mask.sum() >= 96
        size.append(gap[mask].sum())
    assert size[1] < size[0]


def test_same_seed_same_bytes_and_categories_do_not_matter(corpus, tmp_path):
    alone = synthesise(tmp_path / "one", layout="textures", size="mini", machines=["wood"])
    assert sha256_tree(alone / "wood") == sha256_tree(corpus / "wood")
    other = normal_picture("wood", name="wood/train/good/000.png", side=64, seed=1)
    assert (other != read_image(corpus / "wood/train/good/000.png")).any()
    before = (corpus / "synthesis.json").stat().st_mtime_ns
    synthesise(corpus, layout="textures", size="mini", machines=["part", "wood"])
    assert (corpus / "synthesis.json").stat().st_mtime_ns == before


def test_brightness_alone_does_not_give_a_scratch_or_stain_away():
    def brightness(defect):
        pictures = [
            defective_picture("fabric", defect, name=str(i), side=64, seed=0, difficulty=0.5)[0]
            if defect
            else normal_picture("fabric", name=str(i), side=64, seed=0)
            for i in range(60)
        ]
        return np.array([p.mean() for p in pictures])

    for defect in ("scratch", "stain"):
        share = (brightness(defect) > brightness("")).mean()
        assert 0.3 < share < 0.7


def test_wrong_wishes_are_refused(tmp_path, corpus):
    with pytest.raises(UnknownNameError, match="texture category"):
        synthesise(tmp_path / "x", layout="textures", machines=["glass"])
    with pytest.raises(UnknownNameError, match="size"):
        synthesise(tmp_path / "x", layout="textures", size="huge")
    with pytest.raises(UsageError, match="difficulty"):
        synthesise(tmp_path / "x", layout="textures", difficulty=2.0)
    with pytest.raises(UsageError, match="seed"):
        synthesise(tmp_path / "x", layout="textures", seed=-1)
    with pytest.raises(UsageError, match="another synthetic corpus"):
        synthesise(corpus, layout="textures", size="mini", machines=["part", "wood"], seed=9)
    with pytest.raises(UnknownNameError, match="textures"):
        synthesise(tmp_path / "x", layout="texture")
    assert not (tmp_path / "x").exists()
