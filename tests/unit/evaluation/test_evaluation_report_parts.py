from __future__ import annotations

import io
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image
from report_samples import make_clip, make_machine, make_scores, make_truth
from sklearn.metrics import roc_auc_score

from dcase_asd.errors import AudioError, FormatError
from dcase_asd.evaluation.report import FeaturePicture, ReportOptions, Sound, choose_clips
from dcase_asd.evaluation.report.clip_figures import clip_scales, sound_figure
from dcase_asd.evaluation.report.curves import histogram_edges, roc_points
from dcase_asd.evaluation.report.figures import ScoreSet, histogram_figure
from dcase_asd.evaluation.report.machine_views import machine_view
from dcase_asd.evaluation.report.media import embed_photo, embed_picture, embed_sound
from dcase_asd.evaluation.report.svg import element, number, round_ticks, score_label, tick_label

scores_lists = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40)


@settings(deadline=None)
@given(scores_lists, scores_lists)
def test_roc_areas_agree_with_scikit_learn(normal, anomalous):
    roc = roc_points(np.array(normal), np.array(anomalous))
    truth, scores = [0] * len(normal) + [1] * len(anomalous), normal + anomalous
    assert roc.auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert roc.pauc == pytest.approx(roc_auc_score(truth, scores, max_fpr=0.1), abs=1e-12)
    assert (roc.fpr[0], roc.tpr[0], roc.fpr[-1], roc.tpr[-1]) == (0, 0, 1, 1)


def test_roc_of_an_empty_side_is_none():
    assert roc_points(np.array([]), np.array([1.0])) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_histogram_edges_rise_and_hold_the_bulk(values):
    edges = histogram_edges(np.array(values))
    assert (np.diff(edges) > 0).all()
    assert 13 <= len(edges) <= 37
    assert edges[0] <= np.median(values) <= edges[-1]


def test_histogram_counts_every_clip():
    rng = np.random.default_rng(0)
    normal = np.append(rng.normal(size=99), 1e6)  # one far outlier must land in the outermost bar
    drawing = histogram_figure([ScoreSet("all", normal, rng.normal(size=50) + 1)], threshold=0.3, label="Scores of a test")
    path = re.search(r'<path d="([^"]*)" class="bar normal"', drawing)[1]
    zero = float(re.match(r"M\S+ ([\d.]+)V", path)[1])
    heights = [zero - float(y) for y in re.findall(r"V([\d.]+)H", path)]
    one = min(heights)
    assert sum(round(h / one) for h in heights) == 100
    assert "threshold" in drawing


def test_a_threshold_far_away_is_said_and_does_not_squeeze_the_bars():
    scores = ScoreSet("all", np.arange(20.0), np.arange(20.0))
    far = histogram_figure([scores], threshold=1e5, label="Scores of a test")
    assert "beyond the axis" in far
    assert 'class="threshold"' not in far
    near = histogram_figure([scores], threshold=None, label="Scores of a test")
    assert re.findall('d="[^"]*"', far) == re.findall('d="[^"]*"', near)


def test_chosen_clips_are_the_extremes():
    truth = pd.DataFrame(
        {"clip_id": list("abcdefgh"), "is_anomaly": [0, 0, 0, 0, 1, 1, 1, 1], "domain": ["source", "target"] * 4}
    )
    scores = pd.DataFrame({"clip_id": list("hgfedcba"), "score": [9.0, 8.0, 2.0, 1.0, 7.0, 3.0, 1.5, 0.5]})
    chosen = choose_clips(truth, scores, n_anomalous=2, n_missed=3, n_false=1)
    assert [(c.kind, c.clip_id) for c in chosen] == [
        ("missed anomaly", "e"),
        ("missed anomaly", "f"),
        ("false alarm", "d"),
        ("most anomalous", "h"),
        ("most anomalous", "g"),
    ]
    assert [c.percentile for c in chosen] == [12.5, 37.5, 62.5, 87.5, 75.0]
    assert chosen[0].is_anomaly is True
    assert chosen[2].domain == "target"


