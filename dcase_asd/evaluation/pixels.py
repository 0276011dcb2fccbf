"""Where is it wrong: pixel AUROC and AUPRO from anomaly maps and masks, exact or from histograms.

Conventions
-----------
``scores`` and ``masks`` are sequences of pictures ``[h, w]`` of one size each (sizes may differ between pictures); a mask
is not 0 where the defect is, and all 0 for a normal picture. Scores are finite, higher = more anomalous. Results are
fractions in [0, 1].

* Pixel AUROC: area under the ROC curve of all pixels of all pictures; a normal and a defective pixel of equal score count
  one half.
* AUPRO: area under the per-region overlap over the false-positive rate of pixels, up to ``max_fpr``, over ``max_fpr``. The
  overlap is the share of a connected region (8 neighbours) above the threshold, averaged over all regions of all pictures
  (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, Section 5.1.3: up to 0.3).

:class:`PixelHistogram` sees picture after picture and keeps O(bins) numbers. Pixels of one bin count as ties, so each
result lies within the stated bound of the exact one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError

__all__ = ["Bounded", "PixelHistogram", "pixel_aupro", "pixel_auroc"]

Floats = NDArray[np.float64]
#: Bergmann et al. 2021: beyond this share of false positives a map is of no use.
MAX_FPR = 0.3
_EIGHT = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class Bounded:
    """A binned result.

    Attributes
    ----------
    value : float
    error : float
        The exact result differs by at most this.
    """

    value: float
    error: float


def pixel_auroc(scores: Iterable[NDArray[Any]], masks: Iterable[NDArray[Any]]) -> float:
    """Return the exact pixel AUROC (one sort of the normal pixels).

    Raises
    ------
    DataError
        If shapes differ, a score is not finite, or there is no normal or no defective pixel.
    """
    from dcase_asd.evaluation.metrics import roc_area

    pairs = [_checked(s, m, number) for number, (s, m) in enumerate(zip(scores, masks, strict=True))]
    positives = np.concatenate([s[m] for s, m in pairs] or [np.zeros(0)])
    negatives = np.concatenate([s[~m] for s, m in pairs] or [np.zeros(0)])
    _both(len(positives), len(negatives))
    return roc_area(positives, negatives)


def pixel_aupro(scores: Iterable[NDArray[Any]], masks: Iterable[NDArray[Any]], *, max_fpr: float = MAX_FPR) -> float:
    """Return the exact AUPRO (one sort of all pixels).

    Every defective pixel weighs one over the size of its region, so that the overlap is a weighted recall.

    Raises
    ------
    DataError
        As :func:`pixel_auroc`, or if ``max_fpr`` is not in (0, 1].
    """
    _check_fpr(max_fpr)
    values, weights, normal = [], [], []
    n_regions = 0
    for number, (score, mask) in enumerate(zip(scores, masks, strict=True)):
        value, truth = _checked(score, mask, number)
        weight, found = _region_weights(truth)
        n_regions += found
        values.append(value.ravel())
        weights.append(weight.ravel())
        normal.append(~truth.ravel())
    value, weight, is_normal = (np.concatenate(part or [np.zeros(0)]) for part in (values, weights, normal))
    _both(n_regions, int(is_normal.sum()))
    order = np.argsort(-value, kind="stable")
    value, overlap, false = value[order], np.cumsum(weight[order]) / n_regions, np.cumsum(is_normal[order], dtype=np.int64)
    last = np.append(np.flatnonzero(np.diff(value)), len(value) - 1)  # a threshold takes all pixels of a score
    return _area(false[last] / false[-1], overlap[last], max_fpr)


class PixelHistogram:
    """Histograms of normal and of defective pixels, for maps that do not fit into memory.

    Parameters
    ----------
    low, high : float
        Range of the bins; scores outside of it count in the first and last bin.
    n_bins : int
        Of equal width.
    keep_pictures : bool
        Also keep each picture's own histograms, 12 bytes a bin, which :meth:`bootstrap` needs.

    Raises
    ------
    DataError
        If the range is empty or there is no bin.
    """

    def __init__(self, *, low: float, high: float, n_bins: int = 4096, keep_pictures: bool = False) -> None:
        if not (np.isfinite(low) and np.isfinite(high) and low < high) or n_bins < 1:
            raise DataError(f"expected low < high and at least one bin, got {low}, {high} and {n_bins}")
        self._low, self._scale, self._n_bins = low, n_bins / (high - low), n_bins
        self._sum = _Counts(np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins), 0)
        self._pictures: list[_Counts] | None = [] if keep_pictures else None
        self._n_pictures = 0

    def add(self, score: NDArray[Any], mask: NDArray[Any]) -> None:
        """Take one picture ``[h, w]``; raises ``DataError`` as :func:`pixel_auroc`."""
        value, truth = _checked(score, mask, self._n_pictures)
        self._n_pictures += 1
        bins = ((value.ravel() - self._low) * self._scale).astype(np.intp)
        np.clip(bins, 0, self._n_bins - 1, out=bins)
        every = np.bincount(bins, minlength=self._n_bins)
        place, weight, found = _regions(truth)
        defective = np.bincount(bins[place], minlength=self._n_bins)
        overlap = np.bincount(bins[place], weights=weight, minlength=self._n_bins)
        total = self._sum
        total.normal += every - defective
        total.defective += defective
        total.overlap += overlap
        total.n_regions += found
        if self._pictures is not None:
            kept = (every - defective).astype(np.uint32), defective.astype(np.uint32), overlap.astype(np.float32)
            self._pictures.append(_Counts(*kept, found))

    def auroc(self) -> Bounded:
        """Return the pixel AUROC; exact to half the share of pairs whose pixels fell into one bin."""
        return self._sum.auroc()

    def aupro(self, *, max_fpr: float = MAX_FPR) -> Bounded:
        """Return the AUPRO; the exact curve lies within the rectangles that each bin spans."""
        _check_fpr(max_fpr)
        return self._sum.aupro(max_fpr)

    def bootstrap(self, *, n_bootstrap: int, seed: int, max_fpr: float = MAX_FPR) -> tuple[Floats, Floats]:
        """Return AUROC and AUPRO of pictures drawn with replacement, each float [replicate].

        As many defective and as many normal pictures as there are, drawn each among their own.

        Raises
        ------
        DataError
            If pictures were not kept.
        """
        if not self._pictures:
            raise DataError("no pictures to draw from: keep them (keep_pictures) and add some")
        generator = np.random.default_rng(seed)
        is_defective = np.array([bool(one.n_regions) for one in self._pictures])
        drawn = np.zeros((n_bootstrap, len(self._pictures)))
        for members in (np.flatnonzero(is_defective), np.flatnonzero(~is_defective)):
            if len(members):
                drawn[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n_bootstrap)
        normal, defective, overlap = (
            drawn @ np.stack([getattr(one, name) for one in self._pictures]) for name in ("normal", "defective", "overlap")
        )
        n_regions = drawn @ np.array([one.n_regions for one in self._pictures])
        areas, overlaps = np.empty(n_bootstrap), np.empty(n_bootstrap)
        for row in range(n_bootstrap):
            counts = _Counts(normal[row], defective[row], overlap[row], int(n_regions[row]))
            areas[row], overlaps[row] = counts.auroc().value, counts.aupro(max_fpr).value
        return areas, overlaps


@dataclass
class _Counts:
    """Pixels per bin, and what share of a region's overlap each bin holds, summed over ``n_regions`` regions."""

    normal: NDArray[Any]
    defective: NDArray[Any]
    overlap: NDArray[Any]
    n_regions: int

    def auroc(self) -> Bounded:
        normal, defective = self.normal, self.defective
        n_pairs = normal.sum() * defective.sum()
        _both(int(defective.sum()), int(normal.sum()))
        below = np.cumsum(normal) - normal
        tied = float((normal * defective).sum())
        return Bounded(float(((below * defective).sum() + 0.5 * tied) / n_pairs), float(0.5 * tied / n_pairs))

    def aupro(self, max_fpr: float) -> Bounded:
        _both(self.n_regions, int(self.normal.sum()))
        rate = np.cumsum(self.normal[::-1]) / self.normal.sum()
        overlap = np.cumsum(self.overlap[::-1]) / self.n_regions
        # within a bin the curve may rise at once or in the end: half the rectangle either way of the straight line;
        # the bin that holds the limit may do so in full
        start = np.concatenate([[0.0], rate[:-1]])
        width = np.clip(np.minimum(rate, max_fpr) - start, 0.0, None)
        height = np.diff(overlap, prepend=0.0)
        cut = (start < max_fpr) & (rate > max_fpr)
        error = float((width * height * np.where(cut, 1.0, 0.5)).sum()) / max_fpr
        return Bounded(_area(rate, overlap, max_fpr), error)


