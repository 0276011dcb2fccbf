"""From measured costs a clip to what 10^3, 10^5 and 10^7 hours of sound take, and what gives way first.

Measured here, on one core: header and hash, log-mel, training step, embedding, kNN fit and score, hashing of outputs, reading
time and memory of the manifest (which every unit of stages 2, 3 and 5 reads whole). Assumed, and said: clips of 10 s, 1,200 clips
a machine (1,000 of them training clips, as the challenge has), one extractor and one detector a machine, the cpu preset, shared
storage of 1 GB/s, 4 GB of memory a core, a day for everything. A simulation hands the units of each stage to the cores one after
another, as the executors do; between stages the runner works alone.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import Row, one_thread

DESCRIPTION = "cores, storage and memory for 10^3, 10^5 and 10^7 hours of sound, by simulation from costs measured in this run"

HOURS = (10**3, 10**5, 10**7)
CLIP_S, CLIPS_PER_MACHINE, TRAIN_SHARE = 10, 1200, 1000 / 1200
DAY_S, STORAGE_BYTES_S = 86400.0, 1e9
#: cpu preset: 8 epochs of batches of 32, half of each target clips.
EPOCHS, HALF_BATCH = 8, 16
SEGMENTS_PER_CLIP, DIM = 5, 256
_RATE_HZ, _FRAMES, _MELS = 16000, 625, 224
#: Stages whose every unit reads the whole manifest.
READ_MANIFEST = ("features", "extractor", "detectors")
#: Memory that comes with a core [GB].
CORE_GB = 4.0
#: Units of a stage that are handed out one by one; more are handed out in groups of equal size.
_MOST_UNITS = 20000


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes on one core.

    Attributes
    ----------
    clip_s : mapping of str to float
        CPU seconds a clip in each stage that works by clips.
    machine_s : mapping of str to float
        CPU seconds a machine in each stage that works by machines.
    read_bytes : mapping of str to float
        Bytes a clip that a stage reads from storage.
    kept_bytes : float
        Bytes a clip of everything that is kept.
    hash_s : float
        Seconds that the runner alone takes a clip to hash what stages wrote.
    row_bytes, row_s : float
        Memory and reading time of a row of the manifest.
    """

    clip_s: Mapping[str, float]
    machine_s: Mapping[str, float]
    read_bytes: Mapping[str, float]
    kept_bytes: float
    hash_s: float
    row_bytes: float
    row_s: float


@dataclass(frozen=True)
class Need:
    """What an amount of sound takes: cores for a day, storage [TB], and of the day the shares that only one process works."""

    hours: int
    n_machines: int
    core_hours: float
    cores: int
    wall_h: float
    storage_tb: float
    manifest_gb: float
    runner_h: float
    reading_h: float

    @property
    def first(self) -> str:
        """What gives way first, if anything does."""
        limits = {
            f"the manifest, which units read whole, does not fit into {CORE_GB:.0f} GB a core": self.manifest_gb / CORE_GB,
            "the runner alone, hashing outputs, takes longer than the day": self.runner_h / 24,
            "reading from shared storage takes longer than the day": self.reading_h / 24,
        }
        worst = max(limits, key=limits.__getitem__)
        return worst if limits[worst] > 1 else "nothing; cores are the cost"


_cache: list[Costs] = []


def run() -> list[Row]:
    """Measure, simulate, and return one row an amount: core hours against the hours of sound."""
    needs = [simulate(hours, costs()) for hours in HOURS]
    return [
        Row(
            name=f"{need.hours:,} h of sound: core hours over hours; {need.cores:,} cores for a day; first limit: {need.first}",
            ours_s=need.core_hours,
            peer_s=need.hours,
            ratio=need.core_hours / need.hours,
            unit="h",
        )
        for need in needs
    ]


def costs() -> Costs:
    """Measure once a process."""
    if not _cache:
        with tempfile.TemporaryDirectory() as name, one_thread():
            _cache.append(_measure(Path(name)))
    return _cache[0]


