"""Any folder of pictures whose folders' names are the classes, such as the castings' ``train/ok_front, test/def_front``.

Three layouts, told apart in this order (``<class>`` is any folder; what its name means is configured)::

    train_test  <root>/train/<class>/**   <root>/test/<class>/**   pictures right below train/ are normal
    classes     <root>/<class>/**          normal pictures are divided by ``test_share``, all others are test pictures
                                           (with ``train_anomalies: use`` they are divided as well)
    flat        <root>/**                  everything is a normal training picture

Masks lie in ``<root>/<masks>/<class>/`` under the picture's stem, or that and ``_mask``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, ManifestError
from dcase_asd.manifests.base import ImageCorpus
from dcase_asd.manifests.clip_files import find_images, summarise
from dcase_asd.manifests.image_rows import PlacedImage, mask_of
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "ImageFolder"]

_log = logging.getLogger(__name__)

INFO = Info(
    summary="any folder of pictures with class folders (castings, wood, cactus, own products)",
    implementation="ImageFolder",
    source="own pictures; layout of the public casting data (ok_front, def_front)",
    input="files",
)


@configclass
class Config:
    """What folder names mean.

    Attributes
    ----------
    machine : str
        Name of the product; empty: the root folder's name.
    normal : tuple of str
        Names of class folders with normal pictures, in lower case.
    anomaly : tuple of str
        Names with defective ones; ``*`` stands for every other name.
    layout : {"auto", "train_test", "classes", "flat"}
        Insist on one layout, or tell by what is there.
    train_anomalies : {"skip", "error", "use"}
        Defective pictures below ``train/``: left out with a warning (supervised sets have them), or refused; they are then
        never trained on and never tested on. ``use``: they become the split ``train_anomaly``, which supervised
        detectors learn from and others never see; layout ``classes`` then divides every class by ``test_share``.
    test_share : float
        Layout ``classes``: share of the normal pictures (``use``: of each class) that is tested on, spread evenly over the
        names.
    masks : str
        Folder of masks, relative to the root.
    """

    machine: str = ""
    normal: tuple[str, ...] = ("good", "ok", "ok_front", "normal")
    anomaly: tuple[str, ...] = ("*",)
    layout: Literal["auto", "train_test", "classes", "flat"] = "auto"
    train_anomalies: Literal["skip", "error", "use"] = "skip"
    test_share: float = 0.2
    masks: str = "ground_truth"

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        both = set(self.normal) & set(self.anomaly)
        if not self.normal or both:
            raise ConfigError(f"normal: expected at least one name, none of them in anomaly too; got {list(self.normal)}")
        if not 0.0 < self.test_share < 1.0:
            raise ConfigError(f"test_share: expected a share between 0 and 1, got {self.test_share}")


class ImageFolder(ImageCorpus[Config]):
    """Scans a folder of pictures."""

    def images(self, root: Path) -> list[PlacedImage]:
        """List the pictures of the product's folder.

        Raises
        ------
        ManifestError
            If there is no picture, no normal one to train on, a class folder has a name that means nothing, a defective
            picture lies in ``train/`` where that is refused, or a file cannot be read.
        """
        scanners = {"train_test": self._train_test, "classes": self._classes, "flat": self._flat}
        images = list(scanners[self._layout(root)](root))
        if images and not any(image.split == "train" for image in images):
            raise ManifestError(
                f"{root}: {len(images)} pictures and none to train on; expected normal ones in "
                f"train/<{'|'.join(self.config.normal)}>/ (set `normal` to the names of your folders)"
            )
        return images

    def _layout(self, root: Path) -> str:
        if self.config.layout != "auto":
            return self.config.layout
        if (root / "train").is_dir():
            return "train_test"
        names = {path.name.lower() for path in root.iterdir() if path.is_dir()}
        return "classes" if names & set(self.config.normal) else "flat"

    def _train_test(self, root: Path) -> Iterator[PlacedImage]:
        left_out = []
        for path in find_images(root / "train"):
            name = path.relative_to(root / "train").parts[0] if path.parent != root / "train" else ""
            if name and self._is_anomaly(name, path):
                if self.config.train_anomalies == "use":
                    yield self._placed(path, root, split="train_anomaly")
                else:
                    left_out.append(str(path))
                continue
            yield self._placed(path, root, split="train")
        if left_out and self.config.train_anomalies == "error":
            raise ManifestError(f"{len(left_out)} defective pictures below train/: {summarise(left_out)}. Move or remove them")
        if left_out:
            _log.warning("%d defective pictures below train/ are left out, first: %s", len(left_out), left_out[0])
        for path in find_images(root / "test"):
            if path.parent == root / "test":
                yield self._placed(path, root, split="test")
                continue
            yield self._tested(path, root, path.relative_to(root / "test").parts[0])

    def _classes(self, root: Path) -> Iterator[PlacedImage]:
        share = self.config.test_share + 1e-9  # so that three times a third is one
        seen: Counter[str] = Counter()
        for path in find_images(root):
            name = path.relative_to(root).parts[0]
            if path.parent == root:
                raise ManifestError(f"{path}: lies beside the class folders; move it into one of them")
            if name == self.config.masks:
                continue
            split = "train_anomaly" if self._is_anomaly(name, path) else "train"
            if split == "train_anomaly" and self.config.train_anomalies != "use":
                yield self._tested(path, root, name)
                continue
            # all normal folders are one class; each kind of defect is divided by itself
            kind = name if split == "train_anomaly" else ""
            seen[kind] += 1
            tested = int(seen[kind] * share) > int((seen[kind] - 1) * share)
            yield self._tested(path, root, name) if tested else self._placed(path, root, split=split)

    def _flat(self, root: Path) -> Iterator[PlacedImage]:
        return (self._placed(path, root, split="train") for path in find_images(root))

    def _tested(self, path: Path, root: Path, name: str) -> PlacedImage:
        if not self._is_anomaly(name, path):
            return self._placed(path, root, split="test", is_anomaly=0)
        mask = mask_of(path, root / self.config.masks / name)
        return self._placed(path, root, split="test", is_anomaly=1, defect=name, mask=mask)

    def _is_anomaly(self, name: str, path: Path) -> bool:
        lower = name.lower()
        if lower in self.config.normal:
            return False
        if lower not in self.config.anomaly and "*" not in self.config.anomaly:
            raise ManifestError(
                f"{path}: folder {name!r} is neither normal ({', '.join(self.config.normal)}) nor anomaly "
                f"({', '.join(self.config.anomaly)}); name it in the corpus settings"
            )
        return True

    def _placed(
        self,
        path: Path,
        root: Path,
        *,
        split: str,
        is_anomaly: int | None = None,
        defect: str = "",
        mask: Path | None = None,
    ) -> PlacedImage:
        return PlacedImage(
            path=path,
            folder=root,
            machine=self.config.machine or root.resolve().name,
            split=split,
            is_anomaly=is_anomaly,
            defect=defect,
            mask=mask,
        )
