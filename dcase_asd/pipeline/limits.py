"""Values that no type can rule out, refused before any stage starts rather than hours later in the stage that reads them."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dcase_asd.errors import ConfigError, UnknownNameError, nearest
from dcase_asd.submission.formats import BASE_LABEL

__all__ = ["check_limits"]


def check_limits(config: Mapping[str, Any]) -> None:
    """Check numbers against their ranges, and names against what exists.

    Parameters
    ----------
    config : mapping
        The resolved configuration.

    Raises
    ------
    ConfigError
        For the first value out of range, or a shown system that nothing in the configuration makes.
    UnknownNameError
        For a pooling method, scoring rule or challenge year that does not exist.
    """
    for place, value, fits, wanted in _ranges(config):
        if not fits:
            raise ConfigError(f"{place}: expected {wanted}, got {value!r}")
    _refuse_infinite(config)
    _check_names(config)
    _check_systems(config)


def _refuse_infinite(value: Any, place: str = "") -> None:
    """No setting may be NaN or infinite: records hold JSON, and a fingerprint with NaN would never equal itself."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place}: expected a finite number, got {value}")
    below: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        below = value.items()
    elif isinstance(value, (list, tuple)):
        below = enumerate(value)
    for key, item in below:
        _refuse_infinite(item, f"{place}.{key}" if place else str(key))


def _ranges(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool, str]]:
    """Yield place, value, whether it fits, and what was expected."""
    segments, split, evaluate = config["segments"], config["split"], config["evaluate"]
    yield "segments.length_s", segments["length_s"], segments["length_s"] >= 0, "seconds, or 0 for whole clips"
    yield "segments.overlap", segments["overlap"], 0 <= segments["overlap"] < 1, "a share from 0 to below 1"
    yield "split.source_fraction", split["source_fraction"], 0 < split["source_fraction"] <= 1, "a share above 0 and up to 1"
    yield "split.n_target", split["n_target"], split["n_target"] >= 0, "a number of clips from 0"
    rate = evaluate["false_alarm_rate"]
    yield "evaluate.false_alarm_rate", rate, 0 < rate < 1, "a share between 0 and 1"
    yield "evaluate.n_bootstrap", evaluate["n_bootstrap"], evaluate["n_bootstrap"] >= 1, "at least 1 resample"
    yield "evaluate.report_clips", evaluate["report_clips"], evaluate["report_clips"] >= 0, "a number of clips from 0"
    yield "evaluate.pixel_sigma", evaluate["pixel_sigma"], evaluate["pixel_sigma"] >= 0, "pixels, or 0 for no blur"
    for key, item in config["detectors"].items():
        entry = item["entry"]
        fits = entry["fit_split"] == "train" or entry["folds"] >= 2
        yield f"detectors.{key}.folds", entry["folds"], fits, f"at least 2 folds with fit_split: {entry['fit_split']}"
    for key, entry in config["ensembles"].items():
        yield f"ensembles.{key}.n_best", entry["n_best"], entry["n_best"] >= 0, "a number of systems, or 0 for all"
    submit = config["submit"]
    one_kind = submit["format"] == "challenge" or not submit["year"]
    yield "submit.year", submit["year"], one_kind, "0 with format: id_label, which is no challenge submission"
    plain = len(set(submit["columns"])) == 2 and not any(not name or set(name) & set(',"\r\n') for name in submit["columns"])
    yield "submit.columns", submit["columns"], plain, "two different names without commas and quotes"
    label = submit["label"]
    yield "submit.label", label, BASE_LABEL.fullmatch(label) is not None, "<Surname>_<INST>_task2 without other underscores"


def _check_names(config: Mapping[str, Any]) -> None:
    from dcase_asd.evaluation.rules import rule_named
    from dcase_asd.scores.pooling import methods
    from dcase_asd.submission.formats import year_format

    scores = config["scores"]
    own = [item["entry"]["aggregation"] for item in config["detectors"].values() if item["entry"]["aggregation"]]
    for method in (scores["aggregation"], *scores["by_machine"].values(), *own):
        if method not in methods():
            raise UnknownNameError("pooling method", method, methods())
    rule_named(config["evaluate"]["rule"])
    if config["submit"]["year"]:
        year_format(config["submit"]["year"])


def _check_systems(config: Mapping[str, Any]) -> None:
    """Every pattern of systems to show must match an ensemble, a detector (with or without grid point) or a trivial system."""
    from dcase_asd.pipeline.stages.ensemble import UNSELECTED
    from dcase_asd.pipeline.stages.scores import LEVEL_SYSTEMS

    unselected = [key + UNSELECTED for key, entry in config["ensembles"].items() if entry["n_best"]]
    known = [*config["ensembles"], *unselected, *config["detectors"], *LEVEL_SYSTEMS]
    wanted = [
        (f"{part}.{key}", pattern)
        for part, key in (("evaluate", "systems"), ("evaluate", "comparators"), ("submit", "systems"))
        for pattern in config[part][key]
    ]
    for place, pattern in wanted:
        base = pattern.split(":", 1)[0]
        if not fnmatch.filter(known, base):
            raise ConfigError(
                f"{place}: {pattern!r} matches no system{nearest(base, known)}; known: {', '.join(known) or 'none'}"
            )
