"""What a simulated machine is: :class:`Machine`, the :class:`Condition` it is recorded in and the :class:`Fault` it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEALTHY", "Condition", "Fault", "Machine", "Render", "Waveform"]

Waveform = NDArray[np.float64]


@dataclass(frozen=True)
class Fault:
    """A physical cause and how strong it is.

    Attributes
    ----------
    cause : str
        One of the machine's causes; empty for a healthy machine.
    severity : float
        0 is none; about 1 at the default difficulty.
    """

    cause: str = ""
    severity: float = 0.0

    def of(self, cause: str) -> float:
        """Return the severity if this is ``cause``, else 0, so that a healthy machine is the case where all terms vanish."""
        return self.severity if cause == self.cause else 0.0


HEALTHY = Fault()


class Render(Protocol):
    """The dry sound of a machine, before room, noise and microphone level; root mean square about 1 while it runs."""

    def __call__(self, attributes: Mapping[str, str], *, n_samples: int, rng: np.random.Generator, fault: Fault) -> Waveform:
        """Return ``waveform [sample]`` at 16 kHz."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One operating state and recording place.

    Attributes
    ----------
    attributes : mapping of str to str
        As written into file names, in that order.
    noise : str
        Name of the factory noise (:data:`dcase_asd.synthesis.noise.NOISES`).
    snr_db : float
        Level of the running machine over the noise.
    position : int
        Where the microphone stands; each place has its own room response.
    """

    attributes: Mapping[str, str]
    noise: str
    snr_db: float
    position: int = 0

    @property
    def suffix(self) -> str:
        """The attribute part of a file name, such as ``vel_12_loc_A``."""
        return "_".join(f"{key}_{value}" for key, value in self.attributes.items())


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine type of the synthetic corpus.

    Attributes
    ----------
    name : str
        As in folder names.
    subset : str
        ``dev`` (test clips labelled by name) or ``eval`` (anonymous test clips, separate ground truth).
    source, target : tuple of Condition
        Conditions of the two domains.
    causes : tuple of str
        What can be wrong with it; test anomalies take them in turn.
    render : Render
        The sound.
    reverberation_s : float
        Reverberation time of its room.
    units : mapping of str to tuple of Condition
        Conditions per machine ID, for the DCASE 2020 layout; empty where that layout is not offered.
    """

    name: str
    subset: str
    source: tuple[Condition, ...]
    target: tuple[Condition, ...]
    causes: tuple[str, ...]
    render: Render
    reverberation_s: float
    units: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)
