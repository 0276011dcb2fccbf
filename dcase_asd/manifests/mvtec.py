"""MVTec AD and MVTec AD 2: a category of product is a machine.

Folders below ``<category>/``::

    MVTec AD    train/good  test/good  test/<defect>  ground_truth/<defect>/<stem>_mask.png
    MVTec AD 2  train/good  validation/good  test_public/{good,bad}  test_public/ground_truth/bad/<stem>_mask.png
                test_private  test_private_mixed    (unlabelled: their truth is kept by the evaluation server)

``validation/good`` of MVTec AD 2 joins the training pictures: stage 3 and 5 hold out their own part for calibration. Its
private test sets become the subset ``eval``; ``test_private_mixed`` is told apart by the attribute ``lighting: mixed``.
Any corpus in the first layout can be read, VisA and BTAD in their converted forms among them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dcase_asd.config import configclass
from dcase_asd.errors import ManifestError, nearest
from dcase_asd.manifests.base import ImageCorpus
from dcase_asd.manifests.clip_files import find_images
from dcase_asd.manifests.image_rows import PlacedImage, mask_of
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "MvtecCorpus"]

INFO = Info(
    summary="MVTec AD, MVTec AD 2 and corpora in their layout: pictures of products with defect masks",
    implementation="MvtecCorpus",
    source="Bergmann et al., MVTec AD, CVPR 2019; Heckler-Kram et al., The MVTec AD 2 Dataset, 2025",
    input="files",
)

_log = logging.getLogger(__name__)
_GOOD = "good"
_PRIVATE = {"test_private": (), "test_private_mixed": (("lighting", "mixed"),)}


@configclass
class Config:
    """Which categories.

    Attributes
    ----------
    categories : tuple of str
        Categories to take; empty: all folders of the root that hold ``train/good``.
    together : str
        Name of the one machine that all categories become sections of, for models of several categories (``sections:
        together`` on a detector); empty: every category is a machine.
    """

    categories: tuple[str, ...] = ()
    together: str = ""


class MvtecCorpus(ImageCorpus[Config]):
    """Scans a corpus in one of the two layouts."""

    def images(self, root: Path) -> list[PlacedImage]:
        """List the pictures of the folder of the categories, or of one category itself.

        Raises
        ------
        ManifestError
            If there is no category, one asked for is missing or has nothing to train on, a defective picture of a category with
            masks has none, or a file cannot be read.
        """
        images: list[PlacedImage] = []
        for name, folder in self._categories(root).items():
            found = list(_category(name, folder))
            if not found:
                _log.warning("%s: category %s holds no picture and is left out", root, name)
            elif not any(image.split == "train" for image in found):
                raise ManifestError(
                    f"{folder}: {len(found)} test pictures and none to train on in train/{_GOOD}; fetch the category again, or "
                    "leave it out with corpus.categories"
                )
            images += found
        if not self.config.together:
            return images
        machine = self.config.together
        return [replace(image, folder=root, machine=machine, section=image.machine) for image in images]

    def _categories(self, root: Path) -> dict[str, Path]:
        if (root / "train" / _GOOD).is_dir():
            found = {root.resolve().name: root}
        else:
            found = {path.name: path for path in sorted(root.iterdir()) if (path / "train" / _GOOD).is_dir()}
        if not found:
            raise ManifestError(f"{root}: no category; expected folders <category>/train/{_GOOD}")
        for name in self.config.categories:
            if name not in found:
                raise ManifestError(f"{root}: no category {name!r}{nearest(name, found)}; there are {', '.join(found)}")
        return {name: path for name, path in found.items() if not self.config.categories or name in self.config.categories}


def _category(name: str, folder: Path) -> Iterator[PlacedImage]:
    for part in ("train", "validation"):
        for path in find_images(folder / part / _GOOD):
            yield PlacedImage(path=path, folder=folder, machine=name, split="train")
    test, truth = folder / "test", folder / "ground_truth"
    if not test.is_dir():
        test, truth = folder / "test_public", folder / "test_public" / "ground_truth"
    yield from _labelled(name, folder, test, truth)
    for part, attributes in _PRIVATE.items():
        for path in find_images(folder / part):
            yield PlacedImage(path=path, folder=folder, machine=name, split="test", subset="eval", attributes=attributes)


def _labelled(name: str, folder: Path, test: Path, truth: Path) -> Iterator[PlacedImage]:
    if not test.is_dir():
        return
    with_masks = truth.is_dir()
    for kind in sorted(path for path in test.iterdir() if path.is_dir() and path != truth):
        for path in find_images(kind):
            if kind.name == _GOOD:
                yield PlacedImage(path=path, folder=folder, machine=name, split="test", is_anomaly=0)
                continue
            mask = mask_of(path, truth / kind.name)
            if with_masks and mask is None:
                raise ManifestError(
                    f"{path}: defective, but {truth / kind.name} holds no {path.stem}_mask.png; fetch the corpus again, "
                    f"or remove {truth.name}/ to go without masks"
                )
            yield PlacedImage(path=path, folder=folder, machine=name, split="test", is_anomaly=1, defect=kind.name, mask=mask)
