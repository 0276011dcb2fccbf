"""``fit --others`` and ``fit --minutes``: what is trained, on what, and that the same decisions give the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from serving_material import RATE, machine
from test_serving_commands import run

from dcase_asd import config as configs
from dcase_asd.errors import AudioError, UsageError
from dcase_asd.serving.learning import budget as budgets
from dcase_asd.serving.learning.exposure import refuse_overlap, spread
from dcase_asd.serving.recordings import find, windows
from dcase_asd.serving.scorer import Scorer
from dcase_asd.serving.settings import resolve

Write = Callable[..., Path]

#: A tiny network beside the plain comparator.
SMALL = {
    "fronts": {"mel": {"name": "log_mel", "n_mels": 32, "window_s": 0.064, "f_max_hz": 7200}},
    "members": {
        "plain": {
            "front": "mel",
            "extractor": {"name": "log_mel_statistics"},
            "detector": {"name": "knn", "n_neighbors": [1], "metric": "euclidean"},
        },
        "unlike": {
            "front": "mel",
            "extractor": {"name": "outlier_exposure", "width": 0.0625, "epochs": 2, "batch_size": 8, "attribute_weight": 0.0},
            "detector": {"name": "knn", "n_neighbors": [1], "metric": "cosine"},
        },
    },
    "length_s": 1.0,
    "overlap": 0.0,
    "folds": 2,
}


def others(n: int = 5) -> list[np.ndarray]:
    t = np.arange(4 * RATE) / RATE
    rng = np.random.default_rng(9)
    return [
        (0.1 * np.sin(2 * np.pi * rng.uniform(500, 600) * t) + 0.05 * rng.normal(size=len(t))).astype(np.float32)
        for _ in range(n)
    ]


def fit(**options: object) -> Scorer:
    waves = [machine(seed) for seed in range(6)]
    return Scorer(false_alarms=0.3, config=SMALL).fit(waves, others=others(), sample_rate_hz=RATE, **options)


def test_the_other_machines_train_the_extractor_and_calibration_is_unheard() -> None:
    from dcase_asd.extractors.outlier_exposure import OutlierExposure

    scorer = fit()
    model, calibration, normals = scorer._fitted()
    extractor = model.fronts.extractors[model.fronts.embedder_of["unlike"]]
    assert isinstance(extractor, OutlierExposure)
    record = extractor.record
    assert (record["n_target_clips"], record["n_negative_clips"], record["n_valid_clips"]) == (6, 5, 0)
    assert record["negative_machines"] == ["others"]
    assert len(calibration.scores) == 6
    # every recording is embedded by the final network, and calibrated by one that did not hear it
    assert normals.segments[model.fronts.embedder_of["unlike"]].vector.shape[1] == 32
    again = fit()
    assert again.threshold_ == scorer.threshold_
    test = [machine(50), machine(51, fault=True)]
    pd.testing.assert_frame_equal(
        again.score(test, sample_rate_hz=RATE), scorer.score(test, sample_rate_hz=RATE), check_exact=True
    )


def test_each_fold_is_embedded_by_a_network_that_did_not_hear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from dcase_asd.serving.learning import exposure

    held: list[frozenset[str]] = []
    true_fit = exposure.Trainer.fit
    monkeypatch.setattr(exposure.Trainer, "fit", lambda self, name, out: held.append(out) or true_fit(self, name, out))
    fit()
    assert held[0] == frozenset()
    assert sorted(clip for out in held[1:] for clip in out) == [f"{i:08d}" for i in range(6)]
    assert all(len(out) == 3 for out in held[1:])


def test_a_bundle_holds_the_network_and_refuses_update(tmp_path: Path) -> None:
    scorer, test = fit(), [machine(51, fault=True)]
    scorer.save(tmp_path / "b é")
    loaded = Scorer.load(tmp_path / "b é")
    expected = scorer.score(test, sample_rate_hz=RATE)
    pd.testing.assert_frame_equal(loaded.score(test, sample_rate_hz=RATE), expected, check_exact=True)
    with pytest.raises(UsageError, match="fit again on the old and the new"):
        loaded.update([machine(90)], sample_rate_hz=RATE)


def test_a_machine_is_never_among_its_own_negatives(normals: Path) -> None:
    with pytest.raises(UsageError, match="normal recording and as one of another machine"):
        Scorer().fit(normals, others=normals.parent)
    with pytest.raises(UsageError):
        refuse_overlap(find(normals).recordings, find(sorted(normals.iterdir())[3]).recordings)


def test_others_without_a_learner_and_a_learner_without_others(normals: Path, write: Write) -> None:
    with pytest.raises(UsageError, match="--others"):
        Scorer(config=SMALL).fit(normals)
    plain = {**SMALL, "members": {"plain": SMALL["members"]["plain"]}}
    with pytest.raises(UsageError, match="no member of the given model learns"):
        Scorer(config=plain).fit(normals, others=write("o.wav", machine(1)))
    broken = write("o2.wav", np.zeros(RATE, dtype=np.float32))
    with pytest.raises(AudioError, match="other machines"):
        Scorer().fit(normals, others=broken)


def test_others_at_a_lower_rate_are_left_out(write: Write) -> None:
    """A network would know them by the frequencies they lack."""
    waves = [write(f"n/{i}.wav", machine(i)) for i in range(4)]
    slow = [write(f"s/{i}.wav", wave[::2], rate=8000) for i, wave in enumerate(others(2))]
    fast = [write(f"f/{i}.wav", wave) for i, wave in enumerate(others(3))]
    scorer = Scorer(false_alarms=0.3, config=SMALL).fit(waves, others=[*slow, *fast])
    assert [Path(s.name).parent.name for s in scorer.skipped_] == ["s", "s"]
    assert "the normal recordings have 16000 Hz" in scorer.skipped_[0].reason
    with pytest.raises(AudioError, match="reaches 16000 Hz"):
        Scorer(config=SMALL).fit(waves, others=slow)


def test_at_most_so_many_others_evenly_spread() -> None:
    found = find([machine(i, seconds=0.1) for i in range(30)], sample_rate_hz=RATE)
    all_of_them = [w for r in found.recordings for w in windows(r, whole_s=60, window_s=10)]
    few = spread(all_of_them, most=7)
    assert len(few) == len({w.recording.name for w in few}) == 7
    assert len(spread(all_of_them)) == 30


@pytest.mark.parametrize(
    ("step_s", "epochs", "folds", "left_out"),
    [(0.01, 2, 2, False), (0.9, 2, 2, True)],
    ids=["enough", "nothing"],
)
def test_a_budget_decides_and_the_bundle_records_it(
    monkeypatch: pytest.MonkeyPatch, step_s: float, epochs: int, folds: int, *, left_out: bool
) -> None:
    monkeypatch.setattr(budgets, "seconds_a_step", lambda *_, **__: step_s)
    scorer = fit(minutes=1.0)
    config = scorer._fitted()[0].fronts.config
    assert ("unlike" in config.members) is not left_out
    assert scorer.advice_[2].startswith("A budget of 1 minutes")
    if left_out:
        assert any("Left out for time after all: unlike" in line for line in scorer.advice_)
        return
    assert config.members["unlike"].extractor["epochs"] == epochs
    assert config.folds == folds


def test_decisions_alone_make_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs cut by the clock give what the same epochs in the configuration give."""
    many = configs.merge(SMALL, {"members": {"unlike": {"extractor": {"epochs": 50}}}, "folds": 5})
    monkeypatch.setattr(budgets, "seconds_a_step", lambda *_, **__: 60.0 * 0.8 / 3 / 30)
    waves = [machine(seed) for seed in range(6)]
    cut = Scorer(false_alarms=0.3, config=many).fit(waves, others=others(), minutes=1.0, sample_rate_hz=RATE)
    config = cut._fitted()[0].fronts.config
    # six recordings, batches of eight: two steps an epoch; 29 steps in three trainings of two folds
    assert (config.members["unlike"].extractor["epochs"], config.folds) == (15, 2)
    plain = Scorer(false_alarms=0.3, config=configs.to_dict(config)).fit(waves, others=others(), sample_rate_hz=RATE)
    assert plain.threshold_ == cut.threshold_
    test = [machine(51, fault=True)]
    pd.testing.assert_frame_equal(plain.score(test, sample_rate_hz=RATE), cut.score(test, sample_rate_hz=RATE), check_exact=True)


