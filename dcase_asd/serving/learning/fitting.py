"""Fitting a model to normal recordings: detectors and, by cross-fitting, the scale of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors.base import Detector, batches_of
from dcase_asd.errors import AudioError, DataError
from dcase_asd.features.segments import SegmentMeta
from dcase_asd.scores.normalisation import Standardiser
from dcase_asd.serving.model import Bands, Fronts, Model, Piece
from dcase_asd.serving.recordings import Skipped, Window
from dcase_asd.serving.settings import make

__all__ = [
    "Normals",
    "Segments",
    "assign_folds",
    "embed_normals",
    "fit_detectors",
    "fit_model",
    "group_windows",
    "window_name",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Segments:
    """The segments of one embedder.

    Attributes
    ----------
    vector : ndarray [segment, dim]
    window : ndarray [segment] of int
        Which window a segment belongs to.
    start_s : ndarray [segment]
        From the start of the window.
    """

    vector: NDArray[np.float32]
    window: NDArray[np.int64]
    start_s: Floats

    def moved(self, n: int) -> Segments:
        """Count windows from ``n``."""
        return Segments(self.vector, self.window + n, self.start_s)


@dataclass(frozen=True)
class Normals:
    """Everything that fitting needs of the normal recordings, and all that ``update`` keeps of them.

    Attributes
    ----------
    names, group, domain : tuple of str, one a window
        ``file`` or ``file @ 10 s``; windows of one group are never parted in cross-fitting; ``source`` or ``target``.
    segments : mapping of embedder to Segments
    bands : ndarray [segment, band] or None
        Of the reference's segments.
    """

    names: tuple[str, ...]
    group: tuple[str, ...]
    domain: tuple[str, ...]
    segments: Mapping[str, Segments]
    bands: Floats | None
    reference: str

    def __add__(self, more: Normals) -> Normals:
        """Put two sets together; groups of the same name become one."""
        return Normals(
            self.names + more.names,
            self.group + more.group,
            self.domain + more.domain,
            {key: _joined([own, more.segments[key].moved(len(self.names))]) for key, own in self.segments.items()},
            None if self.bands is None or more.bands is None else np.concatenate([self.bands, more.bands]),
            self.reference,
        )

    def sorted(self) -> Normals:
        """Order the windows by name: the same recordings give the same model whatever their order."""
        return self.taken(sorted(range(len(self.names)), key=lambda i: (self.names[i], self.domain[i], i)))

    def taken(self, order: Sequence[int]) -> Normals:
        """Return these windows in this order."""
        place = np.full(len(self.names), len(self.names), dtype=np.int64)
        place[list(order)] = np.arange(len(order))
        rows = {
            key: np.argsort(place[part.window], kind="stable")[: np.count_nonzero(place[part.window] < len(self.names))]
            for key, part in self.segments.items()
        }
        return Normals(
            tuple(self.names[i] for i in order),
            tuple(self.group[i] for i in order),
            tuple(self.domain[i] for i in order),
            {k: Segments(p.vector[rows[k]], place[p.window][rows[k]], p.start_s[rows[k]]) for k, p in self.segments.items()},
            None if self.bands is None else self.bands[rows[self.reference]],
            self.reference,
        )

    def meta(self, key: str) -> SegmentMeta:
        """Metadata of an embedder's segments, as detectors want it."""
        part = self.segments[key]
        text = {k: np.array(v, dtype=object)[part.window] for k, v in (("clip_id", self.names), ("domain", self.domain))}
        constant = {k: np.full(len(part.window), v, dtype=object) for k, v in (("section", "00"), ("attributes", "{}"))}
        return SegmentMeta(start_s=part.start_s, **text, **constant)


def group_windows(windows: Sequence[Window], *, folds: int) -> list[str]:
    """Return each window's group: its recording; of a single recording, one of ``folds`` stretches of it."""
    names = [window.recording.name for window in windows]
    if len(set(names)) != 1:
        return names
    n_parts = min(folds, len(names))
    return [f"{name} part {place * n_parts // len(names)}" for place, name in enumerate(names)]


def window_name(window: Window) -> str:
    """Return the recording's name, with the time where the window begins if it is only a piece."""
    whole = window.start == 0 and window.stop == window.recording.n_samples
    return window.recording.name if whole else f"{window.recording.name} @ {window.start_s:g} s"


