"""What a model for one's own machine is made of: fronts, members, segments; the resolved form is what a bundle holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from numbers import Integral, Real
from typing import Any

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError, UsageError, nearest
from dcase_asd.features.base import Feature
from dcase_asd.scores.pooling import methods

__all__ = ["MemberConfig", "ModelConfig", "check_parameters", "has_pretrained", "make", "missing_weights", "resolve", "trains"]

# one alarm in a million normal recordings; no collection of recordings can show less
_LEAST_RATE = 1e-6


@configclass
class MemberConfig:
    """One detector of the ensemble.

    Attributes
    ----------
    front : str
        Which front's features it reads.
    extractor, detector : mapping
        ``name`` (a registered plug-in) and that plug-in's own keys. Of a detector with a grid the first point is used.
    """

    front: str
    extractor: dict[str, Any]
    detector: dict[str, Any]


@configclass
class ModelConfig:
    """A whole model.

    Attributes
    ----------
    fronts : mapping
        Name to feature: ``name`` and its keys.
    members : mapping
        Name to member; scores are standardised by those of normal recordings and averaged.
    length_s, overlap : float
        Segments of a recording; length 0 takes the recording whole.
    aggregation : str
        Pooling of segment scores to a recording's.
    folds : int
        Cross-fitting: every normal recording is scored by a model that has not seen it.
    whole_s, window_s : float
        Recordings longer than ``whole_s`` are cut into windows of ``window_s``, each decided on by itself.
    """

    fronts: dict[str, dict[str, Any]]
    members: dict[str, MemberConfig]
    length_s: float = 5.0
    overlap: float = 0.75
    aggregation: str = "mean"
    folds: int = 5
    whole_s: float = 60.0
    window_s: float = 10.0
    description: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.members or not self.fronts:
            raise ConfigError("members and fronts: at least one of each is needed")
        for name, member in self.members.items():
            if member.front not in self.fronts:
                raise ConfigError(f"members.{name}.front: no front {member.front!r}{nearest(member.front, self.fronts)}")
        if self.aggregation not in methods() or self.aggregation == "power_weighted":
            known = [m for m in methods() if m != "power_weighted"]
            raise ConfigError(f"aggregation {self.aggregation!r}{nearest(self.aggregation, known)}; known: {', '.join(known)}")
        if self.length_s < 0 or not 0 <= self.overlap < 1 or self.folds < 2 or not 0 < self.window_s <= self.whole_s:
            raise ConfigError(
                "expected length_s >= 0, 0 <= overlap < 1, folds >= 2 and 0 < window_s <= whole_s; got "
                f"{self.length_s}, {self.overlap}, {self.folds}, {self.window_s}, {self.whole_s}"
            )


def resolve(values: Mapping[str, Any]) -> ModelConfig:
    """Check a configuration and fill in every default of every plug-in; fronts and members are put in the order of their names.

    Raises
    ------
    ConfigError, UnknownNameError
        For an unknown key, a wrong value or an unknown plug-in (nearest name given).
    """
    config = configs.build(ModelConfig, values, where="model")
    fronts = {name: _component("features", item, f"fronts.{name}") for name, item in sorted(config.fronts.items())}
    members = {
        name: MemberConfig(
            front=member.front,
            extractor=_component("extractors", member.extractor, f"members.{name}.extractor"),
            detector=_component("detectors", member.detector, f"members.{name}.detector"),
        )
        for name, member in sorted(config.members.items())
    }
    plain = {key: value for key, value in configs.to_dict(config).items() if key not in {"fronts", "members"}}
    return ModelConfig(fronts=fronts, members=members, **plain)


def make(kind: str, item: Mapping[str, Any]) -> Any:
    """Make the plug-in that a resolved component describes."""
    plugin = registry.load(kind, item["name"])
    rest = {key: value for key, value in item.items() if key != "name"}
    made: Any = plugin.implementation(configs.build(plugin.config, rest, where=str(item["name"])))
    if kind == "detectors" and not plugin.info.input.startswith("vector"):
        raise ConfigError(f"detector {item['name']} reads {plugin.info.input}; own machines use detectors of vectors")
    if kind == "features" and not isinstance(made, Feature):
        raise ConfigError(f"feature {item['name']} does not read recordings; choose one of audio")
    return made


def trains(extractor: Mapping[str, Any]) -> bool:
    """Return whether a component's extractor learns from recordings."""
    return bool(getattr(registry.load("extractors", extractor["name"]).implementation, "trains", False))


def has_pretrained(weights: str) -> bool:
    """Return whether the pretrained network's checkpoint is at hand.

    Raises
    ------
    ConfigError
        If it is named and missing or cut short: it is not passed over without a word.
    """
    from dcase_asd.extractors._shared.waveform_networks import find_checkpoint
    from dcase_asd.extractors.efficientat import EfficientAt

    if weights:
        find_checkpoint(weights, EfficientAt.published, owner="weights")
    return EfficientAt.available(weights)


def missing_weights(*, has_weights: bool) -> tuple[str, ...]:
    """Say that the folder named in the environment does not hold the pretrained network, if so."""
    from dcase_asd.extractors._shared.waveform_networks import WEIGHTS_VARIABLE
    from dcase_asd.extractors.efficientat import EfficientAt

    if has_weights or not os.environ.get(WEIGHTS_VARIABLE, ""):
        return ()
    # the folder itself is not named: the sentence goes into the bundle
    return (f"No pretrained network: no whole {EfficientAt.published.file} lies in the folder that ${WEIGHTS_VARIABLE} names.",)


def check_parameters(*, false_alarms: object, channel: object, seed: object) -> None:
    """Hold a scorer's parameters against what they may be, before any recording is looked at.

    Raises
    ------
    UsageError
        Naming the first that is of another type or out of range.
    """
    if not isinstance(false_alarms, Real) or not _LEAST_RATE <= float(false_alarms) < 1.0:
        raise UsageError(f"false_alarms: expected a share between {_LEAST_RATE:g} and 1, got {false_alarms!r}")
    if channel != "mean" and not (isinstance(channel, str) and channel.isdecimal()):
        raise UsageError(f"channel: expected 'mean' or a channel's number as text such as '0', got {channel!r}")
    if not isinstance(seed, Integral) or int(seed) < 0:
        raise UsageError(f"seed: expected a number from 0, got {seed!r}")


def _component(kind: str, item: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(item.get("name"), str):
        raise ConfigError(f"{where}: `name` is missing; one of {', '.join(registry.names(kind))}")
    plugin = registry.load(kind, item["name"])
    rest = {key: value for key, value in item.items() if key != "name"}
    return {"name": plugin.name, **configs.to_dict(configs.build(plugin.config, rest, where=where))}
