from __future__ import annotations

import copy
import multiprocessing
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soxr
from serving_material import RATE, machine

from dcase_asd.errors import AudioError, ConfigError, DataError, NotFittedError, UsageError
from dcase_asd.serving.scorer import COLUMNS, Scorer

Write = Callable[..., Path]

#: The pipeline's plain comparator, as a model of one's own.
KNN = {
    "fronts": {"mel": {"name": "log_mel"}},
    "members": {
        "mean_knn": {
            "front": "mel",
            "extractor": {"name": "log_mel_statistics", "statistics": ["mean"]},
            "detector": {"name": "knn", "n_neighbors": [1], "metric": "euclidean"},
        }
    },
    "length_s": 2.0,
    "folds": 3,
}


def test_a_fault_is_found_where_it_is(fitted: Scorer, write: Write) -> None:
    bad = write("ö defekt/whine.wav", machine(77, fault=True))
    good = write("ö defekt/fine.wav", machine(78))
    table = fitted.score([bad, good])
    assert tuple(table.columns) == COLUMNS
    assert list(table["file"]) == [str(bad), str(good)]
    assert table["decision"].tolist() == [1, 0]
    assert table["score"][0] > fitted.threshold_ >= table["score"][1]
    assert table["percentile"][0] == 100.0
    assert table["from_hz"][0] <= 3000 <= table["to_hz"][0] + 100
    assert table["to_hz"][0] < 4000
    assert fitted.skipped_ == ()


def test_the_time_of_a_fault_in_segments(write: Write, normals: Path) -> None:
    from dcase_asd.serving.advisor import advise, look
    from dcase_asd.serving.recordings import find

    model = advise(look(find(normals).recordings)).model | {"length_s": 1.0}
    scorer = Scorer(false_alarms=0.1, config=model).fit(normals)
    row = scorer.score(write("x.wav", machine(77, fault=True))).iloc[0]
    assert row["from_s"] >= 2.0 - 0.5
    assert row["to_s"] <= 4.0
    assert row["to_s"] - row["from_s"] == pytest.approx(1.0, abs=0.05)


def test_three_recordings_and_an_honest_promise(normals: Path, write: Write) -> None:
    three = sorted(normals.iterdir())[:3]
    scorer = Scorer(false_alarms=0.01).fit(three)
    text = "\n".join(scorer.advice_)
    assert "ATTENTION: 1 in 100 was asked for, but 3 normal recordings can promise no less than 1 in 4" in text
    assert "99 are needed" in text
    assert "at most 1 in 4 false alarms" in text
    assert "Another day, place, load or gain is another condition" in text
    # nothing is promised below 1 in 4, but the threshold stands where 1 in 100 of a Gaussian would pass
    calibration = scorer._fitted()[1]
    assert scorer.threshold_ == calibration.threshold.parameters["student"] > calibration.scores.max()
    # three recordings say little about the spread of normal: the order is right, an alarm is not promised
    scores = scorer.score([write("x.wav", machine(5, fault=True)), write("y.wav", machine(5))])["score"]
    assert scores[0] > scores[1] + 1.0


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_recordings(normals: Path, n: int) -> None:
    with pytest.raises((AudioError, DataError), match=r"no usable normal recording|at least 2 are needed"):
        Scorer().fit(sorted(normals.iterdir())[:n])


def test_same_recordings_same_bits_in_any_order(normals: Path, fitted: Scorer, write: Write) -> None:
    other = Scorer(false_alarms=0.1).fit(sorted(normals.iterdir(), reverse=True))
    test = [write("a.wav", machine(50)), write("b.wav", machine(51, fault=True))]
    pd.testing.assert_frame_equal(other.score(test), fitted.score(test), check_exact=True)
    assert other.threshold_ == fitted.threshold_


def test_arrays_are_the_same_as_files(normals: Path, fitted: Scorer, write: Write) -> None:
    import soundfile

    path = write("a.wav", machine(50))
    array = soundfile.read(path, dtype="float32")[0]
    assert fitted.score([array], sample_rate_hz=RATE)["score"][0] == fitted.score(path)["score"][0]
    with pytest.raises(UsageError, match="sample_rate_hz"):
        fitted.score([array])
    with pytest.raises(UsageError, match=r"\.T"):
        fitted.score(np.zeros((100, 2)), sample_rate_hz=RATE)
    with pytest.raises(UsageError, match="int16"):
        fitted.score(np.zeros(1000, dtype=np.int16), sample_rate_hz=RATE)


