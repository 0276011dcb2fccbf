"""Pictures in the report: outlines, maps over them, tables with every measure, and their words."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from report_samples import make_clip, make_data, make_machine, make_rows

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.report import render_report
from dcase_asd.evaluation.report.clip_figures import clip_scales
from dcase_asd.evaluation.report.photo_figure import outline_path, photo_figure
from dcase_asd.evaluation.report.views import machine_table, metric_tables

PHOTO = np.zeros((30, 40, 3), np.uint8)
MASK = np.zeros((30, 40), dtype=bool)
MASK[3:9, 10:30] = True


def photo_clip(clip_id="a", **changes):
    clip = make_clip(clip_id, sound=None, feature=None, score_times_s=None, segment_scores=None, picture=PHOTO)
    return replace(clip, **changes)


def test_the_outline_of_a_rectangle_is_its_four_sides():
    path = outline_path(MASK, left=100, top=0, width=80, height=60)
    assert sorted(re.findall(r"M[\d.]+ [\d.]+[HV][\d.]+", path)) == sorted(
        ["M120 6H160", "M120 18H160", "M120 6V18", "M160 6V18"]
    )


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_an_outline_is_as_long_as_the_edges_between_pixels(mask):
    path = outline_path(mask, left=0, top=0, width=mask.shape[1], height=mask.shape[0])
    lines = re.findall(r"M(\d+) (\d+)([HV])(\d+)", path)
    length = sum(int(end) - int(x if way == "H" else y) for x, y, way, end in lines)
    around = np.pad(mask, 1)
    assert length == (around[1:] != around[:-1]).sum() + (around[:, 1:] != around[:, :-1]).sum()


def test_a_picture_shows_its_defect_beside_its_map_and_on_it():
    clip = photo_clip(mask=MASK, heat_map=np.eye(6), heat_source="padim")
    figure = str(photo_figure(clip, scales=clip_scales([clip]), max_px=100, label="x"))
    assert figure.count("<image") == 3
    assert figure.count('class="outline over"') == 2
    assert "true defect outlined" in figure
    assert "anomaly map (padim)" in figure
    plain = str(photo_figure(photo_clip(), scales=clip_scales([clip]), max_px=100, label="x"))
    assert plain.count("<image") == 1
    assert "outline" not in plain


def test_maps_are_transparent_up_to_what_is_usual():
    clips = [photo_clip(heat_map=np.array([[1.0, 9.0]])), photo_clip("b", heat_map=np.array([[2.0, 3.0]]))]
    assert clip_scales(clips).heat == (1.0, 9.0)
    assert clip_scales(clips, heat_floor=4.0).heat == (4.0, 9.0)
    assert clip_scales(clips, heat_floor=20.0).heat == (1.0, 9.0), "nothing shown is higher: the floor would hide it all"


def test_a_mask_of_another_size_is_refused():
    machine = make_machine(clips=[photo_clip(mask=MASK[:5])])
    with pytest.raises(FormatError, match=r"mask \(5, 40\)"):
        render_report(make_data(machines=[machine]))


def test_the_page_speaks_of_pictures_and_says_what_is_wrong_with_them():
    clips = [photo_clip(mask=MASK, heat_map=np.eye(6), defect="scratch", domain=""), photo_clip("n", kind="false alarm")]
    page = render_report(make_data(machines=[make_machine(clips=clips, items="pictures")]))
    assert "test pictures" in page
    assert "of the test pictures" in page
    assert "scratch" in page
    assert "test clips" not in page
    assert page.index("False alarms") < page.index("Most anomalous")


def test_a_system_without_a_mistake_says_so():
    clips = [photo_clip(kind="most anomalous")]
    assert "no mistake to show" in render_report(make_data(machines=[make_machine(clips=clips, items="pictures")]))
    both = [*clips, photo_clip("n", kind="false alarm")]
    assert "no mistake to show" not in render_report(make_data(machines=[make_machine(clips=both)]))


def test_measures_beside_the_score_stand_with_their_machine_and_as_a_mean():
    beside = {"ToyCar": {"F1": 0.25}, "fan": {"F1": 0.75}}
    rows = [replace(make_rows()[0], beside=beside, per_machine={"ToyCar": {"AUC": 0.6}, "fan": {"AUC": 0.8}})]
    (mean,) = metric_tables(rows)
    assert (mean.title, list(mean.columns)) == ("Mean of 2 machines (arithmetic)", ["AUC", "F1"])
    assert [text for text, *_ in mean.rows[0][2]] == ["70.00", "50.00"]
    own = machine_table(rows, "fan")
    assert [text for text, *_ in own.rows[0][2]] == ["80.00", "75.00"]
    assert metric_tables([replace(rows[0], beside={"fan": {"F1": 0.5}}, per_machine={"fan": {"AUC": 0.8}})]) == []
    assert machine_table(make_rows(), "fan") is None
    page = render_report(make_data(system_table=rows))
    assert page.count("<caption>Every measure</caption>") == 2
