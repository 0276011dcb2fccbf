"""What a reconstruction detector rebuilds: whole segments, or windows of successive frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError

__all__ = ["SegmentItems", "WindowItems", "over_time"]


@dataclass(frozen=True)
class SegmentItems:
    """Whole segments.

    Attributes
    ----------
    x : ndarray [segment, ...]
        Vectors or maps.
    """

    x: NDArray[Any]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the chosen segments."""
        return np.ascontiguousarray(self.x[rows], dtype=np.float32)


@dataclass(frozen=True)
class WindowItems:
    """Every window of ``n_context`` successive frames of every segment, hop one frame.

    The windows of a segment follow each other; item ``segment * n_windows + start`` starts at frame ``start``. Nothing is
    copied before :meth:`take`: windows are views into the frames.

    Attributes
    ----------
    x : ndarray [segment, channel, freq, time]
    n_context : int
        Frames of a window.
    as_picture : bool
        False: windows are ``[frame, channel, freq]``, so that a flattened one is frame 0's values, then frame 1's, as in the
        official baseline; True: ``[channel, freq, frame]``.

    Raises
    ------
    DataError
        If segments have fewer frames than a window.
    """

    x: NDArray[Any]
    n_context: int
    as_picture: bool = False

    def __post_init__(self) -> None:
        if self.x.shape[3] < self.n_context:
            raise DataError(
                f"segments of {self.x.shape[3]} frames are shorter than n_context {self.n_context}; "
                "take longer segments or a smaller n_context"
            )

    @property
    def n_windows(self) -> int:
        """Windows of one segment."""
        return int(self.x.shape[3]) - self.n_context + 1

    @cached_property
    def _windows(self) -> NDArray[np.float32]:
        frames = np.ascontiguousarray(self.x.transpose(0, 3, 1, 2), dtype=np.float32)
        view = np.lib.stride_tricks.sliding_window_view(frames, self.n_context, axis=1)
        # [segment, window, frame, channel, freq]: a window's values lie next to each other in memory
        return view.transpose(0, 1, 4, 2, 3)

    def __len__(self) -> int:
        return len(self.x) * self.n_windows

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the chosen windows."""
        chosen = self._windows[rows // self.n_windows, rows % self.n_windows]
        return np.ascontiguousarray(chosen.transpose(0, 2, 3, 1) if self.as_picture else chosen)


def over_time(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average what the windows of a segment say of each frame.

    Parameters
    ----------
    values : ndarray [window, frame, freq]

    Returns
    -------
    ndarray [freq, time]
        Frame ``t`` is the mean over the windows that hold it.
    """
    n_windows, n_context, n_freq = values.shape
    total = np.zeros((n_windows + n_context - 1, n_freq))
    count = np.zeros((len(total), 1))
    for offset in range(n_context):
        total[offset : offset + n_windows] += values[:, offset]
        count[offset : offset + n_windows] += 1
    return np.asarray((total / count).T)
