"""The drawings of a machine: ROC curves, score histograms, training curves; and the intervals in the score table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dcase_asd.evaluation.report.curves import MAX_FPR, Roc, histogram_edges
from dcase_asd.evaluation.report.svg import Panel, element, number, picture, round_ticks, score_label, tick_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Curve", "ScoreSet", "histogram_figure", "interval_axis", "interval_bar", "roc_figure", "training_figure"]

# All drawings are 400 units wide: one column of the page at full size, so that 12-unit letters stay legible on a telephone.
_WIDTH = 400.0
_PERCENT_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Curve:
    """A ROC curve with its name in the legend and its CSS class; an empty name keeps it out of the legend."""

    name: str
    css: str
    roc: Roc


@dataclass(frozen=True)
class ScoreSet:
    """The scores of one domain, ``[clip]`` each."""

    domain: str
    normal: NDArray[np.float64]
    anomalous: NDArray[np.float64]


def roc_figure(curves: Sequence[Curve], *, operating_point: tuple[float, float] | None, label: str) -> Markup:
    """Draw ROC curves, the pAUC region (FPR up to 0.1) and the decision threshold's operating point (fpr, tpr)."""
    panel = Panel(left=50, top=12, width=338, height=292, x_range=(0, 1), y_range=(0, 1))
    edge = panel.x(MAX_FPR)
    parts = [
        element("rect", x=panel.left, y=panel.top, width=edge - panel.left, height=panel.height, class_="region"),
        panel.x_axis(_PERCENT_TICKS, label="false-positive rate, %", form=_percent_tick),
        panel.y_axis(_PERCENT_TICKS, label="true-positive rate, %", form=_percent_tick),
        panel.line([0, 1], [0, 1], class_="chance"),
        panel.frame(),
        *(panel.line(c.roc.fpr, c.roc.tpr, class_=f"curve {c.css}") for c in curves),
    ]
    if operating_point is not None:
        x, y = panel.x(operating_point[0]), panel.y(operating_point[1])
        parts.append(element("circle", cx=x, cy=y, r=5, class_="point"))
    parts.append(_roc_legend([c for c in curves if c.name], panel, has_point=operating_point is not None))
    return picture(_WIDTH, 348, *parts, label=label)


def _roc_legend(curves: Sequence[Curve], panel: Panel, *, has_point: bool) -> Markup:
    parts = []
    n_rows = len(curves) + has_point
    left, top = panel.right - 158, panel.bottom - 14 - 18.0 * n_rows
    parts.append(element("rect", x=left - 8, y=top, width=160, height=18 * n_rows + 6, rx=3, class_="legend-box"))
    for row, curve in enumerate(curves):
        y = top + 15 + 18 * row
        parts.append(element("line", x1=left, x2=left + 24, y1=y - 4, y2=y - 4, class_=f"curve {curve.css}"))
        parts.append(element("text", f"{curve.name}, AUC {100 * curve.roc.auc:.2f}", x=left + 30, y=y, class_="legend"))
    if has_point:
        y = top + 15 + 18 * len(curves)
        parts.append(element("circle", cx=left + 12, cy=y - 4, r=4.5, class_="point"))
        parts.append(element("text", "threshold (all)", x=left + 30, y=y, class_="legend"))
    return Markup("").join(parts)


def _percent_tick(value: float) -> str:
    return f"{100 * value:.0f}"


