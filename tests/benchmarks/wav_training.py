"""Training from cached features against the loop that the field's recipes are: a DataLoader over wav files, fp32, contiguous.

Same model and weights, same clips, crops, mixup and learning rate in every step; the peer computes log-mels on the fly (by
torchaudio, and by librosa, which most public recipes use). Both sides build the model and do whole steps, loading included, on
one core, no workers; ours also writes its checkpoint at the end, which here counts for far more than in a real training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks import Row, one_thread, race
from tests.benchmarks.training import _objective, _source

DESCRIPTION = (
    "outlier-exposure training, cpu preset, 32 clips of 10 s a step: features cached once against a DataLoader over wavs"
)

N_MACHINES, N_CLIPS, N_STEPS, ROUNDS, SECONDS = 4, 16, 8, 3, 10
_RATE_HZ = 16000


def run() -> list[Row]:
    """Train some steps on either side, in turn.

    Raises
    ------
    AssertionError
        If the losses differ by more than what float16 features explain.
    """
    with tempfile.TemporaryDirectory() as name, one_thread():
        root = Path(name)
        _write(root)
        source = _source(root / "features", alpha=0.2)
        losses: dict[str, list[float]] = {}
        functions = {
            "ours": lambda: losses.__setitem__("ours", _ours(source)),
            "torchaudio": lambda: losses.__setitem__("torchaudio", _peer(root, source, _torchaudio())),
            "librosa": lambda: losses.__setitem__("librosa", _peer(root, source, _librosa)),
            "the loop's own arithmetic": lambda: _arithmetic(source),
        }
        found = race(functions, rounds=ROUNDS)
        for peer in ("torchaudio", "librosa"):
            # step 1 differs by the rounding of features, later steps by what that does to the weights
            np.testing.assert_allclose(losses["ours"][0], losses[peer][0], rtol=5e-3)
            np.testing.assert_allclose(losses["ours"], losses[peer], rtol=0.1)
    return [
        found.row(
            f"{N_STEPS} steps, times faster than with {peer} in a DataLoader",
            "ours",
            peer,
            target=">= 3",
            limit="the loop's own arithmetic",
        )
        for peer in ("torchaudio", "librosa")
    ]


def _write(root: Path) -> None:
    """Write recordings, and build the features that ours trains on."""
    import soundfile

    from dcase_asd.features.build import build_machine, write_feature_json
    from dcase_asd.features.log_mel import Config
    from dcase_asd.manifests.schema import Manifest

    rng = np.random.default_rng(0)
    config = Config(standardise="none", highpass=None)
    for machine in range(N_MACHINES):
        rows = []
        for i in range(N_CLIPS):
            path = root / f"m{machine}" / f"{i:02d}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.05 * (1 + machine), SECONDS * _RATE_HZ).clip(-1, 1), _RATE_HZ, subtype="PCM_16")
            rows.append(
                {"clip_id": f"m{machine}-{i:02d}", "path": f"m{machine}/{i:02d}.wav", "kind": "audio", "subset": "dev"}
                | {"machine": f"m{machine}", "section": "00", "domain": "source", "split": "train"}
                | {"attributes": {"spd": str(i % 3)}, "n_samples": SECONDS * _RATE_HZ, "n_channels": 1}
                | {"sample_rate_hz": _RATE_HZ, "sha256": ""}
            )
        out = root / "features" / f"m{machine}"
        build_machine(Manifest.from_rows(rows), data_root=root, name="log_mel", config=config, out=out)
    write_feature_json(root / "features", "log_mel", config, 62.5)


def _ours(source: Any) -> list[float]:
    """The package's loop, batches and all."""
    from dcase_asd.training.contract import TrainConfig
    from dcase_asd.training.loop import train

    config = TrainConfig(steps=N_STEPS, schedule="fixed", valid_epochs=10**6)
    losses: list[float] = []

    class Batches:
        steps_per_epoch = 1

        def batch(self, step: int, *, progress: float) -> Any:
            return source.batch(step, progress=progress)

        def valid_batches(self) -> list[Any]:
            return []

    with tempfile.TemporaryDirectory() as workdir:
        model = _objective(source)
        weights = {"attributes": 5.0}
        result = train(model, Batches(), config=config, seed=0, workdir=Path(workdir), loss_weights=weights, log=lambda _: None)
        losses += [float(row["train_total"] or 0.0) for row in result.history]
    return losses