def _measure(root: Path) -> Costs:
    import soundfile

    from dcase_asd.features.log_mel import Config, LogMel
    from dcase_asd.io.audio import read_audio, read_header
    from dcase_asd.io.hashing import sha256_file
    from tests.benchmarks.training import _loop_step, _source, _write_features

    wav = root / "a.wav"
    soundfile.write(wav, np.random.default_rng(0).normal(0, 0.1, CLIP_S * _RATE_HZ), _RATE_HZ, subtype="PCM_16")
    feature = LogMel(Config(standardise="none"))
    clip = {
        "manifests": _best(lambda: (read_header(wav), sha256_file(wav))),
        "features": _best(lambda: feature.compute(read_audio(wav)[0][0])),
    }
    _write_features(root / "f")
    source = _source(root / "f", alpha=0.2)
    step_s = _loop_step(source, "auto", channels_last=True)(0) + _best(lambda: source.batch(0, progress=0.0))  # type: ignore[operator]
    clip["embeddings"] = _embedding_s(root / "f")
    n_train = int(CLIPS_PER_MACHINE * TRAIN_SHARE)
    fit_s, score_s = _nearest_s(n_train * SEGMENTS_PER_CLIP)
    clip["scores"] = score_s * SEGMENTS_PER_CLIP * (1 - TRAIN_SHARE)
    machine = {"extractor": step_s * EPOCHS * -(-n_train // HALF_BATCH), "detectors": fit_s}
    stored = _FRAMES * _MELS * 2.0
    vectors = SEGMENTS_PER_CLIP * DIM * 4.0
    hashed = root / "big"
    hashed.write_bytes(bytes(2**26))
    hash_s = _best(lambda: sha256_file(hashed)) / 2**26 * (stored + vectors)
    row_bytes, row_s = _manifest_row(root)
    wav_bytes = float(wav.stat().st_size)
    # training reads its own clips and as many others in every epoch
    read = {"manifests": wav_bytes, "features": wav_bytes, "extractor": 2 * EPOCHS * stored * TRAIN_SHARE, "embeddings": stored}
    return Costs(clip, machine, read, wav_bytes + stored + vectors, hash_s, row_bytes, row_s)


def _best(work: Callable[[], Any], *, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def _embedding_s(folder: Path) -> float:
    import torch

    from dcase_asd.extractors._shared.exposure_model import build_network
    from dcase_asd.extractors.outlier_exposure import Config, OutlierExposure

    extractor = OutlierExposure(Config())
    torch.manual_seed(0)
    extractor._take(build_network(Config(), n_bands=_MELS).eval(), "cpu")
    segments = np.random.default_rng(0).normal(size=(16, 313, _MELS)).astype(np.float16)
    return _best(lambda: extractor.embed(segments), repeats=3) / len(segments) * SEGMENTS_PER_CLIP


def _nearest_s(n_points: int) -> tuple[float, float]:
    """Seconds of a fit, and of the score of one segment."""
    from dcase_asd.detectors.base import batches_of
    from dcase_asd.detectors.knn import Config, Knn
    from dcase_asd.features.segments import SegmentMeta

    x = np.random.default_rng(0).normal(size=(n_points, DIM)).astype(np.float32)
    text = np.array(["00"] * n_points, dtype=object)
    domain = np.array(["source"] * n_points, dtype=object)
    meta = SegmentMeta(text, text, domain, text, np.zeros(n_points))
    detector = Knn(Config(fit_sets=("source",), n_neighbors=(1,)))
    fit_s = _best(lambda: detector.fit(batches_of(x, meta, np.arange(n_points)), seed=0), repeats=2)
    return fit_s, _best(lambda: detector.score(x[:256])) / 256


def _manifest_row(root: Path) -> tuple[float, float]:
    from dcase_asd.manifests.schema import Manifest

    row = {"kind": "audio", "subset": "dev", "machine": "fan", "section": "00", "domain": "source", "split": "train"}
    row |= {"attributes": '{"vel": "31"}', "n_samples": 160000, "n_channels": 1, "sample_rate_hz": 16000, "sha256": "0" * 64}
    stem = "dev_data/raw/fan/train/section_00_source_train_normal"
    n = 20000
    Manifest.from_rows([{**row, "clip_id": f"{stem}_{i:07d}", "path": f"{stem}_{i:07d}.wav"} for i in range(n)]).write(
        root / "m.csv"
    )
    read_s = _best(lambda: Manifest.read(root / "m.csv"), repeats=2)
    return float(Manifest.read(root / "m.csv").table.memory_usage(deep=True).sum()) / n, read_s / n


def simulate(hours: int, cost: Costs) -> Need:
    """Find the fewest cores that end within a day what cores can do, and say how long everything takes with them."""
    n_clips = hours * 3600 // CLIP_S
    n_machines = max(-(-n_clips // CLIPS_PER_MACHINE), 1)
    per_machine = {stage: seconds * CLIPS_PER_MACHINE for stage, seconds in cost.clip_s.items()} | dict(cost.machine_s)
    for stage in READ_MANIFEST:
        per_machine[stage] += cost.row_s * n_clips
    core_s = n_machines * sum(per_machine.values())
    runner_s = n_clips * (cost.hash_s + cost.row_s * len(per_machine))
    reading_s = n_clips * sum(cost.read_bytes.values()) / STORAGE_BYTES_S
    cores = max(1, int(core_s / DAY_S))
    while _wall_s(per_machine, n_machines, cores) > DAY_S and cores < n_machines:
        cores = max(int(cores * 1.05), cores + 1)
    wall_s = max(_wall_s(per_machine, n_machines, cores), reading_s) + runner_s
    return Need(
        hours=hours,
        n_machines=n_machines,
        core_hours=core_s / 3600,
        cores=cores,
        wall_h=wall_s / 3600,
        storage_tb=n_clips * cost.kept_bytes / 1e12,
        manifest_gb=n_clips * cost.row_bytes / 1e9,
        runner_h=runner_s / 3600,
        reading_h=reading_s / 3600,
    )


def _wall_s(per_machine: Mapping[str, float], n_machines: int, cores: int) -> float:
    """Hand units to cores as they become free, stage after stage; machines differ by up to 20 % in size."""
    group = -(-n_machines // _MOST_UNITS)
    n_units, n_cores = -(-n_machines // group), max(1, cores // group)
    sizes = np.random.default_rng(0).uniform(0.8, 1.2, n_units)
    total = 0.0
    for seconds in per_machine.values():
        free = [0.0] * min(n_cores, n_units)
        for size in sizes:
            heapq.heapreplace(free, free[0] + seconds * size)
        total += max(free)
    return total


def note() -> str:
    """Return the page about scale."""
    cost = costs()
    needs = [simulate(hours, cost) for hours in HOURS]
    by_clip = "\n".join(f"| {stage} | {1000 * s:.2f} ms a clip |" for stage, s in cost.clip_s.items())
    by_machine = "\n".join(f"| {stage} | {s:.1f} s a machine |" for stage, s in cost.machine_s.items())
    names = ("hours of sound", "clips", "machines", "core hours", "cores for a day", "storage", "manifest in memory")
    heads = f"| {' | '.join((*names, 'runner alone', 'reading at 1 GB/s'))} |"
    lines = "\n".join(
        f"| {n.hours:,} | {n.hours * 360:,} | {n.n_machines:,} | {n.core_hours:,.0f} | {n.cores:,} | {n.storage_tb:,.1f} TB "
        f"| {n.manifest_gb:,.1f} GB | {n.runner_h:,.1f} h | {n.reading_h:,.1f} h |"
        for n in needs
    )
    piece = simulate(10**4, cost)
    cut = "; ".join(
        f"{h:,} h: {piece.core_hours * h / 10**4:,.0f} core hours, {piece.cores * h // 10**4:,} cores" for h in HOURS[1:]
    )
    most = int(CORE_GB * 1e9 / cost.row_bytes * CLIP_S / 3600 / 1000) * 1000
    first = "\n".join(f"- {n.hours:,} h: {n.first}." for n in needs)
    return f"""# Scale

Written by `python -m tests.benchmarks --record scale`: costs measured on one core, then a simulation ({Path(__file__).name}).

| stage | CPU time |
|---|---:|
{by_clip}
{by_machine}

{heads}
|{"---:|" * 9}
{lines}

What gives way first:

{first}

Up to there a run is one experiment on one runner and as many workers as it is given. Beyond, cut the corpus by site into
experiments of some 10,000 hours, at most {most:,} (where the manifest takes {CORE_GB:.0f} GB): a machine's system needs no clips
of others but the pseudo-anomalies of outlier exposure, of which a few thousand do. Experiments share nothing, so cores then
grow in proportion: {cut}.
Assumptions stand at the top of `scale.py`.
"""
