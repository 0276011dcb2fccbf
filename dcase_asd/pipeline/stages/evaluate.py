"""Stage 8: official metrics with intervals, decisions, result tables and the report."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import DataError, StageError, UnknownNameError
from dcase_asd.io.tables import read_table, write_table
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.pipeline.decision_tables import DECISION_TABLE, write_decision_table
from dcase_asd.pipeline.pixel_scores import masked_pictures, pixel_scores, seen_sizes
from dcase_asd.pipeline.reporting import write_pages
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.detectors import detector_units
from dcase_asd.pipeline.stages.ensemble import ALL_SEEDS, BOUNDARIES, base_name
from dcase_asd.pipeline.stages.manifests import root_of_unit
from dcase_asd.pipeline.stages.scores import SCORE_SCHEMA
from dcase_asd.pipeline.stages.shown import shown_systems

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from dcase_asd.scores.thresholds import Threshold

__all__ = ["DECISION_SCHEMA", "EvaluateStage"]

DECISION_SCHEMA = {"clip_id": "str", "system": "str", "decision": "int"}
_THRESHOLD_SCHEMA = {"system": "str", "machine": "str", "section": "str", "threshold": "float", "n_normal": "int"}


class EvaluateStage(Stage):
    """Evaluates each seed by the configured rule and writes the pages people read."""

    number = 8
    name = "evaluate"
    reads = "scores, labels"
    writes = "metrics.json, results.csv, RESULTS.md, report.html"
    version = 5
    upstream = ("raw", "manifests", "features", "extractor", "scores", "ensemble")
    finish_keys = ("description", "evaluate", "ensembles", "seeds")

    def units(self, context: Context) -> list[Unit]:
        """One unit a seed, and one over all seeds where there are several."""
        seeds = [str(s) for s in context.config["seeds"]]
        names = [*seeds, ALL_SEEDS] if len(seeds) > 1 else seeds
        config = {"evaluate": context.config["evaluate"], "ensembles": context.config["ensembles"]}
        kept = context.config["scores"]["keep_maps"]
        sizes = seen_sizes(context.config) if kept else {}
        units = []
        for name in names:
            inputs = {"ensemble": [name], "manifests": ["manifest.csv", "labels.csv"]}
            if kept and name != ALL_SEEDS:  # a map belongs to one detector of one seed
                inputs["scores"] = [f"{key}/{s}/{machine}" for key, s, machine in detector_units(context) if str(s) == name]
            # the key is there only where pictures are judged by pixel, so that it changes nothing for others
            units.append(Unit(name, config=config | ({"seen": sizes} if sizes else {}), inputs=inputs))
        return units

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Decide and evaluate one seed."""
        del work
        source = context.folders["ensemble"] / unit.name
        scores, calibration = (read_table(source / f"{name}.csv", SCORE_SCHEMA) for name in ("scores", "calibration"))
        shown = shown_systems(unit.config, sorted(set(scores["system"])))
        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv")
        boundaries = json.loads((source / BOUNDARIES).read_text(encoding="utf-8"))
        tables = (scores[scores["system"].isin(shown)], calibration[calibration["system"].isin(shown)])
        fixed = _fixed(unit, shown)
        decisions, thresholds = _decide(tables, manifest, unit.config["evaluate"], boundaries, fixed)
        write_table(out / "decisions.csv", decisions)
        write_table(out / "thresholds.csv", thresholds)
        labels = Labels.read(context.folders["manifests"] / "labels.csv")
        for subset in ("dev", "eval"):
            part = manifest.select(subset=subset, split="test")
            self._evaluate(context, unit, out / subset, (scores, decisions), (part, labels))
            if "scores" in unit.inputs:
                _add_pixels(context, unit, out / subset, part, labels)

    def finish(self, context: Context, out: Path) -> None:
        """Write tables and pages over all seeds."""
        write_pages(context, out)

    def check(self, context: Context, out: Path) -> None:
        """The pages are there."""
        del context
        for name in ("RESULTS.md", "report.html", "table.txt"):
            if not (out / name).is_file():
                raise StageError(f"{out / name} was not written")

    @staticmethod
    def _evaluate(
        context: Context,
        unit: Unit,
        out: Path,
        tables: tuple[pd.DataFrame, pd.DataFrame],
        truth_of: tuple[Manifest, Labels],
    ) -> None:
        from dcase_asd.evaluation.evaluate import evaluate_scores, truth_table
        from dcase_asd.evaluation.rules import rule_named

        (scores, decisions), (manifest, labels) = tables, truth_of
        scored = set(scores["clip_id"])
        manifest = Manifest(manifest.table[manifest.table["clip_id"].isin(scored)].reset_index(drop=True))
        known = manifest.table["clip_id"].isin(set(labels.table["clip_id"]))
        if not known.any():
            return
        if not known.all():
            first = manifest.table["clip_id"][~known].iloc[0]
            raise DataError(
                f"{(~known).sum()} of {len(known)} test clips have no label, e.g. {first}; label all of a part or none"
            )
        config = unit.config["evaluate"]
        provenance = {"rule": config["rule"], "seed": unit.name}
        truth = truth_table(manifest, labels)
        chosen = _on_every_machine(scores, truth, log=context.log)
        shown = _shown(unit.config, scores, chosen)
        decisions = decisions[decisions["clip_id"].isin(set(truth["clip_id"])) & decisions["system"].isin(shown)]
        # every system with its decisions; all grid points without
        metrics = evaluate_scores(
            chosen[chosen["system"].isin(shown)],
            truth,
            rule=config["rule"],
            decisions=decisions,
            interval="if_possible",
            n_bootstrap=config["n_bootstrap"],
            reference=next((c for c in config["comparators"] if c in shown), None),
            oracle=config["oracle"],
            provenance=provenance,
        )
        out.mkdir(parents=True, exist_ok=True)
        metrics.write(out / "metrics.json")
        if rule_named(config["rule"]).judges_decisions:
            write_decision_table(out / DECISION_TABLE, decisions, truth, shown)
        every = evaluate_scores(chosen, truth, rule=config["rule"], interval=False, provenance=provenance)
        write_table(out / "all_systems.csv", every.table().reset_index())


