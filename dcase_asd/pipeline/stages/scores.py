"""Stage 6: segments scored, pooled to clips; the scores of held-out normal clips beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors.base import load_detector, score_alike
from dcase_asd.errors import DataError, StageError
from dcase_asd.features.segments import Embeddings
from dcase_asd.features.store import FeatureFolder
from dcase_asd.io.arrays import save_array
from dcase_asd.io.tables import read_table, write_table
from dcase_asd.pipeline.labelled import POSITIVES, learns_from_labels
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.detectors import CALIBRATION, detector_input, detector_units, embedding_folder, section_rows
from dcase_asd.pipeline.stages.manifests import target_machines
from dcase_asd.scores.maps import write_maps
from dcase_asd.scores.pooling import pool_map, pool_segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HELD_OUT_POSITIVES", "LEVEL_SYSTEMS", "SCORE_SCHEMA", "ScoresStage"]

SCORE_SCHEMA = {"clip_id": "str", "system": "str", "score": "float"}
#: Scores of held-out training clips of the positive class, beside ``calibration.csv``, where a detector learns from labels.
HELD_OUT_POSITIVES = "calibration_anomalies"
#: The trivial detector: the clip's level alone, taken either way round.
LEVEL_SYSTEMS = {"level_up": 1.0, "level_down": -1.0}
_BATCH = 64


@dataclass(frozen=True)
class _Scored:
    """Scores of some segments: system name to ``[segment]``, the weight of each segment in its clip, and maps if wanted."""

    systems: dict[str, NDArray[np.float64]]
    clip_id: NDArray[Any]
    start_s: NDArray[np.float64]
    weight: NDArray[np.float64] | None
    map: NDArray[np.float32] | None = None


class ScoresStage(Stage):
    """Scores test clips and held-out normal clips with every fitted detector, and with the signal level alone."""

    number = 6
    name = "scores"
    reads = "embeddings, inlier models"
    writes = "clip scores, segment scores"
    version = 1
    upstream = ("manifests", "features", "embeddings", "detectors")

    def units(self, context: Context) -> list[Unit]:
        """One unit per detector, seed and machine, and one per machine for the level."""
        config = context.config
        units = []
        for key, seed, machine in detector_units(context):
            item = config["detectors"][key]
            source = embedding_folder(config, item["entry"]["extractor"], seed, machine)
            method = unit_aggregation(config, key, machine)
            # the key is there only where it asks for more, so that it changes nothing for others
            kept = {"keep_maps": True} if config["scores"]["keep_maps"] else {}
            units.append(
                Unit(
                    f"{key}/{seed}/{machine}",
                    config={"detector": item["detector"], "entry": item["entry"], "aggregation": method, "embeddings": source}
                    | kept,
                    inputs={"embeddings": [source], "detectors": [f"{key}/{seed}/{machine}"]},
                )
            )
        tested = target_machines(context)
        levels = [
            Unit(f"level/{machine}", inputs={"features": [f"{machine}/test.csv", f"{machine}/train.csv"]}) for machine in tested
        ]
        return units + levels

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Score one unit."""
        del work
        if unit.name.startswith("level/"):
            _level(FeatureFolder(context.folders["features"]), unit.name.removeprefix("level/"), out)
            return
        source = context.folders["embeddings"] / unit.config["embeddings"]
        models = context.folders["detectors"] / unit.name
        held_out = _score_held_out(Embeddings.read(source / "train"), unit, models)
        test = _calibrated(_score_test(Embeddings.read(source / "test"), unit, models), held_out, log=context.log)
        write_table(out / "scores.csv", _pooled(test, unit))
        write_table(out / "calibration.csv", _pooled(held_out, unit))
        if learns_from_labels(unit.config):
            positive = _score_held_out(Embeddings.read(source / POSITIVES), unit, models, which="anomalies")
            write_table(out / f"{HELD_OUT_POSITIVES}.csv", _pooled(positive, unit))
        save_array(out / "segments.npy", np.stack(list(test.systems.values()), axis=1).astype(np.float32))
        _write_segments(out / "segments.csv", test)
        if test.map is not None:
            write_maps(out, test.map)
        context.log(f"{len(test.systems)} systems, {len(set(test.clip_id))} clips, pooled by {unit.config['aggregation']}")

    def check(self, context: Context, out: Path) -> None:
        """Every test clip has a finite score from every system."""
        folder = FeatureFolder(context.folders["features"])
        for path in sorted(out.rglob("scores.csv")):
            table = read_table(path, SCORE_SCHEMA)
            expected = set(folder.open(path.parent.name, "test").index["clip_id"])
            for system, rows in table.groupby("system"):
                if set(rows["clip_id"]) != expected or not np.isfinite(rows["score"]).all():
                    raise StageError(f"{path}: system {system}: clips missing or scores not finite")


def _score_test(embeddings: Embeddings, unit: Unit, models: Path) -> _Scored:
    """Score test segments, each section by its own model, or all by the one they share."""
    chosen: list[tuple[NDArray[np.int64], Path]] = []
    for section, rows in section_rows(embeddings, unit.config["entry"]).items():
        model = models / section / "main"
        if not model.is_dir():
            raise DataError(f"{unit.name}: section {section} has test clips but no training clips; add them or choose --sections")
        chosen.append((rows, model))
    return _score_rows(embeddings, unit, chosen, keep_maps=unit.config.get("keep_maps", False))


