"""A flow trained jointly with outlier exposure (Fujimura 2023, Eq. 5 to 7, Sections 3.1 and 4.2), and its way into stage 5."""

import json

import numpy as np
import pytest
import torch
from fake_features import machine_clip

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import ConfigError, DataError, FormatError, NotFittedError, TrainingError
from dcase_asd.extractors._shared.classes import ClassList
from dcase_asd.extractors._shared.exposure import ExposureBatches, open_clips
from dcase_asd.extractors.base import TrainingData, load_extractor, save_extractor
from dcase_asd.extractors.outlier_exposure import Config, OutlierExposure
from dcase_asd.training.domain_code import domain_code
from dcase_asd.training.mixup import MixupConfig

FRAMES = 40
TINY = {"width": 0.125, "input_pool": [1, 1], "epochs": 2, "batch_size": 8, "attribute_weight": 0.0}
FLOW = {"flow_weight": 1e-7, "flow_steps": 2}
VALID = ("pump/train/000", "pump/train/005")


def fit(features, workdir, *, seed=0, log=lambda _: None, valid=VALID, **values):
    extractor = OutlierExposure(configs.build(Config, {**TINY, **FLOW, **values}))
    extractor.fit(TrainingData(features, "pump", frozenset(valid), FRAMES), seed=seed, workdir=workdir, log=log)
    return extractor


def rows_of(path):
    lines = (path / "losses.csv").read_text().splitlines()
    return [dict(zip(lines[0].split(","), map(float, line.split(",")), strict=True)) for line in lines[1:]]


def segments(n=6, seed=5):
    rng = np.random.default_rng(seed)
    return np.stack([machine_clip(5.0, rng=rng, n_frames=FRAMES) for _ in range(n)])


@pytest.fixture(scope="module")
def fitted(features, tmp_path_factory):
    return fit(features, tmp_path_factory.mktemp("flöw"))


def test_sum_of_losses_eq_5(features, tmp_path):
    for gradient in ("scaled", "own"):
        fit(features, tmp_path / gradient, flow_weight=1e-3, attribute_weight=5.0, flow_gradient=gradient)
        for row in rows_of(tmp_path / gradient):
            expected = row["train_machine"] + 5.0 * row["train_attributes"] + 1e-3 * row["train_flow"]
            assert row["train_total"] == pytest.approx(expected, rel=1e-5)


def test_own_gradients_train_the_flow_where_scaled_ones_hardly_do(features, tmp_path):
    # the last convolution of a coupling starts at zero: its norm says how far the flow has come
    moved = {}
    for gradient in ("scaled", "own"):
        state = fit(features, tmp_path / gradient, flow_gradient=gradient, flow_weight=1e-12).state()
        last = [value for name, value in state.items() if name.startswith("fastflow.flow.") and name.endswith("subnet.2.weight")]
        moved[gradient] = float(np.sqrt(sum((value**2).sum() for value in last)))
    assert moved["own"] > 50 * moved["scaled"] > 0


