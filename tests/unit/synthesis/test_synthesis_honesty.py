"""How hard the corpus is: neither trivial nor hopeless for a nearest neighbour, and not to be solved by loudness."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from dcase_asd.synthesis import DEFAULT_DIFFICULTY
from dcase_asd.synthesis.layout import Clip, plan_dcase2023
from dcase_asd.synthesis.machines import machine_of, machines
from dcase_asd.synthesis.recording import record
from dcase_asd.synthesis.sizes import SIZES


class Figures(NamedTuple):
    mean_spectrum: float
    with_deviation: float
    level: float


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Share of (anomaly, normal) pairs in the right order, ties count half."""
    difference = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def describe(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Time average and deviation of the log-mel spectrogram (128 bands, 64 ms, 32 ms hop), and the level in dB."""
    import librosa

    filters = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=128)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 1024)[::512] * np.hanning(1025)[:-1]
    log_mel = 10 * np.log10(filters @ (np.abs(np.fft.rfft(frames, axis=1)).T ** 2) + 1e-10)
    return log_mel.mean(axis=1), log_mel.std(axis=1), float(10 * np.log10(np.mean(waveform**2)))


def nearest(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    return np.sqrt(((test[:, None] - train[None]) ** 2).sum(axis=-1)).min(axis=1)


def measure(name: str, size_name: str, *, difficulty: float = DEFAULT_DIFFICULTY) -> Figures:
    machine, size = machine_of(name), SIZES[size_name]
    clips = plan_dcase2023(machine, size=size, seed=0).clips

    def hear(clip: Clip) -> tuple[np.ndarray, np.ndarray, float]:
        n_samples = round(size.duration_s * 16000)
        return describe(record(machine, clip.take, n_samples=n_samples, seed=0, difficulty=difficulty))

    heard = {split: [hear(c) for c in clips if c.split == split] for split in ("train", "test")}
    labels = np.array([int(bool(c.take.cause)) for c in clips if c.split == "test"])
    means = {split: np.stack([h[0] for h in values]) for split, values in heard.items()}
    both = {split: np.stack([np.concatenate(h[:2]) for h in values]) for split, values in heard.items()}
    return Figures(
        mean_spectrum=auc(labels, nearest(means["train"], means["test"])),
        with_deviation=auc(labels, nearest(both["train"], both["test"])),
        level=auc(labels, np.array([h[2] for h in heard["test"]])),
    )


def test_mini_is_learnable_but_not_trivial() -> None:
    figures = measure("bearing", "mini")
    # 20 + 20 test clips: the deviation of an AUC is about 0.09, the bounds are two of them wider than at demo
    assert 0.45 < figures.mean_spectrum < 0.95
    assert 0.32 < figures.level < 0.68


@pytest.mark.slow
def test_difficulty_makes_it_harder() -> None:
    easy, hard = (measure("bearing", "mini", difficulty=d).mean_spectrum for d in (0.0, 1.0))
    assert easy > hard + 0.15


@pytest.mark.slow
def test_demo_is_neither_trivial_nor_hopeless_and_not_solved_by_loudness() -> None:
    figures = {name: measure(name, "demo") for name in machines()}
    table = "\n".join(f"{name}: {value}" for name, value in figures.items())
    assert 0.60 <= np.mean([f.mean_spectrum for f in figures.values()]) <= 0.85, table
    for value in figures.values():
        best = max(value.mean_spectrum, value.with_deviation)
        assert 0.54 < best < 0.97, table
        assert abs(value.level - 0.5) <= 0.12, table
