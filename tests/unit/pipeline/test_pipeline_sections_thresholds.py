"""One model for all sections of a machine, thresholds that a recipe gives, and votes with thresholds of their own."""

import numpy as np
import pandas as pd
import pytest

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.features.segments import Embeddings, SegmentMeta
from dcase_asd.pipeline.stage import Unit
from dcase_asd.pipeline.stages.detectors import section_rows
from dcase_asd.pipeline.stages.ensemble import ALL_SEEDS, _combine
from dcase_asd.pipeline.stages.evaluate import _decide, _fixed


def embeddings(sections):
    text = np.array(sections, dtype=object)
    n = len(sections)
    meta = SegmentMeta(np.array([f"c{i}" for i in range(n)], dtype=object), text, text, text, np.zeros(n))
    return Embeddings(np.zeros((n, 1), np.float32), None, None, meta)


def test_sections_have_a_model_each_or_share_one():
    given = embeddings(["b", "a", "b"])
    apart = section_rows(given, {"sections": "apart"})
    assert {name: rows.tolist() for name, rows in apart.items()} == {"a": [1], "b": [0, 2]}
    assert {name: rows.tolist() for name, rows in section_rows(given, {"sections": "together"}).items()} == {"all": [0, 1, 2]}


SHOWN = ["mix:score=mse,threshold=ema", "mix:score=mse", "vote", "knn"]
GIVEN = {"mix:*threshold=*": 0.0, "vote": 0.5}


def evaluate_unit(name):
    return Unit(name, config={"evaluate": {"fixed_thresholds": GIVEN}, "ensembles": {"vote": {}}})


def test_fixed_thresholds_are_for_the_systems_they_name_and_over_seeds_for_ensembles():
    assert _fixed(evaluate_unit("0"), SHOWN) == {"mix:score=mse,threshold=ema": 0.0, "vote": 0.5}
    assert _fixed(evaluate_unit(ALL_SEEDS), SHOWN) == {"vote": 0.5}


class Places:
    table = pd.DataFrame({"clip_id": ["t0", "t1", "n0", "n1", "n2", "n3"], "machine": "m", "section": "s"})


def test_decisions_at_a_fixed_threshold_do_not_look_at_normal_scores():
    def table(clips, values):
        rows = [(c, s, v) for s in ("margin", "knn") for c, v in zip(clips, values, strict=True)]
        return pd.DataFrame(rows, columns=["clip_id", "system", "score"])

    scores, calibration = table(["t0", "t1"], [0.0, 0.1]), table(["n0", "n1", "n2", "n3"], [5.0, 6.0, 7.0, 8.0])
    config = {"threshold": "false_alarm", "false_alarm_rate": 0.25}
    decisions, thresholds = _decide((scores, calibration), Places(), config, {}, fixed={"margin": 0.0})
    made = decisions.pivot_table(index="clip_id", columns="system", values="decision")
    assert made["margin"].tolist() == [0, 1]  # above, not at
    assert made["knn"].tolist() == [0, 0]
    told = thresholds.set_index("system")
    assert (told.loc["margin", "threshold"], told.loc["margin", "n_normal"]) == (0.0, 0)
    assert (told.loc["knn", "threshold"], told.loc["knn", "n_normal"]) == (8.0, 4)


@pytest.mark.parametrize(("thresholds", "expected"), [({}, [0.0, 2 / 3, 1.0]), ({"a": 2.0}, [0.0, 0.0, 1.0])])
def test_a_vote_of_the_recipe_has_weights_and_thresholds(thresholds, expected):
    scores = pd.DataFrame({"a": [-1.0, 1.0, 3.0], "b": [-1.0, -1.0, 1.0]}, index=["x", "y", "z"])
    table = scores.rename_axis("clip_id").reset_index().melt("clip_id", var_name="system", value_name="score")
    entry = {"name": "vote", "thresholds": thresholds}
    made = _combine(table.assign(machine="m"), "vote", entry, {"m": ["a", "b"]}, {"m": {"a": 2.0, "b": 1.0}})
    np.testing.assert_allclose(made.set_index("clip_id")["score"], expected)


def test_a_detector_learns_which_device_it_may_use():
    plugin = registry.load("detectors", "image_autoencoder")
    detector = plugin.implementation(configs.build(plugin.config, {}))
    detector.device = "cuda:1"
    assert detector.training_place(np.zeros((2, 1, 4, 4), np.float32))["device"] == "cuda:1"
