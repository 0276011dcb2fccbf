"""A corpus of a few short clips in the DCASE 2023 layout, and a recipe that takes it through stages 1 to 9 in seconds.

``make_recipe`` writes both; ``run`` calls the pipeline in this process, ``command`` through ``python -m dcase_asd``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import yaml
from in_process import run_in_process
from numpy.typing import NDArray

from dcase_asd.io.hashing import sha256_tree
from dcase_asd.pipeline.recipe import RunOptions

REPOSITORY = Path(__file__).resolve().parents[2]
RATE_HZ = 16000
CLIP_S = 1.5
#: Two development machines with labels, one evaluation machine without.
MACHINES = {"dev": ("fan", "valve"), "eval": ("shaker",)}
N_TRAIN = {"source": 6, "target": 3}
N_TEST = 2

CONFIG = {
    "description": "Tiny corpus",
    "corpus": {"name": "dcase", "year": 2023},
    "features": {"name": "log_mel", "n_mels": 32},
    "segments": {"length_s": 1.0, "overlap": 0.5},
    "split": {"source_fraction": 0.67, "n_target": 2},
    "extractors": {
        "mean": {"name": "log_mel_statistics", "statistics": ["mean"]},
        "oe": {"name": "outlier_exposure", "width": 0.0625, "epochs": 1, "batch_size": 8, "loader_threads": 0},
    },
    "detectors": {
        "mean_knn": {
            "extractor": "mean",
            "name": "knn",
            "n_neighbors": [1],
            "fit_sets": ["both"],
            "fit_split": "all",
            "folds": 2,
        },
        "oe_knn": {"extractor": "oe", "name": "knn", "n_neighbors": [1], "fit_sets": ["both"]},
    },
    "ensembles": {"both": {"members": ["*_knn"]}},
    "evaluate": {
        "systems": ["both"],
        "comparators": ["mean_knn"],
        "threshold": "false_alarm",
        "false_alarm_rate": 0.34,
        "n_bootstrap": 20,
        "report_clips": 1,
    },
    "submit": {"year": 2023},
}


def waveform(name: str, *, seconds: float = CLIP_S, rate_hz: int = RATE_HZ, n_channels: int = 1) -> NDArray[np.float64]:
    """Return ``[sample, channel]``: a tone and noise that follow from the name; an anomaly is a louder, rougher one."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    machine = zlib.crc32(name.split("/", 1)[0].encode()) % 7
    tone = 0.1 * np.sin(2 * np.pi * (200 + 150 * machine) * time + rng.uniform(0, 6))
    noise = rng.normal(0, 0.05 if "anomaly" in name else 0.02, (len(time), n_channels))
    return (tone[:, None] + noise).clip(-1, 1)


def write_clip(path: Path, **options: float) -> None:
    """Write one PCM-16 recording whose content follows from machine and name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = int(options.get("rate_hz", RATE_HZ))
    soundfile.write(path, waveform(f"{path.parents[1].name}/{path.name}", **options), rate, subtype="PCM_16")  # type: ignore[arg-type]


def make_corpus(root: Path, *, machines: Iterable[str] = ("fan", "valve", "shaker"), domains: Iterable[str] = N_TRAIN) -> Path:
    """Write the corpus below ``root``; return the folder that holds ``dev_data`` and ``eval_data``."""
    base = root / "dcase2023t2"
    for subset, names in MACHINES.items():
        for machine in (name for name in names if name in machines):
            folder = base / f"{subset}_data" / "raw" / machine
            for domain in domains:
                for i in range(N_TRAIN[domain]):
                    write_clip(folder / "train" / f"section_00_{domain}_train_normal_{i:04d}_vel_{i % 2 + 1}.wav")
            for name in _tests(subset):
                write_clip(folder / "test" / name)
    return base


def _tests(subset: str) -> list[str]:
    if subset == "eval":
        return [f"section_00_{i:04d}.wav" for i in range(4)]
    kinds = [(domain, label) for domain in ("source", "target") for label in ("normal", "anomaly")]
    return [f"section_00_{domain}_test_{label}_{i:04d}_vel_1.wav" for domain, label in kinds for i in range(N_TEST)]


def make_recipe(root: Path, **changes: object) -> Path:
    """Write ``conf.yaml`` into the recipe folder ``root``; ``changes`` replace whole top-level keys."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "conf.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}, sort_keys=False), encoding="utf-8")
    return root


def run(
    recipe: Path, data: Path, *overrides: str, nj: int = 1, executor: str = "local", address: str = "", **plan: object
) -> None:
    """Run the recipe in this process; ``plan`` are the options of ``plan_from``."""
    options = RunOptions(recipe=recipe, conf=Path("conf.yaml"), data_root=str(data), overrides=overrides)
    run_in_process(options, nj=nj, executor=executor, address=address, verbose=1, **plan)


def environment() -> dict[str, str]:
    """Return the environment of a child process that finds this checkout and uses one thread."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def command(recipe: Path, data: Path | None, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run ``python -m dcase_asd run`` as a user does and return what it did."""
    root = [] if data is None else ["--data_root", str(data)]
    line = [
        sys.executable,
        "-m",
        "dcase_asd",
        "run",
        "--recipe",
        str(recipe),
        "--conf",
        "conf.yaml",
        "--nj",
        "1",
        *root,
        *arguments,
    ]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=timeout_s, env=environment())


def outputs(recipe: Path) -> dict[str, str]:
    """Return the SHA-256 of everything stages 1 to 9 wrote, less records (they hold times), locks and logs."""
    found = {}
    for top in ("data", "dump", "exp"):
        tree = sha256_tree(recipe / top, exclude={"stage.json", "config.yaml", "run.sh"}) if (recipe / top).is_dir() else {}
        found |= {f"{top}/{name}": value for name, value in tree.items() if not name.endswith((".lock", ".log"))}
    return found