def histogram_figure(sets: Sequence[ScoreSet], *, threshold: float | None, label: str, items: str = "clips") -> Markup:
    """Draw one mirrored histogram per domain: normal clips upwards, anomalies downwards, on one score axis.

    Scores beyond the axis are counted in the outermost bars (:func:`~dcase_asd.evaluation.report.curves.histogram_edges`).
    """
    everything = np.concatenate([a for s in sets for a in (s.normal, s.anomalous)])
    edges = histogram_edges(everything)
    off_axis = None
    if threshold is not None:
        span = edges[-1] - edges[0]  # a threshold far away must not squeeze the bars
        drawn = edges[0] - span < threshold < edges[-1] + span
        threshold, off_axis = (threshold, None) if drawn else (None, threshold)
    low = edges[0] if threshold is None else min(edges[0], threshold - 0.02 * (edges[-1] - edges[0]))
    high = edges[-1] if threshold is None else max(edges[-1], threshold + 0.02 * (edges[-1] - edges[0]))
    peak = max(int(_counts(part, edges).max(initial=1)) for s in sets for part in (s.normal, s.anomalous))
    height = (292 - 14.0 * (len(sets) - 1)) / len(sets)
    parts: list[Markup] = []
    for row, scores in enumerate(sets):
        top = 12 + row * (height + 14)
        panel = Panel(left=50, top=top, width=338, height=height, x_range=(low, high), y_range=(-1.12 * peak, 1.12 * peak))
        parts += _histogram_panel(panel, scores, edges=edges, peak=peak)
        if row == len(sets) - 1:
            parts.append(
                panel.x_axis(
                    round_ticks(low, high, n=5), label=f"{items.removesuffix('s')} score (higher = more anomalous)", grid=False
                )
            )
    parts.append(element("text", items, x=11, y=158, transform="rotate(-90 11 158)", class_="axis middle"))
    if off_axis is not None:
        parts.append(element("text", f"threshold {score_label(off_axis)}: beyond the axis", x=58, y=24, class_="legend"))
    if threshold is not None:
        x = panel.x(threshold)
        side = "end" if x > panel.left + 0.7 * panel.width else ""
        parts.append(element("line", x1=x, x2=x, y1=12, y2=panel.bottom, class_="threshold"))
        parts.append(element("text", "threshold", x=x - 5 if side else x + 5, y=24, class_=f"legend {side}"))
    return picture(_WIDTH, 348, *parts, label=label)