def test_update_is_as_good_as_fitting_on_everything(normals: Path, fitted: Scorer, write: Write) -> None:
    files = sorted(normals.iterdir())
    scorer = Scorer(false_alarms=0.1).fit(files[:8]).update(files[8:])
    test = write("b.wav", machine(51, fault=True))
    pd.testing.assert_frame_equal(scorer.score(test), fitted.score(test), check_exact=True)
    assert scorer.threshold_ == fitted.threshold_


def test_second_condition(normals: Path, write: Write) -> None:
    shifted = [write(f"other place/{i}.wav", 0.5 * machine(200 + i) + 0.05 * np.sin(np.arange(64000) * 1.2)) for i in range(3)]
    alone = Scorer(false_alarms=0.1).fit(normals)
    both = Scorer(false_alarms=0.1).fit(normals, also=shifted[:2])
    assert alone.score(shifted[2])["decision"].tolist() == [1]
    assert both.score(shifted[2])["score"][0] < alone.score(shifted[2])["score"][0]
    text = "\n".join(both.advice_)
    assert "2 recordings of the second condition can promise no less than 1 in 3" in text
    assert "a model that heard the first condition alone puts 2 of 2 recordings of the second above" in text
    # the second condition's own scores lie below the threshold too: it holds for both
    calibration = both._fitted()[1]
    assert both.threshold_ >= max(own.value for own in calibration.own.values())
    assert (calibration.target_scores <= both.threshold_).all()
    one = Scorer(false_alarms=0.1).fit(normals, also=shifted[:1])
    assert any("a single recording: nothing is promised for it" in line for line in one.advice_)
    assert both.score(write("x.wav", machine(5, fault=True)))["decision"].tolist() == [1]


def test_rates_channels_and_formats(normals: Path, fitted: Scorer, write: Write) -> None:
    base = fitted.score(write("a.wav", machine(61)))["score"][0]
    eight = write("eight.wav", np.tile(machine(61)[:, None], (1, 8)))
    assert fitted.score(eight)["score"][0] == pytest.approx(base, abs=0.02)
    assert fitted.score(write("a.flac", machine(61)))["score"][0] == pytest.approx(base, abs=0.02)
    # the same sound at a higher rate (white noise drawn at 96 kHz would be another sound)
    fast = fitted.score(write("fast.wav", soxr.resample(machine(61), RATE, 96000), rate=96000))
    assert fast["score"][0] == pytest.approx(base, abs=0.3)
    assert fast["decision"].tolist() == [0]
    for name in ("a.ogg", "a.mp3"):
        table = fitted.score(write(name, machine(61)))
        assert np.isfinite(table["score"][0]), name
    assert fitted.score(write("slow.wav", machine(61, rate=8000), rate=8000)).empty
    assert "8000 Hz" in fitted.skipped_[0].reason
    first = Scorer(false_alarms=0.1, channel="0").fit(normals).score(eight)
    assert len(first) == 1


def test_recordings_at_8_khz_are_fitted_at_8_khz(write: Write) -> None:
    files = [write(f"n/{i}.wav", machine(i, rate=8000), rate=8000) for i in range(4)]
    scorer = Scorer(false_alarms=0.2).fit(files)
    assert "8000 Hz" in scorer.advice_[0]
    table = scorer.score([write("a.wav", machine(60, rate=8000), rate=8000), write("b.wav", machine(60))])
    assert len(table) == 2


def test_silence_offset_and_clipping(normals: Path, fitted: Scorer, write: Write) -> None:
    silence = write("still.wav", np.zeros(64000, dtype=np.float32))
    offset = write("offset.wav", machine(60) * 0.5 + 0.6)
    clipped = write("clipped.wav", np.clip(machine(60) * 40, -1, 1))
    table = fitted.score([silence, offset, clipped])
    assert np.isfinite(table["score"]).all()
    assert table["decision"].tolist()[0] == 1
    assert table["decision"].tolist()[2] == 1
    files = [*sorted(normals.iterdir())[:4], silence, offset, clipped]
    scorer = Scorer(false_alarms=0.2).fit(files)
    assert [s.name for s in scorer.skipped_] == [str(silence)]
    text = "\n".join(scorer.advice_)
    assert "digital silence" in text
    assert "1 recordings are clipped" in text
    assert "1 recordings are far off zero" in text


