import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.errors import AudioError
from dcase_asd.features.framing import FrameGrid


def _frames(x, grid):
    """Every frame, the slow and obvious way."""
    padded = grid.pad(x)
    return [padded[i : i + grid.window] for i in range(0, len(padded) - grid.window + 1, grid.hop)]


@given(
    n=st.integers(1, 300),
    window=st.integers(1, 64),
    hop=st.integers(1, 80),
    padding=st.sampled_from([None, "reflect", "constant"]),
)
def test_the_number_of_frames_is_exact_and_means_are_right(n, window, hop, padding):
    center = padding is not None
    grid = FrameGrid(window=window, hop=hop, center=center, pad_mode=padding or "reflect")
    x = np.random.default_rng(n).standard_normal(n)
    try:
        expected = grid.n_frames(n)
    except AudioError:
        assert n < window or (center and n <= window // 2)
        return
    frames = _frames(x, grid)
    assert len(frames) == expected
    # float32 result: relative rounding 6e-8
    np.testing.assert_allclose(grid.frame_means(x), [f.mean() for f in frames], rtol=1e-6, atol=1e-7)


def test_silent_frames_after_loud_ones_are_exactly_zero():
    x = np.concatenate([np.full(1000, 1e6), np.zeros(1000)])
    assert (FrameGrid(window=128, hop=48).frame_means(x)[-10:] == 0).all()


def test_a_clip_without_a_frame_is_refused_with_both_lengths():
    with pytest.raises(AudioError, match=r"at least 2048 samples.*found 2047"):
        FrameGrid(window=2048, hop=256).n_frames(2047)
    assert FrameGrid(window=2048, hop=256).n_frames(2048) == 1
    with pytest.raises(AudioError, match="found 1024"):
        FrameGrid(window=2048, hop=256, center=True).n_frames(1024)
