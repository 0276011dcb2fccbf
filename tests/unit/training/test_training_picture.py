"""Terms of a picture autoencoder's loss, running thresholds and augmentation, on values that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dcase_asd.networks.picture_autoencoder import PictureAutoencoder
from dcase_asd.networks.variational import GaussianLatent
from dcase_asd.training.augmentation import Augmentation
from dcase_asd.training.jacobian import squared_jacobian
from dcase_asd.training.picture_reconstruction import PictureLoss, PictureReconstruction, errors
from dcase_asd.training.reconstruction import ItemBatches, split_items
from dcase_asd.training.thresholds import RunningThresholds


class Fixed(nn.Module):
    """Gives the same picture whatever comes in, and keeps what came in."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.value.expand(len(x), *self.value.shape)


def model(value: Tensor | None = None, *, mean: float = 0.0, std: float = 1.0, **settings: object) -> PictureReconstruction:
    value = torch.zeros(1, 12, 12) if value is None else value
    network = PictureAutoencoder(nn.Identity(), Fixed(value), code_shape=tuple(value.shape))
    terms = PictureLoss(**{key: settings.pop(key) for key in list(settings) if key in PictureLoss.__dataclass_fields__})  # type: ignore[arg-type]
    statistics = {"mean": np.full(1, mean, np.float32), "std": np.full(1, std, np.float32)}
    return PictureReconstruction(network, terms=terms, **statistics, **settings)  # type: ignore[arg-type]


def test_losses_by_hand():
    x = torch.full((3, 1, 12, 12), 0.5)
    x[2] = 0.0
    squares = (2 * 144 * 0.25) / (3 * 144)
    assert model()({"x": x})["reconstruction"].item() == pytest.approx(squares)
    assert model(loss="rmse")({"x": x})["reconstruction"].item() == pytest.approx(np.sqrt(squares))
    # half the sum over a picture, mean over the batch
    assert model(reduction="sum")({"x": x})["reconstruction"].item() == pytest.approx(0.5 * 2 * 144 * 0.25 / 3)
    # flat pictures differ in luminance alone: (2 * 0.5 * 0 + c1) / (0.25 + c1) with c1 = 1e-4, and 1 for the equal one
    expected = 1 - (2 * 1e-4 / 0.2501 + 1) / 3
    assert model(loss="ssim")({"x": x})["reconstruction"].item() == pytest.approx(expected, rel=1e-4)


def test_a_root_has_a_slope_at_a_perfect_reconstruction():
    value = torch.zeros(1, 12, 12, requires_grad=True)
    model(value, loss="rmse")({"x": torch.zeros(2, 1, 12, 12)})["reconstruction"].backward()
    assert value.grad is not None
    assert torch.isfinite(value.grad).all()


def test_the_range_of_tanh_is_reached_from_that_of_pictures():
    made = model(mean=0.5, std=0.5)
    made({"x": torch.tensor([0.0, 0.25, 1.0] * 4).expand(1, 1, 12, 12)})
    torch.testing.assert_close(made.network.decoder.seen[0, 0, 0, :3], torch.tensor([-1.0, -0.5, 1.0]))


def test_noise_is_on_the_input_alone_clamped_and_off_in_evaluation():
    made = model(noise=0.3, bounds=(-1.0, 1.0), mean=0.5, std=0.5)
    x = torch.linspace(0, 1, 8 * 144).reshape(8, 1, 12, 12)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noisy_loss = made.train()({"x": x})["reconstruction"]
    clean = 2 * x - 1
    added = made.network.decoder.seen - clean
    assert made.network.decoder.seen.abs().max() <= 1
    inside = clean.abs() < 0.1  # three deviations from the edges
    assert added[inside].std().item() == pytest.approx(0.3, rel=0.15)
    # the target is the clean picture: the decoder's output does not depend on the noise here, so the loss does not either
    torch.testing.assert_close(noisy_loss, clean.square().mean())
    made.eval()({"x": x})
    torch.testing.assert_close(made.network.decoder.seen, clean)


