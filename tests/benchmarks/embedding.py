"""Stage 4's work with ResNet-18, against a plain loop and the bare network."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import Row, one_thread, race
from tests.benchmarks.training import _source, _write_features

DESCRIPTION = "embedding of 40 clips of 6 s (5 s segments, 75 % overlap) by the cpu preset's network, one core"

HOP, RATE_HZ = 78, 62.5


def run() -> list[Row]:
    """Time the store's way, a plain loop and the network alone.

    Raises
    ------
    AssertionError
        If the embeddings differ by more than rounding.
    """
    import torch

    from dcase_asd.extractors._shared.exposure_model import build_network
    from dcase_asd.extractors.embed import embed_store
    from dcase_asd.extractors.outlier_exposure import Config, OutlierExposure
    from dcase_asd.features.store import FeatureFolder
    from tests.benchmarks.training import SEGMENT

    with tempfile.TemporaryDirectory() as name, one_thread():
        _write_features(Path(name))
        source, store = _source(Path(name), alpha=0.0), FeatureFolder(Path(name)).open("m0", "train")
        torch.manual_seed(0)
        network = build_network(Config(), n_bands=source.clips.target.n_bands).eval()
        extractor = OutlierExposure(Config())
        extractor._take(network, "cpu")
        plain = build_network(Config(), n_bands=source.clips.target.n_bands).eval()
        plain.load_state_dict(network.state_dict())
        options = {"segment_frames": SEGMENT, "hop_frames": HOP, "frame_rate_hz": RATE_HZ}
        embedded = embed_store(extractor, store, **options)
        x = torch.randn(64, 1, source.clips.target.n_bands, SEGMENT).contiguous(memory_format=torch.channels_last)
        n_batches = len(embedded.vector) / 64
        functions = {
            "ours": lambda: embed_store(extractor, store, **options),
            "loop": lambda: _loop(plain, store),
            "the bare network": lambda: _bare(network, x, n_batches),
        }
        np.testing.assert_allclose(embedded.vector, _loop(plain, store), rtol=2e-3, atol=2e-4)
        found = race(functions, rounds=5)
    return [found.row("times faster than clip by clip, contiguous", "ours", "loop", target=">= 1", limit="the bare network")]


def _loop(network: Any, store: Any) -> Any:
    """As one would write it: a clip at a time, all its segments as one batch, plain layout."""
    import torch

    from tests.benchmarks.training import SEGMENT

    found = []
    with torch.no_grad():
        for row in range(len(store)):
            clip = torch.from_numpy(np.array(store.clip(row), dtype=np.float32))
            last = len(clip) - SEGMENT
            starts = [*range(0, last + 1, HOP)]
            starts += [last] if starts[-1] != last else []
            segments = torch.stack([clip[s : s + SEGMENT].T for s in starts])[:, None]
            found.append(network(segments.contiguous())[1])
    return torch.cat(found).numpy()


def _bare(network: Any, x: Any, n_batches: float) -> None:
    import torch

    with torch.no_grad():
        for _ in range(int(n_batches)):
            network(x)
        rest = round((n_batches % 1) * len(x))
        if rest:
            network(x[:rest])
