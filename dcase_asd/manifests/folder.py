"""Any folder of recordings, or of precomputed arrays, as a corpus.

Three layouts of a machine's folder, told apart in this order::

    table       <machine>/split.csv                                          one row a clip, columns by name (see Config)
    train_test  <machine>/train/**   <machine>/test/{normal,anomaly,...}/**   labels from the folder, or from a DCASE name
    flat        <machine>/**                                                  everything is normal training data

A machine's folder is the root itself if it holds a table, ``train/``, ``test/`` or clips; else every folder in the root.
Clips are ``.wav``, ``.flac``, or ``.npy`` (log-mel ``[mel, frame]`` or vector ``[dim]``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from dcase_asd.config import configclass
from dcase_asd.errors import ManifestError, nearest
from dcase_asd.manifests.attributes import parse_attributes
from dcase_asd.manifests.base import Corpus, Progress
from dcase_asd.manifests.clip_files import find_clips, is_clip_file, read_facts, summarise
from dcase_asd.manifests.dcase_names import ClipName, parse_clip_name
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.manifests.split_table import Columns, PlacedClip, read_split_table
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "FolderCorpus"]

INFO = Info(
    summary="any folder of wav, flac or npy files: a table, train/ and test/ folders, or everything as training data",
    implementation="FolderCorpus",
    source="own recordings",
    input="files",
)


@configclass
class Config:
    """How a folder is read; the defaults read ``split.csv`` with the columns ``file, split, domain, label, condition``.

    Attributes
    ----------
    layout : {"auto", "table", "train_test", "flat"}
        Insist on one layout, or tell by what is there.
    machine : str
        Name of the machine where the root itself is its folder; empty: the folder's name.
    machines : tuple of str
        Machines to take; empty: all.
    section : str
        Section of clips whose section nothing tells.
    subset : {"dev", "eval"}
        The subset of all clips.
    table : str
        Name of the table in a machine's folder.
    file_column, split_column, domain_column, label_column, section_column : str
        Column names. Only the first must be there: without the others every row is a normal training clip of the source
        domain and of ``section``.
    attribute_columns : tuple of str
        Columns that become attributes where they are there and not empty.
    train_values, test_values, exclude_values : tuple of str
        Values of the split column: training, test, left out. Any other value must be sent to a machine of its own.
    machine_column : str
        Column looked up in ``other_machines``.
    other_machines : dict of str to str
        Value of ``machine_column`` to the name of a machine of its own, which gets these rows as training data. So
        recordings of the machine switched off (``{"off": "fan_off"}``) serve as pseudo-anomalies and never as test clips.
    normal_values, anomaly_values : tuple of str
        Labels, and names of folders below ``test/``, in lower case.
    hide_test_domain : bool
        Whether the manifest hides domain and attributes of test clips, as the challenge does from 2022 on.
    dcase_names : bool
        Whether section, domain, label and attributes are read from names that follow a DCASE grammar (no table).
    attribute_keys : tuple of str
        Known parameter names in such names.
    """

    layout: Literal["auto", "table", "train_test", "flat"] = "auto"
    machine: str = ""
    machines: tuple[str, ...] = ()
    section: str = "00"
    subset: Literal["dev", "eval"] = "dev"
    table: str = "split.csv"
    file_column: str = "file"
    split_column: str = "split"
    domain_column: str = "domain"
    label_column: str = "label"
    section_column: str = "section"
    attribute_columns: tuple[str, ...] = ("condition",)
    train_values: tuple[str, ...] = ("train",)
    test_values: tuple[str, ...] = ("test",)
    exclude_values: tuple[str, ...] = ()
    machine_column: str = "condition"
    other_machines: dict[str, str] = field(default_factory=dict)
    normal_values: tuple[str, ...] = ("normal", "ok", "good", "0")
    anomaly_values: tuple[str, ...] = ("anomaly", "abnormal", "anomalous", "defect", "defective", "ng", "1")
    hide_test_domain: bool = True
    dcase_names: bool = True
    attribute_keys: tuple[str, ...] = ()


class FolderCorpus(Corpus[Config]):
    """Scans a folder."""

    def tables(self, root: Path, *, nj: int, progress: Progress | None) -> tuple[Manifest, Labels]:
        """Make the tables of clips and of truths; test clips without a label have no row in the second.

        Raises
        ------
        ManifestError
            If there is no clip, a table is wrong (row named), an anomaly is among the training clips, a file cannot be read,
            two clips differ by their ending only, or a machine that was asked for is missing.
        """
        folders = self._machine_folders(root)
        clips = [clip for machine, folder in folders.items() for clip in self._clips(folder, machine)]
        made = {clip.machine for clip in clips}
        for name in self.config.machines:
            if name not in made:
                raise ManifestError(
                    f"{root}: no machine {name!r}{nearest(name, made)}; there are {', '.join(sorted(made)) or 'none'}"
                )
        clips = [clip for clip in clips if not self.config.machines or clip.machine in self.config.machines]
        if not clips:
            raise ManifestError(
                f"{root}: no clips; expected wav, flac or npy files in the folder itself, in <machine>/train and <machine>/test, "
                f"or named by <machine>/{self.config.table}"
            )
        ids = [f"{self.config.subset}/{clip.machine}/{_stem_below(clip)}" for clip in clips]
        twice = [name for name, count in Counter(ids).items() if count > 1]
        if twice:
            raise ManifestError(
                f"{root}: {len(twice)} clip ids stand twice (names that differ by ending only, or one name sent "
                f"to one machine from two folders): {summarise(twice)}. Rename one"
            )
        facts = read_facts([clip.path for clip in clips], nj=nj, progress=progress)
        rows = [
            {**self._row(clip, root), "clip_id": clip_id, **fact.columns()}
            for clip, clip_id, fact in zip(clips, ids, facts, strict=True)
        ]
        truths = [
            {"clip_id": clip_id, "is_anomaly": clip.is_anomaly, "domain": clip.domain, "attributes": clip.attributes}
            for clip, clip_id in zip(clips, ids, strict=True)
            if clip.split == "test" and clip.is_anomaly is not None
        ]
        return Manifest.from_rows(rows), Labels.from_rows(truths)

    def _machine_folders(self, root: Path) -> dict[str, Path]:
        alone = (root / self.config.table).is_file() or any((root / name).is_dir() for name in ("train", "test"))
        if alone or any(is_clip_file(path) for path in root.iterdir()):
            return {self.config.machine or root.resolve().name: root}
        return {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")}

    def _clips(self, folder: Path, machine: str) -> list[PlacedClip]:
        layout = self.config.layout
        has_table = (folder / self.config.table).is_file()
        if layout == "table" and not has_table:
            raise ManifestError(f"{folder}: no {self.config.table}; layout 'table' was asked for")
        if layout == "table" or (layout == "auto" and has_table):
            return read_split_table(folder / self.config.table, machine=machine, columns=self._columns())
        split = any((folder / name).is_dir() for name in ("train", "test"))
        if layout == "train_test" and not split:
            raise ManifestError(f"{folder}: neither train/ nor test/; layout 'train_test' was asked for")
        if layout == "train_test" or (layout == "auto" and split):
            return self._train_test(folder, machine)
        return self._flat(folder, machine)

    def _columns(self) -> Columns:
        names = set(Columns.__dataclass_fields__)
        return Columns(**{name: value for name, value in vars(self.config).items() if name in names})

    def _train_test(self, folder: Path, machine: str) -> list[PlacedClip]:
        stray = [str(path) for path in find_clips(folder) if path.relative_to(folder).parts[0] not in {"train", "test"}]
        if stray:
            raise ManifestError(f"{len(stray)} clips lie neither in train/ nor in test/: {summarise(stray)}. Move or remove them")
        train = [self._training_clip(path, folder, machine) for path in find_clips(folder / "train")]
        return train + [self._test_clip(path, folder, machine) for path in find_clips(folder / "test")]

    def _flat(self, folder: Path, machine: str) -> list[PlacedClip]:
        return [self._training_clip(path, folder, machine) for path in find_clips(folder)]

    def _training_clip(self, path: Path, folder: Path, machine: str) -> PlacedClip:
        name = self._parse(path)
        parts = {part.lower() for part in path.relative_to(folder).parts[:-1]}
        if parts & set(self.config.anomaly_values) or (name and name.label == "anomaly"):
            raise ManifestError(
                f"{path}: an anomaly among the training clips; keep anomalies in test/<{'|'.join(self.config.anomaly_values)}>/ "
                f"or write a {self.config.table}"
            )
        return self._placed(path, folder, machine, split="train", name=name, is_anomaly=None)

    def _test_clip(self, path: Path, folder: Path, machine: str) -> PlacedClip:
        name = self._parse(path)
        parts = {part.lower() for part in path.relative_to(folder).parts[1:-1]}
        is_normal, is_anomaly = bool(parts & set(self.config.normal_values)), bool(parts & set(self.config.anomaly_values))
        if name and name.label:
            is_normal, is_anomaly = is_normal or name.label == "normal", is_anomaly or name.label == "anomaly"
        if is_normal and is_anomaly:
            raise ManifestError(f"{path}: folder and name say both normal and anomaly; rename or move it")
        label = int(is_anomaly) if is_normal or is_anomaly else None
        return self._placed(path, folder, machine, split="test", name=name, is_anomaly=label)

    def _placed(
        self, path: Path, folder: Path, machine: str, *, split: str, name: ClipName | None, is_anomaly: int | None
    ) -> PlacedClip:
        return PlacedClip(
            path=path,
            folder=folder,
            machine=machine,
            section=name.section if name else self.config.section,
            domain=name.domain if name and name.domain != "unknown" else "source",
            split=split,
            attributes=parse_attributes(name.attributes, keys=self.config.attribute_keys) if name else {},
            is_anomaly=is_anomaly,
        )

    def _parse(self, path: Path) -> ClipName | None:
        """What the name says if it follows a DCASE grammar; own recordings need not."""
        if not self.config.dcase_names:
            return None
        try:
            return parse_clip_name(path.name.removesuffix(".npy"))
        except ManifestError:
            return None

    def _row(self, clip: PlacedClip, root: Path) -> dict[str, Any]:
        hidden = clip.split == "test" and self.config.hide_test_domain
        return {
            "path": clip.path.relative_to(root).as_posix(),
            "subset": self.config.subset,
            "machine": clip.machine,
            "section": clip.section,
            "domain": "unknown" if hidden else clip.domain,
            "split": clip.split,
            "attributes": {} if hidden else clip.attributes,
        }


def _stem_below(clip: PlacedClip) -> str:
    return clip.path.relative_to(clip.folder).with_suffix("").as_posix()
