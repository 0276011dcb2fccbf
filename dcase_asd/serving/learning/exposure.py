"""Extractors that learn from other machines' recordings: one trained on all normals, and one for each fold of cross-fitting.

An extractor knows the recordings it was trained on. A normal recording is therefore calibrated by an extractor that did not hear
it either: each fold has one of its own, thrown away once its recordings are scored.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError, UsageError
from dcase_asd.extractors.base import Extractor, TrainingData
from dcase_asd.extractors.embed import embed_store
from dcase_asd.features.build import write_feature_json
from dcase_asd.features.segments import segment_frames
from dcase_asd.features.store import FeatureFolder, FeatureStore
from dcase_asd.io.arrays import save_array
from dcase_asd.io.tables import write_table
from dcase_asd.serving.learning.fitting import Normals, Segments, assign_folds
from dcase_asd.serving.recordings import Recording, Skipped, Window
from dcase_asd.serving.settings import make

if TYPE_CHECKING:
    from dcase_asd.serving.model import Fronts

__all__ = ["OTHERS_MAX", "Trainer", "expose", "refuse_overlap", "spread"]

#: Windows of other machines that are trained on; some hundred steps of 16 of them draw each a few times.
OTHERS_MAX = 400
# Names of the two stores; a feature folder has one sub-folder a machine.
_OWN, _OTHERS = "normals", "others"


def refuse_overlap(normals: Sequence[Recording], others: Sequence[Recording]) -> None:
    """Raise ``UsageError`` if a file is a normal recording and one of another machine at once: it would be its own negative."""
    own = {recording.path.resolve() for recording in normals if recording.path is not None}
    for recording in others:
        if recording.path is not None and recording.path.resolve() in own:
            raise UsageError(f"{recording.name}: given as a normal recording and as one of another machine; leave it out of one")


def spread(windows: Sequence[Window], *, most: int = OTHERS_MAX) -> list[Window]:
    """Return at most so many windows, evenly spread over all of them in the order of their names."""
    ordered = sorted(windows, key=lambda window: (window.recording.name, window.start))
    if len(ordered) <= most:
        return ordered
    return [ordered[i] for i in np.linspace(0, len(ordered) - 1, most).round().astype(int)]


def expose(
    fronts: Fronts,
    normals: Normals,
    windows: Sequence[Window],
    others: Sequence[Window],
    *,
    seed: int,
    log: Callable[[str], None],
) -> tuple[Normals, dict[int, dict[str, Segments]], list[Skipped]]:
    """Train the extractors that learn, and embed the normals with them.

    Parameters
    ----------
    fronts : Fronts
        Its pending extractors are trained, on all normals.
    normals : Normals
        Sorted.
    windows : sequence of Window
        Those of ``normals``, in its order.
    others : sequence of Window
        Of other machines.
    seed : int
    log : callable
        Takes a line a training.

    Returns
    -------
    normals : Normals
        With the trained extractors' embeddings.
    folded : mapping of fold to mapping of embedder to Segments
        All normals, embedded by extractors that did not hear this fold's.
    skipped : list of Skipped
        Others that cannot be read.

    Raises
    ------
    TrainingError
        If there are too few recordings, or a loss is not finite.
    """
    fold = assign_folds(normals.group, normals.domain, n_folds=fronts.config.folds, seed=seed)
    trained: dict[str, Segments] = {}
    folded: dict[int, dict[str, Segments]] = {number: {} for number in sorted(set(fold.tolist()) - {-1})}
    skipped: list[Skipped] = []
    for key in sorted(fronts.pending):
        with tempfile.TemporaryDirectory(prefix="dcase_asd_others_") as folder:
            trainer = Trainer(fronts, key, Path(folder), seed)
            skipped = trainer.write(windows, normals.domain, others)
            log(f"{key}: training on all {len(windows)} normal recordings or pieces")
            fronts.extractors[key], trained[key] = trainer.train("all", frozenset())
            for number, segments in folded.items():
                held_out = frozenset(_clip_id(int(i)) for i in np.flatnonzero(fold == number))
                log(f"{key}: training without fold {number + 1} of {len(folded)}")
                segments[key] = trainer.train(f"fold{number}", held_out)[1]
    fronts.pending.clear()
    return dataclasses.replace(normals, segments={**normals.segments, **trained}), folded, skipped


class Trainer:
    """Trains one embedder again and again on the same stores.

    Parameters
    ----------
    fronts : Fronts
    key : str
        The embedder.
    folder : Path
        Where the stores go; thrown away by the caller.
    seed : int
    """

    def __init__(self, fronts: Fronts, key: str, folder: Path, seed: int) -> None:
        # beside the stores: every folder of a feature folder would be a machine
        self.fronts, self.folder, self.work, self.seed = fronts, folder / "features", folder / "work", seed
        self.front = fronts.front_of[key]
        self.component: Mapping[str, Any] = next(
            member.extractor for name, member in fronts.config.members.items() if fronts.embedder_of[name] == key
        )
        self.rate = fronts.features[self.front].frame_rate_hz
        self.length, self.hop = segment_frames(fronts.config.length_s, fronts.config.overlap, frame_rate_hz=self.rate)

    def write(self, windows: Sequence[Window], domains: Sequence[str], others: Sequence[Window]) -> list[Skipped]:
        """Write the stores of normals and others; return the others that cannot be read."""
        item = self.fronts.config.fronts[self.front]
        write_feature_json(self.folder, item["name"], self.fronts.features[self.front].config, self.rate)
        self._store(_OWN, ((self.fronts.frames(w, self.front), d) for w, d in zip(windows, domains, strict=True)))
        skipped: list[Skipped] = []
        self._store(_OTHERS, self._readable(others, skipped))
        return skipped

    def fit(self, name: str, held_out: frozenset[str]) -> Extractor[Any]:
        """Train on the normals that are not held out."""
        extractor: Extractor[Any] = make("extractors", self.component)
        data = TrainingData(FeatureFolder(self.folder), _OWN, held_out, self.length)
        extractor.fit(data, seed=self.seed, workdir=self.work / name, log=lambda _: None)
        return extractor

    def train(self, name: str, held_out: frozenset[str]) -> tuple[Extractor[Any], Segments]:
        """Train on the normals that are not held out; return the extractor and its embeddings of all normals."""
        extractor = self.fit(name, held_out)
        store: FeatureStore = FeatureFolder(self.folder).open(_OWN, "train")
        found = embed_store(extractor, store, segment_frames=self.length, hop_frames=self.hop, frame_rate_hz=self.rate)
        window = np.array([int(clip) for clip in found.meta.clip_id], dtype=np.int64)
        return extractor, Segments(found.vector, window, found.meta.start_s)

    def _readable(self, windows: Sequence[Window], skipped: list[Skipped]) -> Iterator[tuple[NDArray[Any], str]]:
        for window in windows:
            try:
                yield self.fronts.frames(window, self.front), "source"
            except AudioError as error:
                skipped.append(Skipped.because(window.recording.name, error))

    def _store(self, name: str, clips: Iterator[tuple[NDArray[Any], str]]) -> None:
        import pandas as pd

        frames, domains = [], []
        for values, domain in clips:
            frames.append(values)
            domains.append(domain)
        lengths = [len(values) for values in frames]
        table = pd.DataFrame(
            {
                "clip_id": [_clip_id(i) for i in range(len(frames))],
                "section": "00",
                "domain": domains,
                "attributes": "{}",
                "start": np.cumsum([0, *lengths])[:-1].astype(np.int64),
                "length": np.array(lengths, dtype=np.int64),
                "level_db": 0.0,
            }
        )
        if frames:
            save_array(self.folder / name / "train.npy", np.concatenate(frames))
            write_table(self.folder / name / "train.csv", table)


def _clip_id(number: int) -> str:
    return f"{number:08d}"
