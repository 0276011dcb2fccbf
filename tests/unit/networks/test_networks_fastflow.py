"""The flow is a bijection with the log-determinant it says, whatever the size of the map; Fujimura 2023, Eq. 7."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dcase_asd.errors import ConfigError
from dcase_asd.networks.fastflow import ChannelStandardisation, ConvCoupling, FastFlow, log_density


def random_flow(n_channels, *, spread=0.2, seed=0, **options):
    """A flow far from the identity: random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = FastFlow(n_channels, **options)
        for parameter in flow.parameters():
            nn.init.normal_(parameter, std=spread)
        flow.standardisation.set_statistics(torch.randn(n_channels), torch.rand(n_channels) * 3 + 0.2)
    return flow.eval()


def maps(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@settings(max_examples=15, deadline=None)
@given(
    n_channels=st.integers(2, 9),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    n_steps=st.integers(1, 4),
    pointwise=st.booleans(),
)
def test_inverse_undoes_forward(n_channels, height, width, n_steps, pointwise):
    flow = random_flow(n_channels, n_steps=n_steps, pointwise=pointwise)
    x = maps(3, n_channels, height, width)
    with torch.no_grad():
        z, forward = flow(x)
        back, backward = flow.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(backward, -forward, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("pointwise", "size"), [(False, (2, 3)), (False, (1, 1)), (True, (1, 1))])
def test_log_determinant_is_that_of_the_jacobian(pointwise, size):
    flow = random_flow(5, n_steps=3, pointwise=pointwise).double()
    x = maps(1, 5, *size).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v.reshape(x.shape))[0].reshape(-1), x.reshape(-1))
    expected = torch.linalg.slogdet(jacobian).logabsdet
    assert flow(x)[1].item() == pytest.approx(expected.item(), rel=1e-9)
    assert flow.local(x)[1].sum().item() == pytest.approx(expected.item(), rel=1e-9)


def test_local_and_forward_give_the_same_latent():
    flow, x = random_flow(6, n_steps=4), maps(2, 6, 3, 4)
    with torch.no_grad():
        torch.testing.assert_close(flow.local(x)[0], flow(x)[0], rtol=0, atol=0)


def test_an_untrained_flow_standardises_and_permutes():
    flow = FastFlow(4, n_steps=3)
    x = maps(50, 4, 3, 3)
    flow.standardisation.observe(x)
    z, logabsdet = flow(x)
    expected = (x - x.mean(dim=(0, 2, 3), keepdim=True)) / x.std(dim=(0, 2, 3), keepdim=True, correction=0)
    for channel in range(4):
        assert min((z[:, channel] - expected[:, k]).abs().max() for k in range(4)) < 1e-5
    deviation = x.std(dim=(0, 2, 3), correction=0)
    assert logabsdet[0].item() == pytest.approx(-9 * deviation.log().sum().item(), rel=1e-5)


def test_kernels_alternate_and_a_scale_is_bounded():
    flow = random_flow(6, n_steps=4, spread=30.0, clamp=2.0)
    couplings = [part for part in flow.modules() if isinstance(part, ConvCoupling)]
    assert [c.kernel_size for c in couplings] == [3, 1, 3, 1]
    assert [c.subnet[0].kernel_size for c in couplings] == [(3, 3), (1, 1), (3, 3), (1, 1)]
    _, logabsdet = couplings[0].local(maps(2, 6, 3, 3))
    assert logabsdet.abs().max() <= 3 * 2.0 + 1e-5  # three changed channels, each at most +- clamp
    assert logabsdet.abs().max() > 1.0


def test_one_flow_takes_maps_of_every_size():
    flow = random_flow(4, n_steps=2)
    for size in ((1, 1), (7, 10), (3, 2)):
        assert flow(maps(2, 4, *size))[0].shape == (2, 4, *size)


def test_a_dead_channel_is_not_blown_up():
    part = ChannelStandardisation(2)
    part.set_statistics(torch.zeros(2), torch.tensor([0.0, 8.0]))
    # root mean square deviation 2, of which a hundredth: 0.02
    assert part.deviation.tolist() == pytest.approx([0.02, math.sqrt(8.0)], rel=1e-6)


def test_running_statistics_start_with_the_first_batch_and_then_follow_slowly():
    part = ChannelStandardisation(1)
    part.observe(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1))
    assert (part.mean.item(), part.variance.item()) == (2.0, 1.0)
    part.observe(torch.tensor([10.0, 14.0]).reshape(2, 1, 1, 1))
    assert part.mean.item() == pytest.approx(0.9 * 2.0 + 0.1 * 12.0)
    assert part.variance.item() == pytest.approx(0.9 * 1.0 + 0.1 * 4.0)


def test_log_density_by_hand():
    z = torch.tensor([0.5, -2.0, 3.0]).reshape(1, 3, 1, 1)
    constant = 0.5 * math.log(2 * math.pi)
    assert log_density(z).item() == pytest.approx(-(0.25 + 4.0 + 9.0) / 2 - 3 * constant, rel=1e-6)
    # z_d is the last channel, its mean k v = 2.5
    told = log_density(z, n_domain=1, domain_mean=torch.tensor([2.5])).item()
    assert told == pytest.approx(-(0.25 + 4.0 + 0.25) / 2 - 3 * constant, rel=1e-6)
    invariant = -(0.25 + 4.0) / 2 - 2 * constant
    assert log_density(z, n_domain=1).item() == pytest.approx(invariant, rel=1e-6)
    assert log_density(z, n_domain=1, domain_mean=torch.tensor([math.nan])).item() == pytest.approx(invariant, rel=1e-6)


def test_an_unknown_domain_mean_gives_no_nan_gradient():
    z = torch.ones(2, 3, 1, 1, requires_grad=True)
    log_density(z, n_domain=1, domain_mean=torch.tensor([math.nan, 4.0])).sum().backward()
    assert z.grad.flatten().tolist() == [-1.0, -1.0, 0.0, -1.0, -1.0, 3.0]


def test_the_broken_part_is_named():
    flow, x = random_flow(4, n_steps=3), maps(1, 4, 2, 2)
    assert flow.broken_part(x) == ""
    couplings = [part for part in flow.modules() if isinstance(part, ConvCoupling)]
    with torch.no_grad():
        couplings[1].subnet[2].bias[0] = math.nan
    assert flow.broken_part(x) == "step 2 of 3 (1x1 coupling)"
    assert "input" in flow.broken_part(x * math.inf)


@pytest.mark.parametrize("options", [{"n_channels": 1}, {"n_channels": 4, "n_steps": 0}, {"n_channels": 4, "clamp": 0.0}])
def test_parameters_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="at least 2 channels"):
        FastFlow(**options)
