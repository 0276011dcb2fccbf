"""Pictures of simulated surfaces and parts with defects and masks, in the layout of MVTec AD.

Three categories: ``fabric`` (a weave), ``wood`` (grain along one direction), ``part`` (a disc with holes, always in the same
place). Four defects: ``scratch`` (a thin curve), ``stain`` (a discoloured patch), ``missing`` (a piece that shows what lies
beneath), ``shift`` (a piece that sits beside its place). A mask marks every pixel that a defect changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import UnknownNameError, UsageError

__all__ = ["CATEGORIES", "DEFECTS", "TextureSize", "defective_picture", "normal_picture", "synthesise_textures"]

Picture = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: To be raised whenever a change of the simulator changes a single pixel.
VERSION = 1
#: A changed pixel differs by at least this much of white; less is not seen in 8 bits.
_VISIBLE = 1.5 / 255.0


@dataclass(frozen=True)
class TextureSize:
    """How many pictures per category, and how large.

    Attributes
    ----------
    side : int
        Pixels.
    n_train, n_good, n_defect : int
        Normal training and test pictures; test pictures of each defect.
    """

    side: int
    n_train: int
    n_good: int
    n_defect: int


SIZES = {
    "mini": TextureSize(side=64, n_train=24, n_good=8, n_defect=2),
    "demo": TextureSize(side=128, n_train=60, n_good=20, n_defect=6),
    "full": TextureSize(side=256, n_train=240, n_good=60, n_defect=20),
}


def synthesise_textures(
    root: Path,
    *,
    size: str,
    seed: int,
    categories: Sequence[str],
    difficulty: float,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make the corpus, or do nothing if it already stands; called by :func:`dcase_asd.synthesis.synthesise`.

    Parameters
    ----------
    root : Path
        The folder to make. It appears only when everything is in it.
    size : str
        ``mini``, ``demo`` or ``full``.
    seed : int
        Another seed, other pictures.
    categories : sequence of str
        Empty for all. A picture's pixels do not depend on it.
    difficulty : float
        0 (defects plain) to 1 (defects faint).
    progress : callable, optional
        Called with the pictures done and in all.

    Raises
    ------
    UnknownNameError
        For an unknown size or category.
    UsageError
        For a seed or difficulty out of range, or if ``root`` holds something else.
    """
    from dcase_asd.io.atomic import remove_tree, write_json
    from dcase_asd.io.images import write_image
    from dcase_asd.synthesis.corpus import RECORD_NAME, stands

    wanted = _parameters(size=size, seed=seed, categories=categories, difficulty=difficulty)
    goal = Path(root)
    if stands(goal, wanted):
        return goal
    partial = goal.with_name(goal.name + ".partial")
    remove_tree(partial)
    plan = list(_plan(wanted))
    for done, (path, category, defect) in enumerate(plan, start=1):
        name = f"{category}/{path}"
        if defect:
            picture, mask = defective_picture(
                category, defect, name=name, side=SIZES[size].side, seed=seed, difficulty=difficulty
            )
            write_image(
                partial / category / "ground_truth" / defect / f"{Path(path).stem}_mask.png",
                (mask[:, :, None] * 255).astype(np.uint8),
            )
        else:
            picture = normal_picture(category, name=name, side=SIZES[size].side, seed=seed)
        write_image(partial / category / path, picture)
        if progress is not None:
            progress(done, len(plan))
    write_json(partial / RECORD_NAME, {**wanted, "n_clips": len(plan)})
    if goal.is_dir():
        goal.rmdir()  # it was found empty
    partial.rename(goal)
    return goal


def normal_picture(category: str, *, name: str, side: int, seed: int) -> NDArray[np.uint8]:
    """Return a normal picture ``[side, side, 3]``; name and seed alone decide which."""
    return _bytes(CATEGORIES[category](_generator(seed, name), side))


def defective_picture(
    category: str, defect: str, *, name: str, side: int, seed: int, difficulty: float
) -> tuple[NDArray[np.uint8], Mask]:
    """Return a picture with one defect and the mask ``[side, side]`` of the pixels it changed."""
    rng = _generator(seed, name)
    normal = CATEGORIES[category](rng, side)
    strength = 1.0 - 0.8 * difficulty  # of the contrast; at difficulty 1 a fifth is left
    changed = normal
    for _ in range(20):
        changed = DEFECTS[defect](rng, normal, strength)
        mask = np.abs(changed - normal).max(axis=2) > _VISIBLE
        if mask.sum() >= side:  # a scratch as long as the side; a defect on empty background is none
            break
    return _bytes(changed), np.asarray(np.abs(changed - normal).max(axis=2) > _VISIBLE)


def _parameters(*, size: str, seed: int, categories: Sequence[str], difficulty: float) -> dict[str, Any]:
    if size not in SIZES:
        raise UnknownNameError("size", size, SIZES)
    for name in categories:
        if name not in CATEGORIES:
            raise UnknownNameError("texture category", name, CATEGORIES)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed must be a whole number of at least 0, got {seed!r}")
    if not 0.0 <= difficulty <= 1.0:
        raise UsageError(f"difficulty must be a number from 0 (defects plain) to 1 (defects faint), got {difficulty!r}")
    return {
        "difficulty": float(difficulty),
        "layout": "textures",
        "machines": sorted(set(categories) or CATEGORIES),
        "seed": seed,
        "size": size,
        "version": VERSION,
    }


