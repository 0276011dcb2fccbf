"""What an inlier model is fitted on: source, both domains, or pseudo-target mixtures (Fujimura 2023, Sections 3.1 and 4.2)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors.base import Batches, check_input
from dcase_asd.errors import ConfigError, DataError

__all__ = [
    "FIT_SETS",
    "FitSetConfig",
    "TrainingRows",
    "available_fit_sets",
    "gather",
    "mixture_moments",
    "pseudo_target",
    "rows_of",
]

FitSet = Literal["source", "both", "pseudo_target"]
#: The three options of Fujimura 2023, Section 4.2; their order is the code written into saved states and never changes.
FIT_SETS: tuple[FitSet, ...] = ("source", "both", "pseudo_target")

#: Keeps the mixtures' random stream apart from other uses of the same seed.
_STREAM = 0x70736575

_log = logging.getLogger(__name__)


@configclass
class FitSetConfig:
    """Which training segments an inlier model is fitted on; every detector with fit sets inherits these keys.

    Attributes
    ----------
    fit_sets : tuple of {"source", "both", "pseudo_target"}
        ``source``: source segments (domain ``unknown`` counts as source); ``both``: all segments; ``pseudo_target``: only
        mixtures ``weight * source + (1 - weight) * target`` of segments' embeddings. One model per fit set.
        Without any target segment ``both`` equals ``source``.
    missing_target : {"skip", "error"}
        What to do with ``pseudo_target`` where there is no target segment: leave it out, with a warning in the log and its
        parts missing from state and scores, or raise. If nothing else is left, it is an error in both cases.
    pseudo_target_law : {"beta", "uniform", "half"}
        Law of the mixing weight: Beta(alpha, alpha), U(0, 1), or always 1/2. The paper leaves it open.
    pseudo_target_alpha : float
        Parameter of the Beta law; 0.2 is what the paper's predecessor uses for mixup.
    pseudo_target_amount : float
        Mixtures per source segment.
    """

    fit_sets: tuple[FitSet, ...] = ("both",)
    missing_target: Literal["skip", "error"] = "skip"
    pseudo_target_law: Literal["beta", "uniform", "half"] = "beta"
    pseudo_target_alpha: float = 0.2
    pseudo_target_amount: float = 1.0

    def __post_init__(self) -> None:
        if not self.fit_sets or len(set(self.fit_sets)) != len(self.fit_sets):
            raise ConfigError(f"fit_sets: expected distinct names out of {', '.join(FIT_SETS)}; got {list(self.fit_sets)}")
        for key in ("pseudo_target_alpha", "pseudo_target_amount"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"{key}: must be positive, got {getattr(self, key)}")


@dataclass(frozen=True)
class TrainingRows:
    """All training segments in the order of their keys, apart by domain.

    Attributes
    ----------
    source, target : ndarray [segment, ...]
        ``target`` may be empty.
    source_clip, target_clip : ndarray [segment] of str, optional
        The clip each segment was cut from; None where every segment counts as a clip of its own.
    source_section, target_section : ndarray [segment] of str, optional
        The section of each segment.
    """

    source: NDArray[Any]
    target: NDArray[Any]
    source_clip: NDArray[Any] | None = None
    target_clip: NDArray[Any] | None = None
    source_section: NDArray[Any] | None = None
    target_section: NDArray[Any] | None = None

    @property
    def all(self) -> NDArray[Any]:
        """Source rows followed by target rows."""
        return np.concatenate([self.source, self.target])


def gather(batches: Batches, *, kind: str = "vector") -> TrainingRows:
    """Collect one pass over the training data; rows are sorted by key, so batch boundaries and order do not matter.

    Raises
    ------
    DataError
        If there is no segment at all, none of the source domain, a wrong shape, or a value is not finite.
    """
    parts, keys, target, clip, section = [], [], [], [], []
    like: tuple[int, ...] | None = None
    for batch in batches():
        parts.append(check_input(batch.x, kind=kind, like=like, name="training segments"))
        like = parts[-1].shape[1:]
        keys.append(np.asarray(batch.key))
        target.append(is_target(batch.meta.domain))
        clip.append(np.asarray(batch.meta.clip_id))
        section.append(np.asarray(batch.meta.section))
    if not parts:
        raise DataError("training segments: none given; check that the machine has clips of split 'train'")
    order = np.argsort(np.concatenate(keys), kind="stable")
    x, mask, clips, sections = (np.concatenate(column)[order] for column in (parts, target, clip, section))
    if mask.all():
        raise DataError(f"training segments: all {len(x)} are of the target domain; source segments are needed")
    return TrainingRows(x[~mask], x[mask], clips[~mask], clips[mask], sections[~mask], sections[mask])


def is_target(domain: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which segments are of the target domain; everything else, ``unknown`` included, counts as source."""
    return np.asarray(np.asarray(domain).astype(str) == "target")