def _on_every_machine(scores: pd.DataFrame, truth: pd.DataFrame, *, log: Callable[[str], None]) -> pd.DataFrame:
    """Return the scores of the truth's clips by systems that exist on all its machines; the others have no overall score.

    A machine lacks a grid point where its data do not allow it: no target clips, fewer segments than neighbours.
    """
    table = scores.merge(truth[["clip_id", "machine"]], on="clip_id")
    found = table.groupby("system")["machine"].nunique()
    lacking = sorted(found.index[found < truth["machine"].nunique()])
    if lacking:
        log(f"not on every machine, so in no table: {', '.join(lacking)}")
    return table[~table["system"].isin(lacking)].drop(columns="machine")


def _shown(config: Mapping[str, Any], scores: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """Return the rows of the result table; ``DataError`` if one that is asked for exists on some machines only."""
    systems = sorted(set(kept["system"]))
    try:
        return shown_systems(config, systems)
    except UnknownNameError as error:
        lost = sorted(set(scores["system"]) - set(systems))
        raise DataError(
            f"evaluate.systems or evaluate.comparators: {error}; on some machines only: {', '.join(lost)}. Leave them out, or "
            "give every machine what they need (target clips, enough segments)"
        ) from error


def _add_pixels(context: Context, unit: Unit, out: Path, manifest: Manifest, labels: Labels) -> None:
    """Add pixel metrics to ``metrics.json``, where pictures have masks and detectors made maps."""
    from dcase_asd.evaluation.pixel_metrics import with_values
    from dcase_asd.evaluation.results import Metrics

    path = out / "metrics.json"
    pictures = masked_pictures(manifest, labels, root_of_unit(context))
    if not path.is_file() or not pictures:
        return
    metrics = Metrics.read(path)
    config = unit.config["evaluate"]
    found = pixel_scores(
        context.folders["scores"],
        systems=list(metrics.systems),
        seed=unit.name,
        pictures=pictures,
        sigma=config["pixel_sigma"],
        seen={name: (height, width) for name, (height, width) in unit.config.get("seen", {}).items()},
        n_bootstrap=config["n_bootstrap"],
        log=context.log,
    )
    with_values(metrics, found).write(path)


def _decide(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    manifest: Manifest,
    config: Mapping[str, Any],
    boundaries: Mapping[str, float],
    fixed: Mapping[str, float],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return decisions per clip and system, and the thresholds they come from; thresholds see normal scores alone.

    ``tables`` are the test scores and those of held-out normal clips.
    """
    import pandas as pd

    places = manifest.table[["clip_id", "machine", "section"]]
    keys = ["system", "machine", "section"]
    normals = tables[1].merge(places, on="clip_id").groupby(keys)
    decided, rows = [], []
    for key, group in tables[0].merge(places, on="clip_id").groupby(keys):
        if key[0] in fixed:
            alarms = (group["score"].to_numpy() > fixed[key[0]]).astype("int64")
            decided.append(group[["clip_id", "system"]].assign(decision=alarms))
            rows.append((*key, fixed[key[0]], 0))
            continue
        values = normals.get_group(key)["score"].to_numpy()
        fitted = _threshold(values, key, config, boundaries.get(key[0]))
        decided.append(group[["clip_id", "system"]].assign(decision=fitted.decide(group["score"].to_numpy())))
        rows.append((*key, fitted.value, len(values)))
    table = pd.concat(decided).sort_values(["clip_id", "system"], ignore_index=True)
    return table, pd.DataFrame(rows, columns=list(_THRESHOLD_SCHEMA))


def _fixed(unit: Unit, shown: Sequence[str]) -> dict[str, float]:
    """Return the systems whose threshold the recipe gives; over all seeds only ensembles still have the scale it is given in."""
    ensembles = unit.config["ensembles"]
    systems = [name for name in shown if unit.name != ALL_SEEDS or base_name(name) in ensembles]
    given = unit.config["evaluate"]["fixed_thresholds"]
    # as everywhere, a pattern without a colon means a system with all its grid points
    return {
        name: value
        for pattern, value in given.items()
        for name in systems
        if fnmatch.fnmatchcase(name if ":" in pattern else base_name(name), pattern)
    }


def _threshold(
    normal_scores: NDArray[np.float64], key: Sequence[str], config: Mapping[str, Any], boundary: float | None
) -> Threshold:
    from dcase_asd.scores.thresholds import false_alarm_threshold, gamma_threshold, own_threshold

    try:
        if config["threshold"] == "gamma":
            return gamma_threshold(normal_scores)
        if config["threshold"] == "own" and boundary is not None:
            return own_threshold(normal_scores, boundary=boundary)
        return false_alarm_threshold(normal_scores, rate=config["false_alarm_rate"])
    except DataError as error:
        raise DataError(
            f"system {key[0]}, machine {key[1]}, section {key[2]}: held-out normal clips: {error} (evaluate.threshold, "
            "evaluate.false_alarm_rate), or hold out more with a lower split.source_fraction"
        ) from error


def read_thresholds(path: Path) -> pd.DataFrame:
    """Read ``thresholds.csv``: system, machine, section, threshold, number of normal clips."""
    return read_table(path, _THRESHOLD_SCHEMA)
