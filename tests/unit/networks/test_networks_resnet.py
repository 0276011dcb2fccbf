import pytest
import torch
import torchvision

from dcase_asd.errors import ConfigError
from dcase_asd.networks.heads import NormHead, machine_head
from dcase_asd.networks.resnet import GeM, ResNet18, as_picture


def test_shapes_at_the_papers_input():
    network = ResNet18(width=1.0).eval()
    with torch.no_grad():
        features, vector = network(torch.zeros(1, 1, 224, 313))
    assert features.shape == (1, 512, 7, 10)  # "512 channels", about 7 x 10 at 224 mels and 5.0 s (design facts (e))
    assert vector.shape == (1, 512)


def test_equals_torchvision_with_the_same_weights():
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(weights=None).eval()
    network = ResNet18()
    network.load_torchvision(reference.state_dict())
    network.eval()
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        reference.fc = torch.nn.Identity()
        expected = reference(x.expand(-1, 3, -1, -1))
        _, vector = network(x)
    torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)  # the summed stem rounds differently


def test_pretrained_weights_of_another_width_are_refused():
    with pytest.raises(ConfigError, match=r"conv1\.weight of shape \(32, 1, 7, 7\)"):
        ResNet18(width=0.5).load_torchvision(torchvision.models.resnet18(weights=None).state_dict())


@pytest.mark.parametrize("pooling", ["mean", "max", "gem"])
def test_pooling(pooling):
    torch.manual_seed(0)
    network = ResNet18(width=0.125, pooling=pooling).eval()
    with torch.no_grad():
        features, vector = network(torch.randn(2, 1, 64, 64))
    expected = {
        "mean": features.mean((2, 3)),
        "max": features.flatten(2).max(2).values,
        "gem": features.double().clamp_min(1e-6).pow(3).mean((2, 3)).pow(1 / 3).float(),
    }[pooling]
    torch.testing.assert_close(vector, expected)


@pytest.mark.parametrize(("layer", "shape"), [(1, (8, 16, 24)), (2, (16, 8, 12)), (3, (32, 4, 6)), (4, (64, 2, 3))])
def test_maps_of_earlier_layers_are_what_the_layers_give(layer, shape):
    torch.manual_seed(0)
    network = ResNet18(width=0.125).eval()
    x = torch.randn(2, 1, 64, 96)
    seen = []
    getattr(network, f"layer{layer}").register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        features, vector = network.embed(x, map_layer=layer)
        assert torch.equal(vector, network(x)[1])
    assert features.shape == (2, *shape)
    assert torch.equal(features, seen[0])


def test_gem_lies_between_mean_and_maximum():
    x = torch.rand(3, 4, 5, 6)
    pooled = GeM()(x)
    assert (pooled >= x.mean((2, 3))).all()
    assert (pooled <= x.amax((2, 3))).all()


def test_input_statistics_standardise_bands():
    network = ResNet18(width=0.125, n_bands=32).eval()
    plain = ResNet18(width=0.125).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("input_")}, strict=False)
    mean, std = torch.linspace(-5, 5, 32), torch.linspace(0.5, 2, 32)
    network.set_input_statistics(mean, std)
    x = torch.randn(2, 1, 32, 40)
    with torch.no_grad():
        torch.testing.assert_close(network(x * std[:, None] + mean[:, None])[1], plain(x)[1], rtol=1e-3, atol=1e-4)


def test_a_constant_band_is_not_divided_by_zero():
    network = ResNet18(width=0.125, n_bands=32).eval()
    network.set_input_statistics(torch.zeros(32), torch.zeros(32))
    with torch.no_grad():
        assert torch.isfinite(network(torch.randn(1, 1, 32, 32))[1]).all()


def test_input_pool_divides_the_map():
    network = ResNet18(width=0.125, input_pool=(2, 4)).eval()
    with torch.no_grad():
        features, _ = network(torch.zeros(1, 1, 224, 313))
    assert features.shape == (1, 64, 4, 3)


@pytest.mark.parametrize("bad", [{"width": 0.0}, {"input_pool": (0, 1)}, {"pooling": "sum"}])
def test_bad_arguments(bad):
    with pytest.raises(ConfigError):
        ResNet18(**bad)


def test_as_picture_is_a_view():
    x = torch.arange(24.0).reshape(1, 4, 6)
    picture = as_picture(x)
    assert picture.shape == (1, 1, 6, 4)
    assert picture.data_ptr() == x.data_ptr()
    assert picture[0, 0, 5, 3] == x[0, 3, 5]


def test_norm_head_is_an_affine_map_of_the_norm():
    head = NormHead()
    with torch.no_grad():
        head.scale.fill_(2.0)
        head.offset.fill_(-1.0)
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [[9.0]]
    zero = torch.zeros(1, 2, requires_grad=True)
    head(zero).backward()
    assert torch.isfinite(zero.grad).all()


def test_machine_head_names():
    assert machine_head("linear", 8)(torch.zeros(2, 8)).shape == (2, 1)
    with pytest.raises(ConfigError, match="cosine"):
        machine_head("cosine", 8)