def test_folder_with_other_things_and_broken_files(normals: Path, fitted: Scorer, write: Write, tmp_path: Path) -> None:
    write("mix/gut é.wav", machine(61))
    (tmp_path / "mix" / "notes.txt").write_text("no sound")
    (tmp_path / "mix" / "broken.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "mix" / "empty.wav").write_bytes(b"")
    whole = write("mix/cut.flac", machine(62))
    whole.write_bytes(whole.read_bytes()[:20000])
    write("mix/none.wav", np.zeros(0, dtype=np.float32))
    write("mix/short.wav", machine(63)[:100])
    table = fitted.score(tmp_path / "mix")
    assert table["file"].tolist() == [str(tmp_path / "mix" / "gut é.wav")]
    assert sorted(Path(s.name).name for s in fitted.skipped_) == ["broken.wav", "cut.flac", "empty.wav", "none.wav", "short.wav"]
    assert fitted.score(tmp_path / "mix" / "notes.txt").empty
    assert len(fitted.skipped_) == 1
    assert fitted.score(tmp_path / "absent.wav").empty
    assert str(fitted.skipped_[0]) == f"{tmp_path / 'absent.wav'}: cannot be opened (No such file or directory)"


def test_a_long_recording_in_constant_memory(fitted: Scorer, write: Write) -> None:
    wave = np.tile(machine(70, seconds=10.0), 18)
    wave[16000 * 95 : 16000 * 99] += 0.1 * np.sin(2 * np.pi * 3000 * np.arange(64000) / 16000).astype(np.float32)
    path = write("long.wav", wave)
    fitted.score(write("warm.wav", machine(60)))
    tracemalloc.start()
    row = fitted.score(path).iloc[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # the recording alone would be 11.5 MB
    assert peak < 8e6
    assert row["decision"] == 1
    assert 90.0 <= row["from_s"] <= 99.0


def test_one_long_normal_recording_is_enough(write: Write) -> None:
    wave = np.concatenate([machine(i, seconds=10.0) for i in range(18)])
    path = write("long.wav", wave)
    tracemalloc.start()
    scorer = Scorer(false_alarms=0.2).fit(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # the recording alone would be 11.5 MB
    assert peak < 9e6
    assert scorer.score(write("x.wav", machine(5, fault=True)))["decision"].tolist() == [1]
    assert len(scorer._fitted()[2].names) == 18
    assert any("Pieces of one recording are alike" in line for line in scorer.advice_)


def test_one_short_recording_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="at least 2 are needed"):
        Scorer().fit(write("short é.wav", machine(1, seconds=20.0)))


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".flac", ".aiff"])
def test_a_machine_recorded_in_any_format(suffix: str, write: Write) -> None:
    files = [write(f"normal {suffix}/aufnahme é {i}{suffix}", machine(i)) for i in range(8)]
    folder = files[0].parent
    (folder / "notes.txt").write_text("no sound")
    scorer = Scorer(false_alarms=0.2).fit(folder)
    table = scorer.score([write(f"a{suffix}", machine(40)), write(f"b{suffix}", machine(41, fault=True))])
    assert table["decision"].tolist() == [0, 1]
    assert scorer.skipped_ == ()


def test_the_false_alarm_rate_is_kept(write: Write) -> None:
    rng = np.random.default_rng(3)
    waves = [(0.05 * rng.normal(size=16000) * rng.uniform(0.5, 1.5)).astype(np.float32) for _ in range(140)]
    scorer = Scorer(false_alarms=0.2).fit(waves[:60], sample_rate_hz=RATE)
    found = scorer.score(waves[60:], sample_rate_hz=RATE)["decision"].mean()
    threshold = scorer._fitted()[1].threshold
    # of 80 recordings, twice the spread of a binomial at the promised interval's edges
    assert threshold.rate_low - 0.09 <= found <= threshold.rate_high + 0.09


