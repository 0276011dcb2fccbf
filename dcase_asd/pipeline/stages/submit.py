"""Stage 9: the challenge submission, or answers for unlabelled pictures, written and validated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import StageError
from dcase_asd.evaluation.metrics import harmonic_mean
from dcase_asd.evaluation.results import Metrics
from dcase_asd.evaluation.rules import rule_named, rule_of_year
from dcase_asd.features.segments import Embeddings
from dcase_asd.io.arrays import load_tensors
from dcase_asd.io.atomic import write_json
from dcase_asd.io.tables import read_table
from dcase_asd.manifests.schema import Manifest
from dcase_asd.pipeline.reporting import system_detectors
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.detectors import detector_input, embedding_folder
from dcase_asd.pipeline.stages.ensemble import ALL_SEEDS
from dcase_asd.pipeline.stages.evaluate import DECISION_SCHEMA
from dcase_asd.pipeline.stages.extractor import segment_frames
from dcase_asd.pipeline.stages.features import feature_place
from dcase_asd.pipeline.stages.scores import LEVEL_SYSTEMS, SCORE_SCHEMA
from dcase_asd.pipeline.stages.shown import shown_systems
from dcase_asd.submission.formats import year_format

if TYPE_CHECKING:
    import pandas as pd

    from dcase_asd.submission.writer import SystemEntry

__all__ = ["SubmitStage", "missing_sections"]

#: A submission has at most four systems (dcase.community/challenge2023/submission).
_MOST = 4


class SubmitStage(Stage):
    """Writes CSVs, meta.yaml and the zip for the evaluation machines, and checks them as the organisers' tools would."""

    number = 9
    name = "submit"
    reads = "scores and decisions of evaluation clips"
    writes = "submission zip"
    version = 2
    upstream = ("manifests", "features", "extractor", "embeddings", "detectors", "ensemble", "evaluate")

    def units(self, context: Context) -> list[Unit]:
        """One unit."""
        config = context.config
        keys = (
            "submit",
            "evaluate",
            "ensembles",
            "detectors",
            "extractors",
            "seeds",
            "description",
            "features",
            "extra_features",
        )
        name = _source(config)
        inputs = {"manifests": ["manifest.csv"], "ensemble": [name], "evaluate": [name], "extractor": [""], "detectors": [""]}
        return [Unit("", config={key: config[key] for key in keys}, inputs=inputs)]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Write the submission, or say why there is none."""
        del work
        config, year = unit.config, unit.config["submit"]["year"]
        if config["submit"]["format"] == "id_label":
            write_json(out / "submission.json", _predictions(context, config, out))
            return
        if not year:
            write_json(out / "submission.json", {"archives": [], "note": "submit.year is 0: no submission was asked for"})
            return
        from dcase_asd.submission.validator import check_submission, manifest_file_lists
        from dcase_asd.submission.writer import write_submission

        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv").select(subset="eval", split="test")
        if not len(manifest):
            write_json(out / "submission.json", {"archives": [], "note": "the corpus has no evaluation clips"})
            return
        lacking = missing_sections(manifest, year)
        machines = sorted(set(manifest.machines) - set(lacking))
        if not machines:
            note = "no evaluation machine has all its sections: a submission needs them (run without --sections)"
            write_json(out / "submission.json", {"archives": [], "note": note, "missing_sections": lacking})
            return
        manifest = Manifest(manifest.table[manifest.table["machine"].isin(machines)].reset_index(drop=True))
        entries = [_entry(context, config, system, manifest) for system in _systems(context, config)]
        report = Path(config["submit"]["report"]) if config["submit"]["report"] else None
        label = config["submit"]["label"]
        archive = write_submission(out, year=year, label=label, systems=entries, report=report, machines=machines)
        problems = check_submission(archive, year=year, machines=machines, file_lists=manifest_file_lists(manifest))
        for problem in problems:
            context.log(str(problem))
        errors = [str(p) for p in problems if p.severity == "error"]
        if errors:
            raise StageError("the submission just written is not valid:\n" + "\n".join(errors[:10]))
        missing = sorted(set(year_format(year).evaluation) - set(machines))
        record: dict[str, Any] = {
            "archives": [archive.name],
            "machines": machines,
            "machines_of_the_year_not_in_the_corpus": [m for m in missing if m not in lacking],
            "missing_sections": lacking,
        }
        write_json(out / "submission.json", record | {"warnings": [str(p) for p in problems]})

    def check(self, context: Context, out: Path) -> None:
        """The note is there."""
        del context
        if not (out / "submission.json").is_file():
            raise StageError(f"{out}/submission.json was not written")


def _predictions(context: Context, config: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write one table of answers a system, check each as a reader would, and return the record."""
    from dcase_asd.submission.id_label import check_id_label, write_id_label

    manifest = Manifest.read(context.folders["manifests"] / "manifest.csv").select(subset="eval", split="test")
    if not len(manifest):
        return {"archives": [], "predictions": [], "note": "the corpus has no unlabelled pictures"}
    names = {clip: Path(path).name for clip, path in zip(manifest.table["clip_id"], manifest.table["path"], strict=True)}
    decisions = _table(context, "evaluate", "decisions.csv", DECISION_SCHEMA, config)
    written, columns = [], config["submit"]["columns"]
    for system in _systems(context, config):
        _require_decided(system, decisions)
        own = decisions[(decisions["system"] == system) & decisions["clip_id"].isin(names)]
        labels = {names[clip]: int(value) for clip, value in zip(own["clip_id"], own["decision"], strict=True)}
        path = out / f"predictions_{re.sub(r'[^A-Za-z0-9_.-]+', '_', system)}.csv"
        write_id_label(path, labels, columns=columns)
        problems = check_id_label(path, ids=names.values(), columns=columns)
        if problems:
            raise StageError("the answers just written are not valid:\n" + "\n".join(map(str, problems[:10])))
        context.log(f"{path.name}: {sum(labels.values())} of {len(labels)} pictures positive")
        written.append(path.name)
    return {"archives": [], "predictions": written}