def available_fit_sets(config: FitSetConfig, *, n_target: int, owner: str) -> tuple[FitSet, ...]:
    """Return the requested fit sets that the data allow.

    Raises
    ------
    DataError
        If ``pseudo_target`` is asked for without target segments and may not be, or cannot be, left out.
    """
    if n_target or "pseudo_target" not in config.fit_sets:
        return config.fit_sets
    rest = tuple(name for name in config.fit_sets if name != "pseudo_target")
    if config.missing_target == "error" or not rest:
        raise DataError(
            f"{owner}: fit set 'pseudo_target' needs target segments and there are none; "
            "take it out of fit_sets, or keep another fit set beside it and set missing_target: skip"
        )
    _log.warning("%s: no target segments, fit set 'pseudo_target' is left out", owner)
    return rest


def pseudo_target(rows: TrainingRows, *, config: FitSetConfig, seed: int) -> NDArray[Any]:
    """Mix source with target segments (Fujimura 2023, Section 3.1: pseudo-target data by mixup).

    Returns
    -------
    ndarray [mixture, ...]
        ``round(pseudo_target_amount * n_source)`` mixtures, at least one. Every source segment is used equally often (to
        within one); the target segment and the weight of each mixture are drawn independently.
    """
    rng = np.random.default_rng([seed, _STREAM])
    n_source = len(rows.source)
    n = max(1, round(config.pseudo_target_amount * n_source))
    first = np.concatenate([rng.permutation(n_source) for _ in range(-(-n // n_source))])[:n]
    second = rng.integers(len(rows.target), size=n)
    weight = _weights(config, n, rng).reshape(-1, *[1] * (rows.source.ndim - 1))
    mixed = weight * rows.source[first] + (1.0 - weight) * rows.target[second]
    return np.asarray(mixed, dtype=rows.source.dtype)


def rows_of(name: FitSet, rows: TrainingRows, *, config: FitSetConfig, seed: int) -> NDArray[Any]:
    """Return the segments of one fit set."""
    if name == "source":
        return rows.source
    return rows.all if name == "both" else pseudo_target(rows, config=config, seed=seed)


def mixture_moments(config: FitSetConfig) -> tuple[float, float]:
    """Return the mean and the second moment of the mixing weight: all that a Gaussian of the mixtures depends on."""
    if config.pseudo_target_law == "half":
        return 0.5, 0.25
    if config.pseudo_target_law == "uniform":
        return 0.5, 1.0 / 3.0
    # Beta(a, a): variance 1 / (4 (2a + 1))
    return 0.5, 0.25 + 0.25 / (2.0 * config.pseudo_target_alpha + 1.0)


def _weights(config: FitSetConfig, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if config.pseudo_target_law == "half":
        return np.full(n, 0.5)
    if config.pseudo_target_law == "uniform":
        return rng.random(n)
    return rng.beta(config.pseudo_target_alpha, config.pseudo_target_alpha, n)
