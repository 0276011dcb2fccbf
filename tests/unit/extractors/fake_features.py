"""A small feature folder: machines are clips of structured noise in a log-mel of few bands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from dcase_asd.features.store import INDEX_COLUMNS, FeatureFolder
from dcase_asd.io.arrays import save_array
from dcase_asd.io.atomic import write_json
from dcase_asd.io.tables import write_table

N_BANDS = 16


def machine_clip(tone: float, *, rng, n_frames=60, beat=0.5, n_bands=N_BANDS, nuisance=0.0):
    """Make a log-mel of a steady tone at band ``tone`` whose level beats in time, over coloured noise: ``[frame, mel]``."""
    bands = np.arange(n_bands)
    ridge = np.exp(-0.5 * ((bands - tone) / 1.0) ** 2)
    level = 1.0 + 0.5 * np.sin(beat * np.arange(n_frames) + rng.uniform(0, 2 * np.pi))
    # a level and a tilt that differ from clip to clip and say nothing about the machine
    hum = nuisance * (rng.normal() + rng.normal() * np.linspace(-1, 1, n_bands))
    return (hum + 3.0 * level[:, None] * ridge[None] - 0.1 * bands[None] + rng.normal(0, 0.5, (n_frames, n_bands))).astype(
        np.float32
    )


def write_store(
    folder: Path, machine: str, split: str, clips, *, attributes=None, sections=None, domains=None, dtype=np.float32, power=True
):
    """Write one store; ``clips`` is a list of ``[frame, mel]``."""
    lengths = [len(c) for c in clips]
    index = pd.DataFrame(
        {
            "clip_id": [f"{machine}/{split}/{i:03d}" for i in range(len(clips))],
            "section": sections or ["00"] * len(clips),
            "domain": domains or ["source"] * len(clips),
            "attributes": [json.dumps(a) for a in (attributes or [{}] * len(clips))],
            "start": np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int),
            "length": lengths,
            "level_db": [-20.0] * len(clips),
        }
    )[list(INDEX_COLUMNS)]
    write_table(folder / machine / f"{split}.csv", index)
    data = np.concatenate(clips)
    save_array(folder / machine / f"{split}.npy", data.astype(dtype))
    if power:
        save_array(folder / machine / f"{split}.power.npy", np.exp(data.mean(axis=1)).astype(np.float32))


def write_folder(
    folder: Path, *, machines=("fan", "pump", "valve", "Bänder"), n_clips=12, dtype=np.float32, n_frames=60, seed=0, nuisance=0.0
):
    """Write a feature folder; every machine has its own tone, two speeds (attribute ``spd``) and two sections."""
    write_json(folder / "feature.json", {"name": "log_mel", "config": {"scale": "log", "power": 2.0}, "frame_rate_hz": 10.0})
    rng = np.random.default_rng(seed)
    for number, machine in enumerate(machines):
        speeds = [i % 2 for i in range(n_clips)]
        clips = [machine_clip(2 + 3 * number, rng=rng, n_frames=n_frames, beat=0.3 + 0.6 * s, nuisance=nuisance) for s in speeds]
        attributes = [{"mic": "1", "spd": str(s)} for s in speeds]
        sections = [f"{i % 2:02d}" for i in range(n_clips)]
        write_store(folder, machine, "train", clips, attributes=attributes, sections=sections, dtype=dtype)
    return FeatureFolder(folder)
