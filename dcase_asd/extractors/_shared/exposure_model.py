"""What outlier exposure trains: which losses apply to a machine, and the network with its heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dcase_asd import config as configs
from dcase_asd.extractors._shared.classes import ClassList, attribute_classes, section_classes
from dcase_asd.extractors._shared.clips import band_statistics
from dcase_asd.extractors._shared.exposure import ExposureClips
from dcase_asd.io.hashing import sha256_file
from dcase_asd.networks.heads import class_head, machine_head
from dcase_asd.networks.resnet import ResNet18
from dcase_asd.training.checkpoint import read_weights
from dcase_asd.training.contract import TrainConfig
from dcase_asd.training.mixup import MixupConfig
from dcase_asd.training.objective import AttributeTerm, MachineTerm, Objective, SectionTerm
from dcase_asd.training.seeding import isolated

if TYPE_CHECKING:
    from dcase_asd.extractors.outlier_exposure import Config

__all__ = [
    "LossPlan",
    "build_network",
    "build_objective",
    "describe",
    "identity",
    "mixup_config",
    "plan_losses",
    "summary",
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
_IDENTITY_FIELDS = ("input_pool", "pooling", "machine_head", "mixup_alpha", "mixup_probability", "mixup_schedule", "batch_size")


@dataclass(frozen=True)
class LossPlan:
    """The losses that apply to a machine.

    Attributes
    ----------
    weights : dict of str to float
        Term name (``machine``, ``attributes``, ``section``) to weight.
    classes : dict of str to ClassList
        Classes of the terms that have some.
    """

    weights: dict[str, float]
    classes: dict[str, ClassList]


def plan_losses(config: Config, clips: ExposureClips, *, machine: str, log: Callable[[str], None]) -> LossPlan:
    """Decide which losses apply: a class loss needs at least two classes among the training clips, and says so if not."""
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
    return LossPlan(weights, classes)


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
    if config.pretrained:
        backbone.load_torchvision(read_weights(config.pretrained))
    mean, std = band_statistics(clips.target)
    backbone.set_input_statistics(torch.from_numpy(mean).float(), torch.from_numpy(std).float())
    return Objective(backbone, heads)


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
    return configs.build(TrainConfig, {name: own[name] for name in _TRAIN_FIELDS}, where="outlier_exposure")


def mixup_config(config: Config) -> MixupConfig:
    """Return the part of a configuration that mixup reads."""
    return MixupConfig(alpha=config.mixup_alpha, probability=config.mixup_probability, schedule=config.mixup_schedule)


def summary(history: Sequence[Mapping[str, float | None]]) -> str:
    """Say in one line what the last epoch ended with."""
    last = history[-1]
    losses = [f"{n.replace('_', ' ')} {v:.3f}" for n, v in last.items() if v is not None and n.startswith(("train_", "valid_"))]
    return f"trained {len(history)} epochs, {last['step']:.0f} steps; losses: {', '.join(losses)}"