def _peer(root: Path, source: Any, log_mel: Callable[[NDArray[np.float32]], Any]) -> list[float]:
    """What a public recipe does in its main function."""
    import soundfile
    import torch
    from torch.utils.data import DataLoader, Dataset

    clips = (source.clips.target, source.clips.negative)
    names = [(m, c) for part in clips for m, c in zip(part.machine, part.clip_id, strict=True)]

    class Wavs(Dataset):
        def __len__(self) -> int:
            return len(names)

        def __getitem__(self, row: int) -> Any:
            machine, clip = names[row]
            waveform, _ = soundfile.read(root / machine / f"{clip.split('-')[1]}.wav", dtype="float32")
            return row, log_mel(waveform)

    order = [[*own, *(other + len(clips[0]))] for own, other in (source._sampler.rows(step) for step in range(N_STEPS))]
    model = _objective(source)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step, (_, x) in enumerate(DataLoader(Wavs(), batch_sampler=order, num_workers=0)):
        batch = _mixed(source, x, step)
        terms = model(batch)
        loss = terms["machine"] + 5.0 * terms["attributes"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def _mixed(source: Any, x: Any, step: int) -> dict[str, Any]:
    """Crop and mix ``[clip, mel, frame]`` with the numbers that ours draws, by plain operations."""
    import torch

    from dcase_asd.training.mixup import plan_mixup
    from dcase_asd.training.seeding import generator

    rng, length = generator(source.seed, "crops", step), source.n_frames
    first = (rng.random(len(x)) * (x.shape[2] - length + 1)).astype(int)
    x = torch.stack([one[:, begin : begin + length] for one, begin in zip(x, first, strict=True)])
    plan = plan_mixup(len(x), source.mixup, rng=rng, progress=0.0)
    own, _ = source._sampler.rows(step)
    labels = torch.zeros(len(x), len(source.classes["attributes"].names))
    labels[: len(own)] = torch.from_numpy(source._targets["attributes"][own])
    t = (torch.arange(len(x)) < len(own)).float()
    if plan is None:
        raise RuntimeError("mixup with probability 1 mixes every batch")
    share, partner = torch.from_numpy(plan.weight), torch.from_numpy(plan.partner)
    x = share[:, None, None] * x + (1 - share[:, None, None]) * x[partner]
    labels = share[:, None] * labels + (1 - share[:, None]) * labels[partner]
    return {"x": x[:, None].contiguous(), "t": share * t + (1 - share) * t[partner], "attributes": labels}


def _arithmetic(source: Any) -> None:
    """Forward, backward and step alone, on one batch that is there."""
    import torch

    model, batch = _objective(source), source.batch(0, progress=0.0)
    model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    x = batch["x"].contiguous(memory_format=torch.channels_last)
    for _ in range(N_STEPS):
        terms = model({**batch, "x": x})
        optimiser.zero_grad(set_to_none=True)
        (terms["machine"] + 5.0 * terms["attributes"]).backward()
        optimiser.step()


def _torchaudio() -> Callable[[NDArray[np.float32]], Any]:
    from dcase_asd.features.log_mel import Config, LogMel

    feature = LogMel(Config(standardise="none", highpass=None, backend="torchaudio"))
    return lambda waveform: feature.compute(waveform).T


def _librosa(waveform: NDArray[np.float32]) -> Any:
    from dcase_asd.features.log_mel import Config, LogMel

    return LogMel(Config(standardise="none", highpass=None, backend="librosa")).compute(waveform).T
