"""A scorer to a bundle and back."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd import __version__
from dcase_asd import config as configs
from dcase_asd.detectors.base import load_detector, save_detector
from dcase_asd.errors import DcaseAsdError, FormatError
from dcase_asd.extractors.base import load_extractor, save_extractor
from dcase_asd.features.statistics import Moments
from dcase_asd.io.arrays import load_tensors, save_tensors
from dcase_asd.io.atomic import write_json, write_text
from dcase_asd.scores.normalisation import Standardiser
from dcase_asd.scores.thresholds import Threshold
from dcase_asd.serving import bundle
from dcase_asd.serving.learning.calibration import Calibration
from dcase_asd.serving.learning.fitting import Normals, Segments
from dcase_asd.serving.model import Bands, Fronts, Model
from dcase_asd.serving.settings import resolve

if TYPE_CHECKING:
    from dcase_asd.serving.scorer import Scorer

    S = TypeVar("S", bound=Scorer)

T = TypeVar("T")

__all__ = ["load_scorer", "packed", "save_scorer", "unpack"]


def save_scorer(scorer: Scorer, path: str | os.PathLike[str]) -> None:
    """Write a fitted scorer as a bundle; see :mod:`dcase_asd.serving.bundle` for the layout."""
    model, calibration, normals = scorer._fitted()
    fronts = model.fronts
    with bundle.written(path) as folder:
        for key, extractor in fronts.extractors.items():
            save_extractor(folder / key, _plugin_name(fronts, key), extractor)
            _forget_path(folder / key / "config.json")
        for name, detector in model.detectors.items():
            save_detector(folder / "members" / name, fronts.config.members[name].detector["name"], detector)
        save_tensors(folder / "calibration.safetensors", _calibration_tensors(calibration))
        save_tensors(folder / "normals.safetensors", _normals_tensors(normals, model.bands))
        write_json(folder / "provenance.json", _provenance(normals))
        write_text(folder / "README.md", _card(scorer, calibration, normals))
        bundle.write_config(
            folder,
            {
                "format": bundle.FORMAT,
                "format_version": bundle.VERSION,
                "dcase_asd": __version__,
                "parameters": {k: getattr(scorer, k) for k in ("false_alarms", "channel", "seed")},
                "model": _without_paths(configs.to_dict(fronts.config)),
                "threshold": dataclasses.asdict(calibration.threshold),
                "thresholds": {name: dataclasses.asdict(own) for name, own in calibration.own.items()},
                "wanted_rate": calibration.wanted_rate,
                "standardisers": {name: dataclasses.asdict(value) for name, value in model.standardisers.items()},
                "recorded_hz": fronts.recorded_hz,
                "statistics": {k: None if m is None else dataclasses.asdict(m) for k, m in fronts.statistics.items()},
                "advice": list(scorer._advice_given),
                "sentences": list(scorer.advice_),
                "files": bundle.digests(folder),
            },
        )


def load_scorer(cls: type[S], path: str | os.PathLike[str]) -> S:
    """Open a bundle as a scorer."""
    name = str(path)
    with bundle.opened(path) as folder:
        record = bundle.read_config(folder, name=name)
        bundle.verify(folder, record.get("files", {}), name=name)
        try:
            return _restore(cls, folder, record)
        except DcaseAsdError as error:
            raise FormatError(f"{name}: cannot be used ({error})") from error
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, IndexError) as error:
            raise FormatError(f"{name}: {bundle.CONFIG} does not fit its files ({error!r}); make the bundle again") from error


def packed(scorer: Scorer) -> dict[str, Any]:
    """Return a scorer's state for a copy in another process: parameters and, if it is fitted, the bytes of its bundle."""
    state: dict[str, Any] = {"parameters": scorer.get_params()}
    if hasattr(scorer, "_state"):
        with tempfile.TemporaryDirectory(prefix="dcase_asd_bundle_") as folder:
            path = Path(folder) / "packed.zip"
            save_scorer(scorer, path)
            state |= {"bundle": path.read_bytes(), "skipped": scorer.skipped_}
    return state


def unpack(scorer: Scorer, state: Mapping[str, Any]) -> None:
    """Give a scorer the state that :func:`packed` took."""
    if "bundle" in state:
        with tempfile.TemporaryDirectory(prefix="dcase_asd_bundle_") as folder:
            path = Path(folder) / "packed.zip"
            path.write_bytes(state["bundle"])
            vars(scorer).update(vars(load_scorer(type(scorer), path)))
        scorer.skipped_ = state["skipped"]
    vars(scorer).update(state["parameters"])


def _restore(cls: type[S], folder: Path, record: dict[str, Any]) -> S:
    scorer = cls(**record["parameters"])
    config = resolve(record["model"])
    extractors = {path.name: load_extractor(path) for path in sorted(folder.glob("embedder*"))}
    fronts = Fronts(config, channel=scorer.channel, extractors=extractors)
    fronts.recorded_hz = int(record["recorded_hz"])
    fronts.statistics = {key: None if value is None else Moments(**value) for key, value in record["statistics"].items()}
    model = Model(
        fronts,
        {name: load_detector(folder / "members" / name) for name in config.members},
        {name: _numbers(Standardiser, record["standardisers"][name]) for name in config.members},
    )
    normals, model.bands = _normals(load_tensors(folder / "normals.safetensors"), fronts)
    scores = load_tensors(folder / "calibration.safetensors")
    calibration = Calibration(
        scores["scores"],
        scores["target"],
        _numbers(Threshold, record["threshold"]),
        float(record["wanted_rate"]),
        {name: _numbers(Threshold, own) for name, own in record["thresholds"].items()},
        scores.get("unheard"),
    )
    scorer._state = (model, calibration, normals)
    scorer._advice_given = tuple(record["advice"])
    scorer.advice_ = tuple(record["sentences"])
    scorer.skipped_ = ()
    return scorer


