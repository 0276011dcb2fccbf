"""The fast path ends where the plain path does, within what seeds do."""

from __future__ import annotations

import statistics

import pytest

from tests.benchmarks import fast_path


@pytest.mark.slow
def test_fast_path_equals_plain_path_within_the_noise_of_seeds() -> None:
    """Gap of the means over three seeds: at most one standard deviation of the plain path; for bfloat16 at most two."""
    found = fast_path.results()
    for name, most in (("fast", 1.0), ("fast, bfloat16", 2.0)):
        for measure in ("auc", "loss"):
            own, plain = ([run[measure] for run in found[path]] for path in (name, "plain"))
            gap = abs(statistics.mean(own) - statistics.mean(plain))
            assert gap <= most * fast_path.spread(plain), (name, measure, own, plain)
    assert all(run["auc"] > 0.5 for run in found["plain"])
