"""Input forms, standardisation and maps of the reconstruction detectors, and the networks under them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.detectors._shared.items import SegmentItems, WindowItems, over_time
from dcase_asd.detectors.base import Batch, Detector
from dcase_asd.errors import ConfigError, DataError, TrainingError
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.networks.conv_autoencoder import ConvAutoencoder, encoded_size
from dcase_asd.networks.variational import ConvVariational, DenseVariational, GaussianLatent, kl_to_standard_normal
from dcase_asd.training.reconstruction import ItemBatches, split_items

SHAPE = (2, 6, 9)


def _maps(n: int, *, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = 10.0 * np.arange(1, shape[1] + 1).reshape(-1, 1) if len(shape) == 3 else 10.0
    return (level * (3.0 + rng.normal(size=(n, *shape)))).astype(np.float32)


def _fitted(name: str, x: np.ndarray, **values: Any) -> Detector[Any]:
    plugin = registry.load("detectors", name)
    detector: Detector[Any] = plugin.implementation(configs.build(plugin.config, {"epochs": 2, "batch_size": 8, **values}))
    text = np.array(["00"] * len(x), dtype=object)
    meta = SegmentMeta(text, text, np.array(["source"] * len(x), dtype=object), text, np.zeros(len(x)))
    detector.fit(lambda: [Batch(x, np.arange(len(x)), meta)], seed=1)
    return detector


def test_windows_are_frame_major_and_complete() -> None:
    x = _maps(3)
    items = WindowItems(x, 4)
    assert len(items) == 3 * items.n_windows == 3 * 6
    found = items.take(np.array([7]))[0]
    np.testing.assert_array_equal(found, np.stack([x[1, :, :, 1 + k] for k in range(4)]))
    pictures = WindowItems(x, 4, as_picture=True).take(np.array([7]))[0]
    np.testing.assert_array_equal(pictures, x[1, :, :, 1:5])


def test_segments_are_taken_whole() -> None:
    np.testing.assert_array_equal(SegmentItems(_maps(3)).take(np.array([2, 0])), _maps(3)[[2, 0]])


def test_over_time_averages_the_windows_of_a_frame() -> None:
    frames = np.arange(7.0)
    windows = np.stack([frames[t : t + 3] for t in range(5)])[:, :, None]
    np.testing.assert_allclose(over_time(windows), frames[None])
    marked = np.zeros((5, 3, 1))
    marked[2] = 3.0  # one of the three windows that hold frame 4, one of the two of none else
    np.testing.assert_allclose(over_time(marked)[0], [0, 0, 1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("autoencoder", {"input_form": "flat"}),
        ("autoencoder", {"input_form": "frames", "n_context": 3}),
        ("autoencoder", {"input_form": "image"}),
        ("conv_autoencoder", {"input_form": "image"}),
        ("conv_autoencoder", {"input_form": "frames", "n_context": 4}),
        ("vae", {"input_form": "flat"}),
        ("vae", {"input_form": "frames", "n_context": 3}),
        ("vae", {"network": "conv", "input_form": "image"}),
        ("vae", {"network": "conv", "input_form": "frames", "n_context": 4}),
    ],
)
def test_every_form_gives_a_map_whose_peak_is_the_spoilt_place(name: str, values: dict[str, Any]) -> None:
    detector = _fitted(name, _maps(24), **values)
    x = _maps(1, seed=5)
    x[0, 0, 4, 6] += 50 * 40.0
    scores = detector.score(x)
    assert scores.map is not None
    assert scores.map.shape == (1, *SHAPE[1:])
    place = np.unravel_index(int(scores.map[0].argmax()), SHAPE[1:])
    assert place[0] == 4
    assert abs(place[1] - 6) <= (values.get("n_context", 1) - 1)


def test_flat_score_is_the_mean_squared_error_of_z_scores() -> None:
    x = _maps(24)
    detector = _fitted("autoencoder", x, input_form="flat", hidden=[8], n_bottleneck=2)
    state = detector.state()
    np.testing.assert_allclose(state["model.mean"], x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(state["model.std"], x.std(axis=0), rtol=1e-4)
    one = _maps(1, seed=9)
    z = torch.from_numpy(((one - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32))
    with torch.inference_mode():
        rebuilt = detector._model.network(z)  # type: ignore[attr-defined]
    np.testing.assert_allclose(detector.score(one).score, ((z - rebuilt) ** 2).mean().item(), rtol=1e-4)


def test_band_statistics_are_over_segments_and_time() -> None:
    x = _maps(24)
    for name, expected in (("autoencoder", x.mean(axis=(0, 3))), ("conv_autoencoder", x.mean(axis=(0, 3))[:, :, None])):
        np.testing.assert_allclose(_fitted(name, x).state()["model.mean"], expected, rtol=1e-5)


def test_a_constant_value_is_not_scaled_by_its_rounding() -> None:
    x = _maps(24, shape=(5,))
    x[:, 3] = np.float32(0.1)
    state = _fitted("autoencoder", x).state()
    assert state["model.std"][3] == 1.0
    assert (state["model.std"][:3] > 5.0).all()


def test_frames_score_longer_segments_too() -> None:
    detector = _fitted("autoencoder", _maps(12), n_context=3)
    long = _maps(2, shape=(2, 6, 30))
    assert detector.score(long).map.shape == (2, 6, 30)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="n_context 3"):
        detector.score(long[..., :2])


@pytest.mark.parametrize(("name", "n_items"), [("autoencoder", 7), ("conv_autoencoder", 1)])
def test_operations_are_counted_over_the_items_of_a_segment(name: str, n_items: int) -> None:
    module, items = _fitted(name, _maps(12), n_context=3).module_and_input(SHAPE)  # type: ignore[misc]
    assert len(items) == n_items
    assert module(items).shape == items.shape


def test_vae_bound_is_error_plus_divergence() -> None:
    detector = _fitted("vae", _maps(24, shape=(7,)), scores=["reconstruction", "elbo"], beta=2.0)
    x = _maps(3, seed=4, shape=(7,))
    parts = detector.score(x).parts
    with torch.inference_mode():
        _, kl = detector._model.residual(torch.from_numpy(x))  # type: ignore[attr-defined]
    expected = 0.5 * 7 * parts["score=reconstruction"] + 2.0 * kl.numpy()
    np.testing.assert_allclose(parts["score=elbo"], expected, rtol=1e-4)


def test_divergence_against_torch() -> None:
    mean, log_variance = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.linspace(-2, 2, 15).reshape(5, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_latent_is_sampled_in_training_only() -> None:
    latent = GaussianLatent(4, 2)
    x = torch.ones(3, 4)
    assert torch.equal(latent.eval()(x)[0], latent(x)[0])
    assert not torch.equal(latent.train()(x)[0], latent(x)[0])


@pytest.mark.parametrize("size", [(8, 8), (7, 13), (1, 5), (9, 2)])
def test_convolutions_return_any_size(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    assert ConvAutoencoder(3, widths=(4, 6, 8), n_bottleneck=2).eval()(x).shape == x.shape
    rebuilt, kl = ConvVariational((3, *size), widths=(4, 6), n_latent=3).eval()(x)
    assert rebuilt.shape == x.shape
    assert kl.shape == (2,)


def test_encoded_size_is_what_the_encoder_gives() -> None:
    network = ConvAutoencoder(1, widths=(2, 2, 2), n_bottleneck=0)
    assert network.encoder(torch.zeros(1, 1, 13, 30))[0].shape[2:] == encoded_size((13, 30), n_layers=3) == (2, 4)


def test_dense_variational_keeps_the_shape() -> None:
    rebuilt, kl = DenseVariational(12, hidden=(5,), n_latent=2).eval()(torch.zeros(4, 3, 4))
    assert rebuilt.shape == (4, 3, 4)
    assert kl.shape == (4,)


def test_an_epoch_takes_every_item_once_and_no_batch_of_one() -> None:
    x = np.arange(9, dtype=np.float32)[:, None]
    for n, expected in ((9, [4, 4]), (8, [4, 4]), (7, [4, 3])):
        source = ItemBatches(SegmentItems(x), train=np.arange(n), valid=np.arange(0), batch_size=4, seed=0)
        epochs = [[source.rows(e * source.steps_per_epoch + i) for i in range(source.steps_per_epoch)] for e in range(2)]
        assert [len(rows) for rows in epochs[0]] == expected
        assert len(set(np.concatenate(epochs[0]))) == sum(expected)
        assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))
        np.testing.assert_array_equal(source.rows(0), epochs[0][0])


def test_split_of_items() -> None:
    train, valid = split_items(21, valid_fraction=0.1, how="last", seed=0)
    np.testing.assert_array_equal(valid, [18, 19, 20])
    random = split_items(21, valid_fraction=0.1, how="random", seed=0)
    assert sorted(np.concatenate(random)) == list(range(21))
    assert not np.array_equal(random[1], valid)
    assert len(train) == 18
    with pytest.raises(TrainingError, match="2 are needed"):
        split_items(2, valid_fraction=0.1, how="random", seed=0)


def test_best_weights_are_those_of_the_lowest_validation_loss() -> None:
    x = _maps(40, shape=(20,))
    held = x[split_items(len(x), valid_fraction=0.5, how="random", seed=1)[1]]
    # white noise: whatever is learned of the training half makes the other half worse
    settings = {"epochs": 40, "learning_rate": 0.01, "schedule": "fixed", "valid_fraction": 0.5, "n_bottleneck": 4}
    last, best = (_fitted("autoencoder", x, checkpoint=which, **settings).score(held).score.mean() for which in ("last", "best"))
    assert best < last


@pytest.mark.parametrize(
    ("name", "values", "shape", "error", "word"),
    [
        ("conv_autoencoder", {"input_form": "flat"}, SHAPE, ConfigError, "no picture"),
        ("conv_autoencoder", {}, (7,), DataError, "needs maps"),
        ("vae", {"network": "conv", "input_form": "flat"}, SHAPE, ConfigError, "no picture"),
        ("vae", {"scores": []}, SHAPE, ConfigError, "each score once"),
        ("autoencoder", {"input_form": "frames"}, (7,), DataError, "input: map"),
        ("autoencoder", {"n_context": 12}, SHAPE, DataError, "n_context 12"),
        ("autoencoder", {"checkpoint": "best", "valid_fraction": 0.0}, SHAPE, ConfigError, "validation"),
        ("autoencoder", {"hidden": [0]}, SHAPE, ConfigError, "positive"),
    ],
)
def test_what_cannot_be_is_refused(
    name: str, values: dict[str, Any], shape: tuple[int, ...], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        _fitted(name, _maps(12, shape=shape), **values)
