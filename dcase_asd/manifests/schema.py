"""What crosses the border of stage 1: :class:`Manifest` and, apart from it, :class:`Labels`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import ManifestError, printable
from dcase_asd.io.tables import read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DOMAINS", "KINDS", "LABEL_COLUMNS", "MANIFEST_COLUMNS", "SPLITS", "SUBSETS", "Labels", "Manifest"]

#: Column name to type. ``path`` is relative to the data root, with ``/``. ``attributes`` is a JSON object of text values.
MANIFEST_COLUMNS: Mapping[str, str] = {
    "clip_id": "str",
    "path": "str",
    "kind": "str",
    "subset": "str",
    "machine": "str",
    "section": "str",
    "domain": "str",
    "split": "str",
    "attributes": "str",
    "n_samples": "int",
    "n_channels": "int",
    "sample_rate_hz": "int",
    "sha256": "str",
}
LABEL_COLUMNS: Mapping[str, str] = {"clip_id": "str", "is_anomaly": "int", "domain": "str", "attributes": "str"}
#: audio: wav/flac...; image: a picture (n_samples = pixels); log_mel: ``.npy [mel, frame]``; vector: ``.npy [dim]``.
KINDS = ("audio", "image", "log_mel", "vector")
#: dev: machines or sections with labelled test clips; eval: the challenge's evaluation part.
SUBSETS = ("dev", "eval")
#: ``train``: normal clips alone, for everything that learns; ``train_anomaly``: labelled positives, which stage 5 hands to
#: detectors that declare ``needs = ("labels",)`` and to nothing else. The class of a training clip is its split.
SPLITS = ("train", "train_anomaly", "test", "supplemental_machine", "supplemental_noise")
#: ``unknown`` where the challenge hides the domain of a clip from the system (test clips from 2022 on).
DOMAINS = ("source", "target", "unknown")
_CHOICES = {"kind": KINDS, "subset": SUBSETS, "split": SPLITS, "domain": DOMAINS}


@dataclass(frozen=True)
class Manifest:
    """The clips of a corpus, one row a clip, sorted by ``clip_id``; no label column.

    Attributes
    ----------
    table : pandas.DataFrame
        Columns as in :data:`MANIFEST_COLUMNS`.
    """

    table: pd.DataFrame

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Manifest:
        """Make a manifest from mappings; ``attributes`` may be a mapping, it is stored as JSON.

        Raises
        ------
        ManifestError
            If a column is missing or a value is not allowed (row named).
        """
        import pandas as pd

        plain = [{**row, "attributes": dump_attributes(row.get("attributes", {}))} for row in rows]
        missing = [c for c in MANIFEST_COLUMNS if plain and c not in plain[0]]
        if missing:
            raise ManifestError(f"manifest rows lack the columns {', '.join(missing)}")
        table = pd.DataFrame(plain, columns=list(MANIFEST_COLUMNS))
        return cls(table.sort_values("clip_id", ignore_index=True)).validated("manifest")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read ``manifest.csv``; raises ``FormatError`` or ``ManifestError`` naming the row."""
        return cls(read_table(path, MANIFEST_COLUMNS)).validated(str(path))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write ``manifest.csv`` atomically."""
        write_table(path, self.table)

    def validated(self, where: str) -> Manifest:
        """Return self if every row fits the schema; else raise ``ManifestError`` naming file, row and value.

        Machines and sections become names of folders, and paths are looked up below the data root: none may lead elsewhere.
        """
        for column, allowed in _CHOICES.items():
            bad = ~self.table[column].isin(allowed)
            if bad.any():
                row = int(bad.to_numpy().argmax())
                raise ManifestError(
                    f"{where}: row {row + 2}: {column} {self.table[column].iloc[row]!r} is none of {', '.join(allowed)}"
                )
        twice = self.table["clip_id"].duplicated()
        if twice.any():
            row = int(twice.to_numpy().argmax())
            raise ManifestError(f"{where}: row {row + 2}: clip_id {self.table['clip_id'].iloc[row]!r} stands twice")
        for column, fits, wanted in (
            ("machine", _is_name, "a name without '/', '\\' or control characters, as it becomes a folder"),
            ("section", _is_name, "a name without '/', '\\' or control characters, as it becomes a folder"),
            ("path", _leads_below, "a path below the data root, in UTF-8, with '/' and without '..'; rename the file"),
            ("attributes", _is_object_of_text, "a JSON object of text values"),
        ):
            bad_values = {value for value in self.table[column].unique() if not fits(value)}
            if bad_values:
                row = int(self.table[column].isin(bad_values).to_numpy().argmax())
                raise ManifestError(f"{where}: row {row + 2}: {column} {self.table[column].iloc[row]!r} is not {wanted}")
        return self

    def select(self, **columns: str | Iterable[str]) -> Manifest:
        """Return the rows whose columns have the given value (or one of the given values)."""
        table = self.table
        for column, wanted in columns.items():
            values = [wanted] if isinstance(wanted, str) else list(wanted)
            table = table[table[column].isin(values)]
        return Manifest(table.reset_index(drop=True))

    @property
    def machines(self) -> list[str]:
        """The machine types, sorted."""
        return sorted(self.table["machine"].unique())

    def attributes(self) -> list[dict[str, str]]:
        """The attributes of every row, in row order."""
        return [json.loads(text) for text in self.table["attributes"]]

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Labels:
    """The truth about test clips; only ``evaluation`` reads it.

    Attributes
    ----------
    table : pandas.DataFrame
        ``clip_id``, ``is_anomaly`` (0 normal, 1 anomaly), ``domain`` (source, target, unknown), ``attributes`` (JSON).
    """

    table: pd.DataFrame

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Labels:
        """Make labels from mappings; ``attributes`` may be a mapping."""
        import pandas as pd

        plain = [{**row, "attributes": dump_attributes(row.get("attributes", {}))} for row in rows]
        table = pd.DataFrame(plain, columns=list(LABEL_COLUMNS))
        return cls(table.sort_values("clip_id", ignore_index=True)).validated("labels")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Labels:
        """Read ``labels.csv``."""
        return cls(read_table(path, LABEL_COLUMNS)).validated(str(path))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write ``labels.csv`` atomically."""
        write_table(path, self.table)

    def validated(self, where: str) -> Labels:
        """Return self if labels are 0 or 1, domains known and clip ids distinct; else raise ``ManifestError``."""
        bad = ~self.table["is_anomaly"].isin([0, 1]) | ~self.table["domain"].isin(DOMAINS) | self.table["clip_id"].duplicated()
        if bad.any():
            row = int(bad.to_numpy().argmax())
            found = dict(self.table.iloc[row])
            raise ManifestError(
                f"{where}: row {row + 2}: {found}: is_anomaly must be 0 or 1, domain one of {', '.join(DOMAINS)}, clip_id once"
            )
        return self

    def __len__(self) -> int:
        return len(self.table)


def _is_name(text: object) -> bool:
    return isinstance(text, str) and text not in {"", ".", ".."} and text.isprintable() and not {"/", "\\"} & set(text)


def _leads_below(text: object) -> bool:
    if not isinstance(text, str) or not text.strip("/") or "\0" in text or printable(text) != text:
        return False
    return not PurePosixPath(text).is_absolute() and ".." not in PurePosixPath(text).parts


def _is_object_of_text(text: object) -> bool:
    try:
        value = json.loads(str(text))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def dump_attributes(attributes: Mapping[str, str] | str) -> str:
    """Return attributes as JSON with sorted keys; text is taken as JSON already."""
    if isinstance(attributes, str):
        return attributes
    return json.dumps({str(k): str(v) for k, v in attributes.items()}, sort_keys=True, ensure_ascii=False)
