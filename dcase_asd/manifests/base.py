"""The corpus contract: a plug-in that turns a folder of raw data into the tables of stage 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from dcase_asd.errors import ManifestError
from dcase_asd.manifests.image_rows import PlacedImage, image_tables
from dcase_asd.manifests.schema import Labels, Manifest

__all__ = ["Corpus", "ImageCorpus", "Progress"]

C = TypeVar("C")
#: Called with (files read, files in all).
Progress = Callable[[int, int], None]


class Corpus(ABC, Generic[C]):
    """A layout of raw data.

    Parameters
    ----------
    config : object
        An instance of the module's ``Config``. The constructor stores it and does nothing else.
    """

    def __init__(self, config: C) -> None:
        self.config = config

    def scan(self, root: Path, *, nj: int = 1, progress: Progress | None = None) -> tuple[Manifest, Labels]:
        """Make the tables of clips and of truths.

        Parameters
        ----------
        root : Path
            The corpus' folder; paths in the manifest are relative to it.
        nj : int
            Threads that read headers and hash files.
        progress : callable, optional
            Called with (files read, files in all).

        Raises
        ------
        ManifestError
            If the folder is not there or does not hold what the layout says (file, row and value named); see :meth:`tables`.
        """
        root = Path(root)
        if not root.is_dir():
            raise ManifestError(f"{root}: no such folder")
        return self.tables(root, nj=nj, progress=progress)

    @abstractmethod
    def tables(self, root: Path, *, nj: int, progress: Progress | None) -> tuple[Manifest, Labels]:
        """Make the tables of a folder that exists."""


class ImageCorpus(Corpus[C]):
    """A layout of pictures, given by the place of each."""

    def tables(self, root: Path, *, nj: int, progress: Progress | None) -> tuple[Manifest, Labels]:
        """Place the pictures and read their headers; raises ``ManifestError`` if there is none or one cannot be read."""
        return image_tables(list(self.images(root)), root, nj=nj, progress=progress)

    @abstractmethod
    def images(self, root: Path) -> Iterable[PlacedImage]:
        """Yield every picture with its place."""
