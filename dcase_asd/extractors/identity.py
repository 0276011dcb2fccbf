"""Segments as they are, for detectors that learn from features themselves (autoencoders, the official baseline)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.errors import FormatError
from dcase_asd.extractors.base import Extractor
from dcase_asd.registry import Info

__all__ = ["Config", "Identity"]

INFO = Info(
    summary="passes segments through: a log-mel as a map of one channel, a picture as a map in [0, 1]",
    implementation="Identity",
    source="no paper: the input of every reconstruction-based detector, e.g. the official baseline of DCASE Task 2",
    input="log_mel or vector or image",
    cost="a copy",
    strengths="nothing is trained and nothing is lost",
    weaknesses="maps take the disk space of the features, times the overlap of the segments",
)

#: Axes of a block of segments, and what it is.
_SPECTRUM, _PICTURE = 3, 5
#: Largest value of the 8-bit pictures of stage 2.
_WHITE = 255.0


@configclass
class Config:
    """What is passed on.

    Attributes
    ----------
    vector : {"mean", "flat"}
        The vector of a segment: its mean over time (log-mel ``[mel]``) or over the picture (``[channel]``), or all of its
        values in the order of the map.
    return_map : bool
        Whether there is a map beside the vector.
    """

    vector: Literal["mean", "flat"] = "mean"
    return_map: bool = True


class Identity(Extractor[Config]):
    """Features as maps, nothing learned."""

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Pass segments on.

        Parameters
        ----------
        segments : ndarray
            Log-mel or another spectrum ``[segment, frame, band]``, vectors ``[segment, 1, dim]`` (one frame), or pictures
            ``[segment, 1, h, w, channel]`` of 8 bits.

        Returns
        -------
        vector : ndarray [segment, dim]
            See :class:`Config`.
        map : ndarray [segment, 1, band, frame] or [segment, channel, h, w], or None
            Pictures are scaled to [0, 1].

        Raises
        ------
        FormatError
            For another shape, or values that are not finite.
        """
        segments = np.asarray(segments)
        at = self._as_map(segments)
        bad = ~np.isfinite(at).all(axis=(1, 2, 3))
        if bad.any():
            raise FormatError(f"segment {int(bad.argmax())}: values are not finite; repair the recording and re-run stage 2")
        over = (2, 3) if segments.ndim == _PICTURE else (3,)
        vector = at if self.config.vector == "flat" else at.mean(axis=over, dtype=np.float64)
        return vector.reshape(len(at), -1).astype(np.float32), at if self.config.return_map else None

    def _as_map(self, segments: NDArray[Any]) -> NDArray[np.float32]:
        if 0 not in segments.shape:
            if segments.ndim == _SPECTRUM:
                return np.ascontiguousarray(segments.transpose(0, 2, 1)[:, None], dtype=np.float32)
            if segments.ndim == _PICTURE and segments.shape[1] == 1 and segments.dtype == np.uint8:
                picture = segments[:, 0].transpose(0, 3, 1, 2).astype(np.float32)
                return np.ascontiguousarray(picture / np.float32(_WHITE))
        raise FormatError(
            "expected segments of spectra [segment, frame, band], of vectors [segment, 1, dim] or of 8-bit pictures "
            f"[segment, 1, h, w, channel], got {segments.dtype} {segments.shape}"
        )