def _counts(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    middle = (edges[:-1] + edges[1:]) / 2
    return np.histogram(np.clip(scores, middle[0], middle[-1]), bins=edges)[0]


def _histogram_panel(panel: Panel, scores: ScoreSet, *, edges: NDArray[np.float64], peak: int) -> list[Markup]:
    parts = [panel.y_axis(_mirror_ticks(peak), label="", form=lambda v: tick_label(abs(v)))]
    parts.append(_bars(panel, edges, _counts(scores.normal, edges), sign=1, css="bar normal"))
    parts.append(_bars(panel, edges, _counts(scores.anomalous, edges), sign=-1, css="bar anomaly"))
    parts.append(panel.line(panel.x_range, [0, 0], class_="zero"))
    parts.append(panel.frame())
    right = panel.right - 8
    domain = "" if scores.domain == "all" else f"{scores.domain}, "
    up, down = f"{domain}normal ({len(scores.normal)})", f"{domain}anomaly ({len(scores.anomalous)})"
    parts.append(element("text", up, x=right, y=panel.top + 28, class_="legend end on-normal"))
    parts.append(element("text", down, x=right, y=panel.bottom - 8, class_="legend end on-anomaly"))
    return parts


def _mirror_ticks(peak: int) -> list[float]:
    upper = [t for t in round_ticks(0, peak, n=2) if t > 0 and t == int(t)]
    return [-t for t in reversed(upper)] + [0.0, *upper]


def _bars(panel: Panel, edges: NDArray[np.float64], counts: NDArray[np.int64], *, sign: int, css: str) -> Markup:
    zero = panel.y(0)
    pieces = [
        f"M{number(panel.x(a) + 0.5)} {number(zero)}V{number(panel.y(sign * int(n)))}H{number(panel.x(b) - 0.5)}V{number(zero)}Z"
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        if n
    ]
    return element("path", d="".join(pieces), class_=css)


def training_figure(curves: pd.DataFrame, *, label: str) -> Markup:
    """Draw ``epoch, name, value``: one panel per quantity (the part of the name after the last ``/``), one line per prefix."""
    quantities: dict[str, list[str]] = {}
    for name in dict.fromkeys(curves["name"]):
        quantities.setdefault(name.rpartition("/")[2], []).append(name)
    epochs = (float(curves["epoch"].min()), float(curves["epoch"].max()))
    x_range = epochs if epochs[1] > epochs[0] else (epochs[0] - 1, epochs[0] + 1)
    gap, n = 26.0, len(quantities)
    height = max((292 + 14 - gap * n) / n, 60.0)
    parts: list[Markup] = []
    top = 12.0
    for quantity, names in quantities.items():
        top += 14
        lines = [curves[curves["name"] == name].sort_values("epoch") for name in names]
        panel = _training_panel(lines, top=top, height=height, x_range=x_range)
        ticks = round_ticks(*panel.y_range, n=3)
        parts += [panel.y_axis(ticks, label=""), panel.frame()]
        parts += _training_lines(panel, names, lines, quantity)
        top = panel.bottom + gap - 14
    parts.append(panel.x_axis([t for t in round_ticks(*x_range, n=6) if t == int(t)], label="epoch", grid=False))
    return picture(_WIDTH, panel.bottom + 44, *parts, label=label)


def _training_panel(lines: Sequence[pd.DataFrame], *, top: float, height: float, x_range: tuple[float, float]) -> Panel:
    values = np.concatenate([line["value"].to_numpy(dtype=float) for line in lines])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    return Panel(left=50, top=top, width=338, height=height, x_range=x_range, y_range=(low - margin, high + margin))


def _training_lines(panel: Panel, names: Sequence[str], lines: Sequence[pd.DataFrame], quantity: str) -> list[Markup]:
    parts = [element("text", quantity, x=panel.left, y=panel.top - 5, class_="legend strong")]
    right = panel.right
    for index in reversed(range(len(names))):
        css, prefix = f"curve line-{index % 4}", names[index].rpartition("/")[0]
        finite = lines[index][np.isfinite(lines[index]["value"].to_numpy(dtype=float))]
        parts.append(panel.line(finite["epoch"], finite["value"], class_=css))
        if prefix:
            parts.append(element("text", prefix, x=right, y=panel.top - 5, class_="legend end"))
            right -= 7.0 * len(prefix) + 8
            parts.append(element("line", x1=right - 16, x2=right, y1=panel.top - 9, y2=panel.top - 9, class_=css))
            right -= 30
    return parts


def interval_bar(score: float, low: float | None, high: float | None, *, x_range: tuple[float, float], css: str) -> Markup:
    """Draw a score as a dot and its interval as a bar, on the axis of :func:`interval_axis`; a decoration of the numbers."""
    panel = Panel(left=12, top=0, width=316, height=22, x_range=x_range, y_range=(0, 1))
    parts = [element("line", x1=panel.x(t), x2=panel.x(t), y1=0, y2=22, class_="grid") for t in round_ticks(*x_range, n=5)]
    if low is not None and high is not None:
        ends = [panel.x(low), panel.x(high)]
        parts += [element("line", x1=x, x2=x, y1=6, y2=16, class_=f"whisker {css}") for x in ends]
        parts.append(element("line", x1=panel.x(low), x2=panel.x(high), y1=11, y2=11, class_=f"whisker {css}"))
    parts.append(element("circle", cx=panel.x(score), cy=11, r=5, class_=f"dot {css}"))
    return element("svg", *parts, viewBox="0 0 340 22", aria_hidden="true", class_="interval")


def interval_axis(x_range: tuple[float, float]) -> Markup:
    """Draw the axis above the bars of :func:`interval_bar`, in per cent."""
    panel = Panel(left=12, top=0, width=316, height=18, x_range=x_range, y_range=(0, 1))
    parts = [
        element("text", tick_label(round(100 * t, 6)), x=panel.x(t), y=14, class_="tick middle")
        for t in round_ticks(*x_range, n=5)
    ]
    return element("svg", *parts, viewBox="0 0 340 18", aria_hidden="true", class_="interval")
