"""Small pictures in [0, 1] with a grain, and detectors fitted to them."""

from typing import Any

import numpy as np

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.detectors.base import Batch, Detector
from dcase_asd.features.segments import SegmentMeta

__all__ = ["fitted", "made", "pictures"]


def pictures(n: int, *, seed: int = 0, shape: tuple[int, int, int] = (3, 32, 32)) -> np.ndarray:
    """Stripes of one orientation with random phase and some noise."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, size=(n, 1, 1, 1))
    stripes = 0.5 + 0.3 * np.sin(np.arange(shape[2]) / 2.0 + phase)
    return np.clip(stripes + rng.normal(scale=0.03, size=(n, *shape)), 0, 1).astype(np.float32)


def made(name: str, **values: Any) -> Detector[Any]:
    plugin = registry.load("detectors", name)
    return plugin.implementation(configs.build(plugin.config, values))


def fitted(name: str, x: np.ndarray, *, seed: int = 1, **values: Any) -> Detector[Any]:
    detector = made(name, **values)
    fit(detector, x, seed=seed)
    return detector


def fit(detector: Detector[Any], x: np.ndarray, *, seed: int = 1) -> None:
    names = np.array([f"p {i:03d}.png" for i in range(len(x))], dtype=object)
    same = np.array(["00"] * len(x), dtype=object)
    meta = SegmentMeta(names, same, np.array(["unknown"] * len(x), dtype=object), np.array(["{}"] * len(x)), np.zeros(len(x)))
    detector.fit(lambda: [Batch(x, np.arange(len(x)), meta)], seed=seed)
