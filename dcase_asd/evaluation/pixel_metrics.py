"""Pixel AUROC and AUPRO of a system, picture after picture: O(bins) numbers and one picture in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.evaluation.bootstrap import percentile_interval
from dcase_asd.evaluation.intervals import Interval
from dcase_asd.evaluation.masks import MAP_SIGMA, enlarge_map, read_mask
from dcase_asd.evaluation.pixels import PixelHistogram
from dcase_asd.evaluation.results import MachineMetrics, Metrics, SectionMetrics
from dcase_asd.io.images import read_image_header

__all__ = ["JudgedPicture", "PixelResult", "pixel_values", "with_values"]

Map = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedPicture:
    """A test picture whose defects are known pixel by pixel.

    Attributes
    ----------
    path : Path
        The picture.
    mask : Path or None
        Its mask; None for a normal picture, which has no defective pixel.
    read_map : callable
        Returns the system's map ``[h, w]`` at the detector's own resolution, higher = more anomalous.
    """

    path: Path
    mask: Path | None
    read_map: Callable[[], Map]


@dataclass(frozen=True)
class PixelResult:
    """Pixel metrics of one section.

    Attributes
    ----------
    values : dict
        ``pixel_auroc``, ``pixel_aupro``, and ``..._error``: the exact value differs by at most this.
    replicates : dict
        ``pixel_auroc``, ``pixel_aupro`` of pictures drawn anew, float [replicate]; empty without a bootstrap.
    notes : list of str
        Which masks were resized.
    """

    values: dict[str, float]
    replicates: dict[str, Floats]
    notes: list[str]


def pixel_values(
    pictures: Iterable[JudgedPicture],
    *,
    low: float,
    high: float,
    sigma: float = MAP_SIGMA,
    seen: tuple[int, int] | None = None,
    n_bins: int = 4096,
    n_bootstrap: int = 0,
    seed: int = 0,
) -> PixelResult:
    """Return pixel AUROC and AUPRO (up to a false-positive rate of 0.3), and notes on masks.

    Maps are blurred and enlarged to their picture's size. Values are binned in equal steps of ``asinh``: the metrics depend on
    the order alone, and steps that widen with the distance from 0 lose nothing to a long tail.

    Parameters
    ----------
    pictures : iterable of JudgedPicture
    low, high : float
        Range of all maps.
    sigma : float
        Standard deviation of the blur, in pixels of the size seen.
    seen : tuple of int, optional
        Height and width that the network saw; None: those of each picture.
    n_bins : int
    n_bootstrap : int
        Replicates of the bootstrap over pictures; 0: none.
    seed : int
        Of its draws.

    Raises
    ------
    DataError
        If no picture has a mask, none has a normal pixel, or a mask does not fit.
    """
    ends = np.arcsinh([low, high])
    top = float(ends[1]) + 1e-6 * max(1.0, float(np.ptp(ends)))
    histogram = PixelHistogram(low=float(ends[0]), high=top, n_bins=n_bins, keep_pictures=n_bootstrap > 0)
    notes = []
    for picture in pictures:
        size = read_image_header(picture.path)
        if picture.mask is None:
            mask = np.zeros((size.height, size.width), dtype=bool)
        else:
            mask, note = read_mask(picture.mask, height=size.height, width=size.width)
            notes += [f"{picture.mask.name}: {note}"] if note else []
        large = enlarge_map(picture.read_map(), height=size.height, width=size.width, sigma=sigma, seen=seen)
        histogram.add(np.arcsinh(large, out=large), mask)
    area, overlap = histogram.auroc(), histogram.aupro()
    found = {
        "pixel_auroc": area.value,
        "pixel_auroc_error": area.error,
        "pixel_aupro": overlap.value,
        "pixel_aupro_error": overlap.error,
    }
    replicates = {}
    if n_bootstrap:
        areas, overlaps = histogram.bootstrap(n_bootstrap=n_bootstrap, seed=seed)
        replicates = {"pixel_auroc": areas, "pixel_aupro": overlaps}
    return PixelResult(found, replicates, notes)


def with_values(metrics: Metrics, found: Mapping[tuple[str, str, str], PixelResult]) -> Metrics:
    """Return metrics with more section values, given by (system, machine, section), and the intervals of their means.

    Raises
    ------
    DataError
        If there is no such system, machine or section.
    """
    systems = dict(metrics.systems)
    for (system, machine, section), result in found.items():
        if system not in systems or section not in getattr(systems[system].machines.get(machine), "sections", {}):
            raise DataError(f"system {system}, machine {machine}, section {section}: evaluated pixels of what has no clip scores")
        entry: MachineMetrics = systems[system].machines[machine]
        old = entry.sections[section]
        sections = {**entry.sections, section: SectionMetrics({**old.values, **result.values}, old.counts)}
        machines = {**systems[system].machines, machine: replace(entry, sections=sections)}
        systems[system] = replace(systems[system], machines=machines)
    for system, machine in dict.fromkeys(key[:2] for key in found):
        entry = systems[system].machines[machine]
        parts = [found[system, machine, section] for section in entry.sections if (system, machine, section) in found]
        machines = {
            **systems[system].machines,
            machine: replace(entry, intervals={**entry.intervals, **_intervals(entry, parts)}),
        }
        systems[system] = replace(systems[system], machines=machines)
    return replace(metrics, systems=systems)


def _intervals(entry: MachineMetrics, parts: Sequence[PixelResult]) -> dict[str, Interval]:
    """Return the intervals of means over sections: the draws of one section know nothing of another's."""
    result = {}
    for key in parts[0].replicates:
        estimate = entry.average(key)
        if estimate is not None:
            result[key] = percentile_interval(estimate, np.mean([part.replicates[key] for part in parts], axis=0))
    return result