def test_errors_of_items_by_hand():
    x, rebuilt = torch.zeros(2, 1, 12, 12), torch.zeros(2, 1, 12, 12)
    rebuilt[1, 0, 3, 4] = 0.6
    found = errors(x, rebuilt, ["mse", "abs_mix", "ssim"], terms=PictureLoss())
    torch.testing.assert_close(found["mse"], torch.tensor([0.0, 0.36 / 144]))
    mean = 0.6 / 144
    variance = 0.36 / 144 - mean**2
    torch.testing.assert_close(found["abs_mix"], torch.tensor([0.0, (mean + 0.6 + variance) / 3]))
    assert found["ssim"][0].item() == pytest.approx(0.0, abs=1e-6)
    assert found["ssim"][1].item() > 0.1


def test_the_map_of_ssim_has_the_picture_s_size_and_its_peak_at_the_spot():
    value = torch.rand(1, 24, 30, generator=torch.Generator().manual_seed(0))
    made = model(value, scores=("ssim",)).eval()
    x = value.expand(2, -1, -1, -1).clone()
    x[1, 0, 12, 20] += 2.0
    _, _, named = made.examine(x)
    assert named["ssim_map"].shape == (2, 24, 30)
    assert abs(named["ssim_map"][0]).max() < 1e-5
    place = divmod(int(named["ssim_map"][1].argmax()), 30)
    assert max(abs(place[0] - 12), abs(place[1] - 20)) <= 5
    # its mean over whole windows is the score
    torch.testing.assert_close(named["ssim_map"][1, 5:-5, 5:-5].mean(), named["ssim"][1])


@pytest.mark.parametrize("estimator", ["vjp", "fd"])
def test_jacobian_of_a_linear_map_is_its_squared_norm(estimator):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        weight = torch.randn(7, 5, dtype=torch.float64)
        x = torch.randn(3, 5, dtype=torch.float64)
        found = squared_jacobian(lambda v: v @ weight.T, x, estimator=estimator, probes=20_000)
    assert found.item() == pytest.approx(weight.square().sum().item(), rel=0.03)


