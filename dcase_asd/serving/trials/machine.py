"""How a model does on recordings with known truth: AUC, and false alarms beside what was promised.

Recordings are embedded once for all variants and seeds that share fronts and extractors; scores are those that
:class:`~dcase_asd.serving.scorer.Scorer` gives.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd import config as configs
from dcase_asd.errors import DataError, UsageError, nearest
from dcase_asd.serving.advisor import advise
from dcase_asd.serving.learning.calibration import Calibration, calibrate
from dcase_asd.serving.learning.exposure import expose
from dcase_asd.serving.learning.fitting import Normals, Segments, embed_normals, fit_model, group_windows
from dcase_asd.serving.learning.gathering import cut, embedded, gather, strangers, windows_of
from dcase_asd.serving.model import Fronts, Model
from dcase_asd.serving.recordings import Window
from dcase_asd.serving.settings import ModelConfig, has_pretrained, resolve
from dcase_asd.serving.trials.variants import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from dcase_asd.manifests.schema import Labels, Manifest

__all__ = ["Clips", "Outcome", "split", "try_machine"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One variant on one machine with one seed.

    Attributes
    ----------
    machine, variant : str
    seed : int
    score, threshold : ndarray [clip], float
    is_anomaly, target : ndarray [clip] of bool
    calibration : Calibration
    """

    machine: str
    variant: str
    seed: int
    score: Floats
    is_anomaly: NDArray[np.bool_]
    target: NDArray[np.bool_]
    calibration: Calibration


@dataclass(frozen=True)
class Clips:
    """The recordings of one machine, as paths.

    Attributes
    ----------
    source, target, others : tuple of Path
        Normal ones of two conditions, and of other machines.
    test : tuple of Path
    is_anomaly, is_target : ndarray [clip] of bool
        Of the test recordings.
    """

    source: tuple[Path, ...]
    target: tuple[Path, ...]
    others: tuple[Path, ...]
    test: tuple[Path, ...]
    is_anomaly: NDArray[np.bool_]
    is_target: NDArray[np.bool_]


def split(
    manifest: Manifest,
    labels: Labels,
    machine: str,
    *,
    root: Path,
    hold_out: float = 0.0,
    n_normals: int = 0,
    first_only: bool = False,
) -> Clips:
    """Take one machine's recordings out of a corpus.

    Parameters
    ----------
    manifest, labels : Manifest, Labels
    machine : str
    root : Path
        What the manifest's paths are relative to.
    hold_out : float
        Share of the normal training clips that become test clips, evenly spread.
    n_normals : int
        Training clips that are kept, evenly spread over what is left; 0: all.
    first_only : bool
        Leave the second condition (domain ``target``) out of training.

    Raises
    ------
    DataError
        If a test clip has no label, or a class is missing.
    """
    rows = manifest.table[manifest.table["machine"] == machine]
    train = rows[rows["split"] == "train"].sort_values("clip_id")
    held = _even(len(train), round(hold_out * len(train)))
    kept = train[~held]
    kept = kept[kept["domain"] != "target"] if first_only else kept
    kept = kept[_even(len(kept), n_normals)] if 0 < n_normals < len(kept) else kept
    test = rows[rows["split"] == "test"].merge(
        labels.table[["clip_id", "is_anomaly", "domain"]], on="clip_id", how="left", suffixes=("_hidden", "")
    )
    if test["is_anomaly"].isna().any():
        raise DataError(f"{machine}: {int(test['is_anomaly'].isna().sum())} test clips have no label; leave the machine out")
    truth = np.concatenate([test["is_anomaly"].to_numpy() > 0, np.zeros(held.sum(), dtype=bool)])
    if truth.all() or not truth.any():
        raise DataError(f"{machine}: test clips of one class only; hold normals out, or leave the machine out")
    others = manifest.table[(manifest.table["machine"] != machine) & (manifest.table["split"] == "train")]
    domains = np.concatenate([test["domain"].to_numpy(dtype=object), train[held]["domain"].to_numpy(dtype=object)])

    def paths(table: Any) -> tuple[Path, ...]:
        return tuple(root / path for path in table["path"])

    second = kept["domain"] == "target"
    return Clips(
        paths(kept[~second]),
        paths(kept[second]),
        paths(others),
        (*paths(test), *paths(train[held])),
        truth,
        np.asarray(domains == "target"),
    )


