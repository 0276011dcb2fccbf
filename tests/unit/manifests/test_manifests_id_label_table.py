"""The corpus of pictures whose classes stand in a table, and labelled anomalies of picture folders."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import ConfigError, ManifestError
from dcase_asd.io.images import write_image
from dcase_asd.manifests.splits import validation_clips


@pytest.fixture
def root(tmp_path):
    return tmp_path / "Kaktus é"


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8))


def tree(root, *, n_positive=8, n_negative=12, n_unlabelled=3, header="id,label"):
    labels = [1] * n_positive + [0] * n_negative
    for number in range(len(labels) + n_unlabelled):
        # the downloads unpack into a folder of the same name
        folder = root / ("train/train" if number < len(labels) else "test")
        picture(folder / f"p {number:02d}.png", seed=number)
    (root / "train.csv").write_text(f"{header}\n" + "".join(f"p {i:02d}.png,{v}\n" for i, v in enumerate(labels)))
    rows = "".join(f"p {len(labels) + i:02d}.png,0.5\n" for i in range(n_unlabelled))
    if n_unlabelled:
        (root / "sample_submission.csv").write_text(f"id,label\n{rows}")
    return labels


def scan(root, name="id_label_table", **values):
    plugin = registry.load("corpora", name)
    return plugin.implementation(configs.build(plugin.config, values)).scan(root)


def test_classes_are_divided_by_themselves_and_the_class_of_a_training_picture_is_its_split(root):
    truth = tree(root)
    manifest, labels = scan(root, test_share=0.25)
    assert manifest.table.groupby(["subset", "split"]).size().to_dict() == {
        ("dev", "test"): 5,
        ("dev", "train"): 9,
        ("dev", "train_anomaly"): 6,
        ("eval", "test"): 3,
    }
    assert labels.table["is_anomaly"].value_counts().to_dict() == {0: 3, 1: 2}
    for row in manifest.table.itertuples():
        number = int(row.path[-6:-4])
        if row.split in ("train", "train_anomaly"):
            assert truth[number] == (row.split == "train_anomaly")
            assert row.clip_id not in set(labels.table["clip_id"])
        assert row.attributes == "{}"
    known = labels.table.set_index("clip_id")["is_anomaly"]
    assert all(truth[int(clip[-2:])] == value for clip, value in known.items())
    assert set(manifest.table["machine"]) == {"Kaktus é"}


def test_the_split_depends_on_seed_and_names_alone(root):
    tree(root)
    manifest, _ = scan(root)
    again, _ = scan(root)
    assert manifest.table.equals(again.table)
    rows = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([rows[0], *reversed(rows[1:])]) + "\n\n")
    turned, _ = scan(root)
    assert manifest.table.equals(turned.table)
    other, _ = scan(root, seed=1)
    assert not manifest.table.equals(other.table)


def test_pictures_may_lie_in_the_root_and_other_names_may_be_used(root):
    for number in range(4):
        picture(root / f"{number}.jpg", seed=number)
    (root / "train.csv").write_text("id,has_cactus\n" + "".join(f"{i}.jpg,{'yes' if i % 2 else 'no'}\n" for i in range(4)))
    manifest, labels = scan(root, positive=["yes"], negative=["no"], machine="cactus", test_share=0.5)
    assert sorted(manifest.table["split"]) == ["test", "test", "train", "train_anomaly"]
    assert sorted(labels.table["is_anomaly"]) == [0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("p 00.png,2", r"train\.csv: row 2: label '2' is none of 0, 1; correct it"),
        ("p 00.png,1\np 00.png,1", r"row 3: id 'p 00\.png' stands in row 2 already"),
        ("a/p 00.png,1", r"row 2: id 'a/p 00\.png' is no file name"),
        ("p 00.png,1,3", r"row 2: 3 cells under a header of 2"),
        ("gone.png,1\np 01.png,1\np 10.png,0\np 11.png,0", r"1 of 4 pictures are not below .*gone\.png.*Unpack"),
        ("p 00.png,1\np 10.png,0\np 11.png,0", r"1 pictures of the positive class \(1\); at least 2"),
        ("p 00.png,1\np 01.png,1", r"0 pictures of the negative class \(0\)"),
    ],
)
def test_errors_name_file_row_value_and_remedy(root, rows, message):
    tree(root)
    (root / "train.csv").write_text(f"id,label\n{rows}\n")
    with pytest.raises(ManifestError, match=message):
        scan(root)


def test_missing_tables_and_columns_are_named(root):
    tree(root)
    with pytest.raises(ManifestError, match=r"no column 'lable'.*found id, label; name it in label_columns"):
        scan(root, label_columns=["lable"])
    with pytest.raises(ManifestError, match="no column 'name'"):
        scan(root, id_column="name")
    with pytest.raises(ManifestError, match=r"labels\.csv: no such table; expected columns id and .*'label' or 'has_cactus'"):
        scan(root, table="labels.csv")
    with pytest.raises(ManifestError, match="no such folder"):
        scan(root / "nowhere")
    (root / "test" / "p 20.png").unlink()
    with pytest.raises(ManifestError, match=r"sample_submission\.csv: 1 of 3 pictures"):
        scan(root)


def test_settings_that_contradict_each_other_are_refused(root):
    for values in ({"positive": ["1"], "negative": ["1"]}, {"positive": []}, {"test_share": 1.0}, {"label_columns": []}):
        with pytest.raises(ConfigError):
            scan(root, **values)


def test_a_name_that_lies_twice_and_pictures_of_no_row(root, caplog):
    tree(root)
    picture(root / "train" / "stray.png")
    with caplog.at_level(logging.WARNING):
        scan(root)
    assert "1 pictures below" in caplog.text
    picture(root / "train" / "p 00.png")
    with pytest.raises(ManifestError, match="has the same name"):
        scan(root)


def test_without_unlabelled_pictures_there_is_no_evaluation_part(root):
    tree(root, n_unlabelled=0)
    manifest, _ = scan(root)
    assert set(manifest.table["subset"]) == {"dev"}


def test_held_out_clips_of_each_class_keep_its_share(root):
    tree(root, n_positive=30, n_negative=60)
    manifest, _ = scan(root, machine="m")
    counts = manifest.table["split"].value_counts()
    for split in ("train", "train_anomaly"):
        held = validation_clips(manifest, machine="m", source_fraction=0.75, seed=3, split=split)
        assert len(held) == counts[split] - int(0.75 * counts[split])
        assert held <= set(manifest.select(split=split).table["clip_id"])
    with pytest.raises(ManifestError, match=r"no training clips \(split supplemental_noise\)"):
        validation_clips(manifest, machine="m", seed=0, split="supplemental_noise")


def test_picture_folders_may_hand_their_anomalies_to_supervised_detectors(root):
    for k, (kind, n) in enumerate((("ok", 6), ("crack", 4), ("stain", 5))):
        for number in range(n):
            picture(root / kind / f"{number}.png", seed=10 * k + number)
    manifest, labels = scan(root, "image_folder", train_anomalies="use", test_share=0.5)
    assert manifest.table["split"].value_counts().to_dict() == {"test": 7, "train_anomaly": 5, "train": 3}
    assert labels.table["is_anomaly"].value_counts().to_dict() == {1: 4, 0: 3}
    # the default is as ever: no anomaly is trained on
    manifest, labels = scan(root, "image_folder", test_share=0.5)
    assert manifest.table["split"].value_counts().to_dict() == {"test": 12, "train": 3}
    assert labels.table["is_anomaly"].sum() == 9


def test_anomalies_below_train_are_used_if_asked_for(root):
    for place in ("train/ok/1", "train/ok/2", "train/bad/1", "test/ok/1", "test/bad/1"):
        picture(root / f"{place}.png", seed=len(place))
    manifest, labels = scan(root, "image_folder", train_anomalies="use")
    assert manifest.table["split"].value_counts().to_dict() == {"train": 2, "test": 2, "train_anomaly": 1}
    assert len(labels) == 2
