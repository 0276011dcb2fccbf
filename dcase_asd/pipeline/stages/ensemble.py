"""Stage 7: scores standardised by held-out normal clips and combined over detectors, grids and seeds."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import DataError, StageError
from dcase_asd.io.atomic import write_json
from dcase_asd.io.tables import read_table, write_table
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.pipeline.labelled import learns_from_labels
from dcase_asd.pipeline.score_tables import over_seeds, read_tables, shared_clips, standardised
from dcase_asd.pipeline.settings import plugin_config
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.detectors import detector_units
from dcase_asd.pipeline.stages.manifests import target_machines
from dcase_asd.pipeline.stages.scores import HELD_OUT_POSITIVES, LEVEL_SYSTEMS, SCORE_SCHEMA
from dcase_asd.pipeline.votes import describe, learnt_weights, vote_record

if TYPE_CHECKING:
    import pandas as pd

    from dcase_asd.ensemble.selection import Selection

__all__ = ["ALL_SEEDS", "BOUNDARIES", "EnsembleStage", "base_name", "expand"]

#: The unit that averages every system over the seeds of the run.
ALL_SEEDS = "all_seeds"
#: ``{system: score above which it says "anomaly" by itself}``; other systems need a threshold.
BOUNDARIES = "boundaries.json"
#: Appended to an ensemble's name for the mean over all its members, beside the selected one.
UNSELECTED = "_unselected"


class EnsembleStage(Stage):
    """Combines systems; an ensemble with ``n_best`` chooses its members by development metrics and writes down which."""

    number = 7
    name = "ensemble"
    reads = "clip scores (and development metrics, to select)"
    writes = "scores of systems and ensembles, selections"
    version = 2
    upstream = ("manifests", "scores")

    def units(self, context: Context) -> list[Unit]:
        """One unit a seed, and one over all seeds where there are several."""
        config = context.config
        common = {
            "ensembles": config["ensembles"],
            "statistics": config["scores"]["statistics"],
            "rule": config["evaluate"]["rule"],
            "decided": [key for key, item in config["detectors"].items() if learns_from_labels(item)],
        }
        selects = any(entry["n_best"] for entry in config["ensembles"].values())
        manifests = ["manifest.csv", "labels.csv"] if selects else ["manifest.csv"]
        levels = [f"level/{m}" for m in target_machines(context)]
        folders = {
            seed: [f"{key}/{s}/{m}" for key, s, m in detector_units(context) if s == seed] + levels for seed in config["seeds"]
        }
        units = [
            Unit(str(seed), config=common, inputs={"scores": folders[seed], "manifests": manifests}) for seed in config["seeds"]
        ]
        if len(config["seeds"]) > 1:
            everything = [name for names in folders.values() for name in names]
            units.append(Unit(ALL_SEEDS, config=common, inputs={"scores": everything, "manifests": manifests}))
        return units

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Standardise, select, combine, for one seed or over all."""
        del work
        folders = list(dict.fromkeys(unit.inputs["scores"]))
        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv")
        places = manifest.table[["clip_id", "machine", "section", "subset"]]
        tables = read_tables(context.folders["scores"], folders, unit.config["decided"], places)
        transductive = unit.config["statistics"] == "transductive"
        standard = standardised(tables, transductive=transductive, decided=unit.config["decided"])
        merged = {name: over_seeds(table) for name, table in standard.items()}
        positive = merged.pop(HELD_OUT_POSITIVES, None)
        tables.pop(HELD_OUT_POSITIVES, None)
        singles = merged if unit.name == ALL_SEEDS else {name: over_seeds(table) for name, table in tables.items()}
        results = {name: [table] for name, table in singles.items()}
        named = {pattern.split(":", 1)[0] for entry in unit.config["ensembles"].values() for pattern in entry["members"]}
        for key, entry in unit.config["ensembles"].items():
            members = _members(entry["members"], merged["scores"], unit.config["ensembles"], key=key)
            candidates = merged["scores"][merged["scores"]["system"].isin(members)]
            selection = self._selection(context, unit, key, candidates, out / f"selection_{key}.json")
            together = {name: t if name == "scores" else shared_clips(t, members) for name, t in merged.items()}
            held_out = (together["calibration"], None if positive is None else shared_clips(positive, members))
            weights = _weights(context, out / f"vote_{key}.json", entry, members, held_out)
            combined = {name: _combined(table, key, entry, members, selection, weights) for name, table in together.items()}
            for name, parts in combined.items():
                results[name] += parts
            if key in named:
                merged = _with_ensemble(merged, combined, places, transductive=transductive)
            context.log(f"{key}: {len(members)} members" + (f", {entry['n_best']} chosen per machine" if selection else ""))
        import pandas as pd

        for name, parts in results.items():
            table = pd.concat(parts)[list(SCORE_SCHEMA)].sort_values(["clip_id", "system"], ignore_index=True)
            write_table(out / f"{name}.csv", table)
        systems = sorted({s for table in results["scores"] for s in table["system"]})
        write_json(out / BOUNDARIES, _boundaries(systems, unit.config))

    def check(self, context: Context, out: Path) -> None:
        """Every unit wrote both tables."""
        del context
        for unit in (p for p in out.iterdir() if p.is_dir()):
            for name in ("scores.csv", "calibration.csv"):
                if not len(read_table(unit / name, SCORE_SCHEMA)):
                    raise StageError(f"{unit / name} is empty")

    @staticmethod
    def _selection(context: Context, unit: Unit, key: str, scores: pd.DataFrame, path: Path) -> Selection | None:
        entry = unit.config["ensembles"][key]
        if not entry["n_best"]:
            return None
        from dcase_asd.ensemble.selection import select

        metrics = _development_metrics(context, scores, rule=unit.config["rule"])
        chosen = select(metrics, n_best=entry["n_best"], by=entry["select_by"])
        chosen.write(path)
        return chosen


