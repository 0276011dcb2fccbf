from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.ensemble import mean, vote
from dcase_asd.errors import ConfigError, DataError, UnknownNameError

CLIPS = [f"fan/é {i}.wav" for i in range(6)]


def _table(**systems) -> pd.DataFrame:
    rows = [(clip, name, value) for name, values in systems.items() for clip, value in zip(CLIPS, values, strict=False)]
    return pd.DataFrame(rows, columns=["clip_id", "system", "score"]).sample(frac=1, random_state=0)


A, B, C = (np.random.default_rng(s).normal(size=6) * 10.0**s for s in range(3))


def test_registered() -> None:
    assert set(registry.names("ensembles")) >= {"mean", "vote"}
    for name in ("mean", "vote"):
        plugin = registry.load("ensembles", name)
        assert hasattr(plugin.implementation(configs.build(plugin.config, {})), "combine")


def test_mean_of_given_scores() -> None:
    found = mean.Mean(mean.Config()).combine(_table(a=A, b=B, c=C), ["a", "c"])
    assert found.index.tolist() == CLIPS
    np.testing.assert_allclose(found, (A + C) / 2, rtol=1e-12)
    np.testing.assert_allclose(mean.Mean(mean.Config()).combine(_table(a=A, b=B, c=C)), (A + B + C) / 3, rtol=1e-12)


def test_mean_does_not_depend_on_the_order_of_members() -> None:
    table = _table(a=A, b=B, c=C)
    combine = mean.Mean(mean.Config()).combine
    assert combine(table, ["a", "b", "c"]).tolist() == combine(table, ["c", "a", "b"]).tolist()


def test_transductive_mean_is_the_mean_of_z_scores_and_says_so() -> None:
    ensemble = mean.Mean(mean.Config(standardise="transductive"))
    np.testing.assert_allclose(ensemble.combine(_table(a=A, b=B)), (zscore(A) + zscore(B)) / 2, rtol=1e-9)
    assert ensemble.transductive
    assert not mean.Mean(mean.Config()).transductive


def test_calibrated_mean_uses_the_calibration_scores_only() -> None:
    ensemble = mean.Mean(mean.Config(standardise="calibration"))
    found = ensemble.combine(_table(a=A, b=B), calibration=_table(a=[1.0, 3.0], b=[0.0, 20.0]))
    np.testing.assert_allclose(found, ((A - 2.0) + (B - 10.0) / 10.0) / 2, rtol=1e-12)
    with pytest.raises(ConfigError, match="calibration"):
        ensemble.combine(_table(a=A))
    with pytest.raises(ConfigError, match="calibration"):
        mean.Mean(mean.Config()).combine(_table(a=A), calibration=_table(a=A))


def test_refused_tables() -> None:
    combine = mean.Mean(mean.Config()).combine
    with pytest.raises(UnknownNameError, match=r"did you mean 'abc'"):
        combine(_table(abc=A), ["abd"])
    with pytest.raises(DataError, match="é 5"):
        combine(_table(a=A, b=B[:5]))
    with pytest.raises(DataError, match="no finite"):
        combine(_table(a=A, b=[np.nan, *B[1:]]))
    with pytest.raises(DataError, match="two scores"):
        combine(pd.concat([_table(a=A), _table(a=A)]))
    with pytest.raises(DataError, match="distinct"):
        combine(_table(a=A), ["a", "a"])
    with pytest.raises(DataError, match="distinct"):
        combine(_table(a=A), [])
    with pytest.raises(DataError, match="columns score"):
        combine(_table(a=A).drop(columns="score"))


