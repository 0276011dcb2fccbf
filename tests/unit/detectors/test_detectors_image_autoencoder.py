"""The picture autoencoder's scores, thresholds and warnings, and the mean picture."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.detectors.base import Batch, Detector, load_detector, save_detector
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.networks.backbones import build_backbone

QUICK = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}


def pictures(n: int, *, seed: int = 0, side: int = 16) -> np.ndarray:
    """A bright square on a dark ground, a little noise; the second half of them is the other way round."""
    rng = np.random.default_rng(seed)
    x = 0.2 + 0.02 * rng.normal(size=(n, 3, side, side))
    x[:, :, 4:12, 4:12] += 0.5
    x[n // 2 :] = 1.0 - x[n // 2 :]
    return np.clip(x, 0, 1).astype(np.float32)


def meta(sections: list[str]) -> SegmentMeta:
    n = len(sections)
    text = np.array(["{}"] * n, dtype=object)
    clip = np.array([f"c{i}" for i in range(n)], dtype=object)
    source = np.array(["source"] * n, dtype=object)
    return SegmentMeta(clip, np.array(sections, dtype=object), source, text, np.zeros(n))


def make(name: str = "image_autoencoder", **values: Any) -> Detector[Any]:
    plugin = registry.load("detectors", name)
    detector: Detector[Any] = plugin.implementation(configs.build(plugin.config, values))
    return detector


def fitted(x: np.ndarray, *, sections: list[str] | None = None, name: str = "image_autoencoder", **values: Any) -> Detector[Any]:
    detector = make(name, **(values if name == "mean_image" else {**QUICK, **values}))
    about = meta(sections or ["00"] * len(x))
    detector.fit(lambda: [Batch(x, np.arange(len(x)), about)], seed=1)
    return detector


def rebuilt(detector: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network is given and what it gives, in its own range."""
    with torch.inference_mode():
        model = detector._model
        given = (torch.from_numpy(x) - model.mean) / model.std
        code, _ = model.network.encode(given)
        return given.numpy().astype(np.float64), model.network.decoder(code).numpy().astype(np.float64)


TINY: dict[str, dict[str, Any]] = {
    "cae_t1": {"widths": [4, 6], "n_wide": 8, "n_latent": 4},
    "cae_t2": {"widths": [4, 6]},
    "wood": {"widths": [4, 6]},
    "wood_variational": {"widths": [4, 6], "n_latent": 4, "reduction": "sum"},
    "casting": {"widths": [4, 6]},
    "casting_variational": {"widths": [4, 6], "n_latent": 4, "reduction": "sum"},
    "transfer": {"widths": [4], "encoder": "efficientnet_lite0", "encoder_weights": "random"},
    "transfer_variational": {"widths": [4], "n_latent": 4, "encoder": "efficientnet_lite0", "encoder_weights": "random"},
}


@pytest.mark.parametrize("network", TINY)
def test_every_network_learns_scores_and_comes_back(network, tmp_path):
    if network.startswith("transfer"):
        pytest.importorskip("efficientnet_lite_pytorch")
    x = pictures(24)
    detector = fitted(x, network=network, scores=["mse", "abs_mix", "ssim", "ms_ssim"], scales=1, **TINY[network])
    scores = detector.score(pictures(4, seed=7))
    assert list(scores.parts) == [f"score={n}" for n in ("mse", "abs_mix", "ssim", "ms_ssim")]
    assert scores.map is not None
    assert scores.map.shape == (4, 16, 16)
    save_detector(tmp_path / "modèle un", "image_autoencoder", detector)
    again = load_detector(tmp_path / "modèle un").score(pictures(4, seed=7))
    assert all(again.parts[k].tobytes() == v.tobytes() for k, v in scores.parts.items())