def embed_normals(
    fronts: Fronts, windows: Sequence[Window], *, domain: str, groups: Sequence[str]
) -> tuple[Normals | None, list[Skipped]]:
    """Embed normal windows one after another; those that cannot be read are left out and listed."""
    skipped: list[Skipped] = []
    kept: list[tuple[str, str]] = []
    pieces: list[Piece] = []
    for window, group in zip(windows, groups, strict=True):
        named = window_name(window)
        try:
            pieces.append(fronts.embed(window, clip_id=named, domain=domain))
        except AudioError as error:
            skipped.append(Skipped.because(named, error, file=window.recording.name))
            continue
        kept.append((named, group))
    if not kept:
        return None, skipped
    segments = {
        key: _joined(
            [
                Segments(p.vectors[key], np.full(len(p.starts_s[key]), i, dtype=np.int64), p.starts_s[key])
                for i, p in enumerate(pieces)
            ]
        )
        for key in fronts.embedders
    }
    spectra = [piece.bands for piece in pieces if piece.bands is not None]
    names, owners = (tuple(column) for column in zip(*kept, strict=True))
    bands = np.concatenate(spectra) if spectra else None
    return Normals(names, owners, (domain,) * len(kept), segments, bands, pieces[0].reference), skipped


def _joined(parts: Sequence[Segments]) -> Segments:
    columns = ([getattr(part, name) for part in parts] for name in ("vector", "window", "start_s"))
    return Segments(*(np.concatenate(column) for column in columns))


def fit_model(
    fronts: Fronts, normals: Normals, *, seed: int, folded: Mapping[int, Mapping[str, Segments]] | None = None
) -> tuple[Model, dict[str, Floats]]:
    """Fit every member to all normals; return the model and each member's cross-fitted scores of the normal windows.

    ``folded`` holds, for each fold, the segments of embedders that were trained without it.

    Raises
    ------
    DataError
        If there are fewer than two groups of normal recordings to cross-fit with, if they cannot be told apart, or a detector
        refuses.
    """
    config = fronts.config
    fold = assign_folds(normals.group, normals.domain, n_folds=config.folds, seed=seed)
    model = Model(
        fronts, fit_detectors(fronts, normals, np.ones(len(fold), dtype=bool), seed=seed), bands=_bands(fronts, normals)
    )
    scores = {name: np.full(len(normals.names), np.nan) for name in config.members}
    for number in sorted(set(fold.tolist()) - {-1}):
        unheard = replace(normals, segments={**normals.segments, **(folded or {}).get(number, {})})
        part = Model(fronts, fit_detectors(fronts, unheard, fold != number, seed=seed))
        windows = np.flatnonzero(fold == number)
        held_out = {key: fold[own.window] == number for key, own in unheard.segments.items()}
        raw = part.raw({key: own.vector[held_out[key]] for key, own in unheard.segments.items()})
        index = {key: np.searchsorted(windows, own.window[held_out[key]]) for key, own in unheard.segments.items()}
        for name, values in part.pooled(raw, index).items():
            scores[name][windows] = values
    used = fold >= 0
    cross = {name: values[used] for name, values in scores.items()}
    model.standardisers = {name: _standardiser(name, values) for name, values in cross.items()}
    return model, cross


def _standardiser(name: str, values: NDArray[np.float64]) -> Standardiser:
    try:
        return Standardiser.fit(values)
    except DataError as error:
        # each of two recordings of one segment is as far from the other as the other is from it
        raise DataError(
            f"{name} gives all {len(values)} normal recordings the same score: copies of one another, or two short ones; "
            "give at least three different recordings"
        ) from error


def assign_folds(group: Sequence[str], domain: Sequence[str], *, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return each window's fold; -1: always fitted on, because it is the only group of its condition.

    Raises
    ------
    DataError
        If the first condition has fewer than two groups.
    """
    fold = np.full(len(group), -1, dtype=np.int64)
    for name in ("source", "target"):
        places = [i for i, d in enumerate(domain) if d == name]
        groups = sorted({group[i] for i in places})
        n = min(n_folds, len(groups))
        if n < 2:
            if name == "source":
                raise DataError(
                    f"{len(groups)} usable recordings of the normal machine: at least 2 are needed (better 20, one for each "
                    "false alarm in 20 and so on), or one that is longer than a minute"
                )
            continue
        order = np.random.default_rng([seed, len(groups)]).permutation(len(groups))
        fold_of = {groups[number]: position % n for position, number in enumerate(order)}
        fold[places] = [fold_of[group[i]] for i in places]
    return fold


def fit_detectors(fronts: Fronts, normals: Normals, used: NDArray[np.bool_], *, seed: int) -> dict[str, Detector[Any]]:
    """Fit every member to the windows that are ``used``."""
    detectors = {}
    for name, member in fronts.config.members.items():
        key = fronts.embedder_of[name]
        part = normals.segments[key]
        detector: Detector[Any] = make("detectors", member.detector)
        detector.fit(batches_of(part.vector, normals.meta(key), np.flatnonzero(used[part.window])), seed=seed)
        detectors[name] = detector
    return detectors


def _bands(fronts: Fronts, normals: Normals) -> Bands | None:
    center_hz = fronts.band_hz
    if normals.bands is None or center_hz is None:
        return None
    return Bands(np.asarray(center_hz, dtype=np.float64), normals.bands.mean(axis=0), normals.bands.std(axis=0))
