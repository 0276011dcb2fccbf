"""Sizes of the picture autoencoders against their papers, and how their parts behave."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dcase_asd.errors import ConfigError
from dcase_asd.networks import picture_networks as networks
from dcase_asd.networks.backbones import build_backbone
from dcase_asd.networks.picture_autoencoder import FrozenEncoder, LatentClassifier, PictureAutoencoder, gaussian_weights


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def table1(side: int = 256, **sizes: object) -> PictureAutoencoder:
    given = {"widths": (16, 32, 64, 128, 256, 512), "n_wide": 1024, "n_latent": 128, "output": nn.Tanh(), **sizes}
    return networks.cae_table1((3, side, side), **given)  # type: ignore[arg-type]


def table2(side: int, widths: tuple[int, ...]) -> PictureAutoencoder:
    return networks.cae_table2((3, side, side), widths=widths, output=nn.Tanh())


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        # counted from the tables' numbers: biases of convolutions, scale and shift of each batch normalisation
        (table1, 22_638_115),
        (lambda: table2(224, (64, 128, 256, 512, 1024)), 33_831_517),
        (lambda: networks.wood_autoencoder((1, 256, 256), widths=(32, 64, 128), output=nn.Sigmoid()), 332_801),
    ],
)
def test_parameters_at_the_papers_size(made, expected):
    with torch.device("meta"):
        assert n_parameters(made()) == expected


def test_codes_at_the_papers_size():
    with torch.device("meta"):
        assert table1().code_shape == (128,)
        assert table2(224, (64, 128, 256, 512, 1024)).code_shape == (1024, 14, 14)
        picture = (3, 256, 256)
        assert networks.casting(picture, widths=(16, 32, 64), n_latent=0, output=nn.Sigmoid()).code_shape == (64, 64, 64)
        cvae = networks.casting(picture, widths=(16, 32, 64), n_latent=32, output=nn.Sigmoid())
    assert cvae.latent is not None
    assert cvae.latent.mean.in_features == 32 * 32 * 64


def test_vgg_code_is_that_of_the_layer_and_not_the_papers_number():
    with torch.random.fork_rng():
        backbone = build_backbone("vgg16", ["pool2"], weights=None)
    made = networks.transfer((3, 32, 32), backbone, widths=(64,), n_latent=0, output=nn.Sigmoid())
    assert made.code_shape == (128, 8, 8)
    # at 256 pixels 128 x 64 x 64 = 524,288, where the paper prints 516,096 = 128 x 63 x 64
    assert 128 * (256 // 4) ** 2 == 524_288


def tiny(name: str, n_channels: int = 3) -> PictureAutoencoder:
    picture, sigmoid = (n_channels, 16, 32), nn.Sigmoid()
    if name == "cae_t1":
        return networks.cae_table1(picture, widths=(4, 6), n_wide=8, n_latent=5, output=nn.Tanh())
    if name == "cae_t2":
        return networks.cae_table2(picture, widths=(4, 6, 8), output=nn.Tanh())
    if name == "wood":
        return networks.wood_autoencoder(picture, widths=(4, 6), output=sigmoid)
    if name == "wood_variational":
        return networks.wood_variational(picture, widths=(4, 6), n_latent=5, output=sigmoid)
    n_latent = 5 if name.endswith("variational") else 0
    if name.startswith("casting"):
        return networks.casting(picture, widths=(4, 6, 8), n_latent=n_latent, output=sigmoid)
    backbone = build_backbone("resnet18", ["layer1"], weights=None)
    return networks.transfer(picture, backbone, widths=(4,), n_latent=n_latent, output=sigmoid)


NAMES = ["cae_t1", "cae_t2", "wood", "wood_variational", "casting", "casting_variational", "transfer", "transfer_variational"]


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_network_returns_its_input_s_shape_within_its_range(name, n_channels):
    network = tiny(name, n_channels).eval()
    x = torch.rand(2, n_channels, 16, 32)
    rebuilt = network(x)
    rebuilt, kl = rebuilt if isinstance(rebuilt, tuple) else (rebuilt, None)
    assert rebuilt.shape == x.shape
    assert (kl is not None) == name.endswith("variational")
    low = -1.0 if name.startswith("cae") else 0.0
    assert low <= rebuilt.min() <= rebuilt.max() <= 1.0
    code, _ = network.encode(x)
    assert tuple(code.shape[1:]) == network.code_shape
    assert network.n_code == math.prod(network.code_shape)
    torch.testing.assert_close(network.mean_code(x), code)


def test_sizes_that_cannot_be_halved_are_refused_with_the_multiple():
    with pytest.raises(ConfigError, match=r"multiples of 64, got 100 x 100"):
        table1(100)
    with pytest.raises(ConfigError, match="multiples of 4"):
        table2(30, (4, 6, 8))
    backbone = build_backbone("resnet18", ["layer2"], weights=None)
    with pytest.raises(ConfigError, match="layer2 gives 2 x 2"):
        networks.transfer((3, 16, 16), backbone, widths=(4,), n_latent=0, output=nn.Sigmoid())


def test_a_frozen_encoder_stays_frozen_in_train_mode():
    network = tiny("transfer").train()
    assert isinstance(network.encoder, FrozenEncoder)
    assert network.training
    assert not any(m.training for m in network.encoder.backbone.modules())
    assert not any(p.requires_grad for p in network.encoder.parameters())
    before = {n: v.clone() for n, v in network.encoder.state_dict().items()}
    network(torch.rand(4, 3, 16, 32)).sum().backward()
    assert all(torch.equal(before[n], v) for n, v in network.encoder.state_dict().items())
    assert all(p.grad is not None for p in network.decoder.parameters())


def test_a_frozen_encoder_normalises_as_imagenet_expects():
    network = tiny("transfer").eval()
    x = torch.rand(1, 3, 16, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    direct = network.encoder.backbone((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))["layer1"]
    torch.testing.assert_close(network.encoder(x), direct)


@pytest.mark.parametrize(
    ("code_shape", "expected"),
    [
        # three linear layers; 1024 x 14 x 14: a 3x3 convolution to 32 channels before them, below the paper's million
        ((128,), 128 * 128 + 128 + 128 * 64 + 64 + 64 * 15 + 15),
        ((1024, 14, 14), 1024 * 9 * 32 + 32 + 32 * 144 * 128 + 128 + 128 * 64 + 64 + 64 * 15 + 15),
    ],
)
def test_classifier_is_below_a_million_parameters(code_shape, expected):
    classifier = LatentClassifier(code_shape, n_classes=15)
    assert n_parameters(classifier) == expected < 1_000_000
    assert classifier.eval()(torch.zeros(2, *code_shape)).shape == (2, 15)


def test_a_code_without_room_for_the_convolution_is_refused():
    with pytest.raises(ConfigError, match="2 x 9"):
        LatentClassifier((4, 2, 9), n_classes=2)


def test_gaussian_weights_have_their_deviation_and_no_bias():
    network = table2(16, (64, 128))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gaussian_weights(network, std=0.02)
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    weights = torch.cat([m.weight.flatten() for m in layers])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert all(m.bias is not None and not m.bias.any() for m in layers)
    assert all((m.weight == 1).all() for m in network.modules() if isinstance(m, nn.BatchNorm2d))
