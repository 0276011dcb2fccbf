"""Pixel AUROC and AUPRO of a system, picture after picture: O(bins) numbers and one picture in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.evaluation.masks import MAP_SIGMA, enlarge_map, read_mask
from dcase_asd.evaluation.pixels import PixelHistogram
from dcase_asd.evaluation.results import MachineMetrics, Metrics, SectionMetrics
from dcase_asd.io.images import read_image_header

__all__ = ["JudgedPicture", "pixel_values", "with_values"]

Map = NDArray[np.float32]


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


def pixel_values(
    pictures: Iterable[JudgedPicture], *, low: float, high: float, sigma: float = MAP_SIGMA, n_bins: int = 4096
) -> tuple[dict[str, float], list[str]]:
    """Return pixel AUROC and AUPRO (up to a false-positive rate of 0.3), and notes on masks.

    Maps are enlarged to their picture's size and blurred. Values are binned in equal steps of ``asinh``: the metrics depend on
    the order alone, and steps that widen with the distance from 0 lose nothing to a long tail.

    Parameters
    ----------
    pictures : iterable of JudgedPicture
    low, high : float
        Range of all maps.
    sigma : float
        Standard deviation of the blur, in pixels of the picture.
    n_bins : int

    Returns
    -------
    values : dict
        ``pixel_auroc``, ``pixel_aupro``, and ``..._error``: the exact value differs by at most this.
    notes : list of str
        Which masks were resized.

    Raises
    ------
    DataError
        If no picture has a mask, none has a normal pixel, or a mask does not fit.
    """
    ends = np.arcsinh([low, high])
    histogram = PixelHistogram(low=float(ends[0]), high=float(ends[1]) + 1e-6 * max(1.0, float(np.ptp(ends))), n_bins=n_bins)
    notes = []
    for picture in pictures:
        size = read_image_header(picture.path)
        if picture.mask is None:
            mask = np.zeros((size.height, size.width), dtype=bool)
        else:
            mask, note = read_mask(picture.mask, height=size.height, width=size.width)
            notes += [f"{picture.mask.name}: {note}"] if note else []
        large = enlarge_map(picture.read_map(), height=size.height, width=size.width, sigma=sigma)
        histogram.add(np.arcsinh(large, out=large), mask)
    area, overlap = histogram.auroc(), histogram.aupro()
    found = {
        "pixel_auroc": area.value,
        "pixel_auroc_error": area.error,
        "pixel_aupro": overlap.value,
        "pixel_aupro_error": overlap.error,
    }
    return found, notes


def with_values(metrics: Metrics, found: Mapping[tuple[str, str, str], Mapping[str, float]]) -> Metrics:
    """Return metrics with more section values, given by (system, machine, section).

    Raises
    ------
    DataError
        If there is no such system, machine or section.
    """
    systems = dict(metrics.systems)
    for (system, machine, section), values in found.items():
        if system not in systems or section not in getattr(systems[system].machines.get(machine), "sections", {}):
            raise DataError(f"system {system}, machine {machine}, section {section}: evaluated pixels of what has no clip scores")
        entry: MachineMetrics = systems[system].machines[machine]
        old = entry.sections[section]
        sections = {**entry.sections, section: SectionMetrics({**old.values, **values}, old.counts)}
        machines = {**systems[system].machines, machine: replace(entry, sections=sections)}
        systems[system] = replace(systems[system], machines=machines)
    return replace(metrics, systems=systems)
