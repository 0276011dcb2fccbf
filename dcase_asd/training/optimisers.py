"""Optimisers, parameter groups and learning-rate schedules; a schedule is a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from dcase_asd.errors import ConfigError

__all__ = [
    "Optimiser",
    "Schedule",
    "make_optimiser",
    "parameter_groups",
    "plateau_reductions",
    "rate_factor",
    "set_rates",
    "without_improvement",
]

Optimiser = Literal["adamw", "adam", "sgd"]
Schedule = Literal["fixed", "one_cycle", "cosine", "late_drop", "plateau"]
# torch.optim.lr_scheduler.OneCycleLR's defaults: start at max / 25, end at start / 1e4, rise during 30 % of the steps,
# momentum (beta1) falls from 0.95 to 0.85 while the rate rises.
_ONE_CYCLE = {"start": 25.0, "end": 1e4, "rise": 0.3, "momentum_high": 0.95, "momentum_low": 0.85}
# Batzner et al., EfficientAD, WACV 2024: a tenth of the rate for the last 5 % of the steps.
_LATE_DROP = {"at": 0.95, "factor": 0.1}


def parameter_groups(
    model: nn.Module, lr_factors: Mapping[str, float], *, eps: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Split a model's trainable parameters by name prefix, each group with its factor on the learning rate.

    Parameters
    ----------
    model : nn.Module
    lr_factors : mapping of str to float
        Prefix of parameter names to factor, e.g. ``{"terms.flow": 10.0}``; the longest matching prefix counts, others have 1.
    eps : mapping of str to float, optional
        Prefix to Adam's eps.

    Raises
    ------
    ConfigError
        If a prefix matches no parameter, or nothing is trainable.
    """
    eps = eps or {}
    groups: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in ("", *lr_factors, *eps)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[max((p for p in groups if name.startswith(p)), key=len)].append(parameter)
    unused = [prefix for prefix, members in groups.items() if prefix and not members]
    if unused or not any(groups.values()):
        raise ConfigError(f"learning-rate factors or eps for {unused} match no trainable parameter of {type(model).__name__}")
    return [
        {"params": members, "lr_factor": lr_factors.get(prefix, 1.0)} | ({"eps": eps[prefix]} if prefix in eps else {})
        for prefix, members in groups.items()
        if members
    ]


def make_optimiser(
    kind: Optimiser, groups: list[dict[str, Any]], *, learning_rate: float, weight_decay: float, beta1: float = 0.9
) -> torch.optim.Optimizer:
    """Make an optimiser over parameter groups; ``beta1`` is Adam's first decay (torch's default 0.9).

    Raises
    ------
    ConfigError
        For an unknown kind.
    """
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    if kind not in {"adamw", "adam"}:
        raise ConfigError(f"optimiser {kind!r}: expected adamw, adam or sgd")
    made = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    # 0.999: torch's default
    return made(groups, lr=learning_rate, weight_decay=weight_decay, betas=(beta1, 0.999), fused=True)


def rate_factor(schedule: Schedule, step: int, n_steps: int) -> tuple[float, float | None]:
    """Return the factor on the learning rate and, for OneCycle, the momentum at a step.

    Parameters
    ----------
    schedule : {"fixed", "one_cycle", "cosine", "late_drop", "plateau"}
        OneCycle: Smith and Topin 2019 (reference [15] of Fujimura 2023) with torch's defaults; cosine falls to 0;
        late_drop: a tenth from 95 % of the steps on (Batzner et al., EfficientAD). ``plateau`` follows the validation loss and
        not the step: 1 here, see :func:`plateau_reductions`.
    step, n_steps : int
        ``step`` counts from 0.
    """
    if schedule in {"fixed", "plateau"}:
        return 1.0, None
    if schedule == "cosine":
        return _between(1.0, 0.0, step / max(n_steps, 1)), None
    if schedule == "late_drop":
        return (_LATE_DROP["factor"] if step >= int(_LATE_DROP["at"] * n_steps) else 1.0), None
    if schedule != "one_cycle":
        raise ConfigError(f"schedule {schedule!r}: expected fixed, one_cycle, cosine, late_drop or plateau")
    low = 1.0 / _ONE_CYCLE["start"]
    high_momentum, low_momentum = _ONE_CYCLE["momentum_high"], _ONE_CYCLE["momentum_low"]
    peak = _ONE_CYCLE["rise"] * n_steps - 1.0
    if step <= peak:
        part = step / peak if peak > 0 else 1.0
        return _between(low, 1.0, part), _between(high_momentum, low_momentum, part)
    part = (step - peak) / (n_steps - 1.0 - peak) if n_steps - 1.0 > peak else 1.0
    return _between(1.0, low / _ONE_CYCLE["end"], part), _between(low_momentum, high_momentum, part)


def plateau_reductions(losses: Sequence[float], *, patience: int) -> int:
    """Return how often a rate that waits for ``patience`` values without a new minimum has been lowered.

    As torch's ReduceLROnPlateau and Keras' of the same name with no threshold and no cool-down, but that the value that
    exhausts the patience lowers the rate in Keras and the next one in torch; here it is Keras' way. A function of the
    history alone, so that a resumed training needs no memory of its own.
    """
    best, waited, lowered = math.inf, 0, 0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited >= patience:
            lowered, waited = lowered + 1, 0
    return lowered


def without_improvement(losses: Sequence[float]) -> int:
    """Return how many values followed the first lowest one."""
    return len(losses) - 1 - min(range(len(losses)), key=losses.__getitem__) if losses else 0


def set_rates(optimiser: torch.optim.Optimizer, *, learning_rate: float, momentum: float | None) -> None:
    """Set the learning rate of every group (times its own factor) and, if given, the momentum."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group["lr_factor"]
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif momentum is not None:
            group["momentum"] = momentum


def named_state(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, nn.Parameter, str, torch.Tensor]]:
    """Yield ``(stored name, parameter, key, tensor)`` for everything the optimiser remembers."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for number, parameter in enumerate(parameters):
        for key, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                yield f"optimiser.{number}.{key}", parameter, key, value


def restore_state(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what :func:`named_state` named; moments get the memory layout of their parameter (fused steps need it)."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, value in tensors.items():
        _, number, key = name.split(".", 2)
        parameter = parameters[int(number)]
        same = value.shape == parameter.shape and value.ndim > 0
        home = torch.empty_like(parameter, dtype=value.dtype).copy_(value) if same else value.clone()
        on_device = home.to(parameter.device) if optimiser.defaults.get("fused") else home
        optimiser.state[parameter][key] = on_device.detach()


def _between(first: float, last: float, part: float) -> float:
    return last + (first - last) / 2.0 * (1.0 + math.cos(math.pi * part))
