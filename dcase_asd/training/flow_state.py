"""A trained flow as named arrays: the state of the ``fastflow`` detector, whoever trained it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.networks.fastflow import FastFlow
from dcase_asd.training.checkpoint import model_arrays, set_model
from dcase_asd.training.domain_code import DomainCode

__all__ = ["TrainedFlow"]

_ARCHITECTURE = ("n_channels", "n_steps", "hidden_ratio", "clamp", "pointwise")


@dataclass(frozen=True)
class TrainedFlow:
    """A flow and what its latent means.

    Attributes
    ----------
    flow : FastFlow
    n_domain : int
        z_d channels (the last ones of the latent), 0 for none.
    domain : DomainCode
        What z_d was tied to.
    trained : str
        ``alone`` or ``jointly``, for the record.
    """

    flow: FastFlow
    n_domain: int
    domain: DomainCode
    trained: str

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the flow's arrays and ``about``, JSON as bytes."""
        about = {
            **{name: getattr(self.flow, name) for name in _ARCHITECTURE},
            "n_domain": self.n_domain,
            "domain": self.domain.to_json(),
            "trained": self.trained,
        }
        text = json.dumps(about, sort_keys=True, ensure_ascii=False).encode()
        arrays = {f"flow.{name}": value for name, value in model_arrays(self.flow).items()}
        return {**arrays, "about": np.frombuffer(text, dtype=np.uint8).copy()}

    @classmethod
    def from_state(cls, tensors: Mapping[str, NDArray[Any]]) -> TrainedFlow:
        """Make what :meth:`state` returned, in evaluation mode; raises ``FormatError`` if it is something else."""
        if "about" not in tensors:
            raise FormatError("not the state of a fastflow detector: tensor 'about' is missing; fit it again")
        try:
            about = json.loads(tensors["about"].tobytes())
            domain, n_domain, trained = DomainCode.from_json(about["domain"]), int(about["n_domain"]), str(about["trained"])
            # the weights drawn here are all replaced, but drawing them must not touch the caller's generator
            with torch.random.fork_rng(devices=[]):
                flow = FastFlow(**{name: about[name] for name in _ARCHITECTURE})
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise FormatError(f"fastflow state: 'about' is damaged ({error}); fit it again") from error
        arrays = {name.removeprefix("flow."): value for name, value in tensors.items() if name.startswith("flow.")}
        set_model(flow, arrays, where="fastflow state")
        return cls(flow.eval().requires_grad_(requires_grad=False), n_domain, domain, trained)
