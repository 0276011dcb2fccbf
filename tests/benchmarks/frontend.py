"""The log-mel front end on one core, in CPU seconds: ours, librosa, torchaudio, and the bare FFT of the same frames."""

from __future__ import annotations

import time

import numpy as np

from tests.benchmarks import Row, alternate

DESCRIPTION = "log-mel of a 10 s clip at the paper's parameters, one core, against librosa, torchaudio and the bare FFT"


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
        for first in range(0, n_frames, 206):
            torch.fft.rfft(frames[first : first + 206])

    functions = {name: (lambda feature=feature: feature.compute(waveform)) for name, feature in features.items()}
    functions["fft"] = lambda: torch.fft.rfft(frames)
    functions["fft in blocks"] = in_blocks
    functions["power"] = lambda: features["native"].power(waveform)
    with threadpool_limits(limits=1):
        seconds = alternate(functions, rounds=40, clock=time.process_time)
    torch.set_num_threads(before)
    ours = seconds["native"]
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
            )
            for how, key in (("in one call", "fft"), ("in our blocks", "fft in blocks"))
        ]
        + [Row(name="power weight over native log-mel", ours_s=seconds["power"], peer_s=ours, ratio=seconds["power"] / ours)]
    )
