"""The model of one machine: recordings to embeddings to one standardised score, segment by segment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors.base import Detector, score_alike
from dcase_asd.errors import AudioError
from dcase_asd.extractors.base import Extractor
from dcase_asd.extractors.embed import embed_store
from dcase_asd.features.base import Feature
from dcase_asd.features.segments import segment_frames
from dcase_asd.features.signal import resample
from dcase_asd.features.statistics import Moments
from dcase_asd.features.store import FeatureStore
from dcase_asd.io.audio import select_channel
from dcase_asd.scores.normalisation import Standardiser
from dcase_asd.scores.pooling import pool_segments
from dcase_asd.serving.recordings import Window
from dcase_asd.serving.settings import ModelConfig, make

__all__ = ["Bands", "Fronts", "Model", "Piece", "WindowScore"]

Floats = NDArray[np.float64]
# Segments a detector scores at once, as stage 6 does.
_BATCH = 64


@dataclass(frozen=True)
class Piece:
    """One window, embedded.

    Attributes
    ----------
    vectors : mapping of embedder to ndarray [segment, dim]
        Embedders may differ by a segment: each counts in frames of its own front.
    starts_s : mapping of embedder to ndarray [segment]
        From the start of the window.
    reference : str
        The embedder whose segments stand for places in the window.
    length_s : float
        Of a segment of the reference.
    bands : ndarray [segment, band] or None
        Mean spectrum of each segment of the reference, where its front has frequency bands.
    """

    vectors: dict[str, NDArray[np.float32]]
    starts_s: dict[str, Floats]
    reference: str
    length_s: float
    bands: Floats | None


@dataclass(frozen=True)
class Bands:
    """Mean spectra of normal segments.

    Attributes
    ----------
    center_hz, mean, std : ndarray [band]
    """

    center_hz: Floats
    mean: Floats
    std: Floats


class Fronts:
    """Everything before the detectors: features and extractors; an extractor that several members share runs once.

    Parameters
    ----------
    config : ModelConfig
        Resolved.
    channel : str
        ``mean`` or a channel's number; overrides that of the features.
    extractors : mapping of str to Extractor, optional
        Loaded ones by key; others are made from their configurations.
    """

    def __init__(
        self, config: ModelConfig, *, channel: str = "mean", extractors: Mapping[str, Extractor[Any]] | None = None
    ) -> None:
        self.config = config
        self.channel = channel
        self.features: dict[str, Feature[Any]] = {name: make("features", item) for name, item in config.fronts.items()}
        #: Lowest rate of the normal recordings; 0 before it is known.
        self.recorded_hz = 0
        self.statistics: dict[str, Moments | None] = dict.fromkeys(config.fronts)
        self.extractors: dict[str, Extractor[Any]] = {}
        self.front_of: dict[str, str] = {}
        self.embedder_of: dict[str, str] = {}
        known: dict[str, str] = {}
        for name, member in config.members.items():
            key = known.setdefault(json.dumps([member.front, member.extractor], sort_keys=True), f"embedder{len(known)}")
            self.embedder_of[name] = key
            self.front_of[key] = member.front
            if key not in self.extractors:
                self.extractors[key] = (extractors or {}).get(key) or make("extractors", member.extractor)
        #: Extractors that have to be trained before they can embed; until then their embeddings have no dimension.
        self.pending: set[str] = {key for key, made in self.extractors.items() if made.trains and key not in (extractors or {})}

    @property
    def embedders(self) -> list[str]:
        """Keys of the extractors, in the order of :attr:`Piece.vectors`."""
        return list(self.extractors)

    @property
    def band_front(self) -> str | None:
        """The front with frequency bands that most members read; None if no front has bands."""
        read = [member.front for member in self.config.members.values() if self.features[member.front].band_hz is not None]
        return max(sorted(set(read)), key=read.count, default=None)

    @property
    def band_hz(self) -> Floats | None:
        """Centre frequencies of the bands of :attr:`band_front`."""
        return None if self.band_front is None else self.features[self.band_front].band_hz

    @property
    def lowest_rate_hz(self) -> int:
        """Recordings below this rate lack frequencies that the model looks at."""
        rates = [feature.input_rate_hz for feature in self.features.values()]
        return min(max(rates), self.recorded_hz or max(rates))

    def waveform(self, window: Window, front: str) -> NDArray[np.float32]:
        """Return the samples of a window as a front wants them.

        Raises
        ------
        AudioError
            If the recording cannot be read, lacks the channel, or was recorded at too low a rate.
        """
        rate, wanted = window.recording.sample_rate_hz, self.features[front].input_rate_hz
        if rate != wanted and not self.features[front].config.resample:
            raise AudioError(f"{window.recording.name}: {rate} Hz, front {front} works at {wanted} Hz; set its resample: true")
        try:
            samples = select_channel(window.recording.read(window.start, window.stop), self.channel)
        except AudioError as error:
            raise AudioError(f"{window.recording.name}: {error}") from error
        return resample(samples, from_hz=rate, to_hz=wanted)

    def observe(self, windows: list[Window]) -> None:
        """Take the amplitude statistics of the normal recordings, for fronts that standardise by them."""
        for name, feature in self.features.items():
            if feature.config.standardise == "machine":
                moments = Moments()
                for window in windows:
                    moments = moments.merge(Moments.of(self.waveform(window, name)))
                self.statistics[name] = moments

    def frames(self, window: Window, front: str) -> NDArray[Any]:
        """Return the features ``[frame, ...]`` of a window, in the type that a store would hold them in.

        Raises
        ------
        AudioError
            As :meth:`waveform`, and if the window is too short or its features are not finite.
        """
        feature = self.features[front]
        try:
            values = feature.compute(self.waveform(window, front), statistics=self.statistics[front])
        except AudioError as error:
            named = str(error) if window.recording.name in str(error) else f"{window.recording.name}: {error}"
            raise AudioError(named) from error
        frames = np.ascontiguousarray(values, dtype=np.dtype(feature.config.dtype))
        if not np.isfinite(frames).all():
            raise AudioError(f"{window.recording.name}: {front} is not finite; the samples are out of any range")
        return frames

    def embed(self, window: Window, *, clip_id: str = "", domain: str = "source") -> Piece:
        """Embed one window; raises as :meth:`frames`."""
        index = _index(clip_id, domain)
        reference = next((key for key, front in self.front_of.items() if front == self.band_front), self.embedders[0])
        vectors: dict[str, NDArray[np.float32]] = {}
        starts_s: dict[str, Floats] = {}
        made: dict[str, NDArray[Any]] = {}
        bands, length_s = None, 0.0
        for key, extractor in self.extractors.items():
            front = self.front_of[key]
            if front not in made:
                made[front] = self.frames(window, front)
            rate = self.features[front].frame_rate_hz
            length, hop = segment_frames(self.config.length_s, self.config.overlap, frame_rate_hz=rate)
            store = FeatureStore(made[front], None, index.assign(length=len(made[front])))
            embedder = _Nothing() if key in self.pending else extractor
            embedded = embed_store(embedder, store, segment_frames=length, hop_frames=hop, frame_rate_hz=rate)
            vectors[key], starts_s[key] = embedded.vector, embedded.meta.start_s
            if key == reference:
                length_s = (length or len(made[front])) / rate
                first = np.round(embedded.meta.start_s * rate).astype(np.int64)
                bands = _band_means(made[front], first, length) if front == self.band_front else None
        return Piece(vectors, starts_s, reference, length_s, bands)


class _Nothing(Extractor[None]):
    """In an untrained extractor's place: the segments are cut, and their vectors are empty."""

    def __init__(self) -> None:
        super().__init__(None)

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], None]:
        """Return ``[segment, 0]``."""
        return np.zeros((len(segments), 0), dtype=np.float32), None


