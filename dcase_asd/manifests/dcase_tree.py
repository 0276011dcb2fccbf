"""The folders of a DCASE Task 2 corpus: which clip lies where, and what its name says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dcase_asd.errors import ManifestError
from dcase_asd.manifests.attributes import parse_attributes, read_attribute_table, vocabulary
from dcase_asd.manifests.clip_files import find_clips
from dcase_asd.manifests.corpora import CorpusSpec
from dcase_asd.manifests.dcase_names import ClipName, parse_clip_name, parse_supplemental_name

__all__ = ["FoundClip", "MachineTree", "locate", "machine_trees", "read_machine"]

_TEST_FOLDERS = ("source_test", "target_test", "test")
#: Copies of evaluation test clips under their true names, made by the official ``rename_eval_wav.py``.
_RENAMED = "test_rename"
_FOLDERS = ("train", *_TEST_FOLDERS, _RENAMED, "supplemental")


@dataclass(frozen=True, kw_only=True)
class FoundClip:
    """One clip before its file was read.

    Attributes
    ----------
    path : Path
        The file.
    subset, machine, folder : str
        Where it lies; ``folder`` is the split's folder.
    split : str
        As in the manifest.
    name : ClipName
        What its name says.
    attributes : dict of str to str
        From the attribute table if it has the clip, else from the name.
    """

    path: Path
    subset: str
    machine: str
    folder: str
    split: str
    name: ClipName
    attributes: dict[str, str]

    @property
    def clip_id(self) -> str:
        """``<subset>/<machine>/<folder>/<stem>``: stable as long as the corpus is."""
        return f"{self.subset}/{self.machine}/{self.folder}/{self.path.stem}"


@dataclass(frozen=True, kw_only=True)
class MachineTree:
    """What lies in the folder of one machine.

    Attributes
    ----------
    clips : list of FoundClip
        The clips.
    renamed : list of FoundClip
        Copies of evaluation test clips under their true names, where the anonymous clips are there too.
    problems : list of str
        Files that no rule covers, one sentence each.
    """

    clips: list[FoundClip] = field(default_factory=list)
    renamed: list[FoundClip] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def locate(root: Path, spec: CorpusSpec) -> Path:
    """Return the folder that holds ``dev_data`` and ``eval_data``: ``root`` itself or ``root/dcase<YYYY>t2``.

    Raises
    ------
    ManifestError
        If neither is one.
    """
    for place in (root / spec.folder, root):
        if any((place / f"{subset}_data").is_dir() for subset in ("dev", "eval")):
            return place
    found = sorted(p.name for p in root.iterdir())[:8] if root.is_dir() else []
    raise ManifestError(
        f"{root}: no {spec.title}; expected {spec.folder}/dev_data or {spec.folder}/eval_data in it, found "
        f"{', '.join(found) or ('an empty folder' if root.is_dir() else 'no such folder')}. Run stage 0 or give its root"
    )


def machine_trees(base: Path, subsets: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield subset and folder of every machine, sorted; ``<subset>_data/raw/<machine>`` or, without ``raw``, directly."""
    for subset in subsets:
        place = base / f"{subset}_data"
        place = place / "raw" if (place / "raw").is_dir() else place
        if place.is_dir():
            machines = sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))
            yield from ((subset, p) for p in machines if any((p / name).is_dir() for name in _FOLDERS))


def read_machine(folder: Path, *, subset: str, spec: CorpusSpec) -> MachineTree:
    """Read the names in one machine's folder; nothing is opened but the attribute tables.

    Raises
    ------
    ManifestError
        If an attribute table is malformed. File names that fit no grammar are collected in ``problems``.
    """
    tree = MachineTree()
    tables = [read_attribute_table(path) for path in sorted(folder.glob("attributes_*.csv")) if not path.name.startswith(".")]
    table = {stem: attributes for part in tables for stem, attributes in part.items()}
    keys = set(spec.attribute_keys) | vocabulary(tables)

    def attributes_of(path: Path, name: ClipName) -> dict[str, str]:
        return table[path.stem] if path.stem in table else parse_attributes(name.attributes, keys=keys)

    for name in _FOLDERS:
        _read_folder(folder / name, tree, subset=subset, attributes_of=attributes_of)
    _settle_tests(tree)
    stray = [p for p in find_clips(folder) if p.relative_to(folder).parts[0] not in _FOLDERS]
    tree.problems.extend(f"{path}: lies in none of the folders {', '.join(_FOLDERS)}" for path in stray)
    return tree


def _read_folder(
    folder: Path, tree: MachineTree, *, subset: str, attributes_of: Callable[[Path, ClipName], dict[str, str]]
) -> None:
    parse = parse_supplemental_name if folder.name == "supplemental" else parse_clip_name
    for path in find_clips(folder):
        try:
            name = parse(path.name)
        except ManifestError as error:
            tree.problems.append(f"{path}: {error}")
            continue
        split = name.split if folder.name == "supplemental" else ("train" if folder.name == "train" else "test")
        contradiction = _contradiction(folder.name, split, name)
        if path.parent != folder:
            contradiction = f"lies in a sub-folder of {folder.name}/"
        if contradiction:
            tree.problems.append(f"{path}: {contradiction}")
            continue
        clip = FoundClip(
            path=path,
            subset=subset,
            machine=folder.parent.name,
            folder=folder.name,
            split=split,
            name=name,
            attributes=attributes_of(path, name),
        )
        (tree.renamed if folder.name == _RENAMED else tree.clips).append(clip)


def _contradiction(folder: str, split: str, name: ClipName) -> str:
    if name.split and name.split != split:
        return f"the name says {name.split}, the folder {folder}/"
    if split == "train" and name.label == "anomaly":
        return "an anomaly in the training folder"
    if split == "train" and name.domain == "unknown":
        return "a training clip whose name gives no domain"
    if folder in {"source_test", "target_test"} and name.domain != folder.partition("_")[0]:
        return f"the name says {name.domain}, the folder {folder}/"
    return ""


def _settle_tests(tree: MachineTree) -> None:
    """Drop copies: 2021's ``test/`` beside ``source_test/``, and take ``test_rename/`` as the test only where it is alone."""
    apart = {clip.path.name for clip in tree.clips if clip.folder in {"source_test", "target_test"}}
    tree.clips[:] = [clip for clip in tree.clips if clip.folder != "test" or clip.path.name not in apart]
    if tree.renamed and not any(clip.split == "test" for clip in tree.clips):
        tree.clips.extend(tree.renamed)
        tree.renamed.clear()
