"""What outlier exposure trains: which losses apply to a machine, and the network with its heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dcase_asd import config as configs
from dcase_asd.errors import ConfigError
from dcase_asd.extractors._shared.classes import ClassList, attribute_classes, section_classes
from dcase_asd.extractors._shared.clips import band_statistics
from dcase_asd.extractors._shared.exposure import ExposureBatches, ExposureClips
from dcase_asd.extractors.base import TrainingData
from dcase_asd.io.hashing import sha256_file
from dcase_asd.io.state_dicts import read_state_dict
from dcase_asd.networks.fastflow import FastFlow
from dcase_asd.networks.heads import class_head, machine_head
from dcase_asd.networks.resnet import ResNet18, as_picture
from dcase_asd.training.checkpoint import model_arrays
from dcase_asd.training.contract import TrainConfig
from dcase_asd.training.domain_code import DomainCode, domain_code
from dcase_asd.training.flow import FlowTerm
from dcase_asd.training.flow_state import TrainedFlow
from dcase_asd.training.mixup import MixupConfig
from dcase_asd.training.objective import AttributeTerm, MachineTerm, Objective, SectionTerm
from dcase_asd.training.seeding import isolated

if TYPE_CHECKING:
    from dcase_asd.extractors._shared.exposure_config import Config

__all__ = [
    "LossPlan",
    "build_batches",
    "build_network",
    "build_objective",
    "describe",
    "gain_in_feature_units",
    "identity",
    "lr_factors",
    "mixup_config",
    "plan_losses",
    "settle_flow",
    "summary",
    "term_arrays",
    "train_config",
]

_TRAIN_FIELDS = (
    "epochs",
    "optimiser",
    "learning_rate",
    "weight_decay",
    "schedule",
    "grad_clip",
    "precision",
    "channels_last",
    "checkpoint_minutes",
    "loader_threads",
    "tensorboard",
)
# What decides the result and is seen neither in the training settings nor in the shapes of the model.
_IDENTITY_FIELDS = (
    *("input_pool", "pooling", "machine_head", "mixup_alpha", "mixup_probability", "mixup_schedule", "batch_size"),
    *("gain_db", "target_domain_share", "flow_gradient", "flow_clamp", "flow_domain_channels"),
)
# Where the flow's weights are in the trained model.
_FLOW_TERM = "terms.flow"
# Clips of a forward pass when the flow's statistics are settled; any number does.
_SETTLE_BATCH = 16


@dataclass(frozen=True)
class LossPlan:
    """The losses that apply to a machine.

    Attributes
    ----------
    weights : dict of str to float
        Term name (``machine``, ``attributes``, ``section``, ``flow``) to weight.
    classes : dict of str to ClassList
        Classes of the terms that have some.
    domain : DomainCode
        What the flow's domain channels follow.
    """

    weights: dict[str, float]
    classes: dict[str, ClassList]
    domain: DomainCode = field(default_factory=DomainCode)


def plan_losses(config: Config, clips: ExposureClips, *, machine: str, log: Callable[[str], None]) -> LossPlan:
    """Decide which losses apply: a class loss needs at least two classes among the training clips, and says so if not.

    Raises
    ------
    DataError
        If the flow is to follow an attribute that no training clip has.
    """
    weights = {"machine": config.machine_weight} if config.machine_weight > 0 else {}
    wanted = {"attributes": config.attribute_weight or 0.0, "section": config.section_weight}
    classes: dict[str, ClassList] = {}
    for name, weight in wanted.items():
        if weight == 0:
            continue
        found = attribute_classes(clips.target, config.attribute_form) if name == "attributes" else section_classes(clips.target)
        if found.names:
            weights[name], classes[name] = weight, found
        else:
            weights.setdefault("machine", 1.0)
            log(f"{machine}: training clips do not differ in {name}; trained with the machine loss and no {name} loss")
    domain = DomainCode()
    if config.flow_weight > 0:
        weights["flow"] = config.flow_weight
        if config.flow_attribute:
            domain = domain_code(config.flow_attribute, clips.target.attributes, k_scale=config.flow_k_scale, where=machine)
            log(f"{machine}: flow: {domain.note}")
    return LossPlan(weights, classes, domain)


def build_network(config: Config, *, n_bands: int) -> ResNet18:
    """Make the backbone that a configuration describes."""
    return ResNet18(
        width=float(config.width or 1.0), input_pool=config.input_pool or (1, 1), pooling=config.pooling, n_bands=n_bands
    )


def build_objective(config: Config, clips: ExposureClips, plan: LossPlan, *, seed: int) -> Objective:
    """Make backbone and heads with seeded weights, pretrained weights if asked for, and the target's input statistics."""
    with isolated(seed, "weights"):
        backbone = build_network(config, n_bands=clips.target.n_bands)
        heads: dict[str, torch.nn.Module] = {}
        if "machine" in plan.weights:
            heads["machine"] = MachineTerm(machine_head(config.machine_head, backbone.dim))
        for name, classes in plan.classes.items():
            term = AttributeTerm if name == "attributes" else SectionTerm
            heads[name] = term(class_head(backbone.dim, len(classes.names)))
        if "flow" in plan.weights:  # last, so that a flow does not change what the others start from
            heads["flow"] = _flow_term(config, plan, backbone.dim)
    if config.pretrained:
        backbone.load_torchvision(read_state_dict(config.pretrained))
    mean, std = band_statistics(clips.target)
    backbone.set_input_statistics(torch.from_numpy(mean).float(), torch.from_numpy(std).float())
    return Objective(backbone, heads)


