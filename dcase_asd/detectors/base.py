"""The detector contract: :class:`Detector`, what it is fed (:class:`Batch`) and what it returns (:class:`Scores`)."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import DataError, FormatError, NotFittedError
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.io.arrays import load_tensors, save_tensors
from dcase_asd.io.atomic import write_json

__all__ = [
    "Batch",
    "Batches",
    "Detector",
    "LabelledBatch",
    "Scores",
    "batches_of",
    "check_input",
    "load_detector",
    "save_detector",
    "score_alike",
]

C = TypeVar("C")
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """Normal training segments.

    Attributes
    ----------
    x : ndarray
        ``[segment, dim]`` (input kind ``vector``) or ``[segment, channel, freq, time]`` (``map``).
    key : ndarray [segment] of int
        Position of the segment in the training set: the seed of any per-sample randomness, so that results do not
        depend on batch boundaries.
    meta : SegmentMeta
        Clip, section, domain, attributes; never a label.
    """

    x: NDArray[Any]
    key: NDArray[np.int64]
    meta: SegmentMeta


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """Training segments of both classes: what a detector with ``needs = ("labels",)`` is fed, and no other.

    Attributes
    ----------
    label : ndarray [segment] of int
        1 for the positive class (anomalies), 0 for the other; of training clips only.
    """

    label: NDArray[np.int64]


#: A factory: every call starts a new pass over the training data.
Batches = Callable[[], Iterable[Batch]]


@dataclass(frozen=True)
class Scores:
    """Raw anomaly scores, unbounded, higher = more anomalous.

    Attributes
    ----------
    score : ndarray [segment], float64
        The detector's score.
    map : ndarray [segment, h, w] or None
        Where it is anomalous (frequency x time, or height x width).
    parts : mapping of str to ndarray [segment]
        Named variants, e.g. ``{"fit_set=source,k=1": ...}`` for a grid; each becomes a system of its own in stage 6.
        Empty where there is only one.
    """

    score: NDArray[np.float64]
    map: NDArray[np.float32] | None = None
    parts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def score_alike(detector: Detector[Any], x: NDArray[Any]) -> Scores:
    """Score a batch; a segment alone gets the bits that it gets among others.

    Matrix products of a single row take another kernel of BLAS, with other last bits: it is scored twice over.
    """
    if len(x) != 1:
        return detector.score(x)
    both = detector.score(np.concatenate([x, x]))
    first = None if both.map is None else both.map[:1]
    return Scores(both.score[:1], first, {name: values[:1] for name, values in both.parts.items()})


class Detector(ABC, Generic[C]):
    """A one-class model of normal segments.

    Subclasses implement :meth:`fit`, :meth:`score`, :meth:`state` and :meth:`load_state`; one that can be fitted in one
    pass with bounded memory sets ``incremental = True`` and implements :meth:`begin`, :meth:`observe`, :meth:`finish` instead
    of ``fit``.

    Parameters
    ----------
    config : object
        An instance of the module's ``Config``. The constructor stores it and does nothing else.
    """

    incremental: ClassVar[bool] = False
    #: ``("labels",)``: fitted on :class:`LabelledBatch` of both classes; such a detector's score is above 0 where it decides for
    #: the positive class. Empty: fitted on normal segments, and handed nothing that tells a class.
    needs: ClassVar[tuple[str, ...]] = ()
    #: Configuration keys that change scores but not the state: what an entry that adopts a trained state may still set.
    scoring_keys: ClassVar[tuple[str, ...]] = ()
    #: Where a fit that takes long keeps checkpoints and ``losses.csv``, so that an interrupted one resumes; None: nowhere.
    workdir: Path | None = None
    #: Torch device that a fit may use; scoring is on the CPU.
    device: str = "cpu"

    def __init__(self, config: C) -> None:
        self.config = config
        #: SHA-256 of the files of pretrained weights that the fit read, by network; stands in the saved ``config.json``.
        self.pretrained_sha256: dict[str, str] = {}

    def require(self) -> None:
        """Raise what :meth:`fit` or its like will raise for want of a file from outside; cheap, asked before any work."""

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Fit to normal segments; the same seed gives the same bits on the same CPU.

        Raises
        ------
        DataError
            For NaN or infinite values, a wrong shape, or too few segments.
        """
        self.begin(seed=seed)
        for batch in batches():
            self.observe(batch)
        self.finish()

    def begin(self, *, seed: int) -> None:
        """Start an incremental fit."""
        raise NotImplementedError(f"{type(self).__name__} is not incremental")  # incremental detectors override the three

    def observe(self, batch: Batch) -> None:
        """Take one batch of an incremental fit; memory must not grow with the number of batches."""
        raise NotImplementedError(f"{type(self).__name__} is not incremental")

    def finish(self) -> None:
        """End an incremental fit."""
        raise NotImplementedError(f"{type(self).__name__} is not incremental")

    @abstractmethod
    def score(self, x: NDArray[Any]) -> Scores:
        """Score segments; changes no state, random generator or train mode, and does not depend on the batch.

        Raises
        ------
        NotFittedError
            Before :meth:`fit` or :meth:`load_state`.
        DataError
            For NaN or infinite values or a wrong shape.
        """

    def module_and_input(self, shape: tuple[int, ...]) -> tuple[Any, Any] | None:
        """Return the torch module that scores a segment of a shape and its input, to count operations; None without a network."""
        del shape
        return None

    @abstractmethod
    def state(self) -> Tensors:
        """Return everything learned as named arrays; raises ``NotFittedError`` before ``fit``."""

    @abstractmethod
    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""


