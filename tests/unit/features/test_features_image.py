"""Pictures in the feature store."""

import numpy as np
import pytest

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import ConfigError, FormatError, ImageError
from dcase_asd.features.build import build_machine, write_feature_json
from dcase_asd.features.image import Config, Image, brightness_db
from dcase_asd.features.store import FeatureFolder
from dcase_asd.io.images import read_image, resize_image, write_image
from dcase_asd.manifests.image_folder import Config as FolderConfig
from dcase_asd.manifests.image_folder import ImageFolder


@pytest.fixture
def root(tmp_path):
    """Eight pictures of different size, grey and colour, the third black."""
    folder = tmp_path / "images à trier"
    for i in range(8):
        path = folder / ("train/good" if i < 5 else "test/good") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 200, (20 + i, 30, 1 if i % 2 else 3), dtype=np.uint8)
        write_image(path, pixels * (i != 2))
    return folder


def _build(root, *, nj=1, out="out", **values):
    manifest, _ = ImageFolder(FolderConfig(machine="disc")).scan(root)
    config = configs.build(registry.load("features", "image").config, values)
    folder = root.parent / out
    build_machine(manifest, data_root=root, name="image", config=config, out=folder / "disc", nj=nj)
    write_feature_json(folder, "image", config, Image(config).frame_rate_hz)
    return FeatureFolder(folder)


def test_a_frame_in_the_store_is_the_resized_picture(root, caplog):
    folder = _build(root, size=[16, 12])
    store = folder.open("disc", "train")
    assert store.data.shape == (5, 16, 12, 3)
    assert store.data.dtype == np.uint8
    assert store.power is None
    assert folder.info["frame_rate_hz"] == 0
    assert "1 of 5 clips of split train are silent or black" in caplog.text
    for row in range(5):
        pixels = read_image(root / f"train/good/{row}.png")
        small = resize_image(pixels, height=16, width=12)
        np.testing.assert_array_equal(store.clip(row)[0], np.broadcast_to(small, (16, 12, 3)))
        assert store.index["level_db"][row] == pytest.approx(brightness_db(pixels))
    assert store.index["level_db"][2] == -200.0
    assert not (root.parent / "out" / "disc" / "statistics.json").exists()


def test_one_process_and_two_write_the_same_bytes(root):
    one, two = _build(root, nj=1, out="one", size=[8, 8]), _build(root, nj=2, out="two", size=[8, 8])
    for name in ("train.npy", "train.csv", "test.npy", "test.csv"):
        assert (one.path / "disc" / name).read_bytes() == (two.path / "disc" / name).read_bytes()


def test_grey_and_gain(root):
    store = _build(root, size=[16, 12], mode="grey", brightness="gain").open("disc", "test")
    assert store.data.shape == (3, 16, 12, 1)
    assert store.data.mean(axis=(1, 2, 3)) == pytest.approx(0.449 * 255, abs=2)


def test_what_does_not_fit_is_refused(root):
    with pytest.raises(ConfigError, match="size"):
        Config(size=(0, 4))
    feature = Image(Config())
    with pytest.raises(ImageError, match="the manifest says 7"):
        feature.compute_file(root / "train/good/0.png", n_pixels=7)
    assert "only pictures" in str(feature.check_precomputed("vector", (3,)))


def test_precomputed_arrays_are_refused(root):
    from dcase_asd.io.arrays import save_array

    manifest, _ = ImageFolder(FolderConfig(machine="disc")).scan(root)
    save_array(root / "v.npy", np.zeros(4, np.float32))
    manifest.table["kind"] = "vector"
    manifest.table["path"] = "v.npy"
    with pytest.raises(FormatError, match="only pictures"):
        build_machine(manifest, data_root=root, name="image", config=Config(), out=root / "out")
