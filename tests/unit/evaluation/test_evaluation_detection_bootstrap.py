"""Replicates of average precision, precision, recall and F1 against scikit-learn on the clips drawn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from dcase_asd.evaluation.bootstrap import draw_counts
from dcase_asd.evaluation.detection_bootstrap import detection_replicates
from dcase_asd.evaluation.rules import Section


def sections(levels):
    rng = np.random.default_rng(levels)
    made = []
    for name, (n_normal, n_anomaly) in (("00", (30, 20)), ("01", (12, 40))):
        anomaly = np.arange(n_normal + n_anomaly) >= n_normal
        scores = rng.normal(size=len(anomaly)) + anomaly
        scores = np.round(scores * levels) / levels if levels else scores
        made.append(Section("m", name, anomaly, np.full(len(anomaly), "unknown"), scores))
    return made


@pytest.mark.parametrize("levels", [0, 3])
def test_every_replicate_is_the_measure_of_the_clips_drawn(levels):
    both = sections(levels)
    decisions = [(section.scores > 0.5).astype(float) for section in both]
    found = detection_replicates(both, decisions, n_bootstrap=6, seed=4)
    assert set(found) == {"average_precision", "precision", "recall", "f1"}
    for place, stream in enumerate(np.random.SeedSequence(4).spawn(2)):
        section = both[place]
        counts = draw_counts(section, 6, np.random.default_rng(stream)).astype(int)
        for number, times in enumerate(counts):
            clips = np.repeat(np.arange(len(times)), times)
            truth, alarm = section.is_anomaly[clips], decisions[place][clips]
            expected = precision_recall_fscore_support(truth, alarm, average="binary")
            assert [found[key][number, place] for key in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
            area = average_precision_score(truth, section.scores[clips])
            assert found["average_precision"][number, place] == pytest.approx(area)


def test_without_decisions_there_is_average_precision_alone():
    found = detection_replicates(sections(0), None, n_bootstrap=3, seed=0)
    assert {key: values.shape for key, values in found.items()} == {"average_precision": (3, 2)}