@dataclass(frozen=True)
class WindowScore:
    """The scores of one window.

    Attributes
    ----------
    score : float
        Standardised, averaged over members.
    segments : ndarray [segment]
        The same per segment: where in the window it is anomalous.
    piece : Piece
    """

    score: float
    segments: Floats
    piece: Piece


@dataclass
class Model:
    """Fronts with fitted detectors, and the scale of their scores.

    Attributes
    ----------
    fronts : Fronts
    detectors : mapping of member to Detector
    standardisers : mapping of member to Standardiser
        Of the scores of normal recordings.
    bands : Bands or None
    """

    fronts: Fronts
    detectors: dict[str, Detector[Any]]
    standardisers: dict[str, Standardiser] = field(default_factory=dict)
    bands: Bands | None = None

    def raw(self, vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, Floats]:
        """Return every member's raw scores ``[segment]`` of the embedders' vectors."""
        return {
            name: _scored(detector, vectors[self.fronts.embedder_of[name]]) for name, detector in sorted(self.detectors.items())
        }

    def pooled(self, raw: Mapping[str, Floats], clip: Mapping[str, NDArray[np.int64]]) -> dict[str, Floats]:
        """Pool members' segment scores to windows; ``clip`` holds each embedder's window numbers ``[segment]``."""
        method = self.fronts.config.aggregation
        of = self.fronts.embedder_of
        return {name: pool_segments(values, clip[of[name]], method=method) for name, values in raw.items()}

    def combine(self, scores: Mapping[str, Floats]) -> Floats:
        """Average the members' standardised scores, in the order of their names."""
        return np.asarray(np.mean([self.standardisers[name].apply(scores[name]).score for name in sorted(scores)], axis=0))

    def score(self, window: Window) -> WindowScore:
        """Score one window; raises ``AudioError`` if it cannot be read or used."""
        piece = self.fronts.embed(window)
        raw = self.raw(piece.vectors)
        pooled = self.pooled(raw, {key: np.zeros(len(starts), dtype=np.int64) for key, starts in piece.starts_s.items()})
        wanted = piece.starts_s[piece.reference]
        aligned = {name: raw[name][_nearest(piece.starts_s[self.fronts.embedder_of[name]], wanted)] for name in raw}
        return WindowScore(float(self.combine(pooled)[0]), self.combine(aligned), piece)


def _nearest(starts_s: Floats, wanted_s: Floats) -> NDArray[np.int64]:
    return np.asarray(np.abs(starts_s[None, :] - wanted_s[:, None]).argmin(axis=1))


def _scored(detector: Detector[Any], x: NDArray[np.float32]) -> Floats:
    return np.concatenate([score_alike(detector, x[first : first + _BATCH]).score for first in range(0, len(x), _BATCH)])


def _index(clip_id: str, domain: str) -> Any:
    import pandas as pd

    row = {"clip_id": clip_id, "section": "00", "domain": domain, "attributes": "{}", "start": 0, "length": 0, "level_db": 0.0}
    return pd.DataFrame([row])


def _band_means(frames: NDArray[Any], first: NDArray[np.int64], length: int) -> Floats:
    wide = np.asarray(frames, dtype=np.float64)
    return np.stack([wide[start : start + length if length else None].mean(axis=0) for start in first])
