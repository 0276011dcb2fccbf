"""The detector that CONTRIBUTING.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dcase_asd.detectors.base import Batch, Scores
from dcase_asd.features.segments import SegmentMeta

ROOT = Path(__file__).resolve().parents[2]


def test_documented_detector_works() -> None:
    found = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    names: dict[str, object] = {"__name__": "centroid"}
    exec(compile(found.group(1), "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    detector = names["Centroid"](names["Config"]())  # type: ignore[operator]
    x = np.random.default_rng(0).normal(size=(20, 3))
    text = np.array(["source"] * 20, dtype=object)
    detector.fit(lambda: [Batch(x, np.arange(20), SegmentMeta(text, text, text, text, np.zeros(20)))], seed=0)
    other = names["Centroid"](names["Config"]())  # type: ignore[operator]
    other.load_state(detector.state())
    scores = other.score(np.array([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]]))
    assert isinstance(scores, Scores)
    np.testing.assert_allclose(scores.score, np.linalg.norm([[0, 0, 0], [9, 9, 9]] - x.mean(axis=0), axis=1))
