from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcase_asd import config as configs
from dcase_asd.detectors._shared.fit_sets import (
    FitSetConfig,
    TrainingRows,
    available_fit_sets,
    gather,
    mixture_moments,
    pseudo_target,
    rows_of,
)
from dcase_asd.errors import ConfigError, DataError


def _rows(n_source: int = 40, n_target: int = 7, dim: int = 3) -> TrainingRows:
    rng = np.random.default_rng(0)
    return TrainingRows(rng.normal(size=(n_source, dim)), rng.normal(size=(n_target, dim)) + 5.0)


@given(n_batches=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_mixtures_do_not_depend_on_batches_or_their_order(batches_of, n_batches: int, seed: int) -> None:
    rows = _rows()
    order = np.random.default_rng(seed).permutation(47)
    config = FitSetConfig(fit_sets=("pseudo_target",))
    plain = pseudo_target(gather(batches_of(rows.source, rows.target)), config=config, seed=seed)
    cut = pseudo_target(gather(batches_of(rows.source, rows.target, n_batches=n_batches, order=order)), config=config, seed=seed)
    np.testing.assert_array_equal(plain, cut)


@pytest.mark.parametrize("law", ["beta", "uniform", "half"])
def test_mixtures_lie_between_a_source_and_a_target_segment(law: str) -> None:
    # every source is (0, i), every target (1, 0): the first coordinate is 1 - weight, the second weight * i
    source = np.stack([np.zeros(50), np.arange(50.0)], axis=1)
    config = FitSetConfig(fit_sets=("pseudo_target",), pseudo_target_law=law, pseudo_target_amount=2.0)
    mixed = pseudo_target(TrainingRows(source, np.tile([[1.0, 0.0]], (4, 1))), config=config, seed=1)
    weight = 1.0 - mixed[:, 0]
    assert len(mixed) == 100
    assert ((weight >= 0) & (weight <= 1)).all()
    used = weight > 1e-6
    origin = mixed[used, 1] / weight[used]
    np.testing.assert_allclose(origin, np.round(origin), atol=1e-6)
    if law == "half":
        # every source segment is used exactly twice
        np.testing.assert_array_equal(np.bincount(np.round(origin).astype(int)), np.full(50, 2))


@pytest.mark.parametrize(("law", "alpha"), [("beta", 0.2), ("beta", 2.0), ("uniform", 0.2), ("half", 0.2)])
def test_moments_of_the_weight_match_the_drawn_ones(law: str, alpha: float) -> None:
    config = FitSetConfig(pseudo_target_law=law, pseudo_target_alpha=alpha)
    ones = TrainingRows(np.ones((200_000, 1)), np.zeros((3, 1)))
    weight = pseudo_target(ones, config=config, seed=0)
    first, second = mixture_moments(config)
    # standard error of either mean is below 0.5 / sqrt(200000) = 0.0012
    assert abs(weight.mean() - first) < 0.006
    assert abs((weight**2).mean() - second) < 0.006


@pytest.mark.parametrize(("amount", "expected"), [(0.001, 1), (0.25, 10), (1.0, 40), (2.5, 100)])
def test_amount_counts_mixtures_per_source_segment(amount: float, expected: int) -> None:
    config = FitSetConfig(pseudo_target_amount=amount)
    assert len(pseudo_target(_rows(), config=config, seed=0)) == expected


def test_seed_matters_and_dtype_stays() -> None:
    rows = _rows()
    single = TrainingRows(rows.source.astype(np.float32), rows.target.astype(np.float32))
    config = FitSetConfig()
    assert pseudo_target(single, config=config, seed=0).dtype == np.float32
    assert not np.array_equal(pseudo_target(rows, config=config, seed=0), pseudo_target(rows, config=config, seed=1))


def test_maps_can_be_mixed() -> None:
    rows = TrainingRows(np.zeros((6, 2, 3, 4)), np.ones((2, 2, 3, 4)))
    mixed = pseudo_target(rows, config=FitSetConfig(pseudo_target_law="half"), seed=0)
    np.testing.assert_array_equal(mixed, np.full((6, 2, 3, 4), 0.5))


def test_unknown_domain_counts_as_source(batches_of) -> None:
    rows = gather(batches_of(_rows().source, _rows().target, unknown=True))
    assert (len(rows.source), len(rows.target)) == (40, 7)
    assert len(rows_of("source", rows, config=FitSetConfig(), seed=0)) == 40
    assert len(rows_of("both", rows, config=FitSetConfig(), seed=0)) == 47


def test_missing_target_is_skipped_with_a_warning_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    config = FitSetConfig(fit_sets=("source", "pseudo_target", "both"))
    with caplog.at_level(logging.WARNING):
        assert available_fit_sets(config, n_target=0, owner="knn") == ("source", "both")
    assert "pseudo_target" in caplog.text
    assert available_fit_sets(config, n_target=1, owner="knn") == config.fit_sets


@pytest.mark.parametrize(
    "config",
    [FitSetConfig(fit_sets=("pseudo_target",)), FitSetConfig(fit_sets=("both", "pseudo_target"), missing_target="error")],
)
def test_missing_target_is_an_error_where_it_cannot_or_may_not_be_skipped(config: FitSetConfig) -> None:
    with pytest.raises(DataError, match=r"pseudo_target.*fit_sets"):
        available_fit_sets(config, n_target=0, owner="knn")


def test_only_target_segments_are_refused(batches_of) -> None:
    with pytest.raises(DataError, match="target domain"):
        gather(batches_of(_rows().source[:0], _rows().target))


@pytest.mark.parametrize(
    "values",
    [
        {"fit_sets": []},
        {"fit_sets": ["both", "both"]},
        {"fit_sets": ["sauce"]},
        {"pseudo_target_alpha": 0},
        {"pseudo_target_amount": -1},
    ],
)
def test_impossible_configurations_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError):
        configs.build(FitSetConfig, values)