def test_vote_shares() -> None:
    ensemble = vote.Vote(vote.Config(weights={"a": 1.0, "b": 2.0, "c": 5.0}, thresholds={"b": 0.5}))
    found = ensemble.combine(_table(a=[1, 1, 0, -1], b=[1, 0.5, 0.6, 0], c=[-1, 1, 0, 0]))
    assert found.tolist() == [3 / 8, 6 / 8, 2 / 8, 0.0]
    assert ensemble.combine(_table(a=[1, -1], b=[0, 9]), ["a", "b"]).tolist() == pytest.approx([1 / 3, 2 / 3])
    with pytest.raises(ConfigError, match="no weight for d"):
        ensemble.combine(_table(d=A), ["d"])
    with pytest.raises(ConfigError, match="zero"):
        vote.Vote(vote.Config(weights={"a": 0.0})).combine(_table(a=A))


def test_the_printed_weights_make_logistic_regression_a_bystander() -> None:
    weights = {"lr": 0.2164, "svm": 0.2560, "cnn": 0.2643, "resnet": 0.2633}
    found = vote.analyse(weights)
    assert len(found.patterns) == 16
    # a two-out-of-three majority of the others; worked out by hand
    assert found.swings == {"lr": 0, "svm": 4, "cnn": 4, "resnet": 4}
    assert found.never_decisive == ("lr",)
    for pattern in found.patterns:
        assert pattern.outcome == (len(set(pattern.anomaly) - {"lr"}) >= 2)
        assert pattern.share == pytest.approx(sum(weights[name] for name in pattern.anomaly) / sum(weights.values()))


def test_equal_weights_are_all_decisive_and_a_dictator_is_alone() -> None:
    assert vote.analyse({"a": 1, "b": 1, "c": 1}).swings == {"a": 2, "b": 2, "c": 2}
    assert vote.analyse({"a": 3, "b": 1, "c": 1}).never_decisive == ("b", "c")


def test_a_tie_on_paper_is_no_majority() -> None:
    outcome = {p.anomaly: p.outcome for p in vote.analyse({"a": 0.1, "b": 0.2, "c": 0.3}).patterns}
    assert outcome[("a", "b")] is False
    assert outcome[("c",)] is False
    assert outcome[("a", "c")] is True


@pytest.mark.parametrize(
    "weights", [{}, {"a": 0.0}, {"a": -1.0, "b": 2.0}, {"a": float("nan")}, {str(i): 1.0 for i in range(17)}]
)
def test_impossible_weights_are_refused(weights: dict) -> None:
    with pytest.raises(ConfigError):
        vote.analyse(weights)


def test_weights_from_held_out_clips_are_the_shares_of_accuracy() -> None:
    normal = _table(good=[-1, -2, -3, -4], fair=[-1, 1, -1, 1], shifted=[4, 4, 4, 6])
    positive = _table(good=[1, 2, 3, 4], fair=[1, 1, -1, -1], shifted=[6, 6, 6, 6])
    found = vote.accuracy_weights(normal, positive, members=["good", "fair", "shifted"], thresholds={"shifted": 5.0})
    assert found.accuracy == {"good": 1.0, "fair": 0.5, "shifted": 7 / 8}
    assert found.weights == pytest.approx({"good": 8 / 19, "fair": 4 / 19, "shifted": 7 / 19})
    assert (found.n_normal, found.n_positive) == (4, 4)
    with pytest.raises(DataError, match="nothing to weigh by"):
        vote.accuracy_weights(positive, normal, members=["good"])


def test_the_printed_weights_are_the_printed_accuracies() -> None:
    """Table V of Argese and Degni; their figures are fractions of one set of clips, here one of ten thousand a class."""
    accuracy = {"lr": 0.8101, "svm": 0.9582, "cnn": 0.9896, "resnet": 0.9857}
    n = 10_000
    right = pd.DataFrame({name: np.where(np.arange(n) < round(value * n), 1.0, -1.0) for name, value in accuracy.items()})
    positive = right.rename_axis("clip_id").reset_index().melt("clip_id", var_name="system", value_name="score")
    found = vote.accuracy_weights(positive.assign(score=-positive["score"]), positive, members=list(accuracy))
    assert {name: round(value, 4) for name, value in found.weights.items()} == {
        "lr": 0.2164,
        "svm": 0.2560,
        "cnn": 0.2643,
        "resnet": 0.2633,
    }
