"""Stage 8's pixel metrics: stored maps of stage 6 joined with the masks that the labels name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.evaluation.pixel_metrics import JudgedPicture, PixelResult, pixel_values
from dcase_asd.io.tables import read_table
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.pipeline.settings import MAIN_FEATURES
from dcase_asd.pipeline.stages.ensemble import base_name
from dcase_asd.scores.maps import MapStore, has_maps, read_maps

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SEGMENT_SCHEMA", "Masked", "clip_maps", "masked_pictures", "pixel_scores", "seen_sizes"]

SEGMENT_SCHEMA = {"clip_id": "str", "start_s": "float"}


@dataclass(frozen=True)
class Masked:
    """A labelled test picture of a machine with masks.

    Attributes
    ----------
    clip_id, section : str
    path : Path
    mask : Path or None
        None for a normal picture.
    """

    clip_id: str
    section: str
    path: Path
    mask: Path | None


def masked_pictures(manifest: Manifest, labels: Labels, root: Path) -> dict[str, list[Masked]]:
    """Return per machine the labelled test pictures whose truth is known by pixel; machines without a mask are left out.

    A defective picture without a mask is left out, where others of its machine have one.
    """
    truth = {row.clip_id: row for row in labels.table.itertuples(index=False)}
    found: dict[str, list[Masked]] = {}
    for row in manifest.table.itertuples(index=False):
        label = truth.get(row.clip_id)
        if row.kind != "image" or row.split != "test" or label is None:
            continue
        mask = json.loads(str(label.attributes)).get("mask")
        if mask is None and label.is_anomaly:
            continue
        place = None if mask is None or not label.is_anomaly else root / mask
        found.setdefault(str(row.machine), []).append(Masked(str(row.clip_id), str(row.section), root / str(row.path), place))
    return {machine: pictures for machine, pictures in found.items() if any(p.mask for p in pictures)}


def clip_maps(folder: Path) -> tuple[MapStore, Mapping[str, NDArray[np.int64]]] | None:
    """Open the maps of a unit of stage 6, and the rows of every clip in time order; None where none were kept."""
    if not has_maps(folder):
        return None
    table: pd.DataFrame = read_table(folder / "segments.csv", SEGMENT_SCHEMA)
    starts = table["start_s"].to_numpy()
    rows = {str(clip): index[np.argsort(starts[index])] for clip, index in table.groupby("clip_id").indices.items()}
    return read_maps(folder), rows


def seen_sizes(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return, per detector of a resolved configuration that works on pictures, the height and width that its network sees.

    That is the size of stage 2, or the one that the extractor resizes to.
    """
    found = {}
    for name, item in config["detectors"].items():
        extractor = config["extractors"][item["entry"]["extractor"]]
        source = extractor["entry"]["features"]
        features = config["features"] if source == MAIN_FEATURES else config["extra_features"][source]
        if features["name"] == "image":
            height, width = extractor["extractor"].get("input_size", (0, 0))
            found[name] = (int(height), int(width)) if height else (int(features["size"][0]), int(features["size"][1]))
    return found


def pixel_scores(
    scores: Path,
    *,
    systems: Sequence[str],
    seed: str,
    pictures: Mapping[str, Sequence[Masked]],
    sigma: float,
    seen: Mapping[str, tuple[int, int]],
    n_bootstrap: int,
    log: Callable[[str], None],
) -> dict[tuple[str, str, str], PixelResult]:
    """Return pixel metrics by (system, machine, section); a detector's map counts for each of its scores.

    Parameters
    ----------
    scores : Path
        Folder of stage 6.
    systems : sequence of str
        Systems with clip scores (``DETECTOR`` or ``DETECTOR:PART``); only detectors whose maps were kept have pixel metrics.
    seed : str
    pictures : mapping of str to sequence of Masked
        By machine.
    sigma : float
        Blur in pixels of the size seen.
    seen : mapping
        Height and width that a detector's network saw, by detector; those of each picture where it is missing.
    n_bootstrap : int
        Replicates of the bootstrap over pictures; 0: none.
    log : callable
        Takes notes, such as that masks were resized.

    Raises
    ------
    DataError
        If a mask does not fit its picture.
    """
    result: dict[tuple[str, str, str], PixelResult] = {}
    same: dict[str, list[str]] = {}
    for name in systems:
        same.setdefault(base_name(name), []).append(name)
    for system, named in same.items():
        for machine, every in pictures.items():
            maps = clip_maps(scores / system / seed / machine)
            if maps is None:
                continue
            store, rows = maps
            ends = (float(store.data.min()), float(store.data.max()))
            if ends[0] == ends[1]:
                log(f"{system}, {machine}: all maps are constant, so pixels cannot be ranked")
                continue
            for number, section in enumerate(sorted({picture.section for picture in every if picture.mask})):
                chosen = [p for p in every if p.section == section and p.clip_id in rows]
                # another stream of draws for each section, the same for every system
                found = pixel_values(
                    _judged(chosen, store, rows),
                    low=ends[0],
                    high=ends[1],
                    sigma=sigma,
                    seen=seen.get(system),
                    n_bootstrap=n_bootstrap,
                    seed=number,
                )
                result |= {(name, machine, section): found for name in named}
                if found.notes:
                    first = found.notes[0]
                    log(f"{system}, {machine}: {len(found.notes)} masks of another size than their picture, first: {first}")
    return result


def _judged(pictures: Sequence[Masked], store: MapStore, rows: Mapping[str, NDArray[np.int64]]) -> Iterator[JudgedPicture]:
    for picture in pictures:
        # a picture is one segment
        yield JudgedPicture(picture.path, picture.mask, partial(store.standard, int(rows[picture.clip_id][0])))
