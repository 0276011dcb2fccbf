"""What may be expected of a threshold, in sentences."""

from __future__ import annotations

import numpy as np

from dcase_asd.scores.thresholds import Threshold
from dcase_asd.serving.learning.calibration import Calibration
from dcase_asd.serving.learning.fitting import Normals
from dcase_asd.serving.settings import ModelConfig

__all__ = ["promise"]

_NAMES = {"source": "normal recordings", "target": "recordings of the second condition"}


def promise(calibration: Calibration, config: ModelConfig, normals: Normals) -> list[str]:
    """Say which false-alarm rate the threshold keeps, under what conditions, and what it takes to keep the wanted one."""
    threshold = calibration.threshold
    lines = [
        f"Threshold {threshold.value:.4g} from {threshold.n} normal recordings or pieces of recordings, each scored by a model "
        f"that did not hear it; false alarms are counted per recording, in recordings over {config.whole_s:g} s per "
        f"{config.window_s:g} s."
    ]
    raised = threshold.value > threshold.parameters["order"]
    lines += [_expected(name, own, raised=threshold.value > own.value) for name, own in calibration.own.items()]
    few = {name: own for name, own in calibration.own.items() if own.rate > calibration.wanted_rate * (1.0 + 1e-9)}
    if few:
        lines.append(_too_few(calibration.wanted_rate, few, raised=raised))
    if len(set(normals.group)) < len(normals.names):
        lines.append("Pieces of one recording are alike: the intervals count them as if they were not, and are too narrow.")
    if "target" in normals.domain and "target" not in calibration.own:
        lines.append("Of the second condition there is a single recording: nothing is promised for it.")
    lines.append(
        "This holds for recordings made as these were. Another day, place, load or gain is another condition: give some normal "
        "recordings of it by --also or update, or expect more alarms."
    )
    if calibration.unheard is not None:
        above, n = int(np.count_nonzero(calibration.unheard > threshold.value)), len(calibration.unheard)
        low, high = _interval(above, n)
        lines.append(
            f"How many more: a model that heard the first condition alone puts {above} of {n} recordings of the second above the "
            f"threshold (95 % interval {_rate(low)} to {_rate(high)})."
        )
    return lines


def _expected(name: str, own: Threshold, *, raised: bool) -> str:
    words = f"{own.n} {_NAMES[name]}: expect"
    if raised:
        return f"{words} at most {_rate(own.rate)} false alarms (with 95 % certainty at most {_rate(own.rate_high)})."
    return f"{words} {_rate(own.rate)} false alarms (95 % interval {_rate(own.rate_low)} to {_rate(own.rate_high)})."


def _too_few(wanted: float, few: dict[str, Threshold], *, raised: bool) -> str:
    needed = int(np.ceil(1.0 / wanted - 1e-9)) - 1
    what = " and ".join(f"{own.n} {_NAMES[name]} can promise no less than {_rate(own.rate)}" for name, own in few.items())
    aim = (
        f"The threshold stands higher, where {_rate(wanted)} would pass if scores were Gaussian, which so few cannot show."
        if raised
        else "The highest of them stands above where a Gaussian would pass at that rate, so the threshold is there."
    )
    return f"ATTENTION: {_rate(wanted)} was asked for, but {what}; add normal recordings ({needed} are needed of each). {aim}"


def _rate(share: float) -> str:
    return "none" if share <= 0 else f"1 in {1.0 / share:.3g}"


def _interval(above: int, n: int) -> tuple[float, float]:
    from scipy import stats

    known = stats.binomtest(above, n).proportion_ci(0.95, method="exact")
    return float(known.low), float(known.high)
