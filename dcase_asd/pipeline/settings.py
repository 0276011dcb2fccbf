"""The configuration of a run: YAML plus overrides, checked whole before any stage starts.

A *component* is a mapping with ``name`` (a registered plug-in) and that plug-in's own keys. ``resolve`` returns plain values
with every default filled in: this is what fingerprints are made of and what ``exp/<tag>/config.yaml`` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import ConfigError, UnknownNameError, nearest
from dcase_asd.pipeline.keys import (
    MAIN_FEATURES,
    DetectorEntry,
    EnsembleEntry,
    EvaluateConfig,
    ExtractorEntry,
    RawConfig,
    ScoresConfig,
    SegmentConfig,
    SplitConfig,
    SubmitConfig,
)
from dcase_asd.pipeline.labelled import learns_from_labels
from dcase_asd.pipeline.limits import check_limits

__all__ = ["MAIN_FEATURES", "RawConfig", "joint_detectors", "resolve"]

#: Keys of a detector entry that belong to stage 5, not to the detector itself.
_Component = dict[str, Any]


_PLAIN: dict[str, type] = {
    "raw": RawConfig,
    "segments": SegmentConfig,
    "split": SplitConfig,
    "scores": ScoresConfig,
    "evaluate": EvaluateConfig,
    "submit": SubmitConfig,
}
_KEYS = (
    *_PLAIN,
    "corpus",
    "features",
    "extra_features",
    "extractors",
    "detectors",
    "ensembles",
    "machines",
    "seeds",
    "description",
)


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
    result["extra_features"] = {
        _identifier(key, "extra_features"): component("features", item, where=f"extra_features.{key}")
        for key, item in _mapping(values, "extra_features").items()
    }
    if MAIN_FEATURES in result["extra_features"]:
        raise ConfigError(f"extra_features.{MAIN_FEATURES}: the name stands for the key `features`; choose another")
    result["extractors"] = {
        _identifier(key, "extractors"): _extractor(item, f"extractors.{key}", result)
        for key, item in _mapping(values, "extractors").items()
    }
    result["detectors"] = {
        _identifier(key, "detectors"): _detector(item, f"detectors.{key}", result["extractors"])
        for key, item in _mapping(values, "detectors").items()
    }
    result["ensembles"] = {}
    for key, item in _mapping(values, "ensembles").items():
        where = f"ensembles.{_identifier(key, 'ensembles')}"
        if key in result["detectors"]:
            raise ConfigError(f"{where}: a detector has this name too; choose another")
        result["ensembles"][key] = _ensemble(item, where, result["detectors"], result["ensembles"])
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


def _extractor(item: Any, where: str, resolved: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{where}: expected a mapping with a `name`, got {item!r}")
    own = {key: item[key] for key in ("features", "segments") if key in item}
    own["segments"] = configs.merge(resolved["segments"], _mapping(own, "segments"))
    entry = configs.to_dict(configs.build(ExtractorEntry, own, where=where))
    known = [MAIN_FEATURES, *resolved["extra_features"]]
    if entry["features"] not in known:
        raise UnknownNameError("features", entry["features"], known)
    rest = {key: value for key, value in item.items() if key not in own}
    return {"entry": entry, "extractor": component("extractors", rest, where=where)}


def joint_detectors(item: Mapping[str, Any]) -> list[str]:
    """List the detectors that the extractor of a resolved entry trains along with it."""
    plugin, config = plugin_config("extractors", item["extractor"])
    return list(plugin.implementation(config).joint_detectors())


def _detector(item: Any, where: str, extractors: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{where}: expected a mapping with `name` and `extractor`, got {item!r}")
    own = ("extractor", "fit_split", "folds", "aggregation", "input", "sections", "adopt")
    if "extractor" not in item:
        raise ConfigError(f"{where}: `extractor` is missing; one of {', '.join(extractors) or 'none defined'}")
    entry = configs.build(DetectorEntry, {key: value for key, value in item.items() if key in own}, where=where)
    if entry.extractor not in extractors:
        raise UnknownNameError("extractor", entry.extractor, extractors)
    given = {key: value for key, value in item.items() if key not in own}
    plugin = component("detectors", given, where=where)
    if entry.adopt:
        _check_adoption(entry, given, extractors[entry.extractor], where=where)
    return {"entry": configs.to_dict(entry), "detector": plugin}


def _check_adoption(entry: DetectorEntry, given: Mapping[str, Any], extractor: Mapping[str, Any], *, where: str) -> None:
    name, offered = given["name"], joint_detectors(extractor)
    if name not in offered:
        raise ConfigError(
            f"{where}.adopt: extractor {entry.extractor!r} trains {', '.join(offered) or 'no detector'} that could be adopted, "
            f"not {name}; for a flow, set flow_weight on it and leave return_map out"
        )
    keys = registry.load("detectors", name).implementation.scoring_keys  # type: ignore[attr-defined]
    idle = sorted(given.keys() - {"name", *keys})
    if idle or entry.fit_split != "train":
        told = f"{idle[0]!r} has no effect" if idle else f"fit_split {entry.fit_split!r} would fit one"
        raise ConfigError(
            f"{where}: the detector is adopted as the extractor trained it (on the training clips), so {told}; "
            f"possible: {', '.join(keys) or 'no key'}"
        )


def _ensemble(item: Any, where: str, detectors: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item, Mapping) or "members" not in item:
        raise ConfigError(f"{where}: expected a mapping with `members`, got {item!r}")
    entry = configs.build(EnsembleEntry, item, where=where)
    if entry.name not in registry.names("ensembles"):
        raise UnknownNameError("ensemble", entry.name, registry.names("ensembles"))
    import fnmatch

    for member in entry.members:
        base = member.split(":", 1)[0]
        if base not in earlier and not fnmatch.filter(list(detectors), base):
            raise ConfigError(
                f"{where}.members: {member!r} matches no detector ({', '.join(detectors) or 'none'}) and no ensemble before this "
                f"one ({', '.join(earlier) or 'none'})"
            )
    if entry.name == "vote":
        _check_vote(entry, detectors, earlier, where=where)
    elif entry.weigh_by != "given" or entry.thresholds:
        raise ConfigError(f"{where}: weigh_by and thresholds belong to name: vote, this one is {entry.name}")
    if entry.by_part and entry.n_best:
        raise ConfigError(f"{where}: by_part makes one system a grid point; put n_best on an ensemble that has them as members")
    return configs.to_dict(entry)


def _check_vote(entry: EnsembleEntry, detectors: Mapping[str, Any], earlier: Mapping[str, Any], *, where: str) -> None:
    """Refuse weights that cannot be learnt."""
    import fnmatch

    if entry.weigh_by == "accuracy" and entry.weights:
        raise ConfigError(f"{where}: weights are learnt with weigh_by: accuracy; leave one of the two out")
    for base in (member.split(":", 1)[0] for member in entry.members if entry.weigh_by == "accuracy"):
        for voter in [base] if base in earlier else fnmatch.filter(list(detectors), base):
            if voter not in detectors or not learns_from_labels(detectors[voter]):
                raise ConfigError(f"{where}.weigh_by: accuracy is known of detectors that learn from labels, {voter!r} is none")


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
