"""Corrupted twins of normal pictures: test sets of which every defect is known (Klimkevičius, Sec. 4.1).

Three kinds. His text leaves clipping, the share of salt and pepper and all about the objects open:

``gauss``        noise of mean 0.005 and deviation 0.5 on pixels in [0, 1], each channel its own, clipped
``salt_pepper``  5 % of the pixels, half of them white, half black
``objects``      1 to 3 ellipses, rectangles or triangles of 5 to 15 % of the shorter side, turned at random, of one grey (in a
                 picture without colour) or colour each

A twin depends on the seed, the kind and the picture's name alone. Pictures are corrupted at their own size, before stage 2
resizes them: fine noise is weaker in smaller pictures.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ManifestError, UnknownNameError
from dcase_asd.manifests.schema import Labels, Manifest

__all__ = ["KINDS", "corrupt_corpus", "corrupted"]

KINDS = ("gauss", "salt_pepper", "objects")
_NOISE_MEAN, _NOISE_STD = 0.005, 0.5
_SALT_PEPPER = 0.05
_MOST_OBJECTS, _SIZES = 3, (0.05, 0.15)
#: Least difference of an object's grey from the mean of what it covers: 10 % of white.
_CONTRAST = 25.5


def corrupted(pixels: NDArray[np.uint8], kind: str, *, name: str, seed: int) -> NDArray[np.uint8]:
    """Return a corrupted copy of ``[h, w, 1 or 3]``.

    Parameters
    ----------
    pixels : ndarray of uint8
    kind : {"gauss", "salt_pepper", "objects"}
    name : str
        The picture's name: another one, another corruption.
    seed : int

    Raises
    ------
    UnknownNameError
        For another kind.
    """
    if kind not in KINDS:
        raise UnknownNameError("corruption", kind, KINDS)
    rng = np.random.default_rng([seed, zlib.crc32(f"{kind}/{name}".encode())])
    if kind == "gauss":
        noisy = pixels / 255.0 + rng.normal(_NOISE_MEAN, _NOISE_STD, pixels.shape)
        return np.rint(np.clip(noisy, 0.0, 1.0) * 255.0).astype(np.uint8)
    if kind == "salt_pepper":
        drawn = rng.random(pixels.shape[:2])
        result = pixels.copy()
        result[drawn < _SALT_PEPPER / 2] = 0
        result[drawn > 1.0 - _SALT_PEPPER / 2] = 255
        return result
    return _with_objects(pixels, rng)


def corrupt_corpus(root: Path, goal: Path, *, tables: tuple[Manifest, Labels], kinds: Sequence[str], seed: int) -> int:
    """Copy training and normal test pictures, and write the twins of the latter beside them.

    A twin of ``test/good/a.jpg`` is ``test/<kind>/a.png``, its mask ``ground_truth/<kind>/a_mask.png`` marks the pixels that
    changed; so a folder in the layouts of the corpora ``image_folder`` and ``mvtec`` stays in its layout.

    Parameters
    ----------
    root : Path
        The pictures.
    goal : Path
        The folder to make.
    tables : tuple of (Manifest, Labels)
        Of ``root``.
    kinds : sequence of str
        One or several of :data:`KINDS`.
    seed : int

    Returns
    -------
    int
        The number of twins.

    Raises
    ------
    ManifestError
        If there is no normal test picture, or two would have twins of the same name.
    """
    from dcase_asd.io.images import read_image, write_image

    manifest, labels = tables
    normal = set(labels.table.loc[labels.table["is_anomaly"] == 0, "clip_id"])
    table = manifest.table
    tested = table[(table["split"] == "test") & table["clip_id"].isin(normal)]
    if not len(tested):
        raise ManifestError(f"{root}: no normal test picture to corrupt; the corpus needs some (test/good, test/ok_front ...)")
    for path in [*table.loc[table["split"] == "train", "path"], *tested["path"]]:
        (goal / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, goal / path)
    n_twins = 0
    for clip_id, path in zip(tested["clip_id"], tested["path"], strict=True):
        pixels = read_image(root / path)
        for kind in kinds:
            twin = corrupted(pixels, kind, name=str(clip_id), seed=seed)
            place, mask = _places(Path(path), kind)
            if (goal / place).exists():
                raise ManifestError(f"{root / path}: another picture of this name has its twin at {place}; rename one of them")
            write_image(goal / place, twin)
            changed = (twin != pixels).any(axis=2, keepdims=True)
            write_image(goal / mask, changed.astype(np.uint8) * 255)
            n_twins += 1
    return n_twins


def _places(path: Path, kind: str) -> tuple[Path, Path]:
    """Return where a twin and its mask lie, given ``[...]/test/<class>/[...]/name`` or ``<class>/[...]/name``."""
    parts = list(path.parts)
    tops = [i for i, part in enumerate(parts[:-2]) if part in {"test", "test_public"}]
    at = tops[-1] + 1 if tops else 0
    if len(parts) < at + 2:
        raise ManifestError(f"{path}: a normal test picture outside a class folder has no place for a twin; put it in test/good/")
    stem = f"{'_'.join([*parts[at + 1 : -1], Path(parts[-1]).stem])}"
    home = Path(*parts[: at - 1]) if tops and parts[tops[-1]] == "test" else Path(*parts[:at])
    return Path(*parts[:at]) / kind / f"{stem}.png", home / "ground_truth" / kind / f"{stem}_mask.png"


def _with_objects(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width, n_channels = pixels.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    grey = n_channels == 1 or bool((pixels == pixels[:, :, :1]).all())
    result = pixels.copy()
    for _ in range(rng.integers(1, _MOST_OBJECTS + 1)):
        half = 0.5 * rng.uniform(*_SIZES, size=2) * min(height, width)
        centre = rng.uniform(0.15, 0.85, size=2) * (height, width)
        angle = rng.uniform(0.0, np.pi)
        u = ((x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle)) / half[0]
        v = ((y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)) / half[1]
        shape = rng.integers(3)
        if shape == 0:
            inside = u**2 + v**2 <= 1.0
        elif shape == 1:
            inside = np.maximum(np.abs(u), np.abs(v)) <= 1.0
        else:
            inside = (v <= 1.0) & (v >= 2.0 * np.abs(u) - 1.0)
        result[inside] = _colour(result[inside], rng, n_values=1 if grey else n_channels)
    return result


def _colour(covered: NDArray[np.uint8], rng: np.random.Generator, *, n_values: int) -> NDArray[np.uint8]:
    """Return a random colour that is not that of what it covers."""
    mean = covered.mean() if covered.size else 0.0
    while True:
        colour = rng.integers(0, 256, size=n_values)
        if abs(colour.mean() - mean) >= _CONTRAST:
            return colour.astype(np.uint8)
