"""Masks and maps of any size become pixel metrics; what does not fit is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dcase_asd.errors import DataError, ImageError
from dcase_asd.evaluation.masks import enlarge_map, read_mask
from dcase_asd.evaluation.pixel_metrics import JudgedPicture, PixelResult, pixel_values, with_values
from dcase_asd.evaluation.pixels import pixel_aupro, pixel_auroc
from dcase_asd.evaluation.results import MachineMetrics, Metrics, SectionMetrics, SystemMetrics

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "Masken é"
    place.mkdir()
    return place


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def block(height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    return mask


def test_a_mask_of_the_pictures_size_is_read_as_it_is(folder):
    mask, note = read_mask(save(folder / "a.png", block()), height=HEIGHT, width=WIDTH)
    assert note == ""
    assert np.array_equal(mask, block() > 0)


def test_masks_of_small_numbers_of_colours_and_of_palettes_mean_the_same(folder):
    expected = block() > 0
    ones = save(folder / "ones.png", (block() > 0).astype(np.uint8))
    colour = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    colour[:, :, 2] = block()
    palette = Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(folder / "palette.png")
    for path in (ones, save(folder / "colour.png", colour), folder / "palette.png"):
        assert np.array_equal(read_mask(path, height=HEIGHT, width=WIDTH)[0], expected), path.name


def test_the_faint_pixels_around_an_edge_of_a_jpeg_mask_do_not_count(folder):
    path = save(folder / "a.jpg", block(), quality=40)
    assert (np.asarray(Image.open(path)) > 0).sum() > (block() > 0).sum() + 50  # the file does have them
    assert np.array_equal(read_mask(path, height=HEIGHT, width=WIDTH)[0], block() > 0)


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_a_mask_of_another_size_is_resized_and_says_so(folder, factor):
    other = block(int(HEIGHT * factor), int(WIDTH * factor))
    mask, note = read_mask(save(folder / "a.png", other), height=HEIGHT, width=WIDTH)
    assert note == f"mask resized from {int(WIDTH * factor)} x {int(HEIGHT * factor)} pixels"
    assert np.array_equal(mask, block() > 0)


def test_transparent_pixels_of_a_mask_are_not_defective(folder):
    expected = block() > 0
    for channels in (2, 4):
        pixels = np.zeros((HEIGHT, WIDTH, channels), dtype=np.uint8)
        pixels[expected] = 255  # elsewhere black and see-through, as drawing programs save a layer
        mask, _ = read_mask(save(folder / f"{channels}.png", pixels), height=HEIGHT, width=WIDTH)
        assert np.array_equal(mask, expected)
    grey = save(folder / "grey.png", block(), transparency=0)
    assert np.array_equal(read_mask(grey, height=HEIGHT, width=WIDTH)[0], expected)


@pytest.mark.parametrize("value", [1, 100, 65535])
def test_class_numbers_of_16_bits_are_defective(folder, value):
    path = save(folder / "wide.png", np.where(block() > 0, value, 0).astype(np.uint16))
    assert np.array_equal(read_mask(path, height=HEIGHT, width=WIDTH)[0], block() > 0)


def test_a_defect_that_vanishes_with_the_masks_size_is_refused(folder):
    fine = np.zeros((10 * HEIGHT, 10 * WIDTH), dtype=np.uint8)
    fine[101, 101] = 255
    with pytest.raises(DataError, match=r"fine\.png.*no defective one is left at the picture's 64 x 48"):
        read_mask(save(folder / "fine.png", fine), height=HEIGHT, width=WIDTH)


def test_a_mask_of_other_proportions_is_refused(folder):
    path = save(folder / "turned é.png", block().T.copy())
    with pytest.raises(DataError, match=r"turned é\.png.*48 x 64 pixels for a picture of 64 x 48.*proportions"):
        read_mask(path, height=HEIGHT, width=WIDTH)


def test_a_black_mask_of_a_defect_and_a_broken_one_are_refused(folder):
    with pytest.raises(DataError, match=r"black\.png.*all black"):
        read_mask(save(folder / "black.png", np.zeros((HEIGHT, WIDTH), dtype=np.uint8)), height=HEIGHT, width=WIDTH)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"broken\.png"):
        read_mask(folder / "broken.png", height=HEIGHT, width=WIDTH)


def test_enlarging_keeps_places_and_range():
    values = np.zeros((6, 8), dtype=np.float32)
    values[2, 5] = 1.0
    for sigma in (0.0, 2.0):
        large = enlarge_map(values, height=48, width=64, sigma=sigma)
        assert np.unravel_index(large.argmax(), large.shape) in {(r, c) for r in range(18, 22) for c in range(42, 46)}
        assert large.min() >= -1e-6
        assert large.max() <= 1.0 + 1e-6
    flat = enlarge_map(np.full((3, 3), 7.0, dtype=np.float32), height=20, width=30)
    np.testing.assert_allclose(flat, 7.0, rtol=1e-5)


def test_the_blur_is_in_pixels_of_what_the_network_saw():
    values = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    at_seen = enlarge_map(values, height=48, width=64, sigma=4.0)
    assert np.array_equal(enlarge_map(values, height=48, width=64, sigma=4.0, seen=(48, 64)), at_seen)
    # a camera of four times the pixels, the same network: the same map, only finer
    fine = enlarge_map(values, height=192, width=256, sigma=4.0, seen=(48, 64))
    np.testing.assert_allclose(fine.reshape(48, 4, 64, 4).mean(axis=(1, 3))[1:-1, 1:-1], at_seen[1:-1, 1:-1], atol=0.02)
    assert fine.std() == pytest.approx(at_seen.std(), rel=0.02)
    plain = enlarge_map(values, height=192, width=256, sigma=0.0)
    assert np.array_equal(enlarge_map(values, height=192, width=256, sigma=0.0, seen=(48, 64)), plain)


def judged(folder, *, n=6, tail=1.0):
    """Pictures of two sizes, every other one defective; maps of 6 x 8 cells that see the defect faintly."""
    rng = np.random.default_rng(0)
    pictures, maps, masks = [], [], []
    for i in range(n):
        scale = 1 + i % 2
        h, w = HEIGHT * scale, WIDTH * scale
        path = save(folder / f"{i}.png", rng.integers(0, 255, (h, w), dtype=np.uint8))
        mask = block(h, w) if i % 3 else np.zeros((h, w), dtype=np.uint8)
        place = save(folder / f"{i}_mask.png", mask) if mask.any() else None
        values = rng.normal(size=(6, 8)).astype(np.float32)
        if mask.any():
            values[1:3, 2:4] += 1.5
        maps.append(values)
        masks.append(mask)
        pictures.append(JudgedPicture(path, place, lambda v=values: v))
    maps[0][0, 0] *= tail
    return pictures, maps, masks


@pytest.mark.parametrize("tail", [1.0, 1e4])
def test_values_are_the_exact_ones_within_their_bound(folder, tail):
    pictures, maps, masks = judged(folder, tail=tail)
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    result = pixel_values(pictures, low=low, high=high, sigma=2.0)
    found = result.values
    large = [enlarge_map(v, height=len(m), width=m.shape[1], sigma=2.0) for v, m in zip(maps, masks, strict=True)]
    assert result.notes == []
    assert result.replicates == {}
    assert abs(found["pixel_auroc"] - pixel_auroc(large, masks)) <= found["pixel_auroc_error"] + 1e-12
    assert abs(found["pixel_aupro"] - pixel_aupro(large, masks)) <= found["pixel_aupro_error"] + 1e-12
    # equal steps of the values themselves would put all but the one outlier into a handful of bins
    assert found["pixel_auroc_error"] < 2e-3


def test_a_blur_of_another_width_changes_the_result(folder):
    pictures, maps, _ = judged(folder)
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    sharp, soft = (pixel_values(pictures, low=low, high=high, sigma=s).values["pixel_auroc"] for s in (0.0, 4.0))
    assert abs(sharp - soft) > 1e-3


def test_pictures_without_any_mask_have_no_pixel_metrics(folder):
    pictures, *_ = judged(folder)
    with pytest.raises(DataError, match="0 defective pixels"):
        pixel_values([replace(p, mask=None) for p in pictures], low=-3.0, high=5.0)


def test_values_join_the_right_section_and_nothing_else():
    section = SectionMetrics({"auc": 0.5}, {"source_normal": 1})
    machine = MachineMetrics({"00": section}, {"auc": 0.5}, 0.5)
    metrics = Metrics("pooled", {"a": SystemMetrics({"m": machine}, {}, 0.5), "b": SystemMetrics({"m": machine}, {}, 0.5)})
    result = PixelResult({"pixel_auroc": 0.9}, {"pixel_auroc": np.linspace(0.8, 1.0, 201)}, [])
    joined = with_values(metrics, {("a", "m", "00"): result})
    assert joined.systems["a"].machines["m"].sections["00"].values == {"auc": 0.5, "pixel_auroc": 0.9}
    assert joined.systems["b"] == metrics.systems["b"]
    interval = joined.systems["a"].machines["m"].intervals["pixel_auroc"]
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.9, 0.805, 0.995))
    for wrong in (("c", "m", "00"), ("a", "n", "00"), ("a", "m", "01")):
        with pytest.raises(DataError, match="no clip scores"):
            with_values(metrics, {wrong: result})


def test_a_mean_over_sections_has_the_interval_of_the_mean():
    section = SectionMetrics({"auc": 0.5}, {"source_normal": 1})
    machine = MachineMetrics({"00": section, "01": section}, {"auc": 0.5}, 0.5)
    metrics = Metrics("pooled", {"a": SystemMetrics({"m": machine}, {}, 0.5)})
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(mean, 0.02, 2000) for name, mean in (("00", 0.6), ("01", 0.8))}
    results = {("a", "m", n): PixelResult({"pixel_auroc": float(v.mean())}, {"pixel_auroc": v}, []) for n, v in drawn.items()}
    interval = with_values(metrics, results).systems["a"].machines["m"].intervals["pixel_auroc"]
    assert interval.estimate == pytest.approx(0.7, abs=0.002)
    # the mean of two independent values of deviation 0.02
    assert interval.half_width == pytest.approx(1.96 * 0.02 / 2**0.5, rel=0.1)
