"""Pictures with their place in a corpus, made into manifest and labels; shared by the corpora of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.errors import ImageError, ManifestError
from dcase_asd.io.hashing import sha256_file
from dcase_asd.io.images import read_image_header
from dcase_asd.manifests.clip_files import read_facts, summarise
from dcase_asd.manifests.schema import Labels, Manifest

__all__ = ["PlacedImage", "image_tables", "mask_of"]


@dataclass(frozen=True, kw_only=True)
class PlacedImage:
    """A picture file and what its place says.

    Attributes
    ----------
    path, folder : Path
        The file, and its machine's folder, below which its clip id starts.
    machine : str
        Product category.
    split : {"train", "train_anomaly", "test"}
    is_anomaly : int or None
        0 normal, 1 defective, None unknown; of a training picture the split says it.
    defect : str
        Kind of defect; empty for normal and unlabelled pictures.
    mask : Path or None
        Picture of the same size that is not black where the defect is.
    subset : {"dev", "eval"}
    section : str
        Part of the machine, such as a category among several.
    attributes : tuple of (str, str)
        Known to systems, such as the lighting.
    """

    path: Path
    folder: Path
    machine: str
    split: str
    is_anomaly: int | None = None
    defect: str = ""
    mask: Path | None = None
    subset: str = "dev"
    section: str = "00"
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def clip_id(self) -> str:
        """``<subset>/<machine>/<path below the machine's folder, less ending>``."""
        return f"{self.subset}/{self.machine}/{self.path.relative_to(self.folder).with_suffix('').as_posix()}"


def image_tables(
    images: Sequence[PlacedImage], root: Path, *, nj: int = 1, progress: Callable[[int, int], None] | None = None
) -> tuple[Manifest, Labels]:
    """Make the tables; all pictures are of the source domain.

    The labels' ``attributes`` hold ``defect`` (its kind) and ``mask`` (path relative to the root) with ``mask_sha256``
    where there are any: they say what is wrong and where, so they belong to the truth and not to the manifest.

    Raises
    ------
    ManifestError
        If there is no picture, two differ by their ending only, or a picture or mask cannot be read.
    """
    if not images:
        raise ManifestError(f"{root}: no pictures found; check --data_root and the corpus settings")
    twice = [name for name, count in Counter(image.clip_id for image in images).items() if count > 1]
    if twice:
        raise ManifestError(
            f"{root}: pictures whose names differ by ending only: {summarise(twice)}. Rename or remove one of each"
        )
    facts = read_facts([image.path for image in images], nj=nj, progress=progress)
    rows = [
        {
            "clip_id": image.clip_id,
            "path": image.path.relative_to(root).as_posix(),
            "subset": image.subset,
            "machine": image.machine,
            "section": image.section,
            "domain": "source",
            "split": image.split,
            "attributes": dict(image.attributes),
            **fact.columns(),
        }
        for image, fact in zip(images, facts, strict=True)
    ]
    truths = [
        {"clip_id": image.clip_id, "is_anomaly": image.is_anomaly, "domain": "source", "attributes": _truth(image, root)}
        for image in images
        if image.split == "test" and image.is_anomaly is not None
    ]
    return Manifest.from_rows(rows), Labels.from_rows(truths)


def mask_of(image: Path, folder: Path, *, suffixes: Sequence[str] = ("_mask", "")) -> Path | None:
    """Return the mask of a picture in ``folder``: its stem with one of ``suffixes`` and any picture ending; None without one."""
    if not folder.is_dir():
        return None
    for suffix in suffixes:
        for ending in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"):
            candidate = folder / f"{image.stem}{suffix}{ending}"
            if candidate.is_file():
                return candidate
    return None


def _truth(image: PlacedImage, root: Path) -> dict[str, str]:
    truth = {"defect": image.defect} if image.defect else {}
    if image.mask is None:
        return truth
    try:
        read_image_header(image.mask)  # a broken mask is told now, not after hours of training
    except ImageError as error:
        raise ManifestError(f"mask of {image.path.name}: {error}") from error
    # the hash, so that results follow when a mask is corrected
    return truth | {"mask": image.mask.relative_to(root).as_posix(), "mask_sha256": sha256_file(image.mask)}
