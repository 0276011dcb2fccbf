"""The configuration of a run: YAML plus overrides, checked whole before any stage starts.

A *component* is a mapping with ``name`` (a registered plug-in) and that plug-in's own keys. ``resolve`` returns plain values
with every default filled in: this is what fingerprints are made of and what ``exp/<tag>/config.yaml`` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, UnknownNameError, nearest
from dcase_asd.pipeline.limits import check_limits

__all__ = ["RawConfig", "resolve"]

#: Keys of a detector entry that belong to stage 5, not to the detector itself.
_Component = dict[str, Any]


@configclass
class RawConfig:
    """Stage 0: where raw data come from.

    Attributes
    ----------
    source : str
        ``none``: they lie at ``--data_root`` already; ``synthesise``; ``download``.
    size, difficulty, layout : str, float, str
        For ``synthesise``; see ``dcase-asd synth --help``.
    year : int
        For ``download``: the challenge year.
    machines : tuple of str
        Only these; empty means all.
    seed : int
        Seed of the simulator.
    """

    source: Literal["none", "synthesise", "download"] = "none"
    size: str = "demo"
    difficulty: float | None = None
    layout: str = "dcase2023"
    year: int = 0
    machines: tuple[str, ...] = ()
    seed: int = 0


@configclass
class SegmentConfig:
    """Stage 4: how clips are cut (seed 002, Section 4.2: 5.0 s, 75 % overlap). ``length_s`` 0 takes the whole clip."""

    length_s: float = 5.0
    overlap: float = 0.75


@configclass
class SplitConfig:
    """Which training clips are held out for validation and calibration (seed 002, Section 4.2: 85 % source, 6 target train)."""

    source_fraction: float = 0.85
    n_target: int = 6


@configclass
class DetectorEntry:
    """What stage 5 needs besides the detector's own keys.

    Attributes
    ----------
    extractor : str
        Which extractor's embeddings it reads.
    fit_split : str
        ``train``: fitted on the training clips, calibrated on the held-out ones; ``all``: fitted on both, calibrated by
        cross-fitting over ``folds`` folds of clips; ``valid``: fitted on the held-out clips (as the ancestor of seed 002).
    folds : int
        Cross-fitting folds where ``fit_split`` is not ``train``.
    aggregation : str or None
        Pooling of segment scores to clips; ``None`` takes ``scores.aggregation``.
    input : str
        ``vector`` or ``map`` of the embeddings; ``auto`` takes the first kind the detector accepts.
    """

    extractor: str
    fit_split: Literal["train", "valid", "all"] = "train"
    folds: int = 3
    aggregation: str | None = None
    input: Literal["auto", "vector", "map"] = "auto"


@configclass
class ScoresConfig:
    """Stage 6: pooling of segment scores to clips.

    Attributes
    ----------
    aggregation : str
        ``mean``, ``max``, ``median``, ``upper_mean`` or ``power_weighted``.
    by_machine : mapping
        Machine type to another aggregation (seed 002, Section 4.2: weighted mean for event-absent machines).
    statistics : str
        ``calibration``: scores are standardised by those of held-out normal clips; ``transductive``: by those of the test
        clips themselves, which marks the result.
    """

    aggregation: str = "mean"
    by_machine: dict[str, str] = field(default_factory=dict)
    statistics: Literal["calibration", "transductive"] = "calibration"


@configclass
class EnsembleEntry:
    """Stage 7: one ensemble.

    Attributes
    ----------
    members : tuple of str
        Systems or shell patterns over them (``oe_*``; grid points are ``detector:part``).
    name : str
        Registered way to combine.
    weights : mapping
        For ``vote``: weight per member.
    n_best : int
        0 takes all members; otherwise that many are chosen by development metrics, the choice is written to a file and
        applied unchanged to machines without labels.
    select_by : str
        ``machine``: per machine by its own score; ``mean_rank``: the same for all machines.
    """

    members: tuple[str, ...]
    name: str = "mean"
    weights: dict[str, float] = field(default_factory=dict)
    n_best: int = 0
    select_by: Literal["machine", "mean_rank"] = "machine"


@configclass
class EvaluateConfig:
    """Stage 8.

    Attributes
    ----------
    rule : str
        Official rule by name, e.g. ``dcase2023``.
    systems : tuple of str
        Rows of the result table, in order; empty: every ensemble.
    comparators : tuple of str
        Systems shown as comparators.
    threshold : str
        ``gamma`` (0.9 quantile of a gamma distribution fitted to normal scores, as the official baseline) or ``false_alarm``.
    false_alarm_rate : float
        For ``false_alarm``.
    n_bootstrap : int
        Resamples for the interval of differences between systems.
    report_clips : int
        Clips of each kind (most anomalous, missed, false alarm) shown per machine in the report.
    """

    rule: str = "dcase2023"
    systems: tuple[str, ...] = ()
    comparators: tuple[str, ...] = ()
    threshold: Literal["gamma", "false_alarm"] = "gamma"
    false_alarm_rate: float = 0.1
    n_bootstrap: int = 400
    report_clips: int = 2


@configclass
class SubmitConfig:
    """Stage 9.

    Attributes
    ----------
    year : int
        Challenge year, 0 for no submission.
    label : str
        ``<Surname>_<INST>_task2``.
    systems : tuple of str
        At most four, in order; empty: the first rows of the result table.
    """

    year: int = 0
    label: str = "Doe_DCASE_task2"
    systems: tuple[str, ...] = ()
    authors: tuple[dict[str, str], ...] = ()
    report: str = ""


_PLAIN: dict[str, type] = {
    "raw": RawConfig,
    "segments": SegmentConfig,
    "split": SplitConfig,
    "scores": ScoresConfig,
    "evaluate": EvaluateConfig,
    "submit": SubmitConfig,
}
_KEYS = (*_PLAIN, "corpus", "features", "extractors", "detectors", "ensembles", "machines", "seeds", "description")


def resolve(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check a whole configuration and return it as plain values with every default filled in.

    Parameters
    ----------
    values : mapping
        As read from YAML, overrides applied.

    Raises
    ------
    ConfigError
        For an unknown key (nearest named), a wrong value, an extractor or member that does not exist.
    UnknownNameError
        For a plug-in that does not exist.
    """
    unknown = [key for key in values if key not in _KEYS]
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r}{nearest(unknown[0], _KEYS)}; known: {', '.join(sorted(_KEYS))}")
    result: dict[str, Any] = {
        key: configs.to_dict(configs.build(cls, _mapping(values, key), where=key)) for key, cls in _PLAIN.items()
    }
    result["description"] = str(values.get("description", ""))
    result["machines"] = _names(values, "machines")
    result["seeds"] = _seeds(values.get("seeds", [0]))
    result["corpus"] = component("corpora", _mapping(values, "corpus"), where="corpus")
    result["features"] = component("features", _mapping(values, "features"), where="features")
    result["extractors"] = {
        _identifier(key, "extractors"): component("extractors", item, where=f"extractors.{key}")
        for key, item in _mapping(values, "extractors").items()
    }
    result["detectors"] = {
        _identifier(key, "detectors"): _detector(item, f"detectors.{key}", result["extractors"])
        for key, item in _mapping(values, "detectors").items()
    }
    result["ensembles"] = {
        _identifier(key, "ensembles"): _ensemble(item, f"ensembles.{key}", result["detectors"])
        for key, item in _mapping(values, "ensembles").items()
    }
    check_limits(result)
    return result