def test_scores_by_hand():
    detector = fitted(pictures(24), network="cae_t2", widths=[4, 6], scores=["mse", "abs_mix"])
    x = pictures(3, seed=5)
    given, made = rebuilt(detector, x)
    assert given.min() < -0.5, "tanh networks see (-1, 1)"
    gap = np.abs(given - made).reshape(3, -1)
    parts = detector.score(x).parts
    np.testing.assert_allclose(parts["score=mse"], (gap**2).mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(parts["score=abs_mix"], (gap.mean(1) + gap.max(1) + gap.var(1)) / 3, rtol=1e-4)


def test_a_spot_is_found_where_it_is_by_both_kinds_of_map():
    for scores in (["mse"], ["ssim"]):
        detector = fitted(pictures(40), widths=[4, 6], epochs=15, scores=scores)
        x = pictures(40, seed=3)[:1]
        spoilt = x.copy()
        spoilt[0, :, 6, 9] = 0.0
        change = detector.score(spoilt).map[0] - detector.score(x).map[0]
        place = np.unravel_index(int(change.argmax()), (16, 16))
        assert max(abs(place[0] - 6), abs(place[1] - 9)) <= (1 if scores == ["mse"] else 5)


def test_refit_threshold_is_mean_and_deviation_of_clean_held_out_pictures():
    x = pictures(30)
    settings = {"widths": [4, 6], "threshold": "refit", "valid_fraction": 0.3, "noise": 0.3}
    detector = fitted(x, threshold_beta=0.5, **settings)
    held_out = [i for i in range(30) if i not in train_rows(30, 0.3)]
    raw = detector.score(x[held_out]).parts["score=mse"]
    margin = detector.score(x[held_out]).parts["score=mse,threshold=refit"]
    threshold = raw.mean() + 0.5 * raw.std()
    np.testing.assert_allclose(raw - margin, threshold, rtol=1e-6)
    np.testing.assert_array_equal(detector.score(x).score, detector.score(x).parts["score=mse,threshold=refit"])
    by_quantile = fitted(x, threshold_quantile=0.8, **settings).score(x[held_out]).parts
    values = by_quantile["score=mse"]
    np.testing.assert_allclose((values - by_quantile["score=mse,threshold=refit"])[0], np.quantile(values, 0.8), rtol=1e-6)


@pytest.mark.parametrize("threshold", ["none", "refit"])
def test_segments_of_a_clip_that_is_held_out_are_not_trained_on(threshold, monkeypatch):
    from dcase_asd.training.reconstruction import ItemBatches

    seen: list[ItemBatches] = []
    start = ItemBatches.__init__

    def watched(self: ItemBatches, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        seen.append(self)

    monkeypatch.setattr(ItemBatches, "__init__", watched)
    about = meta(["00"] * 40)
    about.clip_id[:] = [f"clip{i // 4}" for i in range(40)]
    detector = make(**QUICK, widths=[4, 6], threshold=threshold, valid_fraction=0.3)
    detector.fit(lambda: [Batch(pictures(40), np.arange(40), about)], seed=1)
    (source,) = seen
    held_out, trained = ({str(about.clip_id[i]) for i in rows} for rows in (source.valid, source.train))
    assert (len(held_out), len(trained), len(source.train) + len(source.valid)) == (3, 7, 40)
    assert not held_out & trained


def train_rows(n: int, fraction: float) -> list[int]:
    from dcase_asd.training.reconstruction import split_items

    labels = np.zeros(n, dtype=np.int64)
    return list(split_items(n, valid_fraction=fraction, how="random", seed=1, labels=labels)[0])


def test_ema_threshold_is_measured_on_what_the_training_saw():
    x = pictures(24)
    detector = fitted(x, widths=[4, 6], threshold="ema", epochs=1, checkpoint="last", learning_rate=1e-9)
    raw = detector.score(x[train_rows(24, 0.1)]).parts["score=mse"]
    margin = detector.score(x).parts["score=mse,threshold=ema"]
    # after one epoch at no rate, T is the first estimate: the mean error of the training pictures
    np.testing.assert_allclose(detector.score(x).parts["score=mse"] - margin, raw.mean(), rtol=1e-3)


MIXER = {"network": "cae_t2", "widths": [4, 6], "mixer": True, "threshold": "refit", "valid_fraction": 0.2, "epochs": 12}


def test_the_mixer_sees_the_class_and_takes_its_threshold():
    x = pictures(60)
    sections = ["dark"] * 30 + ["bright"] * 30
    detector = fitted(x, sections=sections, **MIXER)
    model = detector._model  # type: ignore[attr-defined]
    assert detector._classes == ["bright", "dark"]  # type: ignore[attr-defined]
    test = pictures(20, seed=9)
    with torch.inference_mode():
        seen = model.examine(torch.from_numpy(test))[2]["class"].numpy()
    assert (seen == np.repeat([1, 0], 10)).mean() > 0.9
    parts = detector.score(test).parts
    gap = parts["score=mse"] - parts["score=mse,threshold=refit"]
    np.testing.assert_allclose(gap, model.thresholds.value.numpy()[seen], rtol=1e-9)
    assert len(set(model.thresholds.value.tolist())) == 2


def test_a_mixer_of_one_class_and_classes_without_held_out_pictures_are_refused():
    with pytest.raises(DataError, match="sections: together"):
        fitted(pictures(20), **MIXER)
    with pytest.raises(DataError, match="1 held-out pictures of class 'few'"):
        fitted(pictures(24), sections=["many"] * 20 + ["few"] * 4, **MIXER)


def test_weights_of_a_file_become_the_encoder_and_part_of_the_model(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng():
        torch.manual_seed(99)
        whole = EfficientNet.from_name("efficientnet-lite0")
    path = tmp_path / "gewichte é.pt"
    torch.save(whole.state_dict(), path)
    values = {"network": "transfer", "encoder": "efficientnet_lite0", "encoder_weights": str(path), "widths": [4]}
    detector = fitted(pictures(16), **values)
    own = build_backbone("efficientnet_lite0", ["stage2"], weights=whole.state_dict()).state_dict()
    found = detector._model.network.encoder.backbone.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(found[name], value) for name, value in own.items())
    path.unlink()
    other = make(**{**QUICK, **values})
    other.load_state(detector.state())
    np.testing.assert_array_equal(other.score(pictures(4)).score, detector.score(pictures(4)).score)


def test_missing_encoder_weights_are_said_and_nothing_else_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match="no checkpoint of vgg16"):
        fitted(pictures(12, side=16), network="transfer", widths=[4])


def test_a_collapsed_latent_and_a_wide_bottleneck_are_told(caplog):
    with caplog.at_level(logging.INFO, logger="dcase_asd"):
        detector = fitted(pictures(24), network="casting_variational", widths=[4, 6], n_latent=3, beta=1000.0, epochs=15)
    assert "divergence of the latent dimensions" in caplog.text
    assert "none of its 3 dimensions carries 0.01 nats" in caplog.text
    assert "larger than the picture's" not in caplog.text
    assert (detector.state()["model.kl_per_dimension"] < 0.01).all()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="dcase_asd"):
        fitted(pictures(24), network="casting", widths=[4, 16])  # 16 x 8 x 8 for 3 x 16 x 16
    assert "bottleneck of 1024 values is larger than the picture's 768" in caplog.text


