"""What the contract tests feed to plug-ins: small configurations, normal segments, planted outliers.

A plug-in may offer ``small/<name>.yaml`` (detectors) or ``small/extractors/<name>.yaml`` with

``config``
    values that make it quick; the defaults of its ``Config`` otherwise;
``shape``
    shape of one segment: ``[dim]`` or ``[channel, freq, time]`` (detectors), ``[frame, mel]`` and the like (extractors);
``n_train``
    number of training segments;
``approximate_incremental``
    a reason, if one batch and many batches may lawfully give different states (a coreset, say);
``saturates``
    a reason, if scores of ever more extreme inputs may lawfully become equal (a kernel that vanishes, say).

Detectors that declare ``needs = ("labels",)`` are fitted on labelled segments of two classes, and what they must find is the
positive class; the others are fitted on normal segments, and what they must find are outliers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.detectors.base import Batch, Batches, Detector, LabelledBatch
from dcase_asd.features.segments import SegmentMeta

SMALL = Path(__file__).parent / "small"
ROOT = Path(__file__).resolve().parents[2]
SHAPES = {"vector": (12,), "map": (6, 5, 7)}
SEGMENTS_PER_CLIP = 5


@dataclass(frozen=True)
class Case:
    """One input kind of one registered plug-in."""

    name: str
    kind: str
    values: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.get("shape", SHAPES.get(self.kind, ())))

    @property
    def n_train(self) -> int:
        return int(self.values.get("n_train", 240))

    @property
    def labelled(self) -> bool:
        return "labels" in registry.load("detectors", self.name).implementation.needs

    def make(self) -> Detector[Any]:
        plugin = registry.load("detectors", self.name)
        values = self.values.get("config", {})
        return plugin.implementation(configs.build(plugin.config, values, where=f"small/{self.name}.yaml"))


def small(name: str, *, folder: Path = SMALL) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    values = configs.load_yaml(path) if path.is_file() else {}
    unknown = set(values) - {"config", "shape", "n_train", "approximate_incremental", "saturates"}
    assert not unknown, f"{path}: unknown keys {unknown}"
    return values


def detector_cases() -> list[Case]:
    """One case for each input kind that a detector's ``INFO.input`` names."""
    cases = []
    for name in registry.names("detectors"):
        values = small(name)
        kinds = [kind for kind in SHAPES if kind in registry.load("detectors", name).info.input.split()]
        assert kinds, f"detectors/{name}.py: INFO.input must be 'vector', 'map' or 'vector or map'"
        if "shape" in values:
            kinds = [kind for kind in kinds if len(SHAPES[kind]) == len(values["shape"])]
        cases += [Case(name, kind, values) for kind in kinds]
    return cases


def normal_segments(shape: tuple[int, ...], n: int, *, seed: int) -> np.ndarray:
    """Correlated Gaussian segments around an offset, as embeddings are: not centred, not white, not of unit scale."""
    dim = int(np.prod(shape))
    world = np.random.default_rng([7, dim])
    mixing = world.normal(size=(dim, dim)) / np.sqrt(dim) + np.eye(dim)
    offset = world.normal(size=dim) + 2.0
    noise = np.random.default_rng([seed, dim, n]).normal(size=(n, dim))
    return (offset + noise @ mixing.T).reshape(n, *shape).astype(np.float32)


def outliers(shape: tuple[int, ...], n: int, *, seed: int, size: float = 8.0) -> np.ndarray:
    """Normal segments plus white noise of ``size`` times their typical deviation."""
    x = normal_segments(shape, n, seed=seed)
    noise = np.random.default_rng([seed, 99]).normal(size=x.shape)
    return (x + size * x.std() * noise).astype(np.float32)


def positives(shape: tuple[int, ...], n: int, *, seed: int) -> np.ndarray:
    """Segments of the other class: normal ones moved by three times their deviation, every value its own way."""
    x = normal_segments(shape, n, seed=seed)
    way = np.random.default_rng([5, int(np.prod(shape))]).choice([-1.0, 1.0], size=shape)
    return (x + 3.0 * x.std() * way).astype(np.float32)


