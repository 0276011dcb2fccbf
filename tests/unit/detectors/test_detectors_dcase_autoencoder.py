"""The official baseline against a literal numpy re-implementation of it, and the identity behind its score."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd import config as configs
from dcase_asd.detectors.base import Batch
from dcase_asd.detectors.dcase_autoencoder import Config, DcaseAutoencoder, _mahalanobis_per_frame, _selective_mahalanobis
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.training.reconstruction import split_items
from dcase_asd.training.seeding import generator

N_CLIPS, N_TARGET, N_MELS, N_FRAMES, CONTEXT, BATCH, SEED = 9, 3, 6, 20, 5, 32, 4


def _clips(n: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(N_MELS, N_MELS))
    return (np.einsum("cft,fg->cgt", rng.normal(size=(n, N_MELS, N_FRAMES)), mixing) - 40.0).astype(np.float32)[:, None]


def _fitted(n_target: int = N_TARGET, **values: object) -> DcaseAutoencoder:
    x = _clips(N_CLIPS)
    domain = np.array(["source"] * (N_CLIPS - n_target) + ["target"] * n_target, dtype=object)
    names = np.array([f"fan/é {i}" for i in range(N_CLIPS)], dtype=object)
    meta = SegmentMeta(names, np.array(["00"] * N_CLIPS, dtype=object), domain, names, np.zeros(N_CLIPS))
    settings = {"epochs": 3, "batch_size": BATCH, "scores": ["selective_mahalanobis", "mse", "mahalanobis_per_frame"], **values}
    detector = DcaseAutoencoder(configs.build(Config, settings))
    detector.fit(lambda: [Batch(x, np.arange(N_CLIPS), meta)], seed=SEED)
    return detector


@pytest.fixture(scope="module")
def detector() -> DcaseAutoencoder:
    return _fitted()


def _vectors(clip: np.ndarray) -> np.ndarray:
    """[1, mel, frame] to [vector, 5 * mel]: frame 0's bands, then frame 1's (facts, section d)."""
    frames = clip[0].T
    return np.array([np.concatenate([frames[t + k] for k in range(CONTEXT)]) for t in range(len(frames) - CONTEXT + 1)])


def _network(state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Forward pass in float64 numpy: Linear, BN with running statistics (eps 1e-3), ReLU; the last layer linear."""
    weights = {name.removeprefix("model.network."): v.astype(np.float64) for name, v in state.items() if "network" in name}

    def linear(h: np.ndarray, name: str) -> np.ndarray:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    h = x.astype(np.float64)
    for name in [f"encoder.{3 * i}" for i in range(5)] + [f"decoder.{3 * i}" for i in range(4)]:
        part, number = name.split(".")
        bn = f"{part}.{int(number) + 1}"
        h = (linear(h, name) - weights[f"{bn}.running_mean"]) / np.sqrt(weights[f"{bn}.running_var"] + 1e-3)
        h = np.maximum(h * weights[f"{bn}.weight"] + weights[f"{bn}.bias"], 0.0)
    return linear(h, "output")