def missing_sections(manifest: Manifest, year: int) -> dict[str, list[str]]:
    """Return the evaluation machines of which the manifest has some sections of the year only, and those it lacks."""
    wanted = year_format(year).evaluation
    found = manifest.table.groupby("machine")["section"].agg(set).to_dict()
    lacking = {str(m): sorted(set(wanted.get(str(m), ())) - sections) for m, sections in found.items()}
    return {machine: sections for machine, sections in sorted(lacking.items()) if sections}


def _source(config: Mapping[str, Any]) -> str:
    return ALL_SEEDS if len(config["seeds"]) > 1 else str(config["seeds"][0])


def _systems(context: Context, config: Mapping[str, Any]) -> list[str]:
    if config["submit"]["systems"]:
        return list(config["submit"]["systems"])[:_MOST]
    counts = _table(context, "ensemble", "scores.csv", SCORE_SCHEMA, config).groupby("system")["clip_id"].nunique()
    known = counts.index[counts == counts.max()]  # a grid point may be missing on a machine; the levels never are
    skip = {*LEVEL_SYSTEMS, *config["evaluate"]["comparators"]}
    return [s for s in shown_systems(config, sorted(known)) if s not in skip][:_MOST]


def _table(context: Context, stage: str, name: str, schema: Mapping[str, str], config: Mapping[str, Any]) -> pd.DataFrame:
    return read_table(context.folders[stage] / _source(config) / name, schema)


def _entry(context: Context, config: Mapping[str, Any], system: str, manifest: Manifest) -> SystemEntry:
    from dcase_asd.submission.writer import Author, SystemEntry

    scores = _table(context, "ensemble", "scores.csv", SCORE_SCHEMA, config)
    decisions = _table(context, "evaluate", "decisions.csv", DECISION_SCHEMA, config)
    _require_decided(system, decisions)
    clips = manifest.table[["clip_id", "machine", "section", "domain", "path"]]
    clips = clips.merge(scores[scores["system"] == system], on="clip_id", how="left", validate="one_to_one")
    clips = clips.drop(columns="system").merge(decisions[decisions["system"] == system], on="clip_id", how="left")
    clips = clips.assign(file_name=[Path(p).name for p in clips["path"]])
    detectors = system_detectors(config, system)
    authors = [Author(**author) for author in config["submit"]["authors"]] or [_placeholder_author(config)]
    return SystemEntry(
        name=f"{config['description'] or 'system'}: {system}"[:120],
        abbreviation=system.replace("_", "")[:10],
        clips=clips[["machine", "section", "domain", "file_name", "score", "decision"]],
        authors=authors,
        description={
            "input_sampling_rate": config["features"].get("sample_rate_hz"),
            "acoustic_features": ", ".join(dict.fromkeys(_feature_names(config, detectors))),
            "machine_learning_method": ", ".join(
                dict.fromkeys(
                    f"{config['extractors'][config['detectors'][d]['entry']['extractor']]['extractor']['name']} + "
                    f"{config['detectors'][d]['detector']['name']}"
                    for d in detectors
                )
            ),
            "ensemble_method_subsystem_count": len(detectors) * len(config["seeds"]),
        },
        total_parameters=_parameters(context, config, detectors, sorted(set(manifest.machines))),
        macs=_macs(context, config, detectors, sorted(set(manifest.machines))),
        results=_results(context, config, system),
    )


