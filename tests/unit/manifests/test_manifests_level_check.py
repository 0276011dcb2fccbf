"""Splits that differ in brightness or level are told of, from a stated threshold on; those that do not are left in peace."""

import math

import numpy as np
import pytest
from PIL import Image

from dcase_asd import config, registry
from dcase_asd.manifests.check import check_manifest
from dcase_asd.manifests.level_check import CHANCE, is_notable, standardised_difference


def pictures(root, *, shift=0.0, n_train=30, n_test=20):
    """Grey noise pictures of mean brightness 120 +- 6; test pictures ``shift`` standard deviations brighter."""
    rng = np.random.default_rng(0)
    for part, n, mean in (
        ("train/good", n_train, 120.0),
        ("test/good", n_test // 2, 120 + 6 * shift),
        ("test/hole", n_test // 2, 120 + 6 * shift),
    ):
        folder = root / "cap é" / part
        folder.mkdir(parents=True)
        for i in range(n):
            level = mean + rng.normal() * 6.0
            Image.fromarray((level + rng.normal(size=(16, 16)) * 20).clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")


def warnings(root, **options):
    plugin = registry.load("corpora", "mvtec")
    manifest, _ = plugin.implementation(config.build(plugin.config)).scan(root)
    return [str(p) for p in check_manifest(manifest, root, **options) if "brightness" in p.what]


@pytest.mark.parametrize(("shift", "told"), [(0.0, False), (2.0, True), (-2.0, True)])
def test_brighter_or_darker_test_pictures_are_told_of(tmp_path, shift, told):
    pictures(tmp_path, shift=shift)
    found = warnings(tmp_path, read=True)
    assert len(found) == told
    if told:
        assert "cap é" in found[0]
        assert f"{shift:+.0f}"[0] in found[0]
        assert "level_up" in found[0]
        assert "features.brightness: gain" in found[0]


def test_without_reading_pixels_nothing_is_said(tmp_path):
    pictures(tmp_path, shift=3.0)
    assert warnings(tmp_path, read=False) == []


def test_few_pictures_prove_nothing(tmp_path):
    pictures(tmp_path, shift=1.0, n_train=3, n_test=4)
    assert warnings(tmp_path, read=True) == []


def test_the_difference_is_in_pooled_standard_deviations():
    test, train = np.array([3.0, 5.0]), np.array([1.0, 2.0, 3.0])
    effect, error = standardised_difference(test, train)
    pooled = math.sqrt((1 * 2.0 + 2 * 1.0) / 3)
    assert effect == pytest.approx((4.0 - 2.0) / pooled)
    assert error == pytest.approx(math.sqrt(1 / 2 + 1 / 3))


def test_splits_without_any_spread():
    same, other = np.full(5, 0.3), np.full(5, 0.4)
    assert standardised_difference(same, same) == (0.0, math.inf)
    assert standardised_difference(other, same) == (math.inf, 0.0)
    assert standardised_difference(same[:1], other) == (0.0, math.inf)


@pytest.mark.parametrize(("n_test", "n_train"), [(2, 2), (8, 6), (40, 60)])
def test_equal_distributions_are_told_of_as_seldom_as_said(n_test, n_train):
    """However few: 3 standard errors would be passed by splits of 2 and 2 clips 35 times as often as by large ones."""
    rng, n = np.random.default_rng(0), 10_000
    told = sum(is_notable(rng.normal(size=n_test), rng.normal(size=n_train)) for _ in range(n))
    spread = 4 * math.sqrt(n * CHANCE)
    assert told <= n * CHANCE + spread
    assert told >= n * CHANCE - spread
