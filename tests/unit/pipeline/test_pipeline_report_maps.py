"""Pictures with masks and maps for the report; maps of segments joined over a clip."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dcase_asd.errors import DataError
from dcase_asd.io.tables import write_table
from dcase_asd.pipeline.report_maps import open_maps, shown_picture
from dcase_asd.scores.maps import write_maps


def stage6(folder, clips, starts, maps):
    write_table(folder / "segments.csv", pd.DataFrame({"clip_id": clips, "start_s": starts}))
    write_maps(folder, np.asarray(maps, dtype=float))


def test_overlapping_segments_are_averaged_where_they_overlap(tmp_path):
    # segments of 4 s in 4 columns, every 2 s over 8 s; listed out of order, another clip between them
    maps = [np.full((2, 4), 3.0), np.full((2, 4), 99.0), np.full((2, 4), 1.0), np.full((2, 4), 5.0)]
    stage6(tmp_path / "d/0/fan", ["a", "b", "a", "a"], [2.0, 0.0, 0.0, 4.0], maps)
    found = open_maps(tmp_path, detectors=["gmm", "d"], seed=0, machine="fan")
    assert found.detector == "d"
    whole = found.of_sound("a", np.array([0.0, 2.0, 4.0]), segment_s=4.0, clip_s=8.0)
    assert whole.shape == (2, 8)
    np.testing.assert_allclose(whole[0], [1, 1, 2, 2, 4, 4, 5, 5], rtol=1e-3)
    assert found.of_sound("c", np.array([0.0]), segment_s=4.0, clip_s=8.0) is None


@pytest.mark.parametrize(("segment_s", "clip_s"), [(0.0, 8.0), (8.0, 5.0)])
def test_a_whole_clip_or_a_short_repeated_one_is_its_own_map(tmp_path, segment_s, clip_s):
    stage6(tmp_path / "d/0/fan", ["a"], [0.0], [np.arange(8.0).reshape(1, 8)])
    whole = open_maps(tmp_path, detectors=["d"], seed=0, machine="fan").of_sound(
        "a", np.array([0.0]), segment_s=segment_s, clip_s=clip_s
    )
    np.testing.assert_allclose(whole[0], np.arange(8 if segment_s == 0 else 5), atol=1e-3)


def test_without_kept_maps_there_are_none(tmp_path):
    assert open_maps(tmp_path, detectors=["d"], seed=0, machine="fan") is None


def test_a_large_picture_is_reduced_with_its_mask_and_a_thin_scratch_survives(tmp_path):
    root = tmp_path / "Bilder é"
    root.mkdir()
    Image.fromarray(np.full((600, 1200), 200, dtype=np.uint8)).save(root / "a.png")
    mask = np.zeros((600, 1200), dtype=np.uint8)
    mask[301, 100:900] = 255
    Image.fromarray(mask).save(root / "a_mask.png")
    picture, found, factor = shown_picture(root / "a.png", '{"mask": "a_mask.png"}', root)
    assert picture.shape == (256, 512, 3)
    assert factor == pytest.approx(512 / 1200)
    assert found.shape == (256, 512)
    assert found.any(axis=0).sum() == pytest.approx(800 * factor, abs=2)
    assert shown_picture(root / "a.png", "", root)[1] is None
    Image.fromarray(mask.T.copy()).save(root / "a_mask.png")
    with pytest.raises(DataError, match="proportions"):
        shown_picture(root / "a.png", '{"mask": "a_mask.png"}', root)


def test_the_map_of_a_picture_has_the_pictures_size(tmp_path):
    values = np.zeros((1, 4, 4))
    values[0, 0, 3] = 1.0
    stage6(tmp_path / "d/0/cap", ["a"], [0.0], values)
    maps = open_maps(tmp_path, detectors=["d"], seed=0, machine="cap")
    large = maps.of_picture("a", height=30, width=60, sigma=1.0, seen=None)
    assert large.shape == (30, 60)
    assert np.unravel_index(large.argmax(), large.shape) in {(r, c) for r in range(6) for c in range(48, 60)}
    assert maps.of_picture("b", height=3, width=3, sigma=0.0, seen=None) is None
