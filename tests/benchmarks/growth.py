"""Cost of the stages at 100, 1,000 and 10,000 clips through the runner, and of a run that has nothing to do.

Clips last 0.3 s, so that what is measured is the pipeline's own cost a clip; half of them are test clips. Every stage runs in a
process of its own; its CPU seconds count less those of a run that has nothing to do, and its peak memory is kept. The exponent is
the slope of log(seconds) over log(clips) between the two larger sizes, the seconds of the smallest taken off as start-up.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import Row, Spent, spent

DESCRIPTION = "stages 1, 2, 4, 5, 6, 8 at 100, 1,000 and 10,000 clips of 0.3 s: exponent, memory; a run with nothing to do"

SIZES = (100, 1000, 10000)
STAGES = dict(enumerate(("manifests", "features", "extractor", "embeddings", "detectors", "scores", "ensemble", "evaluate"), 1))
SHOWN = (1, 2, 4, 5, 6, 8)
#: Longest that a run over 10,000 clips may take that finds everything up to date [s].
NOTHING_TO_DO_S = 2.0
_ROOT = Path(__file__).resolve().parents[2]
_MACHINES = ("fan", "valve")
_RATE_HZ, _SAMPLES = 16000, 4800
_CONFIG = """corpus: {name: dcase, year: 2023}
features: {name: log_mel, n_mels: 64, window_s: 0.064, hop_s: 0.016}
segments: {length_s: 0.2, overlap: 0.5}
split: {source_fraction: 0.9, n_target: 0}
extractors:
  mean: {name: log_mel_statistics, statistics: [mean]}
detectors:
  near: {extractor: mean, name: knn, n_neighbors: [1], fit_sets: [source]}
  far: {extractor: mean, name: mahalanobis}
evaluate: {systems: [near, far], threshold: false_alarm, false_alarm_rate: 0.4, n_bootstrap: 20, report_clips: 0}
"""


def run() -> list[Row]:
    """Run every size, then the largest once more."""
    seconds: dict[int, dict[int, float]] = {}
    peaks: dict[int, dict[int, float]] = {}
    idle: list[Spent] = []
    for n_clips in SIZES:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            make(root, n_clips)
            took = {stage: command(root, "--stop_stage", str(stage)) for stage in STAGES}  # earlier ones are up to date
            idle = [command(root) for _ in range(3)]
            start_s = min(one.cpu_s for one in idle)
            seconds[n_clips] = {stage: max(took[stage].cpu_s - start_s, 0.01) for stage in STAGES}
            peaks[n_clips] = {stage: took[stage].peak_mb for stage in STAGES}
    rows = [_row(stage, {n: s[stage] for n, s in seconds.items()}, {n: p[stage] for n, p in peaks.items()}) for stage in SHOWN]
    shares = sorted(one.cpu_s / NOTHING_TO_DO_S for one in idle)
    return [
        *rows,
        Row(
            name=f"a run over {SIZES[-1]:,} clips with nothing to do, over {NOTHING_TO_DO_S:.0f} s (CPU seconds of the process)",
            ours_s=shares[1] * NOTHING_TO_DO_S,
            peer_s=NOTHING_TO_DO_S,
            ratio=shares[1],
            target="<= 1",
            spread=(shares[0], shares[-1]),
            peak_mb=idle[0].peak_mb,
        ),
    ]


def _row(stage: int, seconds: dict[int, float], peaks: dict[int, float]) -> Row:
    few, middle, many = SIZES
    # what a stage takes for the smallest size is start-up (imports) but for a hundredth; a linear cost then has exponent 1
    more = {n: max(seconds[n] - seconds[few], 0.01) for n in (middle, many)}
    exponent = math.log(more[many] / more[middle]) / math.log((many - few) / (middle - few))
    return Row(
        name=f"stage {stage} {STAGES[stage]}: exponent from {middle:,} to {many:,} clips (start-up {seconds[few]:.1f} s)",
        ours_s=seconds[many],
        peer_s=seconds[middle],
        ratio=exponent,
        target="<= 1.1",
        peak_mb=peaks[many],
        limit=f"{peaks[many] / peaks[middle]:.2f} x the memory at {middle:,}",
    )


def make(root: Path, n_clips: int) -> None:
    """Write a recipe and its clips: 2 machines, half training and half test clips, half of these anomalous."""
    import soundfile

    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, (64, _SAMPLES))
    for machine in _MACHINES:
        folder = root / "raw/dcase2023t2/dev_data/raw" / machine
        for split in ("train", "test"):
            (folder / split).mkdir(parents=True)
        for i in range(n_clips // 4):
            domain = "source" if i % 10 else "target"
            kind = "anomaly" if i % 2 else "normal"
            for split, label in (("train", "normal"), ("test", kind)):
                wave = noise[rng.integers(len(noise))] * rng.uniform(0.5, 1.5) * (1.3 if label == "anomaly" else 1.0)
                name = f"section_00_{domain}_{split}_{label}_{i:04d}_v_1.wav"
                soundfile.write(folder / split / name, wave.clip(-1, 1), _RATE_HZ, subtype="PCM_16")
    (root / "c.yaml").write_text(_CONFIG, encoding="utf-8")


def command(root: Path, *options: str) -> Spent:
    """Run the recipe as a user does, one job."""
    line = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(root), "--conf", "c.yaml", "--nj", "1"]
    options = options or ("--stop_stage", "8")
    environment = {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    return spent([*line, "--data_root", str(root / "raw"), *options], environment=environment)