def test_parameters_like_scikit_learn() -> None:
    from sklearn.base import clone

    scorer = Scorer(false_alarms=0.3, seed=4)
    assert clone(scorer).get_params() == scorer.get_params()
    assert scorer.set_params(seed=5) is scorer
    assert scorer.seed == 5
    with pytest.raises(UsageError, match="no parameter 'sead'"):
        scorer.set_params(sead=1)
    with pytest.raises(NotFittedError):
        scorer.score("x.wav")
    with pytest.raises(NotFittedError):
        scorer.save("x")
    with pytest.raises(UsageError, match="false_alarms"):
        Scorer(false_alarms=1.5).fit("x.wav")


def test_quiet_unless_asked(normals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(normals.iterdir())[:3]
    Scorer(false_alarms=0.3).fit(files).score(files)
    assert capsys.readouterr() == ("", "")
    Scorer(false_alarms=0.3, verbose=True).fit(files)
    assert "3 recordings normal: 12 s" in capsys.readouterr().out


def test_wrong_models(normals: Path) -> None:
    for change, text in (
        ({"members": {"a": {**KNN["members"]["mean_knn"], "front": "mell"}}}, "did you mean 'mel'"),
        ({"aggregation": "avg"}, "aggregation"),
        ({"folds": 1}, "folds"),
        ({"colour": 1}, "colour"),
    ):
        with pytest.raises(ConfigError, match=text):
            Scorer(config={**KNN, **change}).fit(normals)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"false_alarms": "1/100"}, "false_alarms: expected a share between 1e-06 and 1, got '1/100'"),
        ({"false_alarms": 1e-30}, "false_alarms: expected"),
        ({"false_alarms": float("nan")}, "false_alarms: expected"),
        ({"channel": 0}, "channel: expected 'mean' or a channel's number as text such as '0', got 0"),
        ({"channel": "\u00b2"}, "channel: expected"),
        ({"seed": None}, "seed: expected a number from 0, got None"),
        ({"seed": -1}, "seed: expected"),
        ({"weights": "nowhere é.pt"}, "no such file: nowhere é.pt"),
        ({"weights": __file__}, "has [0-9]+ bytes, at least"),
    ],
)
def test_wrong_parameters(parameters: dict[str, object], text: str, normals: Path) -> None:
    """They came back as errors of numpy or json, the last one after all was learnt; missing weights as another model."""
    with pytest.raises(UsageError, match=text):
        Scorer(**parameters).fit(normals)  # type: ignore[arg-type]


@pytest.mark.parametrize("sources", [None, 3, [0.5, 0.25], b"x.wav", [None]])
def test_what_is_no_recording(sources: object, fitted: Scorer) -> None:
    for call in (fitted.score, Scorer(false_alarms=0.3).fit):
        with pytest.raises(UsageError, match="expected paths or numpy arrays, got"):
            call(sources)  # type: ignore[operator]
    with pytest.raises(UsageError, match="divide by 32768 as float"):
        fitted.score(np.ones(16000, dtype=np.int16), sample_rate_hz=16000)


def test_a_scorer_in_another_process(fitted: Scorer, write: Write) -> None:
    """A fitted one could not be pickled, and the error named a function of the features."""
    files = [write("é.wav", machine(61, fault=True)), write("kaputt.wav", machine(62))]
    files[1].write_bytes(b"RIFF")
    expected = fitted.score(files)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(fitted.score, (files,))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    twin = copy.deepcopy(fitted.set_params(verbose=False))
    assert (twin.get_params(), twin.advice_, twin.skipped_) == (fitted.get_params(), fitted.advice_, fitted.skipped_)
    assert not hasattr(copy.copy(Scorer(seed=3)), "_state")
    assert repr(Scorer(seed=3, false_alarms=0.01)) == "Scorer(seed=3)"


def test_weights_that_are_not_where_the_environment_says(normals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain model was fitted without a word of it."""
    monkeypatch.setenv("DCASE_ASD_WEIGHTS", str(tmp_path / "gewichte é"))
    files = sorted(normals.iterdir())[:3]
    told = [line for line in Scorer(false_alarms=0.3).fit(files).advice_ if line.startswith("No pretrained network")]
    assert len(told) == 1
    assert "no whole mn04_as_mAP_432.pt lies in the folder that $DCASE_ASD_WEIGHTS names" in told[0]
    monkeypatch.delenv("DCASE_ASD_WEIGHTS")
    assert "No pretrained" not in " ".join(Scorer(false_alarms=0.3).fit(files).advice_)
