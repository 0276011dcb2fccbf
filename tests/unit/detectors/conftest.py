from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from dcase_asd.detectors.base import Batch, Batches
from dcase_asd.features.segments import SegmentMeta

Make = Callable[..., Batches]


@pytest.fixture(scope="session")
def batches_of() -> Make:
    """Make a batch factory of source and target vectors; ``order`` permutes the rows, ``n_batches`` cuts them.

    ``per_clip`` consecutive rows are segments of one clip.
    """

    def make(
        source: np.ndarray,
        target: np.ndarray | None = None,
        *,
        n_batches: int = 1,
        order: np.ndarray | None = None,
        unknown: bool = False,
        per_clip: int = 1,
    ) -> Batches:
        target = source[:0] if target is None else target
        x = np.concatenate([source, target])
        n = len(x)
        about = SegmentMeta(
            clip_id=np.array([f"clip {i // per_clip:04d}" for i in range(n)], dtype=object),
            section=np.array(["00"] * n, dtype=object),
            domain=np.array(["unknown" if unknown else "source"] * len(source) + ["target"] * len(target), dtype=object),
            attributes=np.array(["{}"] * n, dtype=object),
            start_s=np.zeros(n),
        )
        rows = np.arange(n) if order is None else order

        def batches() -> Iterator[Batch]:
            for part in np.array_split(rows, n_batches):
                yield Batch(x[part], part.astype(np.int64), about.take(part))

        return batches

    return make