def test_a_perfect_system_has_neither_misses_nor_false_alarms():
    truth = make_truth("fan")
    chosen = choose_clips(truth, truth[["clip_id"]].assign(score=truth["is_anomaly"].astype(float)))
    assert {c.kind for c in chosen} == {"most anomalous"}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=25), st.integers(0, 4))
def test_no_clip_is_chosen_twice_and_order_of_rows_does_not_matter(clips, n):
    truth = pd.DataFrame(
        {"clip_id": [f"c{i}" for i in range(len(clips))], "is_anomaly": [int(a) for a, _ in clips], "domain": "source"}
    )
    scores = truth[["clip_id"]].assign(score=[float(s) for _, s in clips])
    chosen = choose_clips(truth, scores, n_anomalous=n, n_missed=n, n_false=n)
    assert len({c.clip_id for c in chosen}) == len(chosen)
    assert chosen == choose_clips(truth.iloc[::-1], scores, n_anomalous=n, n_missed=n, n_false=n)


def test_choosing_refuses_two_systems_and_missing_scores():
    truth = make_truth("fan")
    scores = make_scores(truth)
    with pytest.raises(FormatError, match="one system at a time"):
        choose_clips(truth, scores)
    with pytest.raises(FormatError, match="has no score"):
        choose_clips(truth, scores[scores["system"] == "flow"].iloc[1:])


def decode(address: str) -> bytes:
    return b64decode(address.partition(",")[2])


def test_sound_is_mono_16_khz_at_minus_one_db_and_the_gain_is_stated():
    time = np.arange(2 * 44100) / 44100
    stereo = np.stack([0.02 * np.sin(2 * np.pi * 440 * time)] * 2)
    embedded = embed_sound(Sound(waveform=stereo, sample_rate_hz=44100), max_s=1.5, where="test")
    samples, rate = soundfile.read(io.BytesIO(decode(embedded.address)))
    assert (samples.ndim, rate, len(samples)) == (1, 16000, 24000)
    assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(-1, abs=0.05)
    assert embedded.gain_db == pytest.approx(20 * np.log10(10 ** (-1 / 20) / 0.02), abs=0.05)
    assert (embedded.shown_s, embedded.total_s) == (1.5, 2.0)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(440, abs=1)


def test_silence_and_files_play(tmp_path):
    assert embed_sound(Sound(waveform=np.zeros(100), sample_rate_hz=8000), max_s=1, where="test").gain_db == 0
    path = tmp_path / "é sound 1.wav"
    soundfile.write(path, np.full(800, 0.5), 8000)
    embedded = embed_sound(Sound(path=path), max_s=1, where="test")
    assert soundfile.read(io.BytesIO(decode(embedded.address)))[1] == 8000


@pytest.mark.parametrize("waveform", [np.zeros(0), np.array([0.0, np.nan])])
def test_unplayable_sound_is_refused_by_name(waveform):
    with pytest.raises(AudioError, match="fan: clip 3"):
        embed_sound(Sound(waveform=waveform, sample_rate_hz=16000), max_s=1, where="fan: clip 3")


def test_picture_keeps_its_values_through_the_palette():
    values = np.array([[0.0, 0.25], [0.5, 2.0]])
    address = embed_picture(values, value_range=(0, 1), palette="viridis", max_px=100)
    image = Image.open(io.BytesIO(decode(address)))
    assert image.mode == "P"
    wanted = (np.array(colormaps["viridis"](np.clip(values, 0, 1)))[..., :3] * 255).astype(int)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - wanted).max() <= 3  # one palette step


def test_long_pictures_are_averaged_not_thinned():
    values = np.tile([0.0, 1.0], (3, 500))
    address = embed_picture(values, value_range=(0, 1), palette="gray", max_px=500)
    pixels = np.asarray(Image.open(io.BytesIO(decode(address))).convert("L"))
    assert pixels.shape == (3, 500)
    assert np.abs(pixels.astype(int) - 128).max() <= 1


def test_see_through_maps_hide_nothing_where_they_are_low():
    address = embed_picture(np.array([[0.0, 1.0]]), value_range=(0, 1), palette="inferno", max_px=9, see_through=True)
    alpha = np.asarray(Image.open(io.BytesIO(decode(address))).convert("RGBA"))[0, :, 3]
    assert alpha[0] == 0
    assert 180 <= alpha[1] < 255