def settle_flow(objective: Objective, clips: ExposureClips, *, n_frames: int, device: str) -> None:
    """Set the statistics of the flow's input to those of the trained extractor's maps, unmixed, of the target's training clips.

    The running ones of training are of batch-normalised maps and lag behind the weights: on made-up machines they cost 13 to 48
    nats per position on held-out clips.
    """
    term = dict(objective.terms.named_children()).get("flow")
    if not isinstance(term, FlowTerm):
        return
    objective.eval()
    total = squares = torch.zeros(0)
    n_positions = 0
    for first in range(0, len(clips.target), _SETTLE_BATCH):
        rows = np.arange(first, min(first + _SETTLE_BATCH, len(clips.target)))
        crops = np.empty((len(rows), n_frames, clips.target.n_bands), dtype=np.float32)
        clips.target.crops(rows, positions=np.full(len(rows), 0.5), out=crops)
        with torch.no_grad():
            features = objective.backbone(as_picture(torch.from_numpy(crops).to(device)))[0].double()
        n_positions += features[:, 0].numel()
        total = features.sum(dim=(0, 2, 3)) + (total if first else 0.0)
        squares = features.square().sum(dim=(0, 2, 3)) + (squares if first else 0.0)
    mean = total / n_positions
    term.flow.standardisation.set_statistics(mean, (squares / n_positions - mean.square()).clamp_min(0.0))


