"""Tables of trials, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcase_asd.evaluation.intervals import jackknife, leave_one_out
from dcase_asd.evaluation.metrics import auc
from dcase_asd.serving.trials.machine import Outcome

__all__ = ["alarm_table", "auc_table"]


def auc_table(outcomes: Sequence[Outcome]) -> str:
    """Return AUCs in per cent, variants by machines, means over seeds with jackknife intervals over clips (95 %)."""
    machines = list(dict.fromkeys(o.machine for o in outcomes))
    variants = list(dict.fromkeys(o.variant for o in outcomes))
    lines = [_row(["Variant", "mean", *machines]), _row(["---", *("---:" for _ in range(len(machines) + 1))])]
    for variant in variants:
        cells, means = [], []
        for machine in machines:
            some = [o for o in outcomes if (o.variant, o.machine) == (variant, machine)]
            values = [auc(o.is_anomaly, o.score) for o in some]
            means.append(float(np.mean(values)))
            cells.append(f"{100 * means[-1]:.1f}{_interval(some, means[-1])}")
        lines.append(_row([variant, f"{100 * np.mean(means):.1f}", *cells]))
    return "\n".join(lines)


def alarm_table(outcomes: Sequence[Outcome]) -> str:
    """Return, for each machine, variant and condition, what was promised and what held-out normal recordings did.

    "Kept" means that as many alarms or more occur in more than one of 40 samples of so many recordings, were the share of alarms
    distributed as the promise says (a beta-binomial; one-sided at 2.5 %: fewer alarms break no promise).
    """
    from scipy import stats

    head = ["Machine", "Variant", "Condition", "fitted on", "promised at most", "95 % interval", "false alarms", "kept", "found"]
    lines = [_row(head), _row(["---"] * 3 + ["---:"] * 6)]
    for key in dict.fromkeys((o.machine, o.variant) for o in outcomes):
        some = [o for o in outcomes if (o.machine, o.variant) == key]
        for name, target in (("first", False), ("second", True)):
            rows = [(o, ~o.is_anomaly & (o.target == target)) for o in some]
            own = some[0].calibration.own.get("target" if target else "source")
            n = int(rows[0][1].sum())
            if not n:
                continue
            above = [int((o.score[normal] > o.calibration.threshold.value).sum()) for o, normal in rows]
            hits = [int((o.score[o.is_anomaly] > o.calibration.threshold.value).sum()) for o in some]
            found = f"{np.mean(hits):.3g} of {int(some[0].is_anomaly.sum())}"
            if own is None:
                lines.append(_row([*key, name, "1 or none", "nothing", "", f"{np.mean(above):.3g} of {n}", "", found]))
                continue
            rank = int(own.parameters["rank"])
            chance = float(stats.betabinom.sf(round(float(np.mean(above))) - 1, n, own.n + 1 - rank, rank))
            interval = f"{100 * own.rate_low:.1f} to {100 * own.rate_high:.1f} %"
            verdict = "yes" if chance > 0.025 else "NO"
            cells = [str(own.n), f"{100 * own.rate:.1f} %", interval, f"{np.mean(above):.3g} of {n}", verdict, found]
            lines.append(_row([*key, name, *cells]))
    return "\n".join(lines)


def _interval(some: Sequence[Outcome], mean: float) -> str:
    smallest = min(min(int(o.is_anomaly.sum()), int((~o.is_anomaly).sum())) for o in some)
    if smallest < 2:
        return ""
    left_out = np.mean([leave_one_out(o.is_anomaly, o.score) for o in some], axis=0)
    known = jackknife(mean, left_out)
    return f" [{100 * max(known.low, 0.0):.1f}, {100 * min(known.high, 1.0):.1f}]"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