def expand(patterns: Sequence[str], systems: Sequence[str]) -> list[str]:
    """Return the systems that shell patterns match; a pattern without ``:`` matches a detector with all its grid points."""
    found = [s for s in systems for p in patterns if fnmatch.fnmatchcase(s if ":" in p else base_name(s), p)]
    return [s for s in dict.fromkeys(found) if s not in LEVEL_SYSTEMS]


def _weights(
    context: Context,
    path: Path,
    entry: Mapping[str, Any],
    members: Sequence[str],
    held_out: tuple[pd.DataFrame, pd.DataFrame | None],
) -> dict[str, dict[str, float]] | None:
    """Return the weights of a vote by machine, and write down where they come from and what they can do; None for others."""
    if entry["name"] != "vote":
        return None
    learnt = learnt_weights(entry, members, normal=held_out[0], positive=held_out[1])
    record = vote_record(learnt, members)
    write_json(path, record)
    for line in describe(record):
        context.log(line)
    return {machine: found["weights"] for machine, found in learnt.items()}


def _boundaries(systems: Sequence[str], config: Mapping[str, Any]) -> dict[str, float]:
    """Return the systems that decide by themselves: classifiers and their mean at 0, votes at one half."""
    found = {}
    for system in systems:
        name = base_name(system).removesuffix(UNSELECTED)
        entry = config["ensembles"].get(name)
        if entry is None and name in config["decided"]:
            found[system] = 0.0
        elif entry is not None and entry["name"] == "vote":
            found[system] = 0.5
        elif entry is not None and all(_all_decided(pattern, config, systems) for pattern in entry["members"]):
            found[system] = 0.0
    return found


def _all_decided(pattern: str, config: Mapping[str, Any], systems: Sequence[str]) -> bool:
    if base_name(pattern) in config["ensembles"]:
        return False
    singles = [system for system in systems if base_name(system).removesuffix(UNSELECTED) not in config["ensembles"]]
    return all(base_name(system) in config["decided"] for system in expand([pattern], singles))


def _members(patterns: Sequence[str], table: pd.DataFrame, ensembles: Mapping[str, Any], *, key: str) -> list[str]:
    """Expand an ensemble's members; other ensembles are members only where they are named, never through a pattern."""
    named = {pattern.split(":", 1)[0] for pattern in patterns}
    systems = [s for s in sorted(set(table["system"])) if base_name(s) not in ensembles or base_name(s) in named]
    members = expand(patterns, systems)
    if not members:
        raise DataError(f"ensemble {key}: {', '.join(patterns)} matches no system")
    return members


