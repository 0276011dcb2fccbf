"""Pictures whose classes stand in a table, as the aerial cactus pictures: the corpus of supervised recipes.

::

    <root>/train.csv               id,label     a picture's file name and its class
    <root>/train/**/<id>           the pictures; right in the root where there is no such folder
    <root>/sample_submission.csv   id,label     the unlabelled pictures in the order wanted back (labels are not read)
    <root>/test/**/<id>

Every class is divided by itself into training and test pictures, so that both have its share. Training pictures of the
positive class become the split ``train_anomaly``, which only detectors that learn from labels are handed; unlabelled pictures
become the test clips of the subset ``eval``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, ManifestError, nearest
from dcase_asd.manifests.base import ImageCorpus
from dcase_asd.manifests.clip_files import find_images, summarise
from dcase_asd.manifests.image_rows import PlacedImage
from dcase_asd.manifests.split_table import read_rows
from dcase_asd.manifests.splits import first_by_hash
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "IdLabelTable"]

_log = logging.getLogger(__name__)

INFO = Info(
    summary="pictures with a table of classes (id, label), and a list of unlabelled ones (aerial cactus pictures)",
    implementation="IdLabelTable",
    source="layout of www.kaggle.com/c/aerial-cactus-identification; Argese and Degni, Section VIII",
    input="files",
)


@configclass
class Config:
    """Names of files, columns and values.

    Attributes
    ----------
    machine : str
        Name of what is looked for; empty: the root folder's name.
    table, images : str
        The labelled pictures' table, and the folder that holds them, anywhere below it.
    unlabelled_table, unlabelled_images : str
        The same for pictures without labels; there need be none.
    id_column : str
        Column with the file name.
    label_columns : tuple of str
        Column with the class: the first of these names that the table has.
    positive, negative : tuple of str
        Values of the class that is looked for (a score above 0 says so) and of the other one.
    test_share : float
        Share of each class that is tested on.
    seed : int
        Another seed, other test pictures; it is no run seed: all runs are tested on the same pictures.
    """

    machine: str = ""
    table: str = "train.csv"
    images: str = "train"
    unlabelled_table: str = "sample_submission.csv"
    unlabelled_images: str = "test"
    id_column: str = "id"
    label_columns: tuple[str, ...] = ("label", "has_cactus")
    positive: tuple[str, ...] = ("1",)
    negative: tuple[str, ...] = ("0",)
    test_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        both = set(self.positive) & set(self.negative)
        if not self.positive or not self.negative or both:
            raise ConfigError(
                f"positive, negative: expected at least one value each and none in both; got {list(self.positive)} and "
                f"{list(self.negative)}"
            )
        if not 0.0 < self.test_share < 1.0:
            raise ConfigError(f"test_share: expected a share between 0 and 1, got {self.test_share}")
        if not self.label_columns:
            raise ConfigError("label_columns: expected at least one name")


class IdLabelTable(ImageCorpus[Config]):
    """Reads the tables and finds the pictures."""

    def images(self, root: Path) -> Iterator[PlacedImage]:
        """Yield labelled and unlabelled pictures.

        Raises
        ------
        ManifestError
            If a table or column is missing, an id stands twice or has no picture, a label means nothing (row, value and
            remedy named), a class has fewer than two pictures, or a file cannot be read.
        """
        yield from self._labelled(root)
        yield from self._unlabelled(root)

    def _labelled(self, root: Path) -> Iterator[PlacedImage]:
        table = root / self.config.table
        if not table.is_file():
            raise ManifestError(
                f"{table}: no such table; expected columns {self.config.id_column} and one of {self._label_names()}"
            )
        labels = {name: self._label(row, f"{table}: row {number}") for number, name, row in self._rows(table)}
        found = _pictures(root, self.config.images, labels, table)
        test = set[str]()
        for value, kind in ((0, "negative"), (1, "positive")):
            members = [name for name, label in labels.items() if label == value]
            if len(members) < 2:
                raise ManifestError(
                    f"{table}: {len(members)} pictures of the {kind} class ({', '.join(getattr(self.config, kind))}); at least 2 "
                    "are needed, one to train and one to test on"
                )
            n_test = min(max(round(self.config.test_share * len(members)), 1), len(members) - 1)
            test |= first_by_hash(members, n_test, seed=self.config.seed)
        for name, label in labels.items():
            split = "test" if name in test else "train_anomaly" if label else "train"
            yield self._placed(found[name], root, split=split, is_anomaly=label if name in test else None)

    def _unlabelled(self, root: Path) -> Iterator[PlacedImage]:
        table = root / self.config.unlabelled_table
        if not table.is_file():
            return
        names = [name for _, name, _ in self._rows(table)]
        found = _pictures(root, self.config.unlabelled_images, names, table)
        for name in names:
            yield self._placed(found[name], root, split="test", is_anomaly=None, subset="eval")

    def _rows(self, table: Path) -> list[tuple[int, str, Mapping[str, str]]]:
        rows: list[tuple[int, str, Mapping[str, str]]] = []
        first: dict[str, int] = {}
        for number, row in read_rows(table, self.config.id_column):
            name = row[self.config.id_column]
            if not name or "/" in name or "\\" in name:
                raise ManifestError(
                    f"{table}: row {number}: id {name!r} is no file name; write the picture's name without folder"
                )
            if name in first:
                raise ManifestError(f"{table}: row {number}: id {name!r} stands in row {first[name]} already; keep one of them")
            first[name] = number
            rows.append((number, name, row))
        return rows

    def _label(self, row: Mapping[str, str], where: str) -> int:
        column = next((name for name in self.config.label_columns if name in row), None)
        if column is None:
            raise ManifestError(
                f"{where}: no column {self._label_names()}{nearest(self.config.label_columns[0], row)}; found {', '.join(row)}; "
                "name it in label_columns"
            )
        value = row[column]
        if value in self.config.positive:
            return 1
        if value in self.config.negative:
            return 0
        known = ", ".join((*self.config.negative, *self.config.positive))
        raise ManifestError(f"{where}: {column} {value!r} is none of {known}; correct it, or name it in positive or negative")

    def _label_names(self) -> str:
        return " or ".join(map(repr, self.config.label_columns))

    def _placed(self, path: Path, root: Path, *, split: str, is_anomaly: int | None, subset: str = "dev") -> PlacedImage:
        machine = self.config.machine or root.resolve().name
        return PlacedImage(path=path, folder=root, machine=machine, split=split, is_anomaly=is_anomaly, subset=subset)


def _pictures(root: Path, folder: str, names: Mapping[str, int] | list[str], table: Path) -> dict[str, Path]:
    """Return the picture of every id of a table; those of no id are left out with a warning."""
    place = root / folder if (root / folder).is_dir() else root
    found: dict[str, Path] = {}
    for path in find_images(place):
        if path.name in found and path.name in names:
            raise ManifestError(f"{path}: {found[path.name]} has the same name, and {table.name} names it once; remove one")
        found[path.name] = path
    lacking = [name for name in names if name not in found]
    if lacking:
        raise ManifestError(
            f"{table}: {len(lacking)} of {len(names)} pictures are not below {place}: {summarise(lacking)}. "
            "Unpack them there, or set images and unlabelled_images"
        )
    extra = len(found) - len(names)
    if extra and place != root:
        _log.warning("%d pictures below %s stand in no row of %s and are left out", extra, place, table.name)
    return found
