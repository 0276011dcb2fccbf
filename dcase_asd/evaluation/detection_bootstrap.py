"""Bootstrap of what stands beside the score: average precision, and precision, recall and F1 of the decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcase_asd.evaluation.bootstrap import counts_per_level, draw_counts
from dcase_asd.evaluation.challenge import EPSILON
from dcase_asd.evaluation.metrics import Floats
from dcase_asd.evaluation.rules import Section

__all__ = ["detection_replicates"]

Bools = NDArray[np.bool_]


def detection_replicates(
    sections: Sequence[Section], decisions: Sequence[Floats] | None, *, n_bootstrap: int, seed: int
) -> dict[str, Floats]:
    """Return every measure in every replicate, float [replicate, section], by the keys of section values.

    Clips are drawn within section, domain and class, the same for every system; thresholds stay what they are, for they come
    from other clips.

    Parameters
    ----------
    sections : sequence of Section
    decisions : sequence of array or None
        0 or 1 per clip of each section; None: average precision alone.
    n_bootstrap : int
    seed : int
    """
    found: dict[str, list[Floats]] = {}
    for place, stream in enumerate(np.random.SeedSequence(seed).spawn(len(sections))):
        section = sections[place]
        counts = draw_counts(section, n_bootstrap, np.random.default_rng(stream))
        values = {"average_precision": _average_precision(section, counts)}
        if decisions is not None:
            values |= _decided(section.is_anomaly, decisions[place].astype(bool), counts)
        for key, replicates in values.items():
            found.setdefault(key, []).append(replicates)
    return {key: np.stack(columns, axis=1) for key, columns in found.items()}


def _average_precision(section: Section, counts: Floats) -> Floats:
    levels, rank = np.unique(-section.scores, return_inverse=True)  # most anomalous first
    anomaly = section.is_anomaly
    hits = counts_per_level(counts[:, anomaly], rank[anomaly], levels.size)
    alarms = counts_per_level(counts, rank, levels.size).cumsum(axis=1)
    result: Floats = (hits * hits.cumsum(axis=1) / np.maximum(alarms, 1.0)).sum(axis=1) / np.count_nonzero(anomaly)
    return result


def _decided(anomaly: Bools, alarm: Bools, counts: Floats) -> dict[str, Floats]:
    hits = counts[:, anomaly & alarm].sum(axis=1)
    precision = hits / np.maximum(counts[:, alarm].sum(axis=1), EPSILON)
    recall = hits / max(float(np.count_nonzero(anomaly)), EPSILON)
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, EPSILON)
    return {"precision": precision, "recall": recall, "f1": f1}
