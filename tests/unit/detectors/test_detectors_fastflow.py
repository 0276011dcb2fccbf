"""The flow detector: what it learns, what it scores, what domain channels do, and how it fails."""

import json

import numpy as np
import pytest
import torch

from dcase_asd.detectors.base import Batch
from dcase_asd.detectors.fastflow import Config, FastFlowDetector
from dcase_asd.errors import ConfigError, DataError, TrainingError
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.networks.fastflow import log_density

SMALL = {"n_steps": 2, "epochs": 4, "batch_size": 16}


def meta_of(attributes):
    n = len(attributes)
    text = np.array([json.dumps(a) for a in attributes], dtype=object)
    name = np.array([f"clip {i}" for i in range(n)], dtype=object)
    same = np.array(["00"] * n, dtype=object)
    return SegmentMeta(
        clip_id=name, section=same, domain=np.array(["source"] * n, dtype=object), attributes=text, start_s=np.zeros(n)
    )


def factory(x, attributes=None, *, n_batches=3):
    about = meta_of(attributes or [{}] * len(x))
    parts = np.array_split(np.arange(len(x)), min(n_batches, len(x)))
    return lambda: [Batch(x[rows], rows, about.take(rows)) for rows in parts]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def fitted(x, attributes=None, **options):
    detector = FastFlowDetector(Config(**{**SMALL, **options}))
    detector.fit(factory(x, attributes), seed=1)
    return detector


def test_score_is_the_mean_of_the_map_and_minus_log_p_z():
    x = noise(40, 4, 3, 5)
    scores = fitted(x).score(x[:7])
    np.testing.assert_allclose(scores.score, scores.map.mean(axis=(1, 2)), rtol=1e-5)
    detector = fitted(x)
    with torch.inference_mode():
        z, _ = detector._trained.flow.local(torch.from_numpy(x[:7]))
    np.testing.assert_allclose(scores.map, -log_density(z.double()).numpy(), rtol=1e-4)
    assert scores.map.shape == (7, 3, 5)


def test_with_log_determinant_and_with_maximum():
    x = noise(40, 4, 2, 3)
    plain, full, top = (fitted(x, **o).score(x) for o in ({}, {"score": "nll_logdet"}, {"reduction": "max"}))
    flow = fitted(x)._trained.flow
    with torch.inference_mode():
        logabsdet = flow.local(torch.from_numpy(x))[1].numpy()
    np.testing.assert_allclose(full.map, plain.map - logabsdet, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(top.score, plain.map.max(axis=(1, 2)), rtol=1e-6)


def test_training_lowers_the_negative_log_likelihood(tmp_path):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 1)).astype(np.float32)
    # a curved relation that no Gaussian has
    x = np.concatenate([first, first**2 + 0.1 * noise(200, 1), noise(200, 2)], axis=1)
    detector = FastFlowDetector(Config(n_steps=6, epochs=40, batch_size=32, hidden_ratio=8.0))
    detector.workdir = tmp_path / "Ordner é"
    detector.fit(factory(x), seed=0)
    lines = (detector.workdir / "losses.csv").read_text().splitlines()
    column = lines[0].split(",").index("train_flow")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    assert losses[-1] < losses[0] - 0.4
    on, off = (np.array([[a, b, 0, 0]], dtype=np.float32) for a, b in ((1.5, 2.25), (1.5, -0.5)))
    assert detector.score(off).score[0] > detector.score(on).score[0] + 1.0