def _covariances(state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Section (d), literally: per batch and domain, mean of the rows removed, squares summed, over number of vectors - 1."""
    vectors = np.concatenate([_vectors(clip) for clip in _clips(N_CLIPS)])
    target = np.repeat(np.arange(N_CLIPS) >= N_CLIPS - N_TARGET, N_FRAMES - CONTEXT + 1)
    train, valid = split_items(len(vectors), valid_fraction=0.1, how="random", seed=SEED)
    assert len(valid) == int(np.ceil(0.1 * len(vectors)))
    order = generator(SEED, "covariance").permutation(train)
    total = [np.zeros((N_MELS, N_MELS)) for _ in range(2)]
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        residual = vectors[rows] - _network(state, vectors[rows])
        for number, chosen in enumerate((~target[rows], target[rows])):
            if chosen.any():
                delta = residual[chosen].reshape(-1, N_MELS)
                delta = delta - delta.mean(axis=0)
                total[number] += delta.T @ delta
    return [total[0] / (np.sum(~target[train]) - 1), total[1] / (np.sum(target[train]) - 1)]


def test_scores_equal_a_literal_reimplementation(detector: DcaseAutoencoder) -> None:
    state = detector.state()
    inverse = [np.linalg.inv(cov) for cov in _covariances(state)]
    clips = _clips(4, seed=8)
    found = detector.score(clips)
    for number, clip in enumerate(clips):
        vectors = _vectors(clip)
        residual = vectors - _network(state, vectors)
        delta = residual.reshape(-1, N_MELS)
        gram = [delta @ inv @ delta.T for inv in inverse]
        expected = {
            "score=mse": np.mean(residual**2),
            "score=selective_mahalanobis": min(g.sum() / len(delta) ** 2 for g in gram),
            "score=mahalanobis_per_frame": np.minimum(np.diag(gram[0]), np.diag(gram[1])).mean(),
        }
        assert list(found.parts) == ["score=selective_mahalanobis", "score=mse", "score=mahalanobis_per_frame"]
        for name, value in expected.items():
            # the network runs in float32: 1e-7 on values of 40 against residuals of about 1
            np.testing.assert_allclose(found.parts[name][number], value, rtol=2e-4, err_msg=name)


def test_residuals_that_cancel_over_time_count_per_frame_only() -> None:
    residual = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    whiten = (np.eye(2), np.diag([1.0, 0.5]))
    assert _selective_mahalanobis(residual, whiten) == 0.0
    # the smaller distance of each frame: 9, 9 in both, 4 / 4 by the second
    assert _mahalanobis_per_frame(residual, whiten) == (9.0 + 9.0 + 1.0 + 1.0) / 4.0


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_mean_of_the_whole_gram_matrix_is_the_form_of_the_mean_residual(n: int, dim: int, seed: int) -> None:
    """Conformance test 9."""
    rng = np.random.default_rng(seed)
    residual = rng.normal(size=(n, dim)) + rng.normal(size=dim)
    factor = np.tril(rng.normal(size=(dim, dim))) + 2.0 * np.eye(dim)
    gram = residual @ (factor.T @ factor) @ residual.T
    found = _selective_mahalanobis(residual, (factor, 1e6 * factor))
    np.testing.assert_allclose(found, gram.mean(), rtol=1e-9, atol=1e-10 * float(np.abs(gram).max()))


def test_scoring_uses_the_running_statistics_and_leaves_them(detector: DcaseAutoencoder) -> None:
    before = {name: value.tobytes() for name, value in detector.state().items()}
    loud = _clips(1, seed=3) * 50.0
    alone = detector.score(loud).score[0]
    crowd = detector.score(np.concatenate([_clips(7, seed=5), loud])).score[-1]
    assert alone == crowd
    assert {name: value.tobytes() for name, value in detector.state().items()} == before
    variance = next(v for n, v in detector.state().items() if n.endswith("running_var"))
    assert not np.allclose(variance, 1.0)


def test_architecture_is_the_official_one() -> None:
    from torch import nn

    from dcase_asd.networks.dense_autoencoder import DenseAutoencoder

    detector = DcaseAutoencoder(Config())
    network = detector._build(128, seed=0).network
    assert isinstance(network, DenseAutoencoder)
    sizes = [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    assert sizes == list(pairwise(widths))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
    assert [m.num_features for m in norms] == widths[1:-1]
    assert {(m.momentum, m.eps) for m in norms} == {(0.01, 1e-3)}
    # 2 (640*128) + 6 (128*128) + 2 (128*8) weights, 8*128 + 8 + 640 biases, twice 8*128 + 8 affine parameters of BN
    assert sum(p.numel() for p in network.parameters()) == 267_928


def test_operations_of_a_clip_are_those_of_its_vectors(detector: DcaseAutoencoder) -> None:
    from dcase_asd.submission.complexity import measure

    widths = [CONTEXT * N_MELS, 128, 128, 128, 128, 8, 128, 128, 128, 128, CONTEXT * N_MELS]
    expected = (N_FRAMES - CONTEXT + 1) * sum(a * b for a, b in pairwise(widths))
    assert measure(*detector.module_and_input((1, N_MELS, N_FRAMES))).macs == expected


def test_presets() -> None:
    official, keras = Config(), Config(preset="official_keras")
    assert (official.epochs, official.batch_size, official.validation) == (100, 256, "random")
    assert (keras.epochs, keras.batch_size, keras.validation) == (100, 512, "last")
    assert Config(preset="cpu", epochs=3).epochs == 3


def test_keras_preset_has_glorot_weights_and_zero_biases() -> None:
    state = _fitted(preset="official_keras", epochs=1)._build(N_MELS, seed=0).network.state_dict()
    assert float(state["encoder.0.bias"].abs().max()) == 0.0
    bound = np.sqrt(6.0 / (CONTEXT * N_MELS + 128))
    assert 0.9 * bound < float(state["encoder.0.weight"].abs().max()) <= bound


def test_without_target_vectors_both_covariances_are_the_source_s() -> None:
    state = _fitted(n_target=0).state()
    assert state["whiten.source"].tobytes() == state["whiten.target"].tobytes()


def test_a_single_score_has_no_parts() -> None:
    detector = _fitted(scores=["mse"])
    assert not detector.score(_clips(2)).parts


def test_a_singular_covariance_names_the_domain_and_reg_mends_it() -> None:
    x = _clips(1)[..., :4]  # three vectors of two frames, two to train on: four rows less their mean span 3 of 6 dimensions
    names = [np.array([value], dtype=object) for value in ("a", "00", "source", "{}")]
    batches = [Batch(x, np.arange(1), SegmentMeta(*names, np.zeros(1)))]

    def fit(reg: float) -> DcaseAutoencoder:
        detector = DcaseAutoencoder(Config(epochs=1, batch_size=2, n_context=2, reg=reg))
        detector.fit(lambda: batches, seed=0)
        return detector

    with pytest.raises(DataError, match=r"source domain .*singular"):
        fit(0.0)
    assert np.isfinite(fit(1e-2).score(x).score).all()


def test_maps_of_several_channels_and_short_clips_are_refused() -> None:
    meta = SegmentMeta(*(np.array([v] * 2, dtype=object) for v in ("a", "00", "source", "{}")), np.zeros(2))
    for shape, word in (((2, 3, 6, 20), "expected maps"), ((2, 1, 6, 4), "n_context 5")):
        x = np.ones(shape, dtype=np.float32)
        with pytest.raises(DataError, match=word):
            DcaseAutoencoder(Config(epochs=1)).fit(lambda x=x: [Batch(x, np.arange(2), meta)], seed=0)


@pytest.mark.parametrize("values", [{"scores": []}, {"scores": ["mse", "mse"]}, {"epochs": 0}, {"reg": -1.0}, {"batch_size": 1}])
def test_wrong_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        configs.build(Config, values)