@pytest.mark.parametrize("estimator", ["vjp", "fd"])
def test_the_penalty_pulls_weights_to_zero(estimator):
    weight = torch.full((4, 5), 0.5, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        squared_jacobian(lambda v: torch.tanh(v @ weight.T), torch.zeros(2, 5), estimator=estimator, probes=200).backward()
    assert weight.grad is not None
    # at 0 the slope of tanh is 1: the norm is the sum of squared weights and its gradient 2 w = 1
    np.testing.assert_allclose(weight.grad.mean().item(), 1.0, rtol=0.1)


def test_a_penalty_is_also_known_without_gradients():
    made = model(contractive=True).eval()
    with torch.no_grad():
        terms = made({"x": torch.rand(2, 1, 12, 12)})
    # the identity's Jacobian has norm 144; one probe of 144 values is within a few deviations of it
    assert terms["contractive"].item() == pytest.approx(144, rel=0.5)


def test_divergence_joins_the_terms_and_is_told_per_dimension():
    latent = GaussianLatent(4, 2)
    with torch.no_grad():
        for part, bias in ((latent.mean, [1.0, 0.0]), (latent.log_variance, [0.0, 0.0])):
            part.weight.zero_()
            part.bias.copy_(torch.tensor(bias))
    network = PictureAutoencoder(nn.Flatten(), Fixed(torch.zeros(1, 2, 2)), code_shape=(2,), latent=latent).eval()
    _, kl = network.encode(torch.rand(3, 1, 2, 2))
    torch.testing.assert_close(kl, torch.tensor([[0.5, 0.0]]).expand(3, 2))  # mean 1, variance 1: half a nat
    made = PictureReconstruction(network, mean=np.zeros(1, np.float32), std=np.ones(1, np.float32), terms=PictureLoss())
    assert made({"x": torch.rand(3, 1, 2, 2)})["kl"].item() == pytest.approx(0.5)


def test_thresholds_follow_equation_6():
    running = RunningThresholds(3, alpha=0.1, beta=0.5)
    first = {0: [1.0, 2.0, 6.0], 1: [4.0]}
    running.watch(torch.tensor([1.0, 4.0, 2.0]), torch.tensor([0, 1, 0]), epoch=0)
    running.watch(torch.tensor([6.0]), torch.tensor([0]), epoch=0)
    assert not running.known.any()
    running.watch(torch.tensor([10.0, 20.0]), torch.tensor([0, 2]), epoch=1)
    estimate = {label: np.mean(v) + 0.5 * np.std(v) for label, v in first.items()}
    np.testing.assert_allclose(running.value[:2], [estimate[0], estimate[1]])
    assert running.known.tolist() == [True, True, False]
    running.end_epoch()
    # T_1 = 0.9 T_0 + 0.1 (mu + beta sigma); a class without pictures in an epoch keeps its threshold
    np.testing.assert_allclose(running.value, [0.9 * estimate[0] + 0.1 * 10.0, estimate[1], 20.0])
    before = running.value.clone()
    running.end_epoch()
    assert torch.equal(running.value, before)


def test_a_split_by_class_takes_its_share_of_each():
    labels = np.repeat([0, 1, 2], [20, 10, 5])
    train, valid = split_items(35, valid_fraction=0.2, how="random", seed=0, labels=labels)
    assert np.bincount(labels[valid]).tolist() == [4, 2, 1]
    assert sorted([*train, *valid]) == list(range(35))


PICTURES = np.random.default_rng(0).random((6, 2, 8, 10)).astype(np.float32)


def test_augmentation_without_anything_is_the_picture_and_off():
    made = Augmentation()
    assert not made.active
    np.testing.assert_array_equal(made.apply(PICTURES, np.random.default_rng(0)), PICTURES)


def test_flips_are_exact_and_of_the_kind_asked_for():
    found = Augmentation(flip="horizontal").apply(np.repeat(PICTURES[:1], 200, axis=0), np.random.default_rng(0))
    same = np.array([np.array_equal(p, PICTURES[0]) for p in found])
    mirrored = np.array([np.array_equal(p, PICTURES[0][:, :, ::-1]) for p in found])
    assert (same | mirrored).all()
    assert 70 < same.sum() < 130
    both = Augmentation(flip="both").apply(np.repeat(PICTURES[:1], 200, axis=0), np.random.default_rng(0))
    assert any(np.array_equal(p, PICTURES[0][:, ::-1]) for p in both)


def test_a_shift_moves_pixels_and_repeats_the_border():
    class Right(np.random.Generator):
        """Draws the largest shift to the right, none down."""

        def uniform(self, _low, _high, size):
            drawn = np.zeros(size)
            if isinstance(size, tuple) and size[1] == 2:
                drawn[:, 1] = 1.0
            return drawn

    made = Augmentation(shift=0.2)
    moved = made.apply(PICTURES, Right(np.random.PCG64(0)))
    np.testing.assert_allclose(moved[..., :-2], PICTURES[..., 2:], atol=1e-6)  # 0.2 of ten pixels
    np.testing.assert_allclose(moved[..., -2:], np.repeat(PICTURES[..., -1:], 2, axis=-1), atol=1e-6)


def test_a_quarter_turn_of_a_square_is_numpys():
    class Quarter(np.random.Generator):
        def uniform(self, _low, _high, size):
            return np.ones(size) if isinstance(size, int) else np.zeros(size)

    square = PICTURES[:, :, :8, :8]
    turned = Augmentation(rotate_deg=90.0).apply(square, Quarter(np.random.PCG64(0)))
    np.testing.assert_allclose(turned, np.rot90(square, axes=(2, 3)), atol=1e-5)


def test_jitter_stays_in_range_and_differs_by_picture():
    made = Augmentation(jitter=0.3).apply(np.repeat(PICTURES[:1], 5, axis=0), np.random.default_rng(0))
    assert made.min() >= 0
    assert made.max() <= 1
    assert len({p.tobytes() for p in made}) == 5


def test_augmented_batches_depend_on_seed_and_step_alone():
    class Whole:
        def __len__(self) -> int:
            return len(PICTURES)

        def take(self, rows):
            return PICTURES[rows]

    def source(seed: int) -> ItemBatches:
        augment = Augmentation(flip="both", rotate_deg=5, shift=0.1, jitter=0.1).apply
        return ItemBatches(Whole(), train=np.arange(6), valid=np.arange(2), batch_size=3, seed=seed, augment=augment)

    first, again = source(0), source(0)
    again.batch(3, progress=0.0)
    torch.testing.assert_close(first.batch(1, progress=0.0)["x"], again.batch(1, progress=0.0)["x"], rtol=0, atol=0)
    assert not torch.equal(first.batch(1, progress=0.0)["x"], source(1).batch(1, progress=0.0)["x"])
    # what is validated on is not changed
    np.testing.assert_array_equal(next(iter(first.valid_batches()))["x"].numpy(), PICTURES[:2])
