"""Extractors of several machines trained side by side: stage 3 through the runner with one and with two jobs, on the clock."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import Row, Spent, spent

DESCRIPTION = (
    "stage 3 for four machines on 24 clips of 4 s each, one thread a job: two jobs against one (whole process, wall clock)"
)

_ROOT = Path(__file__).resolve().parents[2]
_MACHINES = ("fan", "gearbox", "slider", "valve")


def run() -> list[Row]:
    """Run the stage alone, jobs 2 and 1 in turn, after stages 0 to 2.

    CPU seconds are compared: with two idle cores the clock follows them, and on a busy machine it follows the others' work.

    Raises
    ------
    AssertionError
        If the number of jobs changes a byte.
    """
    took: dict[int, list[Spent]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _make(root)
        _stage(root, "--stop_stage", "2", "--nj", "2")
        found = {}
        for _ in range(2):
            for nj in (2, 1):
                shutil.rmtree(root / "exp" / "c" / "3_extractor", ignore_errors=True)
                took[nj].append(_stage(root, "--stage", "3", "--stop_stage", "3", "--nj", str(nj)))
                found[nj] = json.loads((root / "exp/c/3_extractor/stage.json").read_text(encoding="utf-8"))["files"]
        if found[1] != found[2]:
            raise AssertionError("the number of jobs changed the extractors' bytes")
    ratios = [one.cpu_s / two.cpu_s for one, two in zip(took[1], took[2], strict=True)]
    two, one = (min(s.cpu_s for s in took[nj]) for nj in (2, 1))
    clock = " and ".join(f"{min(s.wall_s for s in took[nj]):.0f} s with {nj}" for nj in (1, 2))
    return [
        Row(
            name=f"CPU seconds of one job over those of two, the same bytes (on the clock: {clock})",
            ours_s=two,
            peer_s=one,
            ratio=statistics.median(ratios),
            target=">= 0.8",
            spread=(min(ratios), max(ratios)),
            peak_mb=max(s.peak_mb for s in took[2]),
        )
    ]


def _stage(root: Path, *options: str) -> Spent:
    command = [
        sys.executable,
        "-m",
        "dcase_asd",
        "run",
        "--recipe",
        str(root),
        "--conf",
        "c.yaml",
        "--data_root",
        str(root / "d"),
    ]
    return spent([*command, *options], environment={"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"})


def _make(root: Path) -> None:
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    for i, machine in enumerate(_MACHINES):
        for split, kind, n in (("train", "normal", 24), ("test", "normal", 2), ("test", "anomaly", 2)):
            for k in range(n):
                path = (
                    root
                    / "d/dcase2023t2/dev_data/raw"
                    / machine
                    / split
                    / f"section_00_source_{split}_{kind}_{k:04d}_v_{k % 2}.wav"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, rng.normal(0, 0.02 * (i + 1), 64000).clip(-1, 1), 16000, subtype="PCM_16")
    (root / "c.yaml").write_text(
        "corpus: {name: dcase, year: 2023}\nfeatures: {name: log_mel}\nsegments: {length_s: 3.0}\n"
        "extractors:\n  oe: {name: outlier_exposure, epochs: 16}\n"
        "detectors:\n  knn: {extractor: oe, name: knn}\nevaluate: {systems: [knn]}\n",
        encoding="utf-8",
    )