def _checked(score: NDArray[Any], mask: NDArray[Any], number: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    value, truth = np.asarray(score), np.asarray(mask)
    if value.ndim != 2 or value.shape != truth.shape:
        raise DataError(f"picture {number}: scores {value.shape}, mask {truth.shape}; expected two pictures [h, w] of one size")
    if not np.isfinite(value).all():
        raise DataError(f"picture {number}: scores must be finite")
    return value, np.asarray(truth != 0)


def _both(n_defective: int, n_normal: int) -> None:
    if not n_defective or not n_normal:
        raise DataError(
            f"{n_defective} defective pixels (or regions) and {n_normal} normal ones: pixel metrics need both; "
            "check the masks (not black where the defect is)"
        )


def _check_fpr(max_fpr: float) -> None:
    if not 0.0 < max_fpr <= 1.0:
        raise DataError(f"max_fpr {max_fpr} is not in (0, 1]; the literature uses {MAX_FPR}")


def _region_weights(truth: NDArray[np.bool_]) -> tuple[Floats, int]:
    """Return one over the size of its region for every defective pixel, 0 elsewhere, and the number of regions."""
    place, weight, n_regions = _regions(truth)
    weights = np.zeros(truth.size)
    weights[place] = weight
    return weights.reshape(truth.shape), n_regions


def _regions(truth: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats, int]:
    """Return the flat places of defective pixels, one over the size of each one's region, and the number of regions."""
    from scipy.ndimage import label

    place = np.flatnonzero(truth)
    if not len(place):
        return place, np.zeros(0), 0
    regions, n_regions = label(truth, structure=_EIGHT)
    number = regions.ravel()[place]
    sizes = np.bincount(number, minlength=n_regions + 1).astype(np.float64)
    sizes[0] = 1.0
    return place, (1.0 / sizes)[number], int(n_regions)


def _area(rate: Sequence[float] | Floats, overlap: Sequence[float] | Floats, max_fpr: float) -> float:
    """Return the area under the polygon from (0, 0) through the points up to ``max_fpr``, over ``max_fpr``."""
    x, y = np.concatenate([[0.0], rate]), np.concatenate([[0.0], overlap])
    inside = x <= max_fpr
    # np.interp takes the last of several points at one rate, which is the top of a vertical step
    end = float(np.interp(max_fpr, x, y))
    x, y = np.append(x[inside], max_fpr), np.append(y[inside], end)
    # sums of shares such as 1/3 exceed 1 by rounding
    return min(float(np.trapezoid(y, x)) / max_fpr, 1.0)
