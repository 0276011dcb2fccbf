import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.errors import ConfigError, TrainingError
from dcase_asd.training.mixup import MixupConfig, MixupPlan, mix, plan_mixup
from dcase_asd.training.samplers import PairSampler, endless_order
from dcase_asd.training.seeding import derive, generator, isolated


def test_batches_are_one_to_one_and_a_function_of_the_step():
    sampler = PairSampler(20, 50, 8, seed=1)
    target, negative = sampler.rows(3)
    assert len(target) == len(negative) == 4
    again = PairSampler(20, 50, 8, seed=1).rows(3)
    np.testing.assert_array_equal(target, again[0])
    np.testing.assert_array_equal(negative, again[1])
    other = PairSampler(20, 50, 8, seed=2)
    assert any(not np.array_equal(sampler.rows(s)[0], other.rows(s)[0]) for s in range(3))


def test_an_epoch_sees_every_target_and_passes_see_every_negative_equally_often():
    sampler = PairSampler(20, 12, 8, seed=0)
    assert sampler.steps_per_epoch == 5
    targets = np.concatenate([sampler.rows(s)[0] for s in range(5)])
    assert sorted(targets) == list(range(20))
    negatives = np.concatenate([sampler.rows(s)[1] for s in range(9)])  # 36 draws of 12
    assert np.bincount(negatives, minlength=12).tolist() == [3] * 12


@given(n=st.integers(1, 9), start=st.integers(0, 40), count=st.integers(1, 30))
def test_endless_order_is_one_sequence_however_it_is_cut(n, start, count):
    whole = endless_order(n, start=0, count=start + count, seed=3, name="x")
    np.testing.assert_array_equal(endless_order(n, start=start, count=count, seed=3, name="x"), whole[start:])


@given(share=st.floats(0.01, 0.99), n_rare=st.integers(1, 19), half=st.integers(1, 8))
def test_rare_clips_get_their_share_whatever_the_batch(share, n_rare, half):
    rare = tuple(range(n_rare))
    sampler = PairSampler(20, 12, 2 * half, 0, rare, share)
    rows = [sampler.rows(step)[0] for step in range(40)]
    assert {len(part) for part in rows} == {half}
    counts = np.bincount(np.concatenate(rows), minlength=20)
    assert counts[:n_rare].sum() == int(share * 40 * half)
    for group in (counts[:n_rare], counts[n_rare:]):
        assert group.max() - group.min() <= 1  # passes: every clip of a group as often as the others
    plain = PairSampler(20, 12, 2 * half, 0)
    np.testing.assert_array_equal(sampler.rows(3)[1], plain.rows(3)[1])


def test_target_and_negative_orders_are_independent():
    target, negative = PairSampler(64, 64, 128, seed=0).rows(0)
    assert not np.array_equal(target, negative)


def test_sampler_errors():
    with pytest.raises(ConfigError, match="even"):
        PairSampler(4, 4, 7, seed=0)
    with pytest.raises(TrainingError, match="0 pseudo-anomalous"):
        PairSampler(4, 0, 8, seed=0)
    with pytest.raises(ConfigError, match="rare_share"):
        PairSampler(4, 4, 8, 0, (1,), 1.0)
    for rare in ((), (0, 1, 2, 3)):
        with pytest.raises(TrainingError, match=f"{len(rare)} of 4 are rare"):
            PairSampler(4, 4, 8, 0, rare, 0.5)


def test_mix_by_hand():
    plan = MixupPlan(np.array([1, 0, 2]), np.array([0.75, 0.5, 0.1], dtype=np.float32))
    x = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 6.0]])
    assert mix(x, plan).tolist() == [[1.5, 1.0], [2.0, 2.0], [5.0, 6.0]]
    assert mix(torch.tensor([1.0, 0.0, 0.0]), plan).tolist() == [0.75, 0.5, 0.0]
    assert plan.dominant(np.array([7, 8, 9])).tolist() == [7, 8, 9]
    assert MixupPlan(np.array([1, 0]), np.array([0.2, 0.6], dtype=np.float32)).dominant(np.array([7, 8])).tolist() == [8, 8]


def test_pictures_are_mixed_as_flat_values_are():
    rng = np.random.default_rng(0)
    plan = MixupPlan(rng.permutation(5), rng.random(5).astype(np.float32))
    x = torch.randn(5, 3, 4)
    torch.testing.assert_close(mix(x, plan), mix(x.flatten(1), plan).reshape(5, 3, 4))


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20))
def test_two_targets_mixed_stay_exactly_one(weights):
    n = len(weights)
    plan = MixupPlan(np.roll(np.arange(n), 1), np.array(weights, dtype=np.float32))
    assert (mix(torch.ones(n), plan) == 1.0).all()


def test_mixup_follows_its_law_and_schedule():
    rng = np.random.default_rng(0)
    drawn = [plan_mixup(4, MixupConfig(probability=0.3), rng=rng, progress=0.0) for _ in range(2000)]
    # standard error of a proportion at n = 2000 is 0.010
    assert sum(p is not None for p in drawn) / 2000 == pytest.approx(0.3, abs=0.05)
    weights = np.concatenate([p.weight for p in drawn if p is not None])
    # Beta(0.2, 0.2): mean 1/2, variance 1 / (4 (2 * 0.2 + 1)) = 0.1786
    assert weights.mean() == pytest.approx(0.5, abs=0.04)
    assert weights.var() == pytest.approx(0.1786, abs=0.02)
    falling = MixupConfig(probability=0.8, schedule="cosine")
    assert [falling.probability_at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.8, 0.4, 0.0])
    assert plan_mixup(4, MixupConfig(alpha=0.0), rng=rng, progress=0.0) is None
    with pytest.raises(ConfigError):
        MixupConfig(alpha=-1.0)


def test_seeds_and_keys_give_different_numbers_and_leave_torch_alone():
    assert len({derive(0), derive(1), derive(0, "a"), derive(0, "b"), derive(0, "a", 1), derive(0, "a", 11)}) == 6
    assert generator(5, "x").random() == generator(5, "x").random()
    torch.manual_seed(9)
    before = torch.get_rng_state()
    with isolated(4, "weights"):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with isolated(4, "weights"):
        assert torch.equal(torch.rand(3), first)
    with pytest.raises(ConfigError, match="negative"):
        derive(-1)
