"""Stage 1: one table of clips, labels apart."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dcase_asd.errors import FormatError, ManifestError, StageError, UnknownNameError
from dcase_asd.io.atomic import write_json
from dcase_asd.io.hashing import sha256_file, sha256_json
from dcase_asd.manifests.schema import Manifest
from dcase_asd.pipeline.settings import plugin_config
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.raw import CORPUS_FOLDER, external_root

__all__ = ["ManifestsStage", "data_root", "listing_digest", "machine_index", "root_of_unit", "target_machines"]


class ManifestsStage(Stage):
    """Scans the raw data: ``manifest.csv``, ``labels.csv``, and ``machines.json`` as a small index for later stages."""

    number = 1
    name = "manifests"
    reads = "recordings on disk"
    writes = "manifest.csv, labels.csv"
    version = 2
    upstream = ("raw",)

    def units(self, context: Context) -> list[Unit]:
        """One unit; its fingerprint holds names and sizes of external raw files, and the content of an external truth."""
        root = data_root(context)
        config: dict[str, Any] = {"corpus": context.config["corpus"]}
        config["external_files"] = listing_digest(root) if context.config["raw"]["source"] == "none" else ""
        truth = context.config["corpus"].get("ground_truth")
        config["ground_truth_files"] = _table_hashes(root / truth) if truth else {}
        return [Unit("", config=config, inputs={"raw": [""]})]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Scan the corpus and write the tables."""
        del work
        plugin, config = plugin_config("corpora", unit.config["corpus"])
        root = root_of_unit(context)
        manifest, labels = plugin.implementation(config).scan(root, nj=context.resources.nj)
        if not len(manifest):
            raise ManifestError(f"{root}: no clip found; check --data_root and the corpus settings ({unit.config['corpus']})")
        manifest.write(out / "manifest.csv")
        labels.write(out / "labels.csv")
        write_json(out / "machines.json", _index(manifest))
        context.log(f"{len(manifest)} clips, {len(labels)} labels, machines: {', '.join(manifest.machines)}")

    def check(self, context: Context, out: Path) -> None:
        """Read back what was written."""
        del context
        if not len(Manifest.read(out / "manifest.csv")):
            raise StageError(f"{out}/manifest.csv has no rows")


def data_root(context: Context) -> Path:
    """Return the folder that manifest paths are relative to.

    Raises
    ------
    StageError
        If raw data are external and no data root was given or it does not exist.
    """
    if context.config["raw"]["source"] != "none":
        return context.folders["raw"] / CORPUS_FOLDER
    return external_root(context)


def root_of_unit(context: Context) -> Path:
    """Return the folder that paths in the manifest are relative to: what stage 0 made, or the data root."""
    made = context.folders["raw"] / CORPUS_FOLDER
    return made if made.is_dir() else context.folders["data_root"]


def listing_digest(root: Path) -> str:
    """Return a hash of the relative names and sizes of all files below ``root`` (contents are hashed when scanned).

    Links to folders are followed, each folder once.
    """
    entries: list[tuple[str, int]] = []
    visited: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        visited.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in visited]  # noqa: PTH118
        for name in files:
            path = os.path.join(place, name)  # noqa: PTH118 - a Path per file takes as long as the stat
            # a link that leads nowhere counts, with a size of its own: the scan says what is wrong with it
            entries.append((os.path.relpath(path, root), os.stat(path).st_size if os.path.exists(path) else -1))  # noqa: PTH110, PTH116
    return sha256_json(sorted(entries))


def _table_hashes(place: Path) -> dict[str, str]:
    """Return the hashes of a CSV file, or of all below a folder: one flipped label leaves names and sizes as they were."""
    if place.is_file():
        return {place.name: sha256_file(place)}
    return {path.relative_to(place).as_posix(): sha256_file(path) for path in sorted(place.rglob("*.csv"))}


def _index(manifest: Manifest) -> dict[str, Any]:
    index: dict[str, Any] = {}
    for machine, rows in manifest.table.groupby("machine", sort=True):
        index[str(machine)] = {
            "splits": sorted(rows["split"].unique()),
            "subsets": sorted(rows["subset"].unique()),
            "sections": sorted(rows["section"].unique()),
            "tested": bool((rows["split"] == "test").any()),
        }
    return index


def target_machines(context: Context) -> list[str]:
    """Return the machines to build systems for: those with test clips, or those of them that ``machines`` names.

    Machines that are not targets stay in the manifest: outlier exposure learns from them.

    Raises
    ------
    ManifestError
        If no machine has test clips.
    UnknownNameError
        If ``machines`` names one the manifest lacks or that has no test clips.
    """
    index = machine_index(context)
    tested = [m for m, info in index.items() if info["tested"]]
    if not tested:
        raise ManifestError(
            f"no machine has test clips, so there is nothing to score (machines: {', '.join(index)}); add clips to test, "
            "or stop after the features with --stop_stage 2"
        )
    for machine in context.config["machines"]:
        if machine not in tested:
            raise UnknownNameError("machine with test clips", machine, tested)
    return [m for m in tested if m in (context.config["machines"] or tested)]


def machine_index(context: Context) -> dict[str, Any]:
    """Return ``machines.json`` of stage 1: machine to its splits, subsets and sections; ``FormatError`` if it is damaged."""
    path = context.folders["manifests"] / "machines.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: damaged ({error}); run with --verify to find and mend what was changed on disk") from error