def test_photos_are_bounded():
    pixels = np.random.default_rng(0).integers(0, 255, (600, 900, 3), dtype=np.uint8)
    assert Image.open(io.BytesIO(decode(embed_photo(pixels, max_px=300)))).size == (300, 200)


def test_frequency_ticks_follow_the_bands():
    """A band axis that is not linear: the 1 kHz tick stands at the height of the 1 kHz band."""
    bands = np.geomspace(125, 8000, 7)  # 125 250 500 1000 2000 4000 8000
    feature = FeaturePicture(values=np.zeros((7, 5)), band_hz=bands, start_s=0, end_s=1)
    clip = make_clip(feature=feature)
    drawing = sound_figure(clip, scales=clip_scales([clip]), max_px=99, label="A drawing of a test clip")
    y = float(re.search(r'y="([\d.]+)"[^>]*>1 kHz<', drawing)[1]) - 4  # letters stand 4 units below their tick
    assert y == pytest.approx(20 + 150 / 2, abs=0.01)  # band 3 of 7 is the middle of the panel


def test_the_lowest_band_is_drawn_at_the_bottom():
    values = np.zeros((4, 3))
    values[0] = 1
    clip = make_clip(feature=FeaturePicture(values=values, band_hz=np.arange(1, 5) * 100.0, start_s=0, end_s=1), heat_map=values)
    drawing = sound_figure(clip, scales=clip_scales([clip]), max_px=99, label="A drawing of a test clip")
    for address in re.findall(r'href="(data:[^"]+)"', drawing):
        pixels = np.asarray(Image.open(io.BytesIO(decode(address))).convert("L"))
        assert (pixels[-1] > pixels[0]).all()


@pytest.mark.parametrize("rule", ["official", "own_domain"])
def test_a_domain_curve_follows_the_rule(rule):
    report = make_machine("fan")
    view = machine_view(report, anchor="m", rule=rule, sounds={}, options=ReportOptions())
    scores = report.scores[report.scores["system"] == "flow"]["score"].to_numpy()
    truth, domain = report.truth["is_anomaly"].to_numpy(), report.truth["domain"].to_numpy()
    for name in ("source", "target"):
        kept = (domain == name) | ((truth == 1) if rule == "official" else False)
        assert f"{name} {100 * roc_auc_score(truth[kept], scores[kept]):.2f} %" in view.figures[0][0]
    assert (
        f"pAUC (all clips, false-positive rate up to 10 %) {100 * roc_auc_score(truth, scores, max_fpr=0.1):.2f} %"
        in view.figures[0][2]
    )


def test_the_operating_point_is_where_the_threshold_puts_it():
    truth = make_truth("fan")
    scores = make_scores(truth)
    called = scores[scores["system"] == "flow"]["score"].to_numpy() > 0.5
    fpr, tpr = (called[truth["is_anomaly"] == c].mean() for c in (0, 1))
    view = machine_view(make_machine("fan", threshold=0.5), anchor="m", rule="official", sounds={}, options=ReportOptions())
    x, y = (float(v) for v in re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="5"', view.figures[0][0]).groups())
    assert ((x - 50) / 338, (304 - y) / 292) == pytest.approx((fpr, tpr), abs=1e-4)  # the panel is 338 x 292 at (50, 12)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 8))
def test_ticks_are_few_and_inside(low, span, n):
    high = low + span
    ticks = round_ticks(low, high, n=n)
    slack = 1e-6 * span + 1e-9 * abs(low)
    # a step of 5 may leave a single tick; steps of 2 then give up to five
    assert 2 <= len(ticks) <= max(n + 1, 5)
    assert all(low - slack <= t <= high + slack for t in ticks)


def test_numbers_and_escapes():
    assert [number(v) for v in (1.0, -0.001, 2.346)] == ["1", "0", "2.35"]
    assert tick_label(-0.5) == "−0.5"
    assert [score_label(v) for v in (-36.3, 98.333, 12345.0)] == ["−36.30", "98.33", "1.234e+04"]
    assert element("text", '<&"', class_='a"b', data_x=1) == '<text class="a&#34;b" data-x="1">&lt;&amp;&#34;</text>'