def test_the_clock_is_read_for_a_budget_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> float:
        raise AssertionError("the clock was read")

    monkeypatch.setattr(budgets.time, "monotonic", refuse)
    budget = budgets.Budget.start(None)
    config = resolve({**SMALL, "members": {"plain": SMALL["members"]["plain"]}})
    assert budget.decide(config, [], [], channel="mean", seed=0) == (config, ())
    assert budget.left_s == float("inf")


def test_a_step_is_timed_on_the_recordings_themselves() -> None:
    config = resolve(SMALL)
    found = find([*(machine(i) for i in range(3)), *others(3)], sample_rate_hz=RATE).recordings
    cut = [w for r in found for w in windows(r, whole_s=60, window_s=10)]
    assert 0.0 < budgets.seconds_a_step(config, "unlike", (cut[:3], cut[3:]), channel="mean", seed=0) < 30.0
    assert budgets.seconds_a_window(config, cut, channel="mean") > 0.0


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_wrong_budgets(minutes: float) -> None:
    with pytest.raises(UsageError, match="minutes"):
        budgets.Budget.start(minutes)


def test_epochs_for_a_number_of_steps() -> None:
    assert budgets.epochs_for(110, steps=80, batch_size=32) == 12  # seven steps an epoch
    assert budgets.epochs_for(3, steps=80, batch_size=32) == 80


def test_the_command(normals: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, wave in enumerate(others(3)):
        write(f"andere é/{i}.wav", wave)
    conf = tmp_path / "small.yaml"
    conf.write_text(__import__("yaml").safe_dump(SMALL))
    code, out, err = run(
        capsys, "fit", normals, "--others", tmp_path / "andere é", "--minutes", "5", "--conf", conf, "-o", tmp_path / "b"
    )
    assert code == 0, err
    assert "A budget of 5 minutes" in out
    code, _, err = run(capsys, "fit", normals, "--minutes", "0", "-o", tmp_path / "b")
    assert code == 2
