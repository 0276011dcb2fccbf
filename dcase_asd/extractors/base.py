"""The extractor contract: features of segments in, vectors and maps out."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import ConfigError, FormatError
from dcase_asd.features.store import FeatureFolder
from dcase_asd.io.arrays import load_tensors, save_tensors
from dcase_asd.io.atomic import write_json

__all__ = ["Extractor", "TrainingData", "load_extractor", "save_extractor"]

C = TypeVar("C")


@dataclass(frozen=True)
class TrainingData:
    """What an extractor may learn from: normal training clips of all machines.

    Attributes
    ----------
    features : FeatureFolder
        Stores of every machine; only the splits ``train`` and ``supplemental_*`` may be opened.
    machine : str
        The target machine.
    valid_clips : frozenset of str
        Clip ids of the target machine held out from training (validation and calibration).
    segment_frames : int
        Frames of a segment.
    """

    features: FeatureFolder
    machine: str
    valid_clips: frozenset[str]
    segment_frames: int


class Extractor(ABC, Generic[C]):
    """Turns segments into embeddings.

    Parameters
    ----------
    config : object
        An instance of the module's ``Config``. The constructor stores it and does nothing else.
    """

    #: False for extractors that learn nothing from the corpus; stage 3 then only records them.
    trains: ClassVar[bool] = False
    #: Frames per second the segments must have (a waveform's frames are its samples); None takes any.
    input_rate_hz: ClassVar[float | None] = None

    def __init__(self, config: C) -> None:
        self.config = config

    def require(self) -> None:
        """Raise what :meth:`fit` or its like will raise for want of a file from outside; cheap, asked before any work."""

    def fit(
        self, data: TrainingData, *, seed: int, workdir: Path, device: str = "cpu", log: Callable[[str], None] = print
    ) -> None:
        """Learn from the corpus; checkpoints in ``workdir`` let an interrupted call resume and end bit-identical.

        Raises
        ------
        TrainingError
            If the data do not suffice or the loss is not finite.
        """

    @abstractmethod
    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embed segments; independent of the batch they come in.

        Parameters
        ----------
        segments : ndarray [segment, frame, ...]
            As stored by the feature: log-mel ``[segment, frame, mel]``.

        Returns
        -------
        vector : ndarray [segment, dim]
        map : ndarray [segment, channel, freq, time] or None
        """

    def module_and_input(self, n_frames: int) -> tuple[Any, Any] | None:
        """Return the torch module that embeds and an input of one segment, to count its operations; None without a network."""
        del n_frames
        return None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything learned as named arrays."""
        return {}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned."""

    def joint_detectors(self) -> dict[str, dict[str, Any]]:
        """Return the detectors that :meth:`fit` trains along with this extractor: registered name to its configuration.

        A function of the configuration alone. Stage 3 saves them beside the extractor, stage 5 adopts them on demand.
        """
        return {}

    def joint_state(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the state of a jointly trained detector, as that detector's ``load_state`` takes it.

        Raises
        ------
        NotFittedError
            Before :meth:`fit` or :meth:`load_state`.
        ConfigError
            If this extractor trains no such detector.
        """
        raise ConfigError(f"{type(self).__name__} trains no detector {name!r} with this configuration")


def save_extractor(folder: str | os.PathLike[str], name: str, extractor: Extractor[Any]) -> None:
    """Write ``tensors.safetensors`` and then ``config.json``."""
    target = Path(folder)
    save_tensors(target / "tensors.safetensors", extractor.state())
    write_json(target / "config.json", {"kind": "extractor", "name": name, "config": configs.to_dict(extractor.config)})


def load_extractor(folder: str | os.PathLike[str]) -> Extractor[Any]:
    """Load what :func:`save_extractor` wrote; raises ``FormatError`` if it is missing or damaged."""
    source = Path(folder)
    try:
        record = json.loads((source / "config.json").read_text(encoding="utf-8"))
        plugin = registry.load("extractors", record["name"])
        values = record["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{source}/config.json: not a saved extractor ({error}); re-run stage 3") from error
    extractor: Extractor[Any] = plugin.implementation(configs.build(plugin.config, values, where=str(source / "config.json")))
    extractor.load_state(load_tensors(source / "tensors.safetensors"))
    return extractor
