"""Complexity of a system as the meta.yaml asks for it: parameters, and multiply-accumulate operations (MACs).

Conventions (those of the tools used in the challenges: one MAC is one multiplication and one addition): convolutions and linear
layers count, biases, normalisation, activations and pooling do not. A module with weights that no rule here covers is named in
``Complexity.uncounted`` instead of being counted as zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Complexity", "count_parameters", "count_state", "measure", "total"]


@dataclass(frozen=True)
class Complexity:
    """Size and work of a system or a part of it.

    Attributes
    ----------
    total_parameters : int
        Numbers that were learned or stored.
    macs : int
        Multiply-accumulate operations for the given input.
    uncounted : tuple of str
        ``name (Type)`` of modules with parameters that have no counting rule or were not called as modules; ``macs`` is then a
        lower bound.
    """

    total_parameters: int
    macs: int
    uncounted: tuple[str, ...] = ()


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters of a torch module; a parameter shared by two modules counts once, buffers do not."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_state(state: Mapping[str, Any]) -> int:
    """Return the number of values in the state arrays of a detector that is no neural network (``Detector.state()``).

    Parameters
    ----------
    state : mapping of str to array or tensor
        For example means, covariances and weights of a mixture, or the vectors of a nearest-neighbour memory.
    """
    return sum(math.prod(np.shape(value)) for value in state.values())


def measure(model: nn.Module, *inputs: torch.Tensor) -> Complexity:
    """Return parameters and MACs of a module for one call with ``inputs``; the module is left as it was.

    Parameters
    ----------
    model : torch.nn.Module
        Called once, in evaluation mode and without gradients.
    *inputs : torch.Tensor
        What ``forward`` takes, batch included: MACs are for the whole batch, so give a batch of one segment and multiply by the
        number of segments of a clip.
    """
    import torch

    macs: list[int] = []
    seen: set[str] = set()
    weighted = {name: module for name, module in model.named_modules() if _has_weights(module)}

    def hook(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            work = _macs(module, args, output)
            if work is not None:
                seen.add(name)
                macs.append(work)

        return note

    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(hook(name)) for name, module in weighted.items()]
    try:
        model.eval()
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    uncounted = (f"{name or 'model'} ({type(module).__name__})" for name, module in weighted.items() if name not in seen)
    return Complexity(count_parameters(model), sum(macs), tuple(uncounted))


def total(parts: Iterable[Complexity]) -> Complexity:
    """Return the sum over subsystems, as the meta.yaml asks for ensembles."""
    listed = list(parts)
    return Complexity(
        sum(part.total_parameters for part in listed),
        sum(part.macs for part in listed),
        tuple(dict.fromkeys(name for part in listed for name in part.uncounted)),
    )


def _has_weights(module: nn.Module) -> bool:
    """Whether a module has parameters of its own that multiply the signal (normalisation is left out by convention)."""
    from torch import nn

    norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    return not isinstance(module, norms) and next(module.parameters(recurse=False), None) is not None


def _macs(module: nn.Module, args: tuple[Any, ...], output: Any) -> int | None:
    """Return the MACs of one call, or None where there is no rule."""
    from torch import nn

    if isinstance(module, nn.Linear):
        return int(output.numel()) * module.in_features
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        # every input value is multiplied by the whole kernel; what padding crops afterwards was computed all the same
        return int(args[0].numel()) * (module.out_channels // module.groups) * math.prod(module.kernel_size)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return int(output.numel()) * (module.in_channels // module.groups) * math.prod(module.kernel_size)
    return None
