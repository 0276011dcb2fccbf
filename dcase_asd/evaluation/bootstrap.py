"""Is one system better than another? A paired, stratified bootstrap of the difference of two official scores.

Clips are drawn with replacement inside each machine, section, domain and class, the same draw for every system, so that the
difficulty of the drawn clips cancels. A draw is a count per clip: every replicate is a weighted area over one sorted section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcase_asd.errors import DataError
from dcase_asd.evaluation.challenge import CONFIDENCE
from dcase_asd.evaluation.intervals import Interval
from dcase_asd.evaluation.metrics import Floats, area_terms, mcclish
from dcase_asd.evaluation.rules import Rule, Section

__all__ = [
    "Difference",
    "bootstrap_scores",
    "bootstrap_values",
    "counts_per_level",
    "difference",
    "draw_counts",
    "paired_difference",
    "percentile_interval",
]

# replicates handled at once, so that [replicate, clip] arrays of a large section stay in cache and memory
_BLOCK = 256


@dataclass(frozen=True)
class Difference:
    """The score of ``system`` minus that of ``reference``.

    Attributes
    ----------
    system, reference : str
        Names.
    interval : Interval
        Estimate from the real clips; percentile interval over replicates.
    share_better : float
        Share of replicates in which ``system`` scored higher.
    seed : int
        Of the draws.
    """

    system: str
    reference: str
    interval: Interval
    share_better: float
    seed: int

    @property
    def is_decided(self) -> bool:
        """Whether the interval leaves out zero: the margin is larger than chance in the choice of test clips explains."""
        return self.interval.low > 0.0 or self.interval.high < 0.0


def bootstrap_scores(systems: Sequence[Sequence[Section]], rule: Rule, *, n_bootstrap: int, seed: int) -> Floats:
    """Return the rule's score of every system in every replicate, float [system, replicate]; as :func:`bootstrap_values`."""
    values = bootstrap_values(systems, rule, n_bootstrap=n_bootstrap, seed=seed)
    return rule.combine(values, rule.weights([section.machine for section in systems[0]]))


def bootstrap_values(systems: Sequence[Sequence[Section]], rule: Rule, *, n_bootstrap: int, seed: int) -> Floats:
    """Return the rule's terms of every system in every replicate, float [system, replicate, section, term].

    Parameters
    ----------
    systems : sequence of sequence of Section
        Per system the same sections with the same clips in the same order; only ``scores`` differ.
    rule : Rule
        How clips become a score.
    n_bootstrap : int
        Replicates.
    seed : int
        Same seed, same draws.

    Raises
    ------
    DataError
        If ``n_bootstrap`` is below one or the systems' clips differ.
    """
    if n_bootstrap < 1:
        raise DataError(f"n_bootstrap {n_bootstrap}: at least one replicate is needed")
    _require_paired(systems)
    values = np.empty((len(systems), n_bootstrap, len(systems[0]), len(rule.terms)))
    streams = np.random.SeedSequence(seed).spawn(len(systems[0]))
    for place, stream in enumerate(streams):
        generator = np.random.default_rng(stream)
        for start in range(0, n_bootstrap, _BLOCK):
            size = min(_BLOCK, n_bootstrap - start)
            counts = draw_counts(systems[0][place], size, generator)
            for number, sections in enumerate(systems):
                values[number, start : start + size, place] = _weighted_values(sections[place], rule, counts)
    return values


def paired_difference(
    system: tuple[str, Sequence[Section]],
    reference: tuple[str, Sequence[Section]],
    rule: Rule,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Return by how much ``system`` (name, sections) beats ``reference``; raises as :func:`bootstrap_scores`."""
    replicates = bootstrap_scores([system[1], reference[1]], rule, n_bootstrap=n_bootstrap, seed=seed)
    scores = [_score(system[1], rule), _score(reference[1], rule)]
    return difference(
        (system[0], reference[0]), (scores[0], scores[1]), (replicates[0], replicates[1]), seed=seed, confidence=confidence
    )


def difference(
    names: tuple[str, str],
    scores: tuple[float, float],
    replicates: tuple[Floats, Floats],
    *,
    seed: int,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Return the difference of two scores with the percentile interval of their paired replicates."""
    gaps = replicates[0] - replicates[1]
    interval = percentile_interval(scores[0] - scores[1], gaps, confidence=confidence)
    return Difference(names[0], names[1], interval, float(np.mean(gaps > 0)), seed)


def percentile_interval(estimate: float, replicates: Floats, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval between the outer quantiles of ``replicates [replicate]``."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    return Interval(estimate, float(low), float(high), confidence, replicates.size, "bootstrap")


def _score(sections: Sequence[Section], rule: Rule) -> float:
    values = np.stack([rule.values(section) for section in sections])
    return float(rule.combine(values, rule.weights([section.machine for section in sections])))


def draw_counts(section: Section, size: int, generator: np.random.Generator) -> Floats:
    """Return how often each clip is drawn, float [replicate, clip], strata (domain, class) of constant size."""
    counts = np.empty((size, section.scores.size))
    for domain in np.unique(section.domain):
        for anomalous in (False, True):
            members = np.flatnonzero((section.domain == domain) & (section.is_anomaly == anomalous))
            if members.size:
                share = np.full(members.size, 1.0 / members.size)
                counts[:, members] = generator.multinomial(members.size, share, size=size)
    return counts


def _weighted_values(section: Section, rule: Rule, counts: Floats) -> Floats:
    """Return the rule's terms of every replicate, float [replicate, term]."""
    levels, rank = np.unique(section.scores, return_inverse=True)
    result = np.empty((counts.shape[0], len(rule.terms)))
    for column, term in enumerate(rule.terms):
        positives, negatives = term.split(section)
        # counts per distinct score, ties thereby in one column; the ranks are ascending
        normals = counts_per_level(counts[:, negatives], rank[negatives], levels.size)
        anomalies = counts_per_level(counts[:, positives], rank[positives], levels.size)
        n_neg, n_pos = int(negatives.sum()), int(positives.sum())
        greater = n_neg - normals.cumsum(axis=1)
        areas = (anomalies * area_terms(greater, normals, term.max_fpr * n_neg)).sum(axis=1) / (n_pos * n_neg)
        result[:, column] = mcclish(areas, term.max_fpr)
    return result


def counts_per_level(counts: Floats, rank: np.ndarray[tuple[int, ...], np.dtype[np.intp]], n_levels: int) -> Floats:
    """Return how often each distinct score is drawn, float [replicate, level].

    Parameters
    ----------
    counts : array
        Float [replicate, clip].
    rank : array
        Level of every clip, from 0 to ``n_levels - 1``.
    n_levels : int
    """
    table = np.zeros((counts.shape[0], n_levels))
    order = np.argsort(rank, kind="stable")
    starts = np.flatnonzero(np.diff(rank[order], prepend=-1))
    table[:, rank[order][starts]] = np.add.reduceat(counts[:, order], starts, axis=1)
    return table


def _require_paired(systems: Sequence[Sequence[Section]]) -> None:
    first = systems[0]
    for other in systems[1:]:
        same = len(other) == len(first) and all(
            (a.machine, a.section) == (b.machine, b.section)
            and np.array_equal(a.is_anomaly, b.is_anomaly)
            and np.array_equal(a.domain, b.domain)
            for a, b in zip(first, other, strict=True)
        )
        if not same:
            raise DataError("the systems were not scored on the same clips in the same order: a paired comparison needs that")
