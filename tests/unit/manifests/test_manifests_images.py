"""Corpora of pictures: MVTec AD, MVTec AD 2, class folders."""

import json
import logging

import numpy as np
import pytest

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import ConfigError, ManifestError
from dcase_asd.io.hashing import sha256_file
from dcase_asd.io.images import write_image
from dcase_asd.manifests.corpora import corpus_spec


def _picture(path, *, size=(6, 5)):
    write_image(path, np.full((*size, 3), len(path.name), dtype=np.uint8))


def _scan(name, root, **values):
    plugin = registry.load("corpora", name)
    return plugin.implementation(configs.build(plugin.config, values)).scan(root)


def _tree(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        _picture(root / path)


MVTEC = [
    "bottle/train/good/000.png",
    "bottle/train/good/001.png",
    "bottle/test/good/000.png",
    "bottle/test/broken large/000.png",
    "bottle/ground_truth/broken large/000_mask.png",
    "wood/train/good/000.png",
    "wood/test/hole/000.png",
    "wood/ground_truth/hole/000_mask.png",
]


def test_mvtec_ad(root):
    _tree(root, MVTEC)
    manifest, labels = _scan("mvtec", root)
    assert manifest.machines == ["bottle", "wood"]
    rows = manifest.table.set_index("clip_id")
    row = rows.loc["dev/bottle/test/broken large/000"]
    assert (row["kind"], row["split"], row["n_samples"], row["n_channels"]) == ("image", "test", 30, 3)
    assert row["path"] == "bottle/test/broken large/000.png"
    assert len(row["sha256"]) == 64
    assert (rows["split"] == "train").sum() == 3
    assert row["attributes"] == "{}", "the manifest does not say what is wrong"
    truth = labels.table.set_index("clip_id")
    assert truth["is_anomaly"].to_dict() == {
        "dev/bottle/test/broken large/000": 1,
        "dev/bottle/test/good/000": 0,
        "dev/wood/test/hole/000": 1,
    }
    assert json.loads(truth.loc["dev/bottle/test/broken large/000"]["attributes"]) == {
        "defect": "broken large",
        "mask": "bottle/ground_truth/broken large/000_mask.png",
        "mask_sha256": sha256_file(root / "bottle/ground_truth/broken large/000_mask.png"),
    }
    only, _ = _scan("mvtec", root, categories=["wood"])
    assert only.machines == ["wood"]
    alone, _ = _scan("mvtec", root / "wood")
    assert alone.machines == ["wood"]


def test_mvtec_ad_2(root):
    _tree(
        root,
        [
            "can/train/good/000_regular.png",
            "can/validation/good/000_regular.png",
            "can/test_public/good/000_regular.png",
            "can/test_public/bad/000_overexposed.png",
            "can/test_public/ground_truth/bad/000_overexposed_mask.png",
            "can/test_private/000.png",
            "can/test_private_mixed/000.png",
        ],
    )
    manifest, labels = _scan("mvtec", root)
    table = manifest.table
    assert table.groupby(["subset", "split"]).size().to_dict() == {("dev", "test"): 2, ("dev", "train"): 2, ("eval", "test"): 2}
    assert labels.table["is_anomaly"].tolist() == [1, 0]
    assert set(labels.table["clip_id"]) == set(table[(table["subset"] == "dev") & (table["split"] == "test")]["clip_id"])
    assert "test_public/ground_truth/bad/000_overexposed_mask.png" in labels.table["attributes"][0]
    assert table.set_index("clip_id")["attributes"]["eval/can/test_private_mixed/000"] == '{"lighting": "mixed"}'


def test_what_is_no_mvtec_corpus_is_refused(root):
    with pytest.raises(ManifestError, match="no category"):
        _scan("mvtec", root)
    with pytest.raises(ManifestError, match="no such folder"):
        _scan("mvtec", root / "none")
    _tree(root, MVTEC)
    with pytest.raises(ManifestError, match="did you mean 'bottle'"):
        _scan("mvtec", root, categories=["botle"])
    (root / "wood/ground_truth/hole/000_mask.png").unlink()
    with pytest.raises(ManifestError, match="000_mask"):
        _scan("mvtec", root)


CASTING = [f"train/ok_front/cast_ok_{i}.jpeg" for i in range(3)] + ["test/ok_front/a.jpeg", "test/def_front/b.jpeg"]


def test_class_folders_as_the_castings_have_them(root, caplog):
    _tree(root, [p.replace("jpeg", "png") for p in [*CASTING, "train/def_front/c.jpeg"]])
    with caplog.at_level(logging.WARNING):
        manifest, labels = _scan("image_folder", root, machine="casting")
    assert "1 defective pictures below train/ are left out" in caplog.text
    assert manifest.machines == ["casting"]
    assert (manifest.table["split"] == "train").sum() == 3
    truth = labels.table.set_index("clip_id")
    assert truth["is_anomaly"].to_dict() == {"dev/casting/test/def_front/b": 1, "dev/casting/test/ok_front/a": 0}
    assert truth["attributes"]["dev/casting/test/def_front/b"] == '{"defect": "def_front"}'
    with pytest.raises(ManifestError, match="1 defective pictures"):
        _scan("image_folder", root, train_anomalies="error")
    with pytest.raises(ManifestError, match="neither normal"):
        _scan("image_folder", root, anomaly=["scratch"])
    with pytest.raises(ManifestError, match="none to train on"):
        _scan("image_folder", root, normal=["fine"])


def test_class_folders_without_splits(root):
    _tree(root, [f"good/{i}.png" for i in range(10)] + ["hole/1.png", "ground_truth/hole/1.png"])
    manifest, labels = _scan("image_folder", root)
    assert manifest.table["split"].value_counts().to_dict() == {"train": 8, "test": 3}
    assert labels.table["is_anomaly"].sum() == 1
    assert (
        json.loads(labels.table.set_index("clip_id")["attributes"][f"dev/{root.name}/hole/1"])["mask"]
        == "ground_truth/hole/1.png"
    )


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 1 / 3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_the_share_of_test_pictures_is_the_one_asked_for(root, share):
    _tree(root, [f"good/{i:02}.png" for i in range(30)])
    manifest, _ = _scan("image_folder", root, test_share=share)
    assert (manifest.table["split"] == "test").sum() == int(30 * share + 1e-6)


def test_a_plain_folder_is_training_data(root):
    _tree(root, ["a.png", "b/c.png"])
    manifest, labels = _scan("image_folder", root)
    assert manifest.table["split"].tolist() == ["train", "train"]
    assert not len(labels)


def test_broken_and_doubled_pictures_are_named(root):
    _tree(root, ["train/good/a.png"])
    (root / "train/good/zero.png").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"zero\.png.*empty"):
        _scan("image_folder", root)
    (root / "train/good/zero.png").rename(root / "train/good/a.bmp")
    with pytest.raises(ManifestError, match="differ by ending only"):
        _scan("image_folder", root)
    (root / "empty").mkdir()
    with pytest.raises(ManifestError, match="no pictures"):
        _scan("image_folder", root / "empty")
    with pytest.raises(ConfigError, match="none of them in anomaly"):
        _scan("image_folder", root, normal=["ok"], anomaly=["ok"])


