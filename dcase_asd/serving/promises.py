"""What may be expected of a threshold, in sentences."""

from __future__ import annotations

import numpy as np

from dcase_asd.serving.fitting import Calibration
from dcase_asd.serving.settings import ModelConfig

__all__ = ["promise"]


def promise(calibration: Calibration, config: ModelConfig) -> list[str]:
    """Say which false-alarm rate the threshold keeps, with its interval, and what it takes to keep the wanted one."""
    threshold, n = calibration.threshold, len(calibration.scores)
    lines = [
        f"Threshold {threshold.value:.4g} from {n} normal recordings or pieces of recordings, each scored by a model that did "
        f"not hear it: expect {_rate(threshold.rate)} false alarms (95 % interval {_rate(threshold.rate_low)} to "
        f"{_rate(threshold.rate_high)}), per recording, in recordings over {config.whole_s:g} s per {config.window_s:g} s."
    ]
    if threshold.rate > calibration.wanted_rate * (1.0 + 1e-9):
        needed = int(np.ceil(1.0 / calibration.wanted_rate - 1e-9)) - 1
        lines.append(
            f"ATTENTION: {_rate(calibration.wanted_rate)} was asked for, but {n} recordings can promise no less than "
            f"{_rate(threshold.rate)}; add normal recordings ({needed} are needed)."
        )
    if len(calibration.target_scores):
        above = int(np.count_nonzero(calibration.target_scores > threshold.value))
        low, high = _interval(above, len(calibration.target_scores))
        lines.append(
            f"Of {len(calibration.target_scores)} recordings of the second condition {above} lie above it "
            f"(95 % interval {_rate(low)} to {_rate(high)})."
        )
    return lines


def _rate(share: float) -> str:
    return "none" if share <= 0 else f"1 in {1.0 / share:.3g}"


def _interval(above: int, n: int) -> tuple[float, float]:
    from scipy import stats

    known = stats.binomtest(above, n).proportion_ci(0.95, method="exact")
    return float(known.low), float(known.high)