def term_arrays(objective: Objective, plan: LossPlan) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return the heads' arrays (``terms.<name>...``) and the flow's as the state of a ``fastflow`` detector, or nothing."""
    arrays = {f"terms.{name}": value for name, value in model_arrays(objective.terms).items()}
    term = dict(objective.terms.named_children()).get("flow")
    if not isinstance(term, FlowTerm):
        return arrays, {}
    heads = {name: value for name, value in arrays.items() if not name.startswith("terms.flow.")}
    return heads, TrainedFlow(term.flow, term.n_domain, plan.domain, "jointly").state()


def _flow_term(config: Config, plan: LossPlan, n_channels: int) -> FlowTerm:
    flow = FastFlow(
        n_channels,
        n_steps=int(config.flow_steps or 0),
        hidden_ratio=float(config.flow_hidden_ratio or 0.0),
        clamp=config.flow_clamp,
    )
    n_domain = int(config.flow_domain_channels or 0) if plan.domain.applies else 0
    if n_domain >= n_channels:
        raise ConfigError(f"flow_domain_channels {n_domain}: the map of width {config.width} has {n_channels} channels only")
    own_weight = config.flow_weight if config.flow_gradient == "own" else 0.0
    return FlowTerm(flow, n_domain=n_domain, running_statistics=True, own_weight=own_weight)


def build_batches(
    config: Config, clips: ExposureClips, plan: LossPlan, *, data: TrainingData, seed: int, log: Callable[[str], None]
) -> ExposureBatches:
    """Make the batch source; a domain share that cannot be given, because one domain is missing, is said and left out.

    Raises
    ------
    ConfigError
        If ``gain_db`` is not 0 and the features are not logarithmic.
    """
    gain = gain_in_feature_units(config.gain_db, data.features.info) if config.gain_db else 0.0
    share, n_target = config.target_domain_share, int((clips.target.domain == "target").sum())
    if share is not None and n_target in (0, len(clips.target)):
        log(f"{data.machine}: {n_target} of {len(clips.target)} training clips are of domain target; all drawn equally often")
        share = None
    mixup, batch_size = mixup_config(config), int(config.batch_size or 0)
    return ExposureBatches(clips, plan.classes, data.segment_frames, mixup, batch_size, seed, gain, share, plan.domain)


def gain_in_feature_units(gain_db: float, info: Mapping[str, Any]) -> float:
    """Return how much a recording gain of ``gain_db`` adds to every value of a logarithmic feature.

    Parameters
    ----------
    gain_db : float
        dB.
    info : mapping
        Content of ``feature.json``: configuration keys ``scale`` (``log``: natural logarithm; ``db``) and ``power``.

    Raises
    ------
    ConfigError
        If the feature's scale is neither: a gain is no constant there.
    """
    own = info.get("config", {})
    scale = own.get("scale")
    if scale == "db":  # 20 / power * log10(magnitude ** power): dB of the amplitude whatever the power
        return gain_db
    if scale == "log":  # ln(magnitude ** power)
        return gain_db * float(own["power"]) * math.log(10.0) / 20.0
    raise ConfigError(
        f"gain_db {gain_db}: needs features of scale 'log' or 'db', {info.get('name')!r} has {scale!r}; "
        "set features.scale, or gain_db: 0"
    )


def describe(machine: str, clips: ExposureClips, plan: LossPlan) -> dict[str, Any]:
    """Say what is trained on what, as JSON values."""
    return {
        "machine": machine,
        "negative_machines": sorted(set(clips.negative.machine)),
        "n_target_clips": len(clips.target),
        "n_negative_clips": len(clips.negative),
        "n_valid_clips": len(clips.valid_target),
        "loss_weights": plan.weights,
        "classes": {name: list(classes.names) for name, classes in plan.classes.items()},
        **({"flow": plan.domain.to_json()} if "flow" in plan.weights else {}),
    }


def identity(config: Config, clips: ExposureClips, objective: Objective, *, n_frames: int) -> dict[str, Any]:
    """Say, as JSON values, what besides the training settings decides the result; a checkpoint belongs to one identity."""
    own = configs.to_dict(config)
    parts = (clips.target, clips.negative, clips.valid_target, clips.valid_negative)
    statistics = [objective.backbone.get_buffer(name) for name in ("input_mean", "input_std")]  # change with the features
    return {
        "config": {name: own[name] for name in _IDENTITY_FIELDS},
        "pretrained": sha256_file(config.pretrained) if config.pretrained else "",
        "clips": [[[str(i), int(n)] for i, n in zip(part.clip_id, part.length, strict=True)] for part in parts],
        "statistics": [values.flatten().tolist() for values in statistics],
        "n_frames": n_frames,
    }


def train_config(config: Config) -> TrainConfig:
    """Return the part of a configuration that the training loop reads."""
    own = configs.to_dict(config)
    eps = {_FLOW_TERM: config.flow_eps} if config.flow_weight > 0 and config.optimiser != "sgd" else {}
    values = {name: own[name] for name in _TRAIN_FIELDS} | {"group_eps": eps}
    return configs.build(TrainConfig, values, where="outlier_exposure")


def lr_factors(config: Config) -> dict[str, float]:
    """Return the flow's factor on the learning rate, if it has a rate of its own."""
    own = config.flow_learning_rate
    return {_FLOW_TERM: own / float(config.learning_rate or 1.0)} if own is not None and config.flow_weight > 0 else {}


def mixup_config(config: Config) -> MixupConfig:
    """Return the part of a configuration that mixup reads."""
    return MixupConfig(alpha=config.mixup_alpha, probability=config.mixup_probability, schedule=config.mixup_schedule)


def summary(history: Sequence[Mapping[str, float | None]]) -> str:
    """Say in one line what the last epoch ended with."""
    last = history[-1]
    losses = [f"{n.replace('_', ' ')} {v:.3f}" for n, v in last.items() if v is not None and n.startswith(("train_", "valid_"))]
    return f"trained {len(history)} epochs, {last['step']:.0f} steps; losses: {', '.join(losses)}"