def _plan(wanted: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """List path below the category, category and defect of every picture."""
    size = SIZES[wanted["size"]]
    for category in wanted["machines"]:
        yield from ((f"train/good/{i:03}.png", category, "") for i in range(size.n_train))
        yield from ((f"test/good/{i:03}.png", category, "") for i in range(size.n_good))
        for defect in DEFECTS:
            yield from ((f"test/{defect}/{i:03}.png", category, defect) for i in range(size.n_defect))


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _bytes(picture: Picture) -> NDArray[np.uint8]:
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def _smooth(rng: np.random.Generator, side: int, sigma: float | tuple[float, float]) -> Picture:
    """Smooth noise of mean 0 and deviation 1."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std())


def _tinted(grey: Picture, colour: tuple[float, float, float]) -> Picture:
    return np.asarray(grey[:, :, None] * np.asarray(colour))


def _fabric(rng: np.random.Generator, side: int) -> Picture:
    y, x = np.mgrid[:side, :side] / side
    bend = 0.004 * _smooth(rng, side, side / 8)
    phase = rng.uniform(0, 2 * np.pi, 2)
    n_threads = 12  # per side: five pixels a thread at the smallest size
    weave = np.sin(2 * np.pi * n_threads * (x + bend) + phase[0]) * np.sin(2 * np.pi * n_threads * (y + bend) + phase[1])
    return _tinted(0.6 + 0.2 * weave + 0.02 * rng.normal(size=(side, side)), (0.85, 0.9, 1.0))


def _wood(rng: np.random.Generator, side: int) -> Picture:
    grain = _smooth(rng, side, (side / 4, side / 64))
    fine = _smooth(rng, side, (side / 16, side / 160))
    return _tinted(0.6 + 0.07 * grain + 0.04 * fine + 0.01 * rng.normal(size=(side, side)), (1.0, 0.75, 0.5))


def _part(rng: np.random.Generator, side: int) -> Picture:
    from scipy.ndimage import gaussian_filter

    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5 - rng.normal(scale=0.004, size=(2, 1, 1))
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    solid = (radius < 0.42) & (radius > 0.12)
    for k in range(6):  # six screw holes
        turn = 2 * np.pi * k / 6
        solid &= np.hypot(x - 0.28 * np.cos(turn), y - 0.28 * np.sin(turn)) > 0.05
    turned = 0.05 * np.sin(120 * radius) + 0.04 * np.cos(angle - 0.7)  # marks of the lathe, light from one side
    grey = np.where(solid, 0.65 + turned, 0.15)
    grey = gaussian_filter(grey, side / 128) + 0.015 * rng.normal(size=(side, side))
    return _tinted(grey, (0.95, 1.0, 1.0))


CATEGORIES: dict[str, Callable[[np.random.Generator, int], Picture]] = {"fabric": _fabric, "part": _part, "wood": _wood}


def _blob(rng: np.random.Generator, side: int, *, radius: float) -> Picture:
    """A soft-edged patch, 0 to 1, of about ``radius`` sides, away from the border."""
    centre = rng.uniform(0.25, 0.75, 2) * side
    y, x = np.mgrid[:side, :side]
    wobble = 1.0 + 0.25 * _smooth(rng, side, side / 16)
    distance = np.hypot(y - centre[0], x - centre[1]) / (radius * side * np.clip(wobble, 0.5, 1.5))
    return np.asarray(np.clip(4.0 * (1.0 - distance), 0.0, 1.0))


def _scratch(rng: np.random.Generator, normal: Picture, strength: float) -> Picture:
    from scipy.ndimage import distance_transform_edt

    side = len(normal)
    free = np.ones((side, side), dtype=bool)
    place, heading = rng.uniform(0.2, 0.5, 2) * side, rng.uniform(0, np.pi / 2)
    for _ in range(side):
        heading += rng.normal(scale=0.06)
        place = place + 0.5 * np.array([np.sin(heading), np.cos(heading)])
        row, column = np.clip(place.astype(int), 0, side - 1)
        free[row, column] = False
    width = max(0.8, side / 100)
    line = np.clip(1.5 * width - distance_transform_edt(free), 0.0, 1.0)[:, :, None]
    return np.asarray(normal + line * strength * (0.35 if rng.random() < 0.5 else -0.35))


def _stain(rng: np.random.Generator, normal: Picture, strength: float) -> Picture:
    blob = _blob(rng, len(normal), radius=rng.uniform(0.08, 0.15))[:, :, None]
    sign = 1.0 if rng.random() < 0.5 else -1.0  # darker or lighter, so that mean brightness does not tell
    return np.asarray(normal * (1.0 - sign * blob * strength * rng.uniform(0.2, 0.5, 3)))


def _missing(rng: np.random.Generator, normal: Picture, strength: float) -> Picture:
    blob = _blob(rng, len(normal), radius=rng.uniform(0.07, 0.12))[:, :, None]
    beneath = 0.15 + 0.02 * rng.normal(size=normal.shape)
    return np.asarray(normal + blob * strength * (beneath - normal))


def _shift(rng: np.random.Generator, normal: Picture, strength: float) -> Picture:
    side = len(normal)
    blob = _blob(rng, side, radius=rng.uniform(0.12, 0.18))[:, :, None] > 0.5
    # up to half a thread of the weave: beyond that it would fit again
    step = max(1, round(strength * side / 24))
    moved = np.roll(normal, step, axis=1)
    return np.where(blob, moved, normal)


DEFECTS: dict[str, Callable[[np.random.Generator, Picture, float], Picture]] = {
    "missing": _missing,
    "scratch": _scratch,
    "shift": _shift,
    "stain": _stain,
}
