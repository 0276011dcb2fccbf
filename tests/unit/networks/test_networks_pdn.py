"""Sizes of EfficientAD's networks, against the paper's parameter counts and the shapes of its tables."""

import pytest
import torch

from dcase_asd.errors import ConfigError
from dcase_asd.networks.pdn import FeatureAutoencoder, PatchDescription, description_size


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_those_of_the_paper() -> None:
    """8.06 M for S (teacher 2.69, student 4.27, autoencoder 1.10), 20.74 M for M; exact from kernels, channels and biases."""
    autoencoder = FeatureAutoencoder(384, size=(256, 256), out_size=(56, 56))
    small = [count(PatchDescription(n)) for n in (384, 768)]
    medium = [count(PatchDescription(n, size="medium")) for n in (384, 768)]
    assert [*small, count(autoencoder)] == [2_694_144, 4_267_392, 1_096_320]
    assert [round(n / 1e6, 2) for n in (*small, count(autoencoder))] == [2.69, 4.27, 1.10]
    assert round((sum(small) + count(autoencoder)) / 1e6, 2) == 8.06
    assert round((sum(medium) + count(autoencoder)) / 1e6, 2) == 20.74


def test_the_autoencoder_at_256_pixels_is_the_published_one() -> None:
    network = FeatureAutoencoder(6, size=(256, 256), out_size=(56, 56))
    assert network.sizes == tuple((n, n) for n in (3, 8, 15, 32, 63, 127))
    assert network.encoder[-1].kernel_size == (8, 8)
    assert network(torch.zeros(1, 3, 256, 256)).shape == (1, 6, 56, 56)


@pytest.mark.parametrize("size", [(33, 40), (64, 96), (130, 67)])
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("kind", ["small", "medium"])
def test_size_of_the_features(size: tuple[int, int], *, padding: bool, kind: str) -> None:
    network = PatchDescription(2, size=kind, padding=padding, width=0.02)
    assert tuple(network(torch.zeros(1, 3, *size)).shape[2:]) == description_size(size, padding=padding)


def test_padding_gives_a_cell_for_every_fourth_pixel_and_no_padding_eight_fewer() -> None:
    assert description_size((256, 128), padding=True) == (64, 32)
    assert description_size((256, 128), padding=False) == (56, 24)


def test_a_cell_without_padding_sees_33_pixels() -> None:
    network = PatchDescription(1, width=0.02)
    for parameter in network.parameters():  # no unit is dead, so that every pixel within reach has a gradient
        torch.nn.init.constant_(parameter, 0.01)
    x = torch.zeros(1, 3, 37, 37, requires_grad=True)
    network(x)[0, 0, 0, 0].backward()
    seen = torch.nonzero(x.grad.abs().sum(dim=(0, 1)))
    assert seen.min(dim=0).values.tolist() == [0, 0]
    assert seen.max(dim=0).values.tolist() == [32, 32]
    assert description_size((33, 33), padding=False) == (1, 1)


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(ConfigError, match="a side needs 33"):
        description_size((64, 32), padding=False)
    with pytest.raises(ConfigError, match="32 x 32"):
        FeatureAutoencoder(2, size=(31, 64), out_size=(8, 16))