def try_machine(
    machine: str, clips: Clips, variants: Sequence[Variant], *, seeds: Sequence[int], rate: float, weights: str, others: bool
) -> Iterator[Outcome]:
    """Fit every variant with every seed on a machine's normal recordings, and score its test recordings.

    Raises
    ------
    UsageError
        If a variant names a member that was not advised.
    """
    found = gather(clips.source, also=clips.target or None, others=clips.others if others else None)
    advice = advise(
        found.seen["source"],
        also=found.seen.get("target"),
        others=found.others,
        has_weights=has_pretrained(weights),
        weights=weights,
    )
    test = gather(clips.test).seen["source"]
    names = [recording.name for recording in test.recordings]
    known = np.array([names.index(str(path)) if str(path) in names else -1 for path in clips.test])
    used = known >= 0
    prepared: dict[str, _Prepared] = {}
    for variant in variants:
        config = resolve(configs.apply_overrides(advice.model, variant.overrides))
        for member in variant.members:
            if member not in config.members:
                raise UsageError(f"variant {variant.name}: no member {member!r}{nearest(member, config.members)}")
        for seed in seeds:
            place = _embedding_key(config)
            if place not in prepared:
                pieces = {domain: cut(seen, config) for domain, seen in found.seen.items()}
                prepared[place] = _Prepared(config, pieces, strangers(found, config), cut(test, config))
            chosen = {n: m for n, m in config.members.items() if not variant.members or n in variant.members}
            score, calibration = prepared[place].scored(dataclasses.replace(config, members=chosen), seed=seed, rate=rate)
            yield Outcome(
                machine,
                variant.name,
                seed,
                score[known[used]],
                clips.is_anomaly[used],
                clips.is_target[used],
                calibration,
            )


class _Prepared:
    """Embeddings of one machine's recordings by the extractors of a whole model."""

    def __init__(self, config: ModelConfig, pieces: Mapping[str, list[Window]], others: list[Window], test: list[Window]) -> None:
        self.fronts = Fronts(config)
        self.fronts.observe(sorted(pieces["source"], key=lambda w: (w.recording.name, w.start)))
        self.pieces, self.others, self.test = pieces, others, test
        self.pending = set(self.fronts.pending)
        self.normals = embedded(self.fronts, pieces, []).sorted()
        found, unread = embed_normals(self.fronts, test, domain="source", groups=group_windows(test, folds=2))
        if found is None or unread:
            raise DataError(f"test recordings cannot be read: {unread[0].name}: {unread[0].reason}")
        self.tested = found
        self._trained: dict[int, tuple[Normals, Normals, dict[int, dict[str, Segments]]]] = {}

    def scored(self, config: ModelConfig, *, seed: int, rate: float) -> tuple[Floats, Calibration]:
        """Fit some of the members; return the scores of the test recordings and the threshold."""
        normals, tested, folded = self._with_trained(seed)
        part = Fronts(config, extractors=self._shared(config))
        key_of = {part.embedder_of[name]: self.fronts.embedder_of[name] for name in config.members}
        model, cross = fit_model(
            part,
            _renamed(normals, key_of),
            seed=seed,
            folded={
                fold: {own: segments[key] for own, key in key_of.items() if key in segments} for fold, segments in folded.items()
            },
        )
        calibration = calibrate(model, cross, _renamed(normals, key_of), rate=rate, seed=seed)
        return _of_recordings(model, _renamed(tested, key_of), self.test), calibration

    def _shared(self, config: ModelConfig) -> dict[str, Any]:
        names = Fronts(config).embedder_of
        return {names[name]: self.fronts.extractors[self.fronts.embedder_of[name]] for name in config.members}

    def _with_trained(self, seed: int) -> tuple[Normals, Normals, dict[int, dict[str, Segments]]]:
        if not self.pending:
            return self.normals, self.tested, {}
        if seed not in self._trained:
            self.fronts.pending = set(self.pending)
            heard, folded, _ = expose(
                self.fronts,
                self.normals,
                windows_of(self.normals, self.pieces),
                self.others,
                seed=seed,
                log=lambda _: None,
            )
            tested, _ = embed_normals(self.fronts, self.test, domain="source", groups=self.tested.group)
            self._trained[seed] = (heard, tested or self.tested, folded)
        return self._trained[seed]


def _embedding_key(config: ModelConfig) -> str:
    """Say what decides the embeddings: everything but detectors and pooling."""
    plain = configs.to_dict(config)
    embedders = {name: [member["front"], member["extractor"]] for name, member in plain["members"].items()}
    return json.dumps([{k: v for k, v in plain.items() if k not in {"members", "aggregation"}}, embedders], sort_keys=True)


def _renamed(normals: Normals, key_of: Mapping[str, str]) -> Normals:
    segments = {own: normals.segments[key] for own, key in key_of.items()}
    return dataclasses.replace(normals, segments=segments, bands=None, reference=next(iter(segments)))


def _of_recordings(model: Model, tested: Normals, windows: Sequence[Window]) -> Floats:
    """Score recordings, in the order of their first windows; of a long one that of its most anomalous window."""
    # one window at a time, as the scorer does: sums may round differently in another batch
    scores = []
    for number in range(len(windows)):
        rows = {key: own.window == number for key, own in tested.segments.items()}
        raw = model.raw({key: own.vector[rows[key]] for key, own in tested.segments.items()})
        place = {key: np.zeros(int(mask.sum()), dtype=np.int64) for key, mask in rows.items()}
        scores.append(float(model.combine(model.pooled(raw, place))[0]))
    names = [window.recording.name for window in windows]
    order = list(dict.fromkeys(names))
    best = np.full(len(order), -np.inf)
    np.maximum.at(best, [order.index(name) for name in names], scores)
    return best


def _even(n: int, n_chosen: int) -> NDArray[np.bool_]:
    chosen = np.zeros(n, dtype=bool)
    if n_chosen > 0:
        chosen[np.linspace(0, n - 1, min(n_chosen, n)).round().astype(int)] = True
    return chosen