def planted(case: Case, n: int, *, seed: int) -> np.ndarray:
    """What the case's detector must find."""
    return (positives if case.labelled else outliers)(case.shape, n, seed=seed)


def meta(n: int, *, n_target: int) -> SegmentMeta:
    """Metadata of ``n`` segments, five a clip; the last ``n_target`` are of the target domain, the first ones unknown."""
    clip = np.arange(n) // SEGMENTS_PER_CLIP
    domain = np.array(["source"] * n, dtype=object)
    domain[: min(3, n - n_target)] = "unknown"
    if n_target:
        domain[-n_target:] = "target"
    return SegmentMeta(
        clip_id=np.array([f"fan/é {c:04d}.wav" for c in clip], dtype=object),
        section=np.array(["00"] * n, dtype=object),
        domain=domain,
        attributes=np.array([f'{{"speed": "{c % 2}"}}' for c in clip], dtype=object),
        start_s=(np.arange(n) % SEGMENTS_PER_CLIP) * 1.25,
    )


def batch(case: Case, x: np.ndarray, *, first: int = 0) -> Batch:
    """One batch of segments with the metadata, and where they are needed the labels, that the case's detector is handed."""
    n = len(x)
    key = np.arange(first, first + n, dtype=np.int64)
    if not case.labelled:
        return Batch(x, key, meta(n, n_target=n // 10))
    return LabelledBatch(x, key, meta(n, n_target=n // 10), labels(n))


def labels(n: int) -> np.ndarray:
    """Classes that alternate from clip to clip."""
    return (np.arange(n, dtype=np.int64) // SEGMENTS_PER_CLIP) % 2


def normal_training(shape: tuple[int, ...], n: int, *, n_batches: int = 4, n_target: int | None = None) -> Batches:
    """A factory of passes over ``n`` normal segments; a tenth of them is of the target domain, shifted a little."""
    return _passes(_domains(shape, n, n_target), meta(n, n_target=_n_target(n, n_target)), None, n_batches)


def training(case: Case, *, n: int | None = None, n_batches: int = 4, n_target: int | None = None) -> Batches:
    """A factory of passes over ``n`` segments: normal ones as in :func:`normal_training`, or of both classes."""
    n = case.n_train if n is None else n
    if not case.labelled:
        return normal_training(case.shape, n, n_batches=n_batches, n_target=n_target)
    label = labels(n)
    is_positive = label.reshape(-1, *[1] * len(case.shape)) == 1
    x = np.where(is_positive, positives(case.shape, n, seed=1), _domains(case.shape, n, n_target))
    return _passes(x, meta(n, n_target=_n_target(n, n_target)), label, n_batches)


def _n_target(n: int, n_target: int | None) -> int:
    return n // 10 if n_target is None else n_target


def _domains(shape: tuple[int, ...], n: int, n_target: int | None) -> np.ndarray:
    x = normal_segments(shape, n, seed=1)
    x[n - _n_target(n, n_target) :] += np.float32(0.5)
    return x


def _passes(x: np.ndarray, about: SegmentMeta, label: np.ndarray | None, n_batches: int) -> Batches:
    key = np.arange(len(x), dtype=np.int64)

    def batches() -> Iterator[Batch]:
        for rows in np.array_split(np.arange(len(x)), n_batches):
            plain = Batch(x[rows], key[rows], about.take(rows))
            yield plain if label is None else LabelledBatch(plain.x, plain.key, plain.meta, label[rows])

    return batches


@functools.cache
def _fitted(index: int) -> Detector[Any]:
    case = detector_cases()[index]
    detector = case.make()
    detector.fit(training(case), seed=3)
    return detector


def fitted(case: Case) -> Detector[Any]:
    """The case's detector, fitted once per test session; tests must leave it as they found it."""
    return _fitted([(c.name, c.kind) for c in detector_cases()].index((case.name, case.kind)))


def state_bytes(detector: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (str(v.dtype), v.shape, np.ascontiguousarray(v).tobytes()) for name, v in detector.state().items()}