def _score_held_out(embeddings: Embeddings, unit: Unit, models: Path, *, which: str = "clips") -> _Scored:
    """Score held-out normal segments (or, of ``which`` ``anomalies``, positive ones), each by the model that did not see it."""
    chosen: list[tuple[NDArray[np.int64], Path]] = []
    for path in sorted(models.glob(f"*/*/{CALIBRATION}")):
        clips = set(json.loads(path.read_text(encoding="utf-8"))[which])
        rows = np.flatnonzero([c in clips for c in embeddings.meta.clip_id])
        if len(rows):
            chosen.append((rows, path.parent))
    if not chosen:
        kind = "normal" if which == "clips" else "positive"
        raise DataError(
            f"{unit.name}: no {kind} clip was held out to calibrate; lower split.source_fraction or use fit_split: all"
        )
    return _score_rows(embeddings, unit, chosen)


def _calibrated(test: _Scored, held_out: _Scored, *, log: Callable[[str], None]) -> _Scored:
    """Return the test scores of systems that held-out clips can calibrate.

    A model cross-fitted on fewer clips may lack a grid point that the main one has: as many neighbours, or the one target clip.
    """
    lacking = sorted(set(test.systems) - set(held_out.systems))
    if len(lacking) == len(test.systems):
        raise DataError(f"{', '.join(lacking)}: no scores of held-out clips; use fit_split: train, more folds or a smaller grid")
    for system in lacking:
        log(f"{system} has no scores of held-out clips to calibrate it: left out")
    return replace(test, systems={name: values for name, values in test.systems.items() if name not in lacking})


def _score_rows(
    embeddings: Embeddings, unit: Unit, chosen: list[tuple[NDArray[np.int64], Path]], *, keep_maps: bool = False
) -> _Scored:
    name = unit.name.split("/", 1)[0]
    x = detector_input(embeddings, unit.config)
    weighted = unit.config["aggregation"] == "power_weighted"
    if weighted and embeddings.power is None:
        raise DataError(f"{unit.name}: power_weighted needs the high-passed power, which this feature does not store")
    parts: list[dict[str, NDArray[np.float64]]] = []
    maps: list[NDArray[np.float32]] = []
    for rows, model in chosen:
        detector = load_detector(model)
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            scores = score_alike(detector, np.asarray(x[some]))
            whole = scores.score
            if weighted and scores.map is not None and embeddings.power is not None:
                whole = pool_map(scores.map, embeddings.power[some])
            parts.append({f"{name}:{k}": v for k, v in scores.parts.items()} or {name: whole})
            maps += [scores.map] if keep_maps and scores.map is not None else []
    common = [system for system in parts[0] if all(system in part for part in parts)]
    order = np.concatenate([rows for rows, _ in chosen])
    weight = None if embeddings.power is None else np.asarray(embeddings.power[order], dtype=np.float64).mean(axis=1)
    systems = {system: np.concatenate([part[system] for part in parts]).astype(np.float64) for system in common}
    kept = np.concatenate(maps) if maps else None
    return _Scored(systems, embeddings.meta.clip_id[order], embeddings.meta.start_s[order], weight, kept)


def _pooled(scored: _Scored, unit: Unit) -> pd.DataFrame:
    import pandas as pd

    clips, index = np.unique(scored.clip_id.astype(str), return_inverse=True)
    method = unit.config["aggregation"]
    columns = {
        system: pool_segments(values, index, method=method, weight=scored.weight if method == "power_weighted" else None)
        for system, values in scored.systems.items()
    }
    table = pd.DataFrame({"clip_id": clips, **columns}).melt("clip_id", var_name="system", value_name="score")
    return table.sort_values(["clip_id", "system"], ignore_index=True)


def _write_segments(path: Path, scored: _Scored) -> None:
    import pandas as pd

    names = list(scored.systems)
    write_table(path, pd.DataFrame({"clip_id": scored.clip_id, "start_s": scored.start_s}))
    write_table(path.with_name("systems.csv"), pd.DataFrame({"system": names}))


def _level(folder: FeatureFolder, machine: str, out: Path) -> None:
    """Write the trivial systems: the clip's level in dB, either sign."""
    import pandas as pd

    for split, name in (("test", "scores.csv"), ("train", "calibration.csv")):
        index = folder.open(machine, split).index
        tables = [
            pd.DataFrame({"clip_id": index["clip_id"], "system": system, "score": sign * index["level_db"]})
            for system, sign in LEVEL_SYSTEMS.items()
        ]
        write_table(out / name, pd.concat(tables).sort_values(["clip_id", "system"], ignore_index=True))


def read_scores(path: Path) -> pd.DataFrame:
    """Read ``scores.csv`` or ``calibration.csv`` of stage 6 or 7."""
    return read_table(path, SCORE_SCHEMA)


def unit_aggregation(config: Mapping[str, Any], detector: str, machine: str) -> str:
    """Return how a detector's segment scores are pooled for a machine."""
    scores = config["scores"]
    return str(
        config["detectors"][detector]["entry"]["aggregation"] or scores["by_machine"].get(machine) or scores["aggregation"]
    )