def _require_decided(system: str, decisions: pd.DataFrame) -> None:
    if system not in set(decisions["system"]):
        raise StageError(f"submit.systems: {system!r} is not evaluated in stage 8; add it to evaluate.systems")


def _feature_names(config: Mapping[str, Any], detectors: Sequence[str]) -> list[str]:
    used = [config["extractors"][config["detectors"][d]["entry"]["extractor"]]["entry"]["features"] for d in detectors]
    return [config["extra_features"].get(name, config["features"])["name"] for name in used]


def _placeholder_author(config: Mapping[str, Any]) -> Any:
    from dcase_asd.submission.writer import Author

    surname, institution = config["submit"]["label"].split("_")[:2]
    return Author(lastname=surname, firstname="?", email="?", institution=institution, location="?", corresponding=True)


def _parameters(context: Context, config: Mapping[str, Any], detectors: Sequence[str], machines: Sequence[str]) -> int:
    """Count the stored numbers of every model the system uses, over machines and seeds."""
    from dcase_asd.submission.complexity import count_state

    folders: set[Path] = set()
    for detector in detectors:
        extractor = config["detectors"][detector]["entry"]["extractor"]
        for seed in config["seeds"]:
            for machine in machines:
                folders.add(context.folders["extractor"] / embedding_folder(config, extractor, seed, machine))
                folders.update((context.folders["detectors"] / detector / str(seed) / machine).glob("*/main"))
    return sum(count_state(load_tensors(folder / "tensors.safetensors")) for folder in sorted(folders))


def _macs(context: Context, config: Mapping[str, Any], detectors: Sequence[str], machines: Sequence[str]) -> int:
    """Count the multiply-accumulates of the networks for one clip of the longest machine, all segments and seeds together."""
    from dcase_asd.detectors.base import load_detector
    from dcase_asd.extractors.base import load_extractor
    from dcase_asd.submission.complexity import measure

    macs = 0
    for extractor in {config["detectors"][d]["entry"]["extractor"] for d in detectors}:
        machine, n_frames, n_segments = _longest(context, config, extractor, machines)
        sources = {seed: embedding_folder(config, extractor, seed, machine) for seed in config["seeds"]}
        pairs = [load_extractor(context.folders["extractor"] / s).module_and_input(n_frames) for s in set(sources.values())]
        for detector in (d for d in detectors if config["detectors"][d]["entry"]["extractor"] == extractor):
            for seed, source in sources.items():
                x = detector_input(
                    Embeddings.read(context.folders["embeddings"] / source / "test"), config["detectors"][detector]
                )
                model = min((context.folders["detectors"] / detector / str(seed) / machine).glob("*/main"))
                pairs.append(load_detector(model).module_and_input(x.shape[1:]))
        macs += n_segments * sum(measure(*pair).macs for pair in pairs if pair is not None)
    return macs


def _longest(context: Context, config: Mapping[str, Any], extractor: str, machines: Sequence[str]) -> tuple[str, int, int]:
    """Return the machine with the longest clip, the frames of a segment, and the segments of that clip."""
    from dcase_asd.features.segments import segment_starts
    from dcase_asd.features.store import FeatureFolder

    entry = config["extractors"][extractor]["entry"]
    folder = FeatureFolder(context.folders["features"] / feature_place(entry["features"]))
    length, hop = segment_frames(entry["segments"], folder.info["frame_rate_hz"])
    frames = {m: int(folder.open(m, "test").index["length"].max()) for m in machines}
    machine = max(machines, key=lambda m: (frames[m], m))
    n_segments = len(segment_starts(frames[machine], length=length, hop=hop)) if length else 1
    return machine, length or frames[machine], n_segments


def _results(context: Context, config: Mapping[str, Any], system: str) -> dict[str, dict[str, float]]:
    path = context.folders["evaluate"] / _source(config) / "dev" / "metrics.json"
    keys = year_format(config["submit"]["year"]).result_keys
    if not path.is_file():
        return {}
    metrics, official = Metrics.read(path), rule_of_year(config["submit"]["year"])
    own = rule_named(metrics.rule)
    if (own.terms, own.mean) != (official.terms, official.mean) or system not in metrics.systems:
        # figures of another rule must not stand under the official keys
        context.log(f"{system}: no development results by the rule {official.name}; meta.yaml is written without")
        return {}
    machines = metrics.systems[system].machines
    return {name: {key: 100.0 * _over_domains(entry.means, key) for key in keys} for name, entry in machines.items()}


def _over_domains(means: Mapping[str, float], key: str) -> float:
    """Return a term's mean over sections, and where the rule has it by domain (2021) over domains."""
    return means[key] if key in means else harmonic_mean([means[f"{key}_{domain}"] for domain in ("source", "target")])