def _with_ensemble(
    merged: Mapping[str, pd.DataFrame],
    combined: Mapping[str, Sequence[pd.DataFrame]],
    places: pd.DataFrame,
    *,
    transductive: bool,
) -> dict[str, pd.DataFrame]:
    """Append an ensemble to the tables that later ones choose members from, standardised as single systems are."""
    import pandas as pd

    made = {name: pd.concat(parts).merge(places, on="clip_id").assign(seed="any") for name, parts in combined.items()}
    kept = {name: table[~table["system"].str.endswith(UNSELECTED)] for name, table in made.items()}
    standard = standardised(kept, transductive=transductive)
    return {name: pd.concat([table, standard[name].drop(columns="seed")], ignore_index=True) for name, table in merged.items()}


def base_name(system: str) -> str:
    """Return the detector's name of a system: ``oe_knn`` for ``oe_knn:fit_set=both,k=4``."""
    return system.split(":", 1)[0]


def _combined(
    table: pd.DataFrame,
    key: str,
    entry: Mapping[str, Any],
    members: Sequence[str],
    selection: Selection | None,
    weights: Mapping[str, Mapping[str, float]] | None = None,
) -> list[pd.DataFrame]:
    """Return the ensemble's rows, one system a grid point if so asked, and beside a selection the mean over all members."""
    if entry["by_part"]:
        grid: dict[str, list[str]] = {}
        for member in members:
            grid.setdefault(key + member.removeprefix(base_name(member)), []).append(member)
        # a machine may lack a grid point (no target clips, say)
        has = {name: table[table["system"].isin(same)]["machine"].unique() for name, same in grid.items()}
        return [_combine(table, name, entry, dict.fromkeys(has[name], same), weights) for name, same in grid.items()]
    wanted = {machine: list(members) for machine in table["machine"].unique()}
    parts = [_combine(table, key if selection is None else key + UNSELECTED, entry, wanted, weights)]
    if selection is not None:
        chosen = {machine: list(selection.members_of(machine)) for machine in wanted}
        parts.append(_combine(table, key, entry, chosen, weights))
    return parts


def _combine(
    table: pd.DataFrame,
    key: str,
    entry: Mapping[str, Any],
    wanted: Mapping[str, Sequence[str]],
    weights: Mapping[str, Mapping[str, float]] | None,
) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for machine, members in wanted.items():
        settings = {} if weights is None else {"weights": weights[machine], "thresholds": entry["thresholds"]}
        plugin, config = plugin_config("ensembles", {"name": entry["name"], **settings})
        rows = table[(table["machine"] == machine) & table["system"].isin(members)]
        # cross-fitted members calibrate on all normal clips, others on the held-out ones: only common clips can be combined
        counts = rows.groupby("clip_id")["system"].nunique()
        present = set(rows["system"])
        rows = rows[rows["clip_id"].isin(counts.index[counts == len(present)])]
        combined = plugin.implementation(config).combine(
            rows[["clip_id", "system", "score"]], [m for m in members if m in present]
        )
        parts.append(pd.DataFrame({"clip_id": combined.index.to_numpy(), "system": key, "score": combined.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def _development_metrics(context: Context, scores: pd.DataFrame, *, rule: str) -> pd.DataFrame:
    """Return ``system, machine, score`` on labelled development clips, through the evaluation layer."""
    import pandas as pd

    from dcase_asd.evaluation.evaluate import evaluate_scores, truth_table

    manifest = Manifest.read(context.folders["manifests"] / "manifest.csv").select(subset="dev")
    labels = Labels.read(context.folders["manifests"] / "labels.csv")
    truth = truth_table(manifest, labels)
    truth = truth[truth["clip_id"].isin(set(scores["clip_id"]))]
    rows = []
    # machine by machine: one may lack a grid point (no target clips, or fewer segments than neighbours)
    for machine, own in truth.groupby("machine", sort=True):
        part = scores[scores["clip_id"].isin(set(own["clip_id"]))][list(SCORE_SCHEMA)]
        metrics = evaluate_scores(part, own, rule=rule, interval=False)
        rows += [(name, str(machine), system.score) for name, system in metrics.systems.items()]
    return pd.DataFrame(rows, columns=["system", "machine", "score"])