def test_an_interrupted_fit_resumes_to_the_same_bits(tmp_path, monkeypatch):
    from dcase_asd.training import loop

    x = noise(40, 4, 2, 3)
    whole = fitted(x)
    interrupted = FastFlowDetector(Config(**SMALL))
    interrupted.workdir = tmp_path
    original = loop._Run._step

    def die(self, step, batch):
        if step == 7:
            self._save()
            raise KeyboardInterrupt
        original(self, step, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_step", die)
        with pytest.raises(KeyboardInterrupt):
            interrupted.fit(factory(x), seed=1)
    interrupted.fit(factory(x), seed=1)
    assert {n: v.tobytes() for n, v in interrupted.state().items()} == {n: v.tobytes() for n, v in whole.state().items()}


def test_batches_of_the_data_do_not_matter():
    x = noise(30, 4, 2, 2)
    attributes = [{"spd": str(i % 2)} for i in range(30)]
    states = []
    for n_batches in (1, 7):
        detector = FastFlowDetector(Config(**SMALL, domain_channels=1, attribute="spd"))
        detector.fit(factory(x, attributes, n_batches=n_batches), seed=1)
        states.append({name: v.tobytes() for name, v in detector.state().items()})
    assert states[0] == states[1]


def speeds(n=240, seed=0):
    """Vectors whose first two values follow a speed, apart by 6 deviations, beside noise."""
    rng = np.random.default_rng(seed)
    speed = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    x[:, :2] += 6.0 * speed[:, None]
    return x, [{"spd": str(s)} for s in speed], speed


def test_domain_channels_follow_the_attribute_and_are_left_out_of_the_score():
    x, attributes, speed = speeds()
    detector = fitted(x, attributes, n_steps=4, epochs=60, hidden_ratio=4.0, domain_channels=2, attribute="spd")
    trained = detector._trained
    assert trained.n_domain == 2
    with torch.inference_mode():
        z = trained.flow.local(torch.from_numpy(x)[:, :, None, None])[0].numpy()[:, :, 0, 0]
    # k v is -2.5 and 2.5 around the middle
    assert z[speed == 1, 4:].mean() == pytest.approx(2.5, abs=0.4)
    assert z[speed == 0, 4:].mean() == pytest.approx(-2.5, abs=0.4)
    expected = 0.5 * (z[:, :4].astype(np.float64) ** 2).sum(axis=1) + 4 * 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(detector.score(x).score, expected, rtol=1e-4)


def test_one_attribute_value_means_no_domain_channels_and_the_state_says_so():
    x = noise(30, 4, 2, 2)
    detector = fitted(x, [{"spd": "3"}] * 30, domain_channels=2, attribute="spd")
    assert "one value '3'" in detector.domain_note
    about = json.loads(detector.state()["about"].tobytes())
    assert about["n_domain"] == 0
    np.testing.assert_array_equal(detector.score(x).score, fitted(x).score(x).score)


def test_an_attribute_that_no_clip_has():
    with pytest.raises(DataError, match="'vel'"):
        fitted(noise(30, 4, 2, 2), [{"spd": "3"}] * 30, domain_channels=2, attribute="vel")


def test_fitted_on_maps_it_takes_maps_of_another_size():
    scores = fitted(noise(30, 4, 2, 3)).score(noise(2, 4, 5, 7))
    assert scores.map.shape == (2, 5, 7)


@pytest.mark.parametrize(
    ("x", "options", "match"),
    [
        (noise(1, 4, 2, 2), {}, "at least 2"),
        (np.ones((9, 4, 2, 2), dtype=np.float32), {}, "the same"),
        (noise(9, 1), {}, "channels"),
        (noise(9, 4), {"domain_channels": 4, "attribute": "#1"}, "5 are needed"),
    ],
)
def test_data_that_cannot_be_learnt_from(x, options, match):
    with pytest.raises(DataError, match=match):
        fitted(x, [{"spd": str(i % 2)} for i in range(len(x))], **options)


def test_a_training_that_diverges_names_coupling_and_step_and_keeps_the_checkpoint(tmp_path):
    from dcase_asd.training import loop

    detector = FastFlowDetector(Config(**SMALL))
    detector.workdir = tmp_path
    original, calls = loop._Run._step, []

    def poison(self, step, batch):
        calls.append(step)
        if step == 5:
            self._save()
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("nan"))
        original(self, step, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, "_step", poison)
        with pytest.raises(TrainingError, match=r"step 1 of 2 \(3x3 coupling\) at step 5 of .*checkpoint of step 5 stays"):
            detector.fit(factory(noise(40, 4, 2, 3)), seed=1)
    assert (tmp_path / "last.safetensors").is_file()


def test_a_value_too_far_out_is_an_error_not_an_infinite_score():
    detector = fitted(noise(30, 4, 2, 2))
    x = noise(3, 4, 2, 2)
    x[1] = 3e38
    with pytest.raises(DataError, match="segment 1"):
        detector.score(x)


@pytest.mark.parametrize(
    "options", [{"n_steps": 0}, {"clamp": 0.0}, {"domain_channels": 8}, {"attribute": "spd"}, {"k_scale": 0}]
)
def test_options_out_of_range(options):
    with pytest.raises(ConfigError):
        Config(**options)
