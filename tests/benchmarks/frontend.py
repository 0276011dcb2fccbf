"""The log-mel front end on one core, in CPU seconds: ours, librosa, torchaudio, and the bare FFT of the same frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.benchmarks import Row, alternate

DESCRIPTION = "log-mel of a 10 s clip at the paper's parameters, one core, against librosa, torchaudio and the bare FFT"

#: Frames of a block of the native backend.
_BLOCK = 206


def run() -> list[Row]:
    """Time the three backends in one run, and what no front end can go below."""
    import torch
    from threadpoolctl import threadpool_limits

    from dcase_asd.features.log_mel import Config, LogMel

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    waveform = (0.1 * np.random.default_rng(0).standard_normal(160_000)).astype(np.float32)
    features = {name: LogMel(Config(standardise="none", backend=name)) for name in ("native", "librosa", "torchaudio")}
    grid = features["native"].grid
    n_frames = features["native"].n_frames(len(waveform))
    frames = torch.from_numpy(np.lib.stride_tricks.sliding_window_view(waveform, grid.window)[:: grid.hop].copy())

    def in_blocks() -> None:
        # as the native backend calls it
        for first in range(0, n_frames, _BLOCK):
            torch.fft.rfft(frames[first : first + _BLOCK])

    functions = {name: (lambda feature=feature: feature.compute(waveform)) for name, feature in features.items()}
    functions["fft"] = lambda: torch.fft.rfft(frames)
    functions["fft in blocks"] = in_blocks
    functions |= _steps(features["native"], frames[:_BLOCK], n_frames // _BLOCK)
    functions["power"] = lambda: features["native"].power(waveform)
    with threadpool_limits(limits=1):
        seconds = alternate(functions, rounds=40, clock=time.process_time)
    torch.set_num_threads(before)
    ours = seconds["native"]
    alone = {step: seconds[step] for step in ("window", "fft in blocks", "magnitude", "mel", "log")}
    shares = ", ".join(f"{step} {value / sum(alone.values()):.0%}" for step, value in alone.items())
    limit = f"{ours / sum(alone.values()):.2f} x its steps alone, warm ({shares})"
    return (
        [
            Row(
                name=f"native, times faster than {peer}",
                ours_s=ours,
                peer_s=seconds[peer],
                ratio=seconds[peer] / ours,
                target=">= 3",
            )
            for peer in ("librosa", "torchaudio")
        ]
        + [
            Row(
                name=f"native over the bare FFT, {how} (MKL, warm)",
                ours_s=ours,
                peer_s=seconds[key],
                ratio=ours / seconds[key],
                target="<= 2",
                limit=limit if key == "fft in blocks" else "",
            )
            for how, key in (("in one call", "fft"), ("in our blocks", "fft in blocks"))
        ]
        + [Row(name="power weight over native log-mel", ours_s=seconds["power"], peer_s=ours, ratio=seconds["power"] / ours)]
    )


def _steps(feature: Any, frames: Any, n_blocks: int) -> dict[str, Callable[[], object]]:
    """Return the native backend's steps but the FFT, each over ``n_blocks`` times the same block."""
    import torch

    from dcase_asd.features.mel import BandedFilters

    weights, windowed = torch.hann_window(frames.shape[1]), torch.empty_like(frames)
    transform = torch.fft.rfft(frames * weights).numpy()
    spectra, filters = np.square(np.abs(transform)), BandedFilters(feature._filters)
    magnitudes, bands = np.empty_like(spectra), np.empty((len(frames), feature.config.n_mels), dtype=np.float32)
    filters.apply(spectra, bands)
    logs = np.empty_like(bands)

    def magnitude() -> None:
        np.abs(transform, out=magnitudes)
        np.square(magnitudes, out=magnitudes)

    def log() -> None:
        np.maximum(bands, np.float32(1e-10), out=logs)
        np.log(logs, out=logs)

    steps: dict[str, Callable[[], object]] = {
        "window": lambda: torch.mul(frames, weights, out=windowed),
        "magnitude": magnitude,
        "mel": lambda: filters.apply(spectra, bands),
        "log": log,
    }
    return {name: (lambda step=step: [step() for _ in range(n_blocks)]) for name, step in steps.items()}