def test_the_extractor_sees_the_same_gradient_in_both_modes(features, tmp_path):
    # one step of plain gradient descent from the same weights
    one = {"optimiser": "sgd", "schedule": "fixed", "epochs": 1, "batch_size": 20, "weight_decay": 0.0, "learning_rate": 0.1}
    states = [fit(features, tmp_path / g, flow_gradient=g, flow_weight=1e-3, **one).state() for g in ("scaled", "own")]
    for name, value in states[0].items():
        if name.startswith("backbone.") and value.dtype == np.float32:
            np.testing.assert_allclose(states[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    moved = [n for n in states[0] if n.startswith("fastflow.flow.") and not np.array_equal(states[0][n], states[1][n])]
    assert moved


def test_a_weight_of_zero_changes_nothing(features, tmp_path):
    plain, again = (fit(features, tmp_path / str(i), flow_weight=0.0, flow_steps=i + 1).state() for i in range(2))
    assert not [name for name in plain if "flow" in name]
    assert {n: v.tobytes() for n, v in plain.items()} == {n: v.tobytes() for n, v in again.items()}


def test_the_heads_start_from_the_same_weights_with_and_without_a_flow(features, tmp_path):
    still = {"learning_rate": 1e-30, "schedule": "fixed", "weight_decay": 0.0, "epochs": 1}
    with_flow, without = (fit(features, tmp_path / str(w), flow_weight=w, **still).state() for w in (1e-7, 0.0))
    assert np.array_equal(with_flow["terms.machine.head.weight"], without["terms.machine.head.weight"])
    assert np.array_equal(with_flow["backbone.conv1.weight"], without["backbone.conv1.weight"])


def test_state_is_that_of_the_detector(fitted, tmp_path):
    detector = registry.load("detectors", "fastflow").implementation(configs.build(registry.load("detectors", "fastflow").config))
    detector.load_state(fitted.joint_state("fastflow"))
    _, maps = fitted.embed(segments())
    scores = detector.score(maps)
    assert scores.map.shape == (6, *maps.shape[2:])
    save_extractor(tmp_path, "outlier_exposure", fitted)
    again = load_extractor(tmp_path)
    assert {n: v.tobytes() for n, v in again.joint_state("fastflow").items()} == {
        n: v.tobytes() for n, v in fitted.joint_state("fastflow").items()
    }
    about = json.loads(fitted.joint_state("fastflow")["about"].tobytes())
    assert (about["trained"], about["n_channels"], about["n_steps"], about["n_domain"]) == ("jointly", 64, 2, 0)


def test_the_statistics_of_the_flows_input_are_those_of_the_trained_extractors_maps(features, fitted):
    store = features.open("pump", "train")
    clips = [store.clip(i) for i, clip_id in enumerate(store.index["clip_id"]) if clip_id not in VALID]
    middle = [clip[int(0.5 * (len(clip) - FRAMES + 1)) :][:FRAMES] for clip in clips]
    _, maps = fitted.embed(np.stack(middle))
    state = fitted.joint_state("fastflow")
    np.testing.assert_allclose(state["flow._transforms.0.mean"], maps.mean(axis=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(state["flow._transforms.0.variance"], maps.var(axis=(0, 2, 3)), rtol=1e-3, atol=1e-4)


def test_same_seed_same_bits_and_resume(features, fitted, tmp_path, monkeypatch):
    original = ExposureBatches.batch

    def die(self, step, *, progress):
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step, progress=progress)

    from dcase_asd.training import loop

    def save_always(self, *, ended):
        self._save()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(ExposureBatches, "batch", die)
        patch.setattr(loop._Run, "_save_if_due", save_always)
        with pytest.raises(KeyboardInterrupt):
            fit(features, tmp_path)
    resumed = fit(features, tmp_path).state()
    assert {n: v.tobytes() for n, v in resumed.items()} == {n: v.tobytes() for n, v in fitted.state().items()}


def source_of(features, alpha=0.2):
    clips = open_clips(TrainingData(features, "pump", frozenset(VALID), FRAMES), supplemental_noise=False)
    code = domain_code("spd", clips.target.attributes, where="pump")
    classes: dict[str, ClassList] = {}
    return ExposureBatches(clips, classes, FRAMES, MixupConfig(alpha=alpha), 8, 0, domain=code), code


def test_mixup_takes_the_dominant_clips_value(features):
    source, code = source_of(features)
    attributes = source.clips.target.attributes
    seen = set()
    for step in range(10):
        batch = source.batch(step, progress=0.0)
        for row, mean in zip(batch["row"].tolist(), batch["flow_mean"].tolist(), strict=True):
            if row < 0:
                assert np.isnan(mean)
            else:
                assert mean == code.means([attributes[row]])[0]
                seen.add(mean)
    assert seen == {-2.5, 2.5}


def test_validation_knows_the_value_too(features):
    source, code = source_of(features)
    (batch,) = source.valid_batches()
    expected = code.means(source.clips.valid_target.attributes)
    assert batch["flow_mean"][:2].tolist() == expected.tolist()
    assert torch.isnan(batch["flow_mean"][2:]).all()


def test_domain_channels_in_the_extractors_record(features, tmp_path):
    lines = []
    extractor = fit(features, tmp_path, flow_attribute="#1", flow_domain_channels=3, log=lines.append)
    about = json.loads(extractor.joint_state("fastflow")["about"].tobytes())
    assert about["n_domain"] == 3
    assert about["domain"]["attribute"] == "spd"
    assert extractor.record["flow"]["k"] == 5.0
    assert any("#1 is spd" in line for line in lines)


def test_an_attribute_with_one_value_leaves_a_plain_flow_and_says_so(features, tmp_path):
    lines = []
    extractor = fit(features, tmp_path, flow_attribute="mic", flow_domain_channels=3, log=lines.append)
    assert json.loads(extractor.joint_state("fastflow")["about"].tobytes())["n_domain"] == 0
    assert any("one value" in line for line in lines)


def test_errors(features, fitted, tmp_path):
    with pytest.raises(DataError, match="'vel'"):
        fit(features, tmp_path, flow_attribute="vel")
    with pytest.raises(ConfigError, match="needs a flow"):
        Config(flow_attribute="#1")
    for wrong in ({"flow_eps": 0.0}, {"flow_learning_rate": 0.0}, {"flow_steps": 0}, {"flow_clamp": -1.0}):
        with pytest.raises(ConfigError, match="must be positive"):
            Config(flow_weight=1e-7, **wrong)
    with pytest.raises(ConfigError, match="64 channels"):
        fit(features, tmp_path / "w", flow_attribute="#1", flow_domain_channels=64)
    with pytest.raises(ConfigError, match="trains no detector 'gmm'"):
        fitted.joint_state("gmm")
    with pytest.raises(NotFittedError):
        OutlierExposure(Config(flow_weight=1e-7)).joint_state("fastflow")
    lacking = {n: v for n, v in fitted.state().items() if not n.startswith("fastflow.")}
    with pytest.raises(FormatError, match="flow_weight"):
        OutlierExposure(fitted.config).load_state(lacking)
    with pytest.raises(TrainingError, match=r"flow: not finite after|is (nan|inf) at step"):
        fit(features, tmp_path / "x", learning_rate=1e30, optimiser="sgd", schedule="fixed", epochs=3)


def test_maps_are_returned_where_a_flow_needs_them():
    assert Config(flow_weight=1e-7).return_map is True
    assert Config().return_map is False
    assert OutlierExposure(Config(flow_weight=1e-7, return_map=False)).joint_detectors() == {}
    assert configs.build(Config, configs.to_dict(Config(flow_weight=1e-7))) == Config(flow_weight=1e-7)
