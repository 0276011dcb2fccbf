"""Stage 5: inlier models (and classifiers, where a recipe is supervised), one per detector, seed, machine and section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.detectors.base import batches_of, load_detector, save_detector
from dcase_asd.errors import DataError, StageError
from dcase_asd.features.segments import Embeddings
from dcase_asd.io.atomic import write_json
from dcase_asd.manifests.schema import Manifest
from dcase_asd.manifests.splits import validation_clips
from dcase_asd.pipeline.labelled import POSITIVES, both_classes, learns_from_labels, require_positives
from dcase_asd.pipeline.settings import plugin_config
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.extractor import extractor_seeds
from dcase_asd.pipeline.stages.manifests import machine_index, target_machines

__all__ = ["CALIBRATION", "DetectorsStage", "detector_input", "detector_units", "embedding_folder", "section_rows"]

#: Which clips calibrate which saved model: normal ones under ``clips`` and, of a detector that learns from labels, positive
#: ones under ``anomalies``.
CALIBRATION = "calibration.json"
#: Folder of a model that all sections of a machine share.
_ALL_SECTIONS = "all"


class DetectorsStage(Stage):
    """Fits every configured detector on the embeddings of normal training clips, and of positive ones if it needs labels."""

    number = 5
    name = "detectors"
    reads = "embeddings of training clips, detectors trained with an extractor"
    writes = "inlier models"
    version = 1
    upstream = ("manifests", "extractor", "embeddings")

    def units(self, context: Context) -> list[Unit]:
        """One unit per detector, seed and machine."""
        units = []
        for key, seed, machine in detector_units(context):
            item = context.config["detectors"][key]
            entry = {k: v for k, v in item["entry"].items() if k != "aggregation"}
            source = embedding_folder(context.config, entry["extractor"], seed, machine)
            adopted = {"extractor": [f"{source}/{item['detector']['name']}"]} if entry["adopt"] else {}
            splits = ["train"]
            if learns_from_labels(item):
                require_positives(machine_index(context), machine, detector=key)
                splits.append(POSITIVES)
            units.append(
                Unit(
                    f"{key}/{seed}/{machine}",
                    config={"entry": entry, "detector": item["detector"], "split": context.config["split"], "seed": seed}
                    | {"embeddings": source},
                    inputs={"embeddings": [f"{source}/{s}" for s in splits], "manifests": ["manifest.csv"], **adopted},
                )
            )
        return units

    def foresee(self, config: Mapping[str, Any]) -> None:
        """Weights that detectors start from are there."""
        for item in config["detectors"].values():
            plugin, options = plugin_config("detectors", item["detector"])
            plugin.implementation(options).require()

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Fit one detector for every section of one machine, or adopt the one that its extractor was trained with."""
        seed, machine = unit.config["seed"], unit.name.rsplit("/", 1)[1]
        source = context.folders["embeddings"] / unit.config["embeddings"]
        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv")
        embeddings, label = Embeddings.read(source / "train"), None
        held_out = validation_clips(manifest, machine=machine, seed=seed, **unit.config["split"])
        if learns_from_labels(unit.config):
            embeddings, label = both_classes(embeddings, Embeddings.read(source / POSITIVES))
            held_out |= validation_clips(manifest, machine=machine, seed=seed, split=POSITIVES, **unit.config["split"])
        for section, rows in section_rows(embeddings, unit.config["entry"]).items():
            for model, (fit, calibrate) in _class_plans(embeddings, rows, label, held_out, unit.config["entry"], seed).items():
                place = out / section / model
                if unit.config["entry"]["adopt"]:
                    _adopt(unit.config, context.folders["extractor"] / unit.config["embeddings"], place)
                else:
                    _fit(
                        unit.config,
                        embeddings,
                        fit,
                        place,
                        work / section / model,
                        label=label,
                        device=context.resources.device,
                    )
                clips = _write_calibration(place / CALIBRATION, embeddings, calibrate, label)
                told = "adopted from its extractor" if unit.config["entry"]["adopt"] else f"fitted on {len(fit)} segments"
                context.log(f"section {section} {model}: {told}, {len(clips)} clips calibrate")

    def check(self, context: Context, out: Path) -> None:
        """Every unit holds at least one saved model."""
        for key, seed, machine in detector_units(context):
            if not any((out / key / str(seed) / machine).glob("*/*/config.json")):
                raise StageError(f"{out}/{key}/{seed}/{machine}: no model was saved")