def component(kind: str, item: Any, *, where: str) -> dict[str, Any]:
    """Check one component and return ``{"name": ..., <all keys with defaults>}``."""
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise ConfigError(f"{where}: expected a mapping with a `name` (one of {', '.join(registry.names(kind))}), got {item!r}")
    name = item["name"]
    rest = {key: value for key, value in item.items() if key != "name"}
    plugin = registry.load(kind, name)
    return {"name": name, **configs.to_dict(configs.build(plugin.config, rest, where=where))}


def plugin_config(kind: str, item: Mapping[str, Any]) -> tuple[registry.Plugin, Any]:
    """Return the plug-in and its configuration object for a resolved component."""
    plugin = registry.load(kind, item["name"])
    return plugin, configs.build(plugin.config, {key: value for key, value in item.items() if key != "name"}, where=item["name"])


def _detector(item: Any, where: str, extractors: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{where}: expected a mapping with `name` and `extractor`, got {item!r}")
    own = ("extractor", "fit_split", "folds", "aggregation", "input")
    if "extractor" not in item:
        raise ConfigError(f"{where}: `extractor` is missing; one of {', '.join(extractors) or 'none defined'}")
    entry = configs.build(DetectorEntry, {key: value for key, value in item.items() if key in own}, where=where)
    if entry.extractor not in extractors:
        raise UnknownNameError("extractor", entry.extractor, extractors)
    plugin = component("detectors", {key: value for key, value in item.items() if key not in own}, where=where)
    return {"entry": configs.to_dict(entry), "detector": plugin}


def _ensemble(item: Any, where: str, detectors: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item, Mapping) or "members" not in item:
        raise ConfigError(f"{where}: expected a mapping with `members`, got {item!r}")
    entry = configs.build(EnsembleEntry, item, where=where)
    if entry.name not in registry.names("ensembles"):
        raise UnknownNameError("ensemble", entry.name, registry.names("ensembles"))
    import fnmatch

    for member in entry.members:
        base = member.split(":", 1)[0]
        if not fnmatch.filter(list(detectors), base):
            raise ConfigError(f"{where}.members: {member!r} matches no detector; known: {', '.join(detectors) or 'none'}")
    return configs.to_dict(entry)


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    item = values.get(key)
    if item is None:
        return {}
    if not isinstance(item, Mapping):
        raise ConfigError(f"{key}: expected a mapping, got {item!r}")
    return item


def _names(values: Mapping[str, Any], key: str) -> list[str]:
    item = values.get(key) or []
    if not isinstance(item, (list, tuple)) or not all(isinstance(x, str) for x in item):
        raise ConfigError(f"{key}: expected a list of names, got {item!r}")
    return list(item)


def _seeds(item: Any) -> list[int]:
    if not isinstance(item, (list, tuple)) or not item or not all(type(x) is int and x >= 0 for x in item):
        raise ConfigError(f"seeds: expected a list of whole numbers from 0 such as [0, 1, 2], got {item!r}")
    if len(set(item)) != len(item):
        raise ConfigError(f"seeds: a seed stands twice in {item!r}")
    return list(item)


def _identifier(key: Any, where: str) -> str:
    if not isinstance(key, str) or not key.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"{where}: {key!r}: use letters, digits, '_' and '-' only (it becomes a folder's name)")
    return key
