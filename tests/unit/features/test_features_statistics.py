from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.features.statistics import Moments


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), max_size=20), max_size=10))
def test_merged_moments_equal_numpys(parts):
    arrays = [np.array(part, dtype=np.float32) for part in parts]
    merged = reduce(Moments.merge, (Moments.of(a) for a in arrays), Moments())
    together = np.concatenate([np.zeros(0, np.float32), *arrays]).astype(np.float64)
    assert merged.n == len(together)
    if len(together):
        # 1e-9: a few hundred float64 roundings of values up to 1e3, squared
        assert merged.mean == pytest.approx(together.mean(), rel=1e-9, abs=1e-9)
        assert merged.std == pytest.approx(together.std(), rel=1e-9, abs=1e-5)


def test_a_large_offset_does_not_cancel():
    # the one-pass sum of squares in float64 loses all digits here: 1e9 ** 2 * eps = 200 against a variance of 1
    x = np.random.default_rng(0).standard_normal(10_000) + 1e9
    merged = reduce(Moments.merge, (Moments.of(part) for part in np.array_split(x, 7)))
    assert merged.std == pytest.approx(x.std(), rel=1e-6)


def test_empty_stream_has_no_spread():
    assert Moments().std == 0.0
    assert Moments().merge(Moments()) == Moments()
    assert Moments.of(np.zeros(0)).merge(Moments.of(np.array([2.0, 4.0]))) == Moments(2, 3.0, 2.0)