def test_the_bound_uses_the_latent(caplog):
    with caplog.at_level(logging.WARNING, logger="dcase_asd"):
        settings = {
            "n_latent": 2,
            "reduction": "sum",
            "epochs": 60,
            "learning_rate": 0.003,
            "schedule": "fixed",
            "stop_epochs": 0,
        }
        detector = fitted(pictures(60), network="casting_variational", widths=[4, 6], **settings)
    assert "collapsed" not in caplog.text
    assert detector.state()["model.kl_per_dimension"].max() > 0.1


def test_an_early_stop_and_its_curve_are_kept_where_there_is_a_folder(tmp_path):
    x = pictures(24)
    detector = make(**{**QUICK, "epochs": 300, "stop_epochs": 1, "widths": [4, 6], "learning_rate": 0.05})
    detector.workdir = tmp_path
    detector.fit(lambda: [Batch(x, np.arange(24), meta(["00"] * 24))], seed=1)
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert "valid_reconstruction" in lines[0]
    assert 2 < len(lines) < 301
    # the same call goes on from what is kept, and has nothing left to do
    again = make(**{**QUICK, "epochs": 300, "stop_epochs": 1, "widths": [4, 6], "learning_rate": 0.05})
    again.workdir = tmp_path
    again.fit(lambda: [Batch(x, np.arange(24), meta(["00"] * 24))], seed=1)
    np.testing.assert_array_equal(again.score(x).score, detector.score(x).score)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"scores": []}, "at most once"),
        ({"scores": ["mse", "mse"]}, "twice"),
        ({"input_form": "frames"}, "taken whole"),
        ({"network": "wood", "n_latent": 8}, "a map"),
        ({"reduction": "sum", "loss": "ssim"}, "reduction"),
        ({"network": "transfer", "contractive": 1e-4}, "frozen"),
        ({"mixer": True}, "choose a threshold"),
        ({"threshold": "refit", "valid_fraction": 0.0, "checkpoint": "last", "schedule": "fixed", "stop_epochs": 0}, "held-out"),
        ({"output": "linear", "loss": "ssim"}, "data_range"),
        ({"standardise": "band"}, "standardise"),
        ({"noise": -0.1}, "negative"),
        ({"probes": 0}, "probes"),
        ({"valid_fraction": 0.0, "checkpoint": "last", "schedule": "fixed"}, "need validation"),
    ],
)
def test_what_cannot_be_is_refused(values, word):
    with pytest.raises(ConfigError, match=word):
        make(**values)


def test_pixels_of_another_range_are_refused_but_for_a_linear_output():
    x = np.round(pictures(16) * 255.0 - 31.0)
    with pytest.raises(DataError, match=r"pixels in \[0, 1\], found 0 to 19"):
        fitted(x, widths=[4, 6])
    assert np.isfinite(fitted(x, widths=[4, 6], output="linear").score(x).score).all()


def test_ms_ssim_of_too_small_pictures_says_how_many_scales_fit():
    with pytest.raises(DataError, match="room for 1 scales"):
        fitted(pictures(16), widths=[4, 6], loss="ms_ssim")


def test_mean_image_by_hand():
    x = pictures(10)
    mean = x.astype(np.float64).mean(axis=0)
    test = pictures(4, seed=3)
    for distance, power in (("squared", 2), ("absolute", 1)):
        scores = fitted(x, name="mean_image", distance=distance).score(test)
        gap = np.abs(test - mean) ** power
        np.testing.assert_allclose(scores.score, gap.mean(axis=(1, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(scores.map, gap.mean(axis=1), rtol=1e-6)