@pytest.mark.parametrize("name", ["mvtec_ad", "mvtec_ad2", "castings", "wood", "cactus"])
def test_image_corpora_are_documented(name):
    spec = corpus_spec(name)
    assert spec.machine_names("dev")
    assert spec.sample_rate_hz == 0
    assert spec.layout
    assert len(spec.machines["dev"]) == {"mvtec_ad": 15, "mvtec_ad2": 8}.get(name, 1)


def test_pictures_that_changed_or_broke_are_found(root):
    from dcase_asd.manifests.inspection import inspect_clip

    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    for name in ("train/good/a.png", "train/good/b.png", "train/good/c.png"):
        write_image(root / name, noise)
    _picture(root / "train/good/d.png")
    manifest, _ = _scan("image_folder", root)
    rows = [dict(row) for _, row in manifest.table.iterrows()]
    write_image(root / "train/good/b.png", noise[:20])
    (root / "train/good/c.png").write_bytes((root / "train/good/c.png").read_bytes()[:1000])
    found = [[f"{f.severity}: {f.what}" for f in inspect_clip(root / r["path"], r, read=True).findings] for r in rows]
    assert found[0] == []
    assert any("n_samples 1200 -> 600" in text for text in found[1])
    assert any("other SHA-256" in text for text in found[2])
    assert any("cannot be read" in text for text in found[2])
    assert found[3] == ["warning: every pixel is 5"]


def test_categories_of_mvtec_become_sections_of_one_machine(root):
    _tree(root, MVTEC)
    manifest, labels = _scan("mvtec", root, together="all products")
    assert manifest.machines == ["all products"]
    rows = manifest.table.set_index("clip_id")
    assert rows["section"].value_counts().to_dict() == {"bottle": 4, "wood": 2}
    # good/000 of two categories are two clips
    assert rows.loc["dev/all products/wood/train/good/000", "path"] == "wood/train/good/000.png"
    apart, truth = _scan("mvtec", root)
    assert sorted(rows["sha256"]) == sorted(apart.table["sha256"])
    assert labels.table["is_anomaly"].sum() == truth.table["is_anomaly"].sum() == 2
