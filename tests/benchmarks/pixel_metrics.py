"""Pixel AUROC against scikit-learn; the binned forms against the exact ones."""

from __future__ import annotations

import numpy as np

from dcase_asd.evaluation.pixels import Bounded, PixelHistogram, pixel_aupro, pixel_auroc
from tests.benchmarks import Row, alternate

DESCRIPTION = "pixel AUROC and AUPRO of 100 maps of 256 x 256: exact and binned, against scikit-learn"

N_PICTURES, SIDE, ROUNDS = 100, 256, 3


def run() -> list[Row]:
    """Time and compare; a binned value beyond its own bound, or an exact one that is not scikit-learn's, is an error.

    Raises
    ------
    AssertionError
        If values differ.
    """
    from scipy.ndimage import gaussian_filter
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    masks = [gaussian_filter(rng.normal(size=(SIDE, SIDE)), 12) > 0.05 for _ in range(N_PICTURES)]
    scores = [(gaussian_filter(rng.normal(size=m.shape), 4) + 0.1 * m).astype(np.float32) for m in masks]
    flat, truth = np.concatenate([s.ravel() for s in scores]), np.concatenate([m.ravel() for m in masks])

    def binned() -> tuple[Bounded, Bounded]:
        histogram = PixelHistogram(low=float(flat.min()), high=float(flat.max()))
        for score, mask in zip(scores, masks, strict=True):
            histogram.add(score, mask)
        return histogram.auroc(), histogram.aupro()

    exact, overlap, (area, pro) = pixel_auroc(scores, masks), pixel_aupro(scores, masks), binned()
    assert abs(exact - roc_auc_score(truth, flat)) < 1e-9
    assert abs(area.value - exact) <= area.error
    assert abs(pro.value - overlap) <= pro.error
    seconds = alternate(
        {
            "scikit-learn": lambda: roc_auc_score(truth, flat),
            "auroc": lambda: pixel_auroc(scores, masks),
            "aupro": lambda: pixel_aupro(scores, masks),
            "binned": binned,
        },
        rounds=ROUNDS,
    )

    def row(name: str, ours: str, peer: str, target: str) -> Row:
        ratio = seconds[peer] / seconds[ours]
        return Row(name=name, ours_s=seconds[ours], peer_s=seconds[peer], ratio=ratio, target=target)

    return [
        row("pixel AUROC: scikit-learn / exact", "auroc", "scikit-learn", ">= 1"),
        row("pixel AUROC: scikit-learn / binned (AUPRO included)", "binned", "scikit-learn", ">= 20"),
        row("pixel AUPRO: exact / binned (AUROC included)", "binned", "aupro", ">= 3"),
    ]