def batches_of(
    x: NDArray[Any],
    meta: SegmentMeta,
    rows: NDArray[np.int64],
    *,
    size: int = 64,
    label: NDArray[np.int64] | None = None,
) -> Batches:
    """Return a factory of passes over the chosen ``rows`` of ``x [segment, ...]`` in batches of bounded size.

    With ``label [segment]`` (of all segments, chosen or not) the batches are :class:`LabelledBatch`.
    """

    def one_pass() -> Iterator[Batch]:
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            key = np.arange(start, start + len(chosen), dtype=np.int64)
            batch = Batch(x=np.asarray(x[chosen]), key=key, meta=meta.take(chosen))
            yield batch if label is None else LabelledBatch(batch.x, batch.key, batch.meta, label[chosen])

    return one_pass


def check_input(
    x: NDArray[Any], *, kind: str, like: tuple[int, ...] | None = None, min_segments: int = 1, name: str = "x"
) -> NDArray[Any]:
    """Return ``x`` if it is a finite array of the right kind; else raise ``DataError`` naming shape, segment and value.

    Parameters
    ----------
    x : ndarray
        ``[segment, dim]`` for kind ``vector``, ``[segment, channel, freq, time]`` for ``map``.
    kind : str
        ``"vector"``, ``"map"`` or ``"any"``.
    like : tuple of int, optional
        Shape of one segment as seen in ``fit``; ``-1`` accepts any size on that axis.
    min_segments : int
        Fewest segments accepted.
    name : str
        Name used in messages.
    """
    x = np.asarray(x)
    axes = {"vector": (2,), "map": (4,), "any": (2, 4)}[kind]
    if x.ndim not in axes or not np.issubdtype(x.dtype, np.number):
        raise DataError(
            f"{name}: expected {kind} input with {' or '.join(map(str, axes))} axes, got shape {x.shape}, dtype {x.dtype}"
        )
    if like is not None and (len(like) != x.ndim - 1 or any(w not in (-1, g) for w, g in zip(like, x.shape[1:], strict=True))):
        raise DataError(f"{name}: fitted on segments of shape {like}, got {x.shape[1:]}")
    if len(x) < min_segments:
        raise DataError(
            f"{name}: {len(x)} segments, at least {min_segments} are needed; add normal recordings or choose a smaller model"
        )
    finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if not finite.all():
        raise DataError(f"{name}: segment {int(np.flatnonzero(~finite)[0])} holds NaN or infinite values")
    return x


def require_fitted(value: Any, owner: object) -> Any:
    """Return ``value`` unless it is None; else raise ``NotFittedError`` naming the detector."""
    if value is None:
        raise NotFittedError(f"{type(owner).__name__}: call fit (or load a saved state) before score or state")
    return value


def save_detector(folder: str | os.PathLike[str], name: str, detector: Detector[Any]) -> None:
    """Write ``tensors.safetensors`` and then ``config.json`` (registered name, resolved configuration, hashes of weights)."""
    target = Path(folder)
    save_tensors(target / "tensors.safetensors", detector.state())
    record = {"kind": "detector", "name": name, "config": configs.to_dict(detector.config)}
    read = {"pretrained_sha256": detector.pretrained_sha256} if detector.pretrained_sha256 else {}
    write_json(target / "config.json", record | read)


def load_detector(folder: str | os.PathLike[str]) -> Detector[Any]:
    """Load what :func:`save_detector` wrote; raises ``FormatError`` if it is missing or damaged."""
    source = Path(folder)
    try:
        record = json.loads((source / "config.json").read_text(encoding="utf-8"))
        plugin = registry.load("detectors", record["name"])
        values, read = record["config"], dict(record.get("pretrained_sha256", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{source}/config.json: not a saved detector ({error}); re-run stage 5") from error
    detector: Detector[Any] = plugin.implementation(configs.build(plugin.config, values, where=str(source / "config.json")))
    detector.load_state(load_tensors(source / "tensors.safetensors"))
    detector.pretrained_sha256 = read
    return detector
