"""Corrupted twins: what is changed, by how much, and that it depends on seed, kind and name alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import ManifestError, UnknownNameError
from dcase_asd.io.images import read_image, write_image
from dcase_asd.synthesis.corruption import KINDS, corrupt_corpus, corrupted

GREY = np.full((200, 240, 3), 128, dtype=np.uint8)


def scan(name, root, **values):
    plugin = registry.load("corpora", name)
    return plugin.implementation(configs.build(plugin.config, values)).scan(root)


def test_gaussian_noise_has_the_papers_mean_and_deviation_before_clipping():
    noisy = corrupted(GREY, "gauss", name="a", seed=0) / 255.0
    inside = (noisy > 0) & (noisy < 1)
    # of N(0.505, 0.5) a share of 0.683 lies within [0, 1]; within, its mean is 0.5 to 0.01
    assert inside.mean() == pytest.approx(0.683, abs=0.01)
    assert noisy[inside].mean() == pytest.approx(0.502, abs=0.01)
    assert (noisy[..., 0] != noisy[..., 1]).mean() > 0.7, "every channel has its own"


def test_salt_and_pepper_change_a_twentieth_of_the_pixels_whole():
    spoilt = corrupted(GREY, "salt_pepper", name="a", seed=0)
    changed = (spoilt != GREY).any(axis=2)
    assert changed.mean() == pytest.approx(0.05, abs=0.005)
    assert {tuple(p) for p in spoilt[changed]} == {(0, 0, 0), (255, 255, 255)}
    assert (spoilt[changed] == 255).mean() == pytest.approx(0.5, abs=0.05)


def test_objects_are_one_to_three_small_patches_of_a_visible_colour():
    from scipy.ndimage import find_objects, label

    counts = []
    for i in range(40):
        spoilt = corrupted(GREY, "objects", name=f"bild {i}", seed=0)
        changed = (spoilt != GREY).any(axis=2)
        patches, n = label(changed)
        counts.append(n)
        assert 1 <= n <= 4  # an object in the ground's own grey may cut another one in two
        for place in find_objects(patches):
            # 5 to 15 % of the shorter side, turned: at most the diagonal of two overlapping ones
            assert max(s.stop - s.start for s in place) <= 2 * np.sqrt(2) * 0.15 * 200 + 2
        grey_levels = spoilt[changed]
        assert (grey_levels == grey_levels[:, :1]).all(), "on a picture without colour, objects have none"
        assert np.abs(grey_levels.astype(float) - 128).mean() > 20
    assert {1, 2, 3} <= set(counts)


def test_objects_on_a_coloured_picture_are_coloured():
    picture = GREY.copy()
    picture[..., 0] = 30
    spoilt = corrupted(picture, "objects", name="a", seed=0)
    colours = spoilt[(spoilt != picture).any(axis=2)]
    assert (colours != colours[:, :1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_depends_on_seed_kind_and_name_alone(kind):
    first = corrupted(GREY, kind, name="a", seed=0)
    np.testing.assert_array_equal(first, corrupted(GREY, kind, name="a", seed=0))
    for other in (corrupted(GREY, kind, name="b", seed=0), corrupted(GREY, kind, name="a", seed=1)):
        assert (first != other).any()
    assert (GREY == 128).all(), "the picture itself is left as it was"


def test_one_channel_stays_one():
    for kind in KINDS:
        assert corrupted(GREY[:, :, :1], kind, name="a", seed=0).shape == (200, 240, 1)


def test_an_unknown_kind_is_refused():
    with pytest.raises(UnknownNameError, match="salt_pepper"):
        corrupted(GREY, "salt", name="a", seed=0)


LAYOUTS = {
    "image_folder": ["train/ok_front/1.png", "train/ok_front/2.png", "test/ok_front/1.png", "test/def_front/1.png"],
    "mvtec": [
        *("bottle/train/good/1.png", "bottle/test/good/1.png", "bottle/test/hole/1.png"),
        *("bottle/ground_truth/hole/1_mask.png", "wood/train/good/1.png", "wood/test/good/1.png"),
    ],
}


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_a_corrupted_corpus_stays_in_its_layout(tmp_path, corpus):
    root, goal = tmp_path / "Bilder é", tmp_path / "à l'œil"
    rng = np.random.default_rng(0)
    for path in LAYOUTS[corpus]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / path, rng.integers(100, 150, (40, 50, 3)).astype(np.uint8))
    n_twins = corrupt_corpus(root, goal, tables=scan(corpus, root), kinds=["objects", "gauss"], seed=3)
    manifest, labels = scan(corpus, goal)
    n_normal = sum("test/good" in p or "test/ok" in p for p in LAYOUTS[corpus])
    assert n_twins == 2 * n_normal
    assert (manifest.table["split"] == "train").sum() == sum("train/" in p for p in LAYOUTS[corpus])
    truth = labels.table.set_index("clip_id")
    assert truth["is_anomaly"].value_counts().to_dict() == {0: n_normal, 1: n_twins}
    for clip_id, row in truth[truth["is_anomaly"] == 1].iterrows():
        about = json.loads(row["attributes"])
        assert about["defect"] in {"objects", "gauss"}
        twin = read_image(goal / manifest.table.set_index("clip_id").loc[clip_id, "path"])
        good = clip_id.replace(about["defect"], "ok_front" if corpus == "image_folder" else "good")
        clean = read_image(goal / manifest.table.set_index("clip_id").loc[good, "path"])
        np.testing.assert_array_equal(read_image(goal / about["mask"])[..., 0] == 255, (twin != clean).any(axis=2))


def test_a_corpus_without_normal_test_pictures_cannot_be_corrupted(tmp_path):
    (tmp_path / "train" / "ok").mkdir(parents=True)
    write_image(tmp_path / "train" / "ok" / "1.png", GREY)
    with pytest.raises(ManifestError, match="no normal test picture"):
        corrupt_corpus(tmp_path, tmp_path / "out", tables=scan("image_folder", tmp_path), kinds=["gauss"], seed=0)
