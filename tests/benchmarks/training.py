"""Outlier-exposure training on one core: what loading costs, and the step against a plain loop.

Ratios are ours over the peer: lower is better.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import Row

DESCRIPTION = "outlier exposure, cpu preset: 32 crops of 313 frames x 224 mels from float16 stores of 10 machines, one core"

N_MACHINES, N_CLIPS, N_FRAMES, N_BANDS, SEGMENT = 10, 40, 375, 224, 313


def run(*, repeats: int = 8) -> list[Row]:
    """Return the rows; times are the best of ``repeats``, in CPU seconds."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        _write_features(Path(folder))
        loading = _source(Path(folder), alpha=0.0)
        mixing = _source(Path(folder), alpha=0.2)
        load_s = _best(lambda step: loading.batch(step, progress=0.0), repeats)
        mixed_s = _best(lambda step: mixing.batch(step, progress=0.0), repeats)
        plain_s = _best(_plain_step(loading), repeats)
        ours = {(p, c): _best(_loop_step(loading, p, channels_last=c), repeats) for p, c in _VARIANTS}
    step_s = ours["auto", True] + load_s
    rows = [
        ("loading of a step", load_s, step_s, "<= 0.05"),
        ("loading and mixup of a step", mixed_s, step_s, "<= 0.10"),
        ("step (auto, channels_last) / plain loop (fp32, contiguous)", ours["auto", True], plain_s, "<= 1.00"),
        ("step (fp32, contiguous) / plain loop", ours["fp32", False], plain_s, "<= 1.05"),
        ("step (bf16, channels_last) / plain loop: auto takes the faster", ours["bf16", True], plain_s, ""),
    ]
    return [Row(name=n, ours_s=a, peer_s=b, ratio=a / b, target=target) for n, a, b, target in rows]


_VARIANTS = (("auto", True), ("fp32", False), ("bf16", True))


def _write_features(folder: Path) -> None:
    import pandas as pd

    from dcase_asd.io.arrays import save_array
    from dcase_asd.io.tables import write_table

    rng = np.random.default_rng(0)
    for machine in range(N_MACHINES):
        clips = np.arange(N_CLIPS)
        columns = {
            "clip_id": [f"m{machine}-{i:03d}" for i in clips],
            "section": "00",
            "domain": "source",
            "attributes": [f'{{"spd": "{i % 3}"}}' for i in clips],
            "start": clips * N_FRAMES,
            "length": N_FRAMES,
            "level_db": -20.0,
        }
        write_table(folder / f"m{machine}" / "train.csv", pd.DataFrame(columns))
        save_array(folder / f"m{machine}" / "train.npy", rng.normal(size=(N_CLIPS * N_FRAMES, N_BANDS)).astype(np.float16))


def _source(folder: Path, *, alpha: float) -> Any:
    from dcase_asd.extractors._shared.classes import attribute_classes
    from dcase_asd.extractors._shared.exposure import ExposureBatches, open_clips
    from dcase_asd.extractors.base import TrainingData
    from dcase_asd.features.store import FeatureFolder
    from dcase_asd.training.mixup import MixupConfig

    clips = open_clips(TrainingData(FeatureFolder(folder), "m0", frozenset(), SEGMENT), supplemental_noise=False)
    classes = {"attributes": attribute_classes(clips.target, "per_key")}
    return ExposureBatches(clips, classes, SEGMENT, MixupConfig(alpha=alpha), 32, 0)


def _objective(source: Any) -> Any:
    from dcase_asd.extractors._shared.exposure_model import LossPlan, build_objective
    from dcase_asd.extractors.outlier_exposure import Config

    return build_objective(Config(), source.clips, LossPlan({"machine": 1.0, "attributes": 5.0}, source.classes), seed=0)


def _plain_step(source: Any) -> Callable[[int], None]:
    """A loop as one would write it by hand: fp32, contiguous, torch's default AdamW."""
    import torch

    model = _objective(source)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = source.batch(0, progress=0.0)
    batch = {**batch, "x": batch["x"].contiguous()}

    def step(_: int) -> None:
        losses = model(batch)
        optimiser.zero_grad()
        (losses["machine"] + 5.0 * losses["attributes"]).backward()
        optimiser.step()

    return step


def _loop_step(source: Any, precision: str, *, channels_last: bool) -> Callable[[int], None]:
    """The package's loop over one batch, without what happens once per training."""
    from dcase_asd.training.contract import TrainConfig
    from dcase_asd.training.loop import train

    batch = source.batch(0, progress=0.0)
    model = _objective(source)

    class Fixed:
        steps_per_epoch = 1000

        def __init__(self) -> None:
            self.times: list[float] = []

        def batch(self, step: int, *, progress: float) -> Any:  # noqa: ARG002 - the contract
            self.times.append(time.process_time())
            return batch

        def valid_batches(self) -> list[Any]:
            return []

    fixed = Fixed()
    config = TrainConfig(steps=12, precision=precision, channels_last=channels_last)
    with tempfile.TemporaryDirectory() as workdir:
        train(model, fixed, config=config, seed=0, workdir=Path(workdir), loss_weights={"attributes": 5.0}, log=lambda _: None)
    best = min(np.diff(fixed.times))

    def step(_: int) -> float:
        return float(best)

    return step


def _best(step: Callable[[int], Any], repeats: int) -> float:
    times = []
    for number in range(repeats):
        begin = time.process_time()
        given = step(number)
        times.append(given if isinstance(given, float) else time.process_time() - begin)
    return min(times)
