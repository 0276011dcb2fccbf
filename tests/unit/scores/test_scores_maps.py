"""Stored maps keep their order and their values, whatever their offset and tail."""

import json

import numpy as np
import pytest

from dcase_asd.errors import FormatError
from dcase_asd.scores.maps import has_maps, read_maps, write_maps


@pytest.mark.parametrize("offset", [0.0, -1e6, 3e5])
@pytest.mark.parametrize("tail", [1.0, 1e6])
def test_maps_come_back_whatever_their_offset_and_tail(tmp_path, offset, tail):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(7, 5, 6))
    maps[3, 2, 2] = tail * 5
    folder = tmp_path / "Karten é"
    write_maps(folder, maps + offset)
    store = read_maps(folder)
    assert (store.data.dtype, len(store)) == (np.float16, 7)
    assert np.isfinite(store.data).all()
    # half precision: 2^-11 of the distance from the median, or a 2^-24th of the scale near it
    for row in range(7):
        bound = 2.0**-11 * np.abs(maps[row] - np.median(maps)) + store.scale * 2.0**-24
        # and single precision of what is returned
        assert (np.abs(store.map(row) - (maps[row] + offset)) <= bound + 2.0**-23 * (abs(offset) + np.abs(maps[row]))).all()
        np.testing.assert_allclose(
            store.standard(row) * store.scale + store.offset, maps[row] + offset, rtol=1e-6, atol=2 * bound.max()
        )


def test_equal_values_and_no_segments_are_kept_as_they_are(tmp_path):
    write_maps(tmp_path / "equal", np.full((2, 3, 3), 4.5))
    assert (read_maps(tmp_path / "equal").map(1) == 4.5).all()
    write_maps(tmp_path / "none", np.zeros((0, 3, 3)))
    assert len(read_maps(tmp_path / "none")) == 0


def test_the_same_maps_make_the_same_bytes(tmp_path):
    maps = np.random.default_rng(1).normal(size=(3, 4, 4))
    for name in "ab":
        write_maps(tmp_path / name, maps)
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in ("maps.npy", "maps.json"))


def test_a_damaged_store_is_named(tmp_path):
    assert not has_maps(tmp_path)
    with pytest.raises(FormatError, match=r"maps\.json"):
        read_maps(tmp_path)
    write_maps(tmp_path, np.zeros((2, 3, 3)))
    assert has_maps(tmp_path)
    (tmp_path / "maps.json").write_text(json.dumps({"offset": 1.0}))
    with pytest.raises(FormatError, match="stage 6"):
        read_maps(tmp_path)
    write_maps(tmp_path, np.zeros((2, 3, 3)))
    np.save(tmp_path / "maps.npy", np.zeros(4, dtype=np.float16))
    with pytest.raises(FormatError, match=r"\[segment, h, w\]"):
        read_maps(tmp_path)
