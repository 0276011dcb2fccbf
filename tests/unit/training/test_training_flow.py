"""The flow term (Fujimura 2023, Eq. 5, 6, 7) and what domain channels are tied to (Sections 3.1 and 4.2)."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from dcase_asd.errors import ConfigError, DataError, FormatError
from dcase_asd.networks.fastflow import FastFlow, log_density
from dcase_asd.training.domain_code import DomainCode, check_domain, choose_attribute, domain_code
from dcase_asd.training.flow import FlowTerm
from dcase_asd.training.flow_state import TrainedFlow
from dcase_asd.training.losses import flow_loss

CONSTANT = 0.5 * math.log(2 * math.pi)


def make_flow(n_channels=4, *, seed=0, spread=0.2):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = FastFlow(n_channels, n_steps=2)
        for parameter in flow.parameters():
            nn.init.normal_(parameter, std=spread)
    return flow


def batch_of(t, **more):
    return {"t": torch.tensor(t), **more}


def test_flow_loss_eq_6_and_7_by_hand():
    # two maps of 1 x 2 positions; one channel; the flow is z = 2 x, so log|det| is log 2 at each position
    x = torch.tensor([[1.0, -0.5], [0.25, 2.0]])
    z = 2 * x
    log_p_z = -0.5 * z.square() - CONSTANT
    logabsdet = torch.full((2, 2), math.log(2.0))
    first = -0.5 * (4.0 + 1.0) - 2 * CONSTANT + 2 * math.log(2.0)
    second = -0.5 * (0.25 + 16.0) - 2 * CONSTANT + 2 * math.log(2.0)
    expected = -(first + second) / 2
    assert flow_loss(log_p_z.reshape(2, 1, 2), logabsdet.reshape(2, 1, 2)).item() == pytest.approx(expected, rel=1e-6)


def test_only_samples_without_pseudo_anomalous_part_count():
    term = FlowTerm(make_flow())
    x = torch.randn(4, 4, 2, 3)
    mixed = term(x, x, batch_of([1.0, 0.999, 0.0, 1.0]))
    pure = term(x[[0, 3]], x, batch_of([1.0, 1.0]))
    assert mixed.item() == pure.item()


def test_a_batch_without_such_samples_trains_nothing():
    term = FlowTerm(make_flow(), running_statistics=True)
    x = torch.randn(2, 4, 2, 3, requires_grad=True)
    loss = term(x, x, batch_of([0.5, 0.0]))
    loss.backward()
    assert loss.item() == 0.0
    assert (x.grad == 0).all()
    assert all(p.grad is None for p in term.parameters())
    assert term.flow.standardisation.n_observed == 0


def gradients(own_weight, weight):
    """Gradients of ``weight * L_Flow`` with respect to the map and the flow's parameters, and the value of L_Flow."""
    term = FlowTerm(make_flow(), own_weight=own_weight)
    x = torch.randn(3, 4, 2, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    loss = term(x, x, batch_of([1.0, 1.0, 1.0]))
    (weight * loss).backward()
    return x.grad, torch.cat([p.grad.flatten() for p in term.parameters()]), loss.item()


def test_own_gradient_leaves_value_and_extractor_alone_and_frees_the_flow_of_its_weight():
    weight = 1e-7
    scaled_map, scaled_flow, value = gradients(0.0, weight)
    own_map, own_flow, same = gradients(weight, weight)
    assert same == value
    torch.testing.assert_close(own_map, scaled_map, rtol=1e-5, atol=0)
    # 4 channels x 2 x 3 positions: the mean over them, without the weight
    torch.testing.assert_close(own_flow, scaled_flow / weight / 24, rtol=1e-4, atol=1e-9)
    assert own_flow.norm() > 1e5 * scaled_flow.norm()


def test_running_statistics_follow_in_training_only():
    term = FlowTerm(make_flow(), running_statistics=True)
    x = torch.randn(8, 4, 2, 3) + 5.0
    term.eval()
    term(x, x, batch_of([1.0] * 8))
    assert term.flow.standardisation.n_observed == 0
    term.train()
    term(x, x, batch_of([1.0] * 8))
    torch.testing.assert_close(term.flow.standardisation.mean, x.mean(dim=(0, 2, 3)))


def test_a_flow_under_autocast_is_computed_in_float32():
    term = FlowTerm(make_flow())
    x = torch.randn(2, 4, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = term(x, x, batch_of([1.0, 1.0]))
    assert inside.item() == term(x, x, batch_of([1.0, 1.0])).item()


def test_domain_channels_enter_the_loss():
    flow = make_flow()
    term = FlowTerm(flow, n_domain=2)
    x = torch.randn(2, 4, 1, 1)
    mean = torch.tensor([5.0, -5.0])
    z, logabsdet = flow.local(x)
    expected = -(log_density(z, n_domain=2, domain_mean=mean) + logabsdet).sum() / 2
    assert term(x, x, batch_of([1.0, 1.0], flow_mean=mean)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_what_is_not_finite_names_the_step():
    term = FlowTerm(make_flow())
    with torch.no_grad():
        next(term.flow.parameters())[0] = math.nan
    x = torch.randn(1, 4, 2, 2)
    with pytest.raises(FloatingPointError, match=r"flow: not finite after step 1 of 2 \(3x3 coupling\)"):
        term(x, x, batch_of([1.0]))


def spd(*values):
    return [{"spd": v, "mic": "1"} for v in values]


def test_numbers_give_k_5_over_the_smallest_distance():
    code = domain_code("spd", spd("10", "6.0", "6", "7"), where="x", centre=False)
    assert code.k == 5.0  # distances 1 and 3
    assert code.means(spd("6", "7", "10", "8")).tolist() == [30.0, 35.0, 50.0, 40.0]
    centred = domain_code("spd", spd("10", "6.0", "6", "7"), where="x")
    assert centred.means(spd("6", "7", "10")).tolist() == [-10.0, -5.0, 10.0]


def test_categories_count_from_0_in_sorted_order():
    code = domain_code("spd", spd("B", "10V", "A"), where="x", centre=False)
    assert code.values == ("10V", "A", "B")
    assert code.means(spd("B", "10V", "A")).tolist() == [10.0, 0.0, 5.0]
    assert np.isnan(code.means([{"mic": "1"}, {"spd": "never heard"}])).all()


def test_one_value_leaves_k_undefined_and_says_so():
    code = domain_code("mic", spd("1", "2"), where="x")
    assert not code.applies
    assert "one value '1'" in code.note


@pytest.mark.parametrize(("name", "expected"), [("#1", "loc"), ("#2", "spd"), ("#7", "spd"), ("spd", "spd")])
def test_attributes_by_number(name, expected):
    clips = [{"spd": "1", "mic": "1", "loc": "A"}, {"spd": "2", "mic": "1", "loc": "B"}]
    assert choose_attribute(name, clips, where="x")[0] == expected


def test_a_machine_without_varying_attributes_has_no_domain_channels():
    code = domain_code("#1", [{"mic": "1"}, {"mic": "1"}, {}], where="x")
    assert not code.applies
    assert "no attribute" in code.note


def test_an_attribute_that_no_clip_has_is_an_error():
    with pytest.raises(DataError, match=r"'vel'.*mic, spd"):
        domain_code("vel", spd("1", "2"), where="valve")


@pytest.mark.parametrize(("n", "name"), [(8, ""), (0, "spd"), (8, "#0"), (8, "#x"), (-1, "spd")])
def test_domain_options_that_do_not_fit(n, name):
    with pytest.raises(ConfigError):
        check_domain(n, name)


def test_state_goes_there_and_back_and_damage_is_seen():
    code = domain_code("spd", spd("1", "2"), where="x")
    trained = TrainedFlow(make_flow(), 1, code, "alone")
    state = trained.state()
    generator = torch.random.get_rng_state()
    again = TrainedFlow.from_state(state)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert again.domain == code
    assert {name: v.tobytes() for name, v in again.state().items()} == {name: v.tobytes() for name, v in state.items()}
    about = json.loads(state["about"].tobytes())
    del about["clamp"]
    broken = {**state, "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}
    with pytest.raises(FormatError, match="clamp"):
        TrainedFlow.from_state(broken)
    with pytest.raises(FormatError, match="do not fit"):
        TrainedFlow.from_state({name: v for name, v in state.items() if not name.endswith("mean")})
    with pytest.raises(FormatError, match="damaged"):
        TrainedFlow.from_state({**state, "about": np.frombuffer(b"{", dtype=np.uint8)})


def test_no_code_is_the_default():
    assert not DomainCode().applies
