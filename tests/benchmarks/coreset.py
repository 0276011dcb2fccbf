"""Coreset of PatchCore: the blocked traversal against the loop that reads all points for every pick.

Two loops in single precision on all cores: the one of anomalib (differences to the new pick, their norms, running minimum; its
sparse projection to 128 dimensions is done beforehand for both), and one with squared lengths kept, one matrix-vector product per
pick, which is the obvious improvement. Timed are some picks of a loop, and scaled up to all: every pick costs the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dcase_asd.detectors._shared.coreset import StreamingCoreset, farthest_first
from tests.benchmarks import Row, alternate

DESCRIPTION = "farthest-first coreset of patches of 128 dimensions: blocked against one pick at a time (loops extrapolated)"

DIM, ROUNDS, TIMED = 128, 3, 60
#: Points, picks, and the ratio asked for over the plain loop.
CASES = ((50_000, 5_000, ">= 20"), (200_000, 20_000, ">= 50"))


def run() -> list[Row]:
    """Time both and compare their picks.

    Raises
    ------
    AssertionError
        If the sets of the first picks differ by more than 1 % (near ties in single precision).
    """
    rows = []
    for n, k, target in CASES:
        x = patches(n)
        if n == CASES[0][0]:
            ours, theirs = farthest_first(x, 1_000).index, _plain(x, 1_000)
            shared = len(set(ours.tolist()) & set(theirs))
            assert shared >= 990, f"{shared} of 1000 picks agree"
        seconds = alternate({"ours": lambda: farthest_first(x, k), "plain": lambda: _plain(x, TIMED)}, rounds=ROUNDS)  # noqa: B023
        seconds |= alternate({"kept": lambda: _lengths_kept(x, TIMED)}, rounds=ROUNDS)  # noqa: B023
        rows += [_row("plain loop", seconds["plain"], seconds["ours"], (n, k), target)]
        rows += [_row("loop with lengths kept", seconds["kept"], seconds["ours"], (n, k), "")]
    return [*rows, *_streaming()]


def _row(name: str, peer_s: float, ours_s: float, size: tuple[int, int], target: str) -> Row:
    whole = peer_s * size[1] / TIMED
    text = f"coreset {size[0]} choose {size[1]}: {name} (extrapolated from {TIMED} picks) / blocked"
    return Row(name=text, ours_s=ours_s, peer_s=whole, ratio=whole / ours_s, target=target)


def _streaming() -> list[Row]:
    """Bounded memory: how much wider the coreset of a stream in ten chunks covers, than that of all points at once."""
    x = patches(100_000)
    stream = StreamingCoreset(ratio=0.02, limit=2_000, chunk=10_000, seed=0)
    for first in range(0, len(x), 10_000):
        stream.add(x[first : first + 10_000])
    bank, stated = stream.finish()
    true, whole = _radius(x, bank), farthest_first(x, 2_000).radius
    assert true <= stated * (1 + 1e-4), f"covering radius {true} is above the stated {stated}"
    random = _radius(x, x[np.random.default_rng(0).choice(len(x), 2_000, replace=False)])
    return [
        Row(name="covering radius: 12 000 rows in memory / all", ours_s=true, peer_s=whole, ratio=true / whole, unit=""),
        Row(name="covering radius: random choice / all", ours_s=random, peer_s=whole, ratio=random / whole, unit=""),
    ]


def _radius(x: np.ndarray, bank: np.ndarray) -> float:
    center = bank.mean(axis=0)
    y, b = x - center, bank - center
    squared = np.einsum("nd,nd->n", b, b)
    nearest = [
        (np.einsum("nd,nd->n", part, part) + (squared - 2 * part @ b.T).min(axis=1)).max() for part in np.array_split(y, 20)
    ]
    return float(np.sqrt(max(nearest)))


def patches(n: int) -> np.ndarray:
    """Return made-up patch features ``[n, DIM]``: near a surface of few dimensions, with a decaying spectrum, rectified."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n, DIM), dtype=np.float32) * (np.arange(1, DIM + 1, dtype=np.float32) ** -0.7)
    mixing = rng.standard_normal((DIM, DIM), dtype=np.float32)
    return np.maximum(latent @ mixing / 4 + 0.5, 0.0)


def _plain(points: np.ndarray, n_picks: int) -> list[int]:
    import torch

    x = torch.from_numpy(points)

    def new(pick: int) -> torch.Tensor:
        return torch.linalg.norm(x - x[pick : pick + 1], ord=2, dim=1)

    return _loop(new, n_picks)


def _lengths_kept(points: np.ndarray, n_picks: int) -> list[int]:
    import torch

    x = torch.from_numpy(points)
    squared = (x * x).sum(dim=1)

    def new(pick: int) -> torch.Tensor:
        return torch.addmv(squared, x, x[pick], alpha=-2.0).add_(squared[pick])

    return _loop(new, n_picks)


def _loop(new: Callable[[int], object], n_picks: int) -> list[int]:
    import torch

    picks = [0]
    distance = new(0)
    while len(picks) < n_picks:
        picks.append(int(distance.argmax()))  # type: ignore[attr-defined]
        torch.minimum(distance, new(picks[-1]), out=distance)  # type: ignore[call-overload]
    return picks