def section_rows(embeddings: Embeddings, entry: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
    """Return the segments of each model by the name of its folder: of each section, or of all sections ``together``."""
    if entry["sections"] == "together":
        return {_ALL_SECTIONS: np.arange(len(embeddings.meta))}
    sections = embeddings.meta.section
    return {section: np.flatnonzero(sections == section) for section in sorted(set(sections))}


def _write_calibration(path: Path, embeddings: Embeddings, rows: NDArray[np.int64], label: NDArray[np.int64] | None) -> list[str]:
    """Write which clips calibrate a model, and return all of them."""
    if label is None:
        clips = sorted(set(embeddings.meta.clip_id[rows]))
        write_json(path, {"clips": clips})
        return clips
    normal, positive = (sorted(set(embeddings.meta.clip_id[rows[label[rows] == value]])) for value in (0, 1))
    write_json(path, {"clips": normal, "anomalies": positive})
    return normal + positive


def _fit(
    config: Mapping[str, Any],
    embeddings: Embeddings,
    rows: NDArray[np.int64],
    folder: Path,
    work: Path,
    *,
    label: NDArray[np.int64] | None,
    device: str,
) -> None:
    plugin, plugin_values = plugin_config("detectors", config["detector"])
    detector = plugin.implementation(plugin_values)
    detector.workdir, detector.device = work, device
    x = detector_input(embeddings, config)
    detector.fit(batches_of(x, embeddings.meta, rows, label=label), seed=config["seed"])
    save_detector(folder, plugin.name, detector)
    for path in sorted(work.glob("*.csv")):
        (folder / path.name).write_bytes(path.read_bytes())


def _adopt(config: Mapping[str, Any], source: Path, folder: Path) -> None:
    """Save a detector that stage 3 trained, scoring as the entry says; it was trained on all sections of the machine."""
    name = config["detector"]["name"]
    trained = load_detector(source / name)
    own = {key: config["detector"][key] for key in trained.scoring_keys}
    plugin, values = plugin_config("detectors", {"name": name, **configs.to_dict(trained.config), **own})
    detector = plugin.implementation(values)
    detector.load_state(trained.state())
    save_detector(folder, name, detector)


def _class_plans(
    embeddings: Embeddings,
    rows: NDArray[np.int64],
    label: NDArray[np.int64] | None,
    held_out: frozenset[str],
    entry: Mapping[str, Any],
    seed: int,
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return :func:`_plans` of each class, joined model by model, so that every part has the shares of the whole."""
    if label is None:
        return _plans(embeddings, rows, held_out, entry, seed)
    classes = [rows[label[rows] == value] for value in (0, 1)]
    n_folds = min([entry["folds"], *(len(set(embeddings.meta.clip_id[part])) for part in classes)])
    plans = [_plans(embeddings, part, held_out, {**entry, "folds": n_folds}, seed) for part in classes]
    return {
        model: (np.concatenate([p[model][0] for p in plans]), np.concatenate([p[model][1] for p in plans])) for model in plans[0]
    }


def _plans(
    embeddings: Embeddings, rows: NDArray[np.int64], held_out: frozenset[str], entry: Mapping[str, Any], seed: int
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return which segments fit and which calibrate each model of a section: ``main`` and, if cross-fitted, its folds."""
    clips = embeddings.meta.clip_id
    out_of_sample = np.array([clips[r] in held_out for r in rows], dtype=bool)
    if entry["fit_split"] == "train":
        return {"main": (rows[~out_of_sample], rows[out_of_sample])}
    if entry["fit_split"] == "valid":
        rows = rows[out_of_sample]
    plans = {"main": (rows, rows[:0])}
    names = sorted(set(clips[rows]))
    n_folds = min(entry["folds"], len(names))
    if n_folds < 2:
        raise DataError(
            f"{len(names)} clips, at least 2 are needed to calibrate by cross-fitting; add recordings or use fit_split: train"
        )
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    fold_of = {names[clip]: position % n_folds for position, clip in enumerate(order)}
    folds = np.array([fold_of[clips[r]] for r in rows])
    for fold in range(n_folds):
        plans[f"fold{fold}"] = (rows[folds != fold], rows[folds == fold])
    return plans


def detector_units(context: Context) -> list[tuple[str, int, str]]:
    """List (detector, seed, machine) for every machine with test clips."""
    tested = target_machines(context)
    return [(key, seed, m) for key in context.config["detectors"] for seed in context.config["seeds"] for m in tested]


def embedding_folder(config: Mapping[str, Any], extractor: str, seed: int, machine: str) -> str:
    """Return the sub-folder of stage 4 that holds an extractor's embeddings for a run seed."""
    seeds = extractor_seeds(config, extractor)
    return f"{extractor}/{seed if seed in seeds else seeds[0]}/{machine}"


def detector_input(embeddings: Embeddings, config: Mapping[str, Any]) -> NDArray[Any]:
    """Return the vectors ``[segment, dim]`` or maps ``[segment, channel, freq, time]`` a detector entry reads.

    Raises
    ------
    DataError
        If it needs maps and the extractor returned none.
    """
    accepts = registry.load("detectors", config["detector"]["name"]).info.input
    wanted = config["entry"]["input"]
    if wanted == "auto":
        wanted = "vector" if accepts.startswith("vector") else "map"
    if ("vector" if wanted == "rows" else wanted) not in accepts:
        raise DataError(f"detector {config['detector']['name']} reads {accepts}, not {wanted}; change the entry's `input`")
    if wanted == "vector":
        return embeddings.vector
    if embeddings.map is None:
        raise DataError(
            f"detector {config['detector']['name']} reads maps, extractor {config['entry']['extractor']} returned none; "
            "set return_map: true on the extractor"
        )
    if wanted == "rows":
        return np.asarray(embeddings.map.mean(axis=3)).reshape(len(embeddings.map), -1)
    return embeddings.map
