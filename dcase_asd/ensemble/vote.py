"""Weighted majority vote, and which members of one can ever be decisive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.ensemble.tables import by_member
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "INFO",
    "MOST_MEMBERS",
    "Config",
    "LearntWeights",
    "Pattern",
    "Vote",
    "VoteAnalysis",
    "accuracy_weights",
    "analyse",
]

INFO = Info(
    summary="weighted majority vote of the members' decisions",
    implementation="Vote",
    source="Argese and Degni, Section VIII (weights by accuracy, class 1 above one half); Rotondi and Lavalle, Eq. 10",
    input="scores",
    cost="none",
    strengths="no common scale of scores needed, only a threshold each",
    weaknesses="as many distinct scores as there are patterns of votes: coarse ranks, ties; some weights can never decide",
)

#: 2^16 patterns are listed at most.
MOST_MEMBERS = 16


@configclass
class Config:
    """Configuration of :class:`Vote`.

    Attributes
    ----------
    weights : mapping of system to weight
        Written out in the recipe or learnt from held-out training clips (:func:`accuracy_weights`), never from the clips that
        are reported; positive or zero, any sum.
    thresholds : mapping of system to threshold
        A member votes "anomaly" where its score is above its threshold; 0 where none is given.
    """

    weights: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_weights(self.weights)


@dataclass(frozen=True)
class Pattern:
    """One pattern of votes: who says "anomaly", their share of the weight, and the outcome (share above one half)."""

    anomaly: tuple[str, ...]
    share: float
    outcome: bool


@dataclass(frozen=True)
class VoteAnalysis:
    """What a set of weights can do.

    Attributes
    ----------
    patterns : tuple of Pattern
        All 2^n of them.
    swings : mapping of str to int
        In how many of the 2^(n-1) patterns of the others a member's vote changes the outcome (its Banzhaf count).
    never_decisive : tuple of str
        Members with no swing: leaving them out changes nothing.
    """

    patterns: tuple[Pattern, ...]
    swings: Mapping[str, int]
    never_decisive: tuple[str, ...]


class Vote:
    """Weighted majority vote; the score of a clip is the share of the weight that says "anomaly", 0 to 1."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def combine(self, scores: pd.DataFrame, members: Sequence[str] | None = None) -> pd.Series:
        """Return the share of votes for "anomaly" by clip_id, sorted; above one half is the vote's decision.

        Parameters
        ----------
        scores : pandas.DataFrame
            ``clip_id``, ``system``, ``score``.
        members : sequence of str, optional
            Voters; all with a weight by default.

        Raises
        ------
        ConfigError
            If a member has no weight, or all weights of the members are zero.
        DataError
            If a score is missing.
        """
        import pandas as pd

        chosen = list(self.config.weights) if members is None else list(members)
        lacking = [name for name in chosen if name not in self.config.weights]
        if lacking:
            raise ConfigError(
                f"ensemble vote: no weight for {', '.join(lacking)}; every member's weight is written in the recipe"
            )
        wide = by_member(scores, chosen)
        weight = np.array([self.config.weights[name] for name in chosen])
        if not weight.sum() > 0:
            raise ConfigError(f"ensemble vote: the weights of {', '.join(chosen)} are all zero")
        threshold = np.array([self.config.thresholds.get(name, 0.0) for name in chosen])
        votes = wide.to_numpy() > threshold
        return pd.Series(_share(votes, weight), index=wide.index, name="score")


@dataclass(frozen=True)
class LearntWeights:
    """Weights and what they come from.

    Attributes
    ----------
    weights, accuracy : mapping of str to float
        By member; weights are accuracies over their sum.
    n_normal, n_positive : int
        Held-out training clips of each class.
    """

    weights: dict[str, float]
    accuracy: dict[str, float]
    n_normal: int
    n_positive: int


def accuracy_weights(
    normal: pd.DataFrame, positive: pd.DataFrame, *, members: Sequence[str], thresholds: Mapping[str, float] | None = None
) -> LearntWeights:
    """Weigh members by their accuracy on training clips that they were not fitted on.

    Argese and Degni (Section VIII) take the accuracy on the set that they report, which flatters the vote; held-out training
    clips leave the reported ones untouched.

    Parameters
    ----------
    normal, positive : pandas.DataFrame
        ``clip_id, system, score`` of held-out clips of each class.
    members : sequence of str
    thresholds : mapping of str to float, optional
        As in :class:`Config`.

    Raises
    ------
    DataError
        If a score is missing.
    """
    cut = np.array([(thresholds or {}).get(name, 0.0) for name in members])
    right = [by_member(normal, members).to_numpy() <= cut, by_member(positive, members).to_numpy() > cut]
    accuracy = np.concatenate(right).mean(axis=0)
    if not accuracy.sum() > 0:
        raise DataError(f"vote: none of {', '.join(members)} decides a single held-out clip right; there is nothing to weigh by")
    share = accuracy / accuracy.sum()
    return LearntWeights(
        {name: float(value) for name, value in zip(members, share, strict=True)},
        {name: float(value) for name, value in zip(members, accuracy, strict=True)},
        len(right[0]),
        len(right[1]),
    )


def analyse(weights: Mapping[str, float]) -> VoteAnalysis:
    """List all patterns of votes under the rule "share above one half", and who can ever decide.

    Raises
    ------
    ConfigError
        For no weights, a negative one, all zero, or more than 16 members.
    """
    _check_weights(weights)
    names = list(weights)
    if not names or len(names) > MOST_MEMBERS or not sum(weights.values()) > 0:
        raise ConfigError(f"vote analysis: expected 1 to {MOST_MEMBERS} members, not all of weight zero; got {dict(weights)}")
    n = len(names)
    votes = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    weight = np.array([weights[name] for name in names])
    share = _share(votes, weight)
    outcome = share > 0.5
    swings = {name: int((outcome[votes[:, i] == 1] != outcome[votes[:, i] == 0]).sum()) for i, name in enumerate(names)}
    patterns = tuple(
        Pattern(tuple(name for name, vote in zip(names, row, strict=True) if vote), float(value), bool(result))
        for row, value, result in zip(votes, share, outcome, strict=True)
    )
    return VoteAnalysis(patterns, swings, tuple(name for name, count in swings.items() if count == 0))


def _share(votes: NDArray[Any], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    # rounded, so that weights that tie on paper (.1 + .2 against .3) tie here too
    return np.asarray(np.round(votes @ (weight / weight.sum()), 12))


def _check_weights(weights: Mapping[str, float]) -> None:
    bad = {name: value for name, value in weights.items() if not (np.isfinite(value) and value >= 0)}
    if bad:
        raise ConfigError(f"vote weights must be finite and not negative; got {bad}")
