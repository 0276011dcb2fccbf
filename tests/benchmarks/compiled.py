"""Whether torch.compile pays for the training step on a CPU: no configuration key exists as long as it does not."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import Row, one_thread, race
from tests.benchmarks.training import _objective, _source, _write_features

DESCRIPTION = "outlier-exposure step, cpu preset, one core: torch.compile against the plain call, and what compiling costs"


def run() -> list[Row]:
    """Time steps in turn, after the first call, which compiles."""
    with tempfile.TemporaryDirectory() as name, one_thread():
        _write_features(Path(name))
        source = _source(Path(name), alpha=0.0)
        plain, compiled = _Step(source, compiled=False), _Step(source, compiled=True)
        start = time.perf_counter()
        compiled()
        first_s = time.perf_counter() - start
        found = race({"compiled": compiled, "plain": plain}, rounds=9)
    saved_s = found.median("plain") - found.median("compiled")
    steps = f"{first_s / saved_s:.0f} steps win the first call back" if saved_s > 0 else "no number of steps wins it back"
    return [
        found.row("compiled step, times faster than plain", "compiled", "plain"),
        Row(name=f"first call, which compiles (clock): {steps}", ours_s=first_s, peer_s=found.median("plain"), ratio=first_s),
    ]


class _Step:
    def __init__(self, source: Any, *, compiled: bool) -> None:
        import torch

        batch = source.batch(0, progress=0.0)
        self.batch = {**batch, "x": batch["x"].contiguous(memory_format=torch.channels_last)}
        model = _objective(source)
        model.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        self.model = torch.compile(model) if compiled else model

    def __call__(self) -> None:
        terms = self.model(self.batch)
        self.optimiser.zero_grad(set_to_none=True)
        (terms["machine"] + 5.0 * terms["attributes"]).backward()
        self.optimiser.step()
