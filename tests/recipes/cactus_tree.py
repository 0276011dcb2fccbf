"""Pictures like the aerial cactus ones, made on the spot: columns on brown noise, and brown noise as bright as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dcase_asd.io.images import write_image

BROWN = (120.0, 95.0, 70.0)
#: What a column changes, by channel; the picture's mean is then put back, so that brightness says nothing.
COLUMN = np.array([-45.0, 30.0, -30.0])


def picture(rng: np.random.Generator, *, with_cactus: bool) -> np.ndarray:
    """Return one picture ``[32, 32, 3]`` of bytes."""
    x = np.array(BROWN) + rng.normal(0, 22, (32, 32, 3)) + rng.normal(0, 6)
    before = x.mean()
    if with_cactus:
        centre, half = rng.integers(8, 24), rng.integers(2, 4)
        x[rng.integers(0, 6) : rng.integers(24, 32), centre - half : centre + half] += COLUMN
    return (x + before - x.mean()).clip(0, 255).astype(np.uint8)


def make_tree(root: Path, *, n_labelled: int = 100, n_unlabelled: int = 8, seed: int = 0) -> dict[str, int]:
    """Write ``train/``, ``train.csv``, ``test/`` and ``sample_submission.csv``; return the truth of all by file name."""
    rng = np.random.default_rng(seed)
    truth = {}
    for number in range(n_labelled + n_unlabelled):
        name = f"säule {number:04d}.png"
        truth[name] = int(rng.random() < 0.6)
        folder = root / ("train" if number < n_labelled else "test")
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, picture(rng, with_cactus=bool(truth[name])))
    names = list(truth)
    rows = "".join(f"{name},{truth[name]}\n" for name in names[:n_labelled])
    (root / "train.csv").write_text(f"id,label\n{rows}", encoding="utf-8")
    rows = "".join(f"{name},0.5\n" for name in names[n_labelled:])
    (root / "sample_submission.csv").write_text(f"id,label\n{rows}", encoding="utf-8")
    return truth
