"""Pictures as they come: of every mode and size, broken, too few, with masks that do not fit. Through all stages, in seconds."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from dcase_asd.errors import DataError, DcaseAsdError, FormatError, ImageError, ManifestError, StageError

SIDE = 24
CONFIG = {
    "description": "Tiny pictures",
    "corpus": {"name": "mvtec"},
    "features": {"name": "image", "size": [SIDE, SIDE]},
    "extractors": {"pixels": {"name": "identity"}},
    "detectors": {
        "patchcore": {"extractor": "pixels", "name": "patchcore", "ratio": 0.05, "limit": 200},
        "padim": {"extractor": "pixels", "name": "padim"},
        "mean": {"extractor": "pixels", "name": "knn", "n_neighbors": [1], "metric": "euclidean"},
    },
    "scores": {"keep_maps": True},
    "evaluate": {
        "rule": "pooled",
        "systems": ["padim", "patchcore"],
        "comparators": ["mean"],
        "threshold": "false_alarm",
        "false_alarm_rate": 0.4,
        "n_bootstrap": 20,
        "report_clips": 1,
        "pixel_sigma": 1.0,
    },
}


def picture(number: int, *, side: int = SIDE, hole: bool = False) -> NDArray[np.uint8]:
    """A noisy grey square; with a hole, black in its upper left quarter."""
    pixels = np.random.default_rng(number).normal(150, 15, (side, side)).clip(1, 255)
    if hole:
        pixels[: side // 2, : side // 2] = 0
    return pixels.astype(np.uint8)


def mask(side: int = SIDE) -> NDArray[np.uint8]:
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[: side // 2, : side // 2] = 255
    return pixels


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """One category with masks in ``data``, a recipe in ``recipe``."""
    root = tmp_path / "bad é"
    for part, n in (("train/good", 10), ("test/good", 3), ("test/hole", 3)):
        folder = root / "data" / "cap" / part
        folder.mkdir(parents=True)
        for i in range(n):
            Image.fromarray(picture(zlib_of(part) + i, hole="hole" in part)).save(folder / f"{i}.png")
    truth = root / "data" / "cap" / "ground_truth" / "hole"
    truth.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(mask()).save(truth / f"{i}_mask.png")
    tiny.make_recipe(root / "recipe", **{key: None for key in tiny.CONFIG if key not in CONFIG}, **CONFIG)
    return root


def zlib_of(text: str) -> int:
    return sum(text.encode())


def run(root: Path, *overrides: str, stop: str = "8") -> None:
    tiny.run(root / "recipe", root / "data", *overrides, stop_stage=stop)


def refused(root: Path, error: type[DcaseAsdError], match: str, *overrides: str) -> str:
    with pytest.raises(error, match=match) as caught:
        run(root, *overrides)
    return str(caught.value)


def metrics(root: Path, system: str = "padim") -> dict[str, float]:
    path = next((root / "recipe" / "exp").glob("*/8_evaluate/0/dev/metrics.json"))
    values = json.loads(path.read_text(encoding="utf-8"))["systems"][system]["machines"]["cap"]["sections"]["00"]["values"]
    return dict(values)


def log(root: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (root / "recipe" / "exp").rglob("*.log"))


def test_pictures_of_every_mode_and_size_are_one_product(place: Path) -> None:
    train = place / "data" / "cap" / "train" / "good"
    deep = (picture(90).astype(np.uint16) * 257).astype(np.uint16)
    Image.fromarray(deep).save(train / "0.png")
    Image.fromarray(picture(91)).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE).save(train / "1.png")
    Image.fromarray(np.dstack([picture(92)] * 3 + [np.full((SIDE, SIDE), 255, np.uint8)])).save(train / "2.png")
    Image.fromarray(picture(93, side=3 * SIDE)).save(train / "3.png")
    turned = Image.fromarray(picture(94)[: SIDE // 2])
    exif = turned.getexif()
    exif[0x0112] = 6
    (train / "4.png").unlink()
    turned.save(train / "4.jpg", exif=exif)
    Image.fromarray(picture(95)).convert("1").save(train / "5.png")
    run(place)
    store = np.load(next((place / "recipe" / "dump").rglob("cap/train.npy")))
    assert (store.shape, store.dtype) == ((10, SIDE, SIDE, 3), np.uint8)
    # whatever the file's mode, the same picture has the same brightness: nothing was stretched, wrapped or turned black
    assert np.all(np.abs(store[:4].mean(axis=(1, 2, 3)) - 150) < 15)
    assert metrics(place)["auc"] == 1.0
    assert metrics(place)["pixel_auroc"] > 0.95


@pytest.mark.parametrize(
    ("part", "content", "told"), [("train/good", b"", "0 bytes"), ("test/hole", b"GIF89a\x01", "not a readable")]
)
def test_a_broken_picture_is_named_before_anything_is_computed(place: Path, part: str, content: bytes, told: str) -> None:
    path = place / "data" / "cap" / part / "1.png"
    path.write_bytes(content)
    message = refused(place, ManifestError, re.escape(str(path)))
    assert told in message


def test_a_picture_cut_off_behind_its_header_is_named_where_it_is_decoded(place: Path) -> None:
    path = place / "data" / "cap" / "train" / "good" / "2.png"
    path.write_bytes(path.read_bytes()[:200])
    message = refused(place, ImageError, "2.png")
    assert "not a readable picture" in message


def test_one_training_picture_says_what_is_missing(place: Path) -> None:
    for path in sorted((place / "data" / "cap" / "train" / "good").iterdir())[1:]:
        path.unlink()
    message = refused(place, DataError, "segment|held out|clips")
    assert "add" in message or "lower" in message


def test_an_empty_category_is_left_out_and_one_without_training_pictures_refused(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = place / "data" / "nut" / "train" / "good"
    empty.mkdir(parents=True)
    run(place)
    assert metrics(place)["auc"] == 1.0
    for path in (place / "data" / "cap" / "train" / "good").iterdir():
        path.unlink()
    assert "category nut holds no picture" in caplog.text
    refused(place, ManifestError, "cap: 6 test pictures and none to train on in train/good")


def test_a_mask_of_another_size_is_resized_and_said(place: Path) -> None:
    run(place)
    before = metrics(place)
    for path in (place / "data" / "cap" / "ground_truth" / "hole").iterdir():
        Image.fromarray(mask(4 * SIDE)).save(path)
    run(place)
    assert metrics(place)["pixel_auroc"] == before["pixel_auroc"]
    assert "3 masks of another size than their picture" in log(place)


@pytest.mark.parametrize(("pixels", "told"), [(mask()[: SIDE // 2], "other proportions"), (0 * mask(), "all black")])
def test_a_mask_that_cannot_be_this_pictures_is_refused(place: Path, pixels: NDArray[np.uint8], told: str) -> None:
    Image.fromarray(pixels).save(place / "data" / "cap" / "ground_truth" / "hole" / "1_mask.png")
    message = refused(place, DataError, told)
    assert "1_mask.png" in message


def test_a_broken_mask_is_told_before_anything_is_learnt(place: Path) -> None:
    """It was told by stage 8, after all training."""
    (place / "data" / "cap" / "ground_truth" / "hole" / "1_mask.png").write_bytes(b"")
    message = refused(place, ManifestError, r"mask of 1\.png: .*1_mask\.png: the file is empty")
    assert "0 bytes" in message
    assert not (place / "recipe" / "dump").exists()


def test_without_masks_or_test_pictures(place: Path) -> None:
    shutil.rmtree(place / "data" / "cap" / "ground_truth")
    run(place)
    assert metrics(place)["auc"] == 1.0
    assert "pixel_auroc" not in metrics(place)
    shutil.rmtree(place / "data" / "cap" / "test")
    refused(place, ManifestError, r"no machine has test clips.*machines: cap.*--stop_stage 2")


def test_a_corrected_mask_makes_new_pixel_metrics(place: Path) -> None:
    run(place)
    before = metrics(place)
    for path in (place / "data" / "cap" / "ground_truth" / "hole").iterdir():
        # names and sizes of files say that something changed, as for every corpus; hashes say what
        Image.fromarray(mask()[::-1].copy()).save(path, compress_level=0)
    run(place)
    after = metrics(place)
    assert after["pixel_auroc"] < before["pixel_auroc"] - 0.3
    assert after["auc"] == before["auc"]


def test_maps_are_kept_only_where_asked(place: Path) -> None:
    run(place, "scores.keep_maps=false")
    assert not list((place / "recipe" / "exp").rglob("maps.npy"))
    assert "pixel_auroc" not in metrics(place)
    run(place)
    kept = sorted(path.parts[-4] for path in (place / "recipe" / "exp").rglob("maps.npy"))
    assert kept == ["padim", "patchcore"]


def test_a_blur_below_zero_is_refused_before_any_stage(place: Path) -> None:
    refused(place, DcaseAsdError, "evaluate.pixel_sigma.*or 0 for no blur", "evaluate.pixel_sigma=-1")
    assert not (place / "recipe" / "exp").exists()


def test_a_bank_that_memory_does_not_allow_is_refused_with_the_remedy(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcase_asd.detectors._shared.coreset.free_bytes", lambda: 100_000)
    message = refused(place, DataError, "points of 3 values need", "detectors.patchcore.chunk=1000000")
    assert "lower `chunk` (1000000) and `limit` (200) of the detector" in message
    run(place, "detectors.patchcore.chunk=1000")
    assert metrics(place, "patchcore")["auc"] == 1.0


@pytest.mark.parametrize("weights", ["", "nowhere/x.pth", "text.pth"])
def test_missing_or_wrong_weights_are_named(place: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(place / "no cache"))
    (place / "text.pth").write_text("no weights")
    path = str(place / weights) if weights else ""
    network = f"extractors.net={{name: backbone, network: resnet18, weights: '{path}'}}"
    if weights == "text.pth":
        message = refused(place, FormatError, "not a torch file of tensors", network)
        assert message.startswith(path)
        assert "Re-running" not in message  # torch advises to switch its protection off
        return
    message = refused(place, StageError, "no checkpoint of resnet18|no such checkpoint of resnet18", network)
    assert message.startswith("stage 3 extractor will not be able to run: ")
    assert message.endswith("no stage was run")
    said = path or "https://download.pytorch.org/models/resnet18-f37072fd.pth and set `weights` to its path"
    assert said in message
    assert not (place / "recipe" / "dump").exists()


def test_other_files_and_hidden_ones_are_passed_over(place: Path) -> None:
    train = place / "data" / "cap" / "train" / "good"
    (train / "notes.txt").write_text("no picture")
    (train / "anim.gif").write_bytes(b"GIF89a")
    (train / "._0.png").write_bytes(b"resource fork")
    (train / "folder.png").mkdir()
    run(place, stop="2")
    assert len(np.load(next((place / "recipe" / "dump").rglob("cap/train.npy")))) == 10


def test_names_that_no_table_holds_are_refused(place: Path) -> None:
    """A UnicodeEncodeError came through."""
    train = place / "data" / "cap" / "train" / "good"
    try:
        (train / "0.png").rename(train / os.fsdecode(b"lat\xe9in.png"))
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")
    refused(place, ManifestError, "in UTF-8.*rename the file")


def test_pixels_of_32_bits_and_animations_are_refused(place: Path) -> None:
    train = place / "data" / "cap" / "train" / "good"
    Image.fromarray(picture(1).astype(np.float32)).save(train / "float.tif")
    frames = [Image.fromarray(picture(i)) for i in range(2)]
    frames[0].save(train / "pages.tif", save_all=True, append_images=frames[1:])
    message = refused(place, ManifestError, "2 of 18 clip files cannot be read")
    assert "float.tif: 32-bit pixels" in message
    assert "pages.tif: holds 2 pictures; save each as a file of its own" in message


def test_the_bank_never_outgrows_its_limit(place: Path) -> None:
    from dcase_asd.io.arrays import load_tensors

    run(place, "detectors.patchcore.ratio=1.0", "detectors.patchcore.limit=50", "detectors.patchcore.chunk=1000")
    bank = load_tensors(next((place / "recipe" / "exp").glob("*/5_detectors/patchcore/0/cap/00/main/tensors.safetensors")))
    assert len(bank["bank"]) == 50
    assert int(bank["n_patches"][0]) > 4000
    assert float(bank["covering_radius"][0]) > 0.0