def _numbers(cls: Callable[..., T], values: dict[str, Any]) -> T:
    """Make a dataclass of numbers; raises ``ValueError`` for text in their place, that would fail when it is used."""
    made = cls(**values)
    for field in dataclasses.fields(made):  # type: ignore[arg-type]
        value = getattr(made, field.name)
        if field.type in {"float", "int"} and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError(f"{field.name}: {value!r} is no number")
    return made


def _calibration_tensors(calibration: Calibration) -> dict[str, NDArray[Any]]:
    unheard = {} if calibration.unheard is None else {"unheard": calibration.unheard}
    return {"scores": calibration.scores, "target": calibration.target_scores, **unheard}


def _plugin_name(fronts: Fronts, key: str) -> str:
    member = next(name for name, embedder in fronts.embedder_of.items() if embedder == key)
    return str(fronts.config.members[member].extractor["name"])


def _is_pretrained(extractor: dict[str, Any]) -> bool:
    # of an extractor that learns, "checkpoint" is another thing
    return {"checkpoint", "sha256"} <= extractor.keys()


def _forget_path(path: Path) -> None:
    """Take the checkpoint's path out of a saved extractor: the weights are in the bundle, the path is somebody's disk."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if _is_pretrained(record["config"]):
        record["config"] |= {"checkpoint": "", "sha256": ""}
        write_json(path, record)


def _without_paths(model: dict[str, Any]) -> dict[str, Any]:
    for member in model["members"].values():
        if _is_pretrained(member["extractor"]):
            member["extractor"] |= {"checkpoint": "", "sha256": ""}
    return model


def _normals_tensors(normals: Normals, bands: Bands | None) -> dict[str, NDArray[Any]]:
    text = json.dumps([normals.names, normals.group, normals.domain, [normals.reference]], ensure_ascii=False).encode()
    tensors: dict[str, NDArray[Any]] = {"text": np.frombuffer(text, dtype=np.uint8)}
    for key, part in normals.segments.items():
        tensors |= {f"{key}.vector": part.vector, f"{key}.window": part.window, f"{key}.start_s": part.start_s}
    if normals.bands is not None:
        tensors["bands"] = normals.bands
    if bands is not None:
        tensors |= {"band.center_hz": bands.center_hz, "band.mean": bands.mean, "band.std": bands.std}
    return tensors


def _normals(tensors: dict[str, NDArray[Any]], fronts: Fronts) -> tuple[Normals, Bands | None]:
    names, group, domain, reference = (tuple(map(str, column)) for column in json.loads(tensors["text"].tobytes()))
    segments = {
        key: Segments(*(tensors[f"{key}.{part}"] for part in ("vector", "window", "start_s"))) for key in fronts.embedders
    }
    normals = Normals(names, group, domain, segments, tensors.get("bands"), reference[0])
    bands = Bands(*(tensors[f"band.{k}"] for k in ("center_hz", "mean", "std"))) if "band.mean" in tensors else None
    return normals, bands


def _provenance(normals: Normals) -> dict[str, Any]:
    packages = ("numpy", "scipy", "torch", "scikit-learn", "soundfile", "soxr")
    return {
        "versions": {"dcase_asd": __version__, "python": platform.python_version(), **{p: metadata.version(p) for p in packages}},
        "n_windows": {d: normals.domain.count(d) for d in ("source", "target")},
        "n_groups": len(set(normals.group)),
        "n_segments": len(normals.segments[normals.reference].window),
    }


def _card(scorer: Scorer, calibration: Calibration, normals: Normals) -> str:
    config = scorer._fitted()[0].fronts.config
    members = "\n".join(f"- {n}: {m.detector['name']} on {m.extractor['name']} of `{m.front}`" for n, m in config.members.items())
    sentences = "\n".join(f"- {line}" for line in scorer.advice_)
    return f"""# Anomalous sound detector of one machine

Made by dcase_asd {__version__}. Score recordings with `dcase-asd score <this bundle> <recordings>`.

## What it does

Gives each recording a score (higher: less like the normal recordings it was fitted on) and calls it anomalous above
{calibration.threshold.value:.6g}. It learnt from {len(normals.names)} normal recordings or pieces of them, and from no anomaly.

Members (scores standardised by normal recordings, averaged):

{members}

## What was seen, chosen and promised

{sentences}

## Limits

It knows the machine, place, microphone and gain of its normal recordings; a change of any of these is an anomaly to it.
Which anomalies it finds was not measured on this machine. The advised members were compared on simulated machines and one
public set with a single anomaly, with the figures of two small sets of fans known; none of these is this machine.
Recordings themselves are not in the bundle; embeddings of them are.
"""
