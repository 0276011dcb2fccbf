"""The drawings of a clip of sound: log-mel, anomaly map and score over one time axis; scales shared by a machine's clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dcase_asd.evaluation.report.data import ClipReport
from dcase_asd.evaluation.report.media import embed_picture
from dcase_asd.evaluation.report.svg import Panel, element, number, picture, round_ticks, tick_label

__all__ = ["WIDTH", "ClipScales", "clip_scales", "colour_bar", "image", "sound_figure"]

WIDTH, _LEFT, _PANEL_WIDTH = 400.0, 50.0, 306.0
_TICKS_HZ = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0)
_MIN_TICK_GAP = 15.0


@dataclass(frozen=True)
class ClipScales:
    """What all clips of a machine share: colour ranges, and the least height of a score axis.

    Without ``least_score_span`` a flat score line would be blown up until its noise looks like an event.
    """

    feature: tuple[float, float]
    heat: tuple[float, float]
    least_score_span: float


def clip_scales(clips: Sequence[ClipReport], *, heat_floor: float | None = None) -> ClipScales:
    """Return the shared ranges: features between their 0.5 % and 99.9 % quantiles, the rest from lowest to highest.

    Heat maps begin at ``heat_floor`` where that is given and anything shown is above it.
    """
    features = [np.ravel(c.feature.values) for c in clips if c.feature is not None]
    heat = [np.ravel(c.heat_map) for c in clips if c.heat_map is not None]
    scores = [np.ravel(c.segment_scores) for c in clips if c.segment_scores is not None]
    low, high = _range(scores, 0, 1)
    bottom, top = _range(heat, 0, 1)
    bottom = heat_floor if heat_floor is not None and heat_floor < top else bottom
    return ClipScales(_range(features, 0.005, 0.999), (bottom, top), 0.2 * (high - low))


def _range(arrays: Sequence[NDArray[np.floating]], low: float, high: float) -> tuple[float, float]:
    if not arrays or sum(a.size for a in arrays) == 0:
        return 0.0, 1.0
    bottom, top = np.quantile(np.concatenate(arrays).astype(np.float64), [low, high])
    return (float(bottom), float(top)) if top > bottom else (float(bottom) - 0.5, float(bottom) + 0.5)


def sound_figure(clip: ClipReport, *, scales: ClipScales, max_px: int, label: str) -> Markup | None:
    """Draw what the clip has of log-mel, anomaly map and segment scores, one above the other; None if it has none of them."""
    start, end = _time_range(clip)
    parts: list[Markup] = []
    panels: list[Panel] = []
    top = 20.0
    for layer, height in _layers(clip, scales):
        bands = clip.feature.band_hz if clip.feature is not None else np.empty(0)
        panels.append(_panel(top, height, (start, end), (0, len(bands))))
        parts += _layer_panel(panels[-1], layer, band_hz=bands, max_px=max_px)
        top = panels[-1].bottom + 26
    if clip.segment_scores is not None and clip.score_times_s is not None and len(clip.segment_scores):
        panels.append(_panel(top, 74, (start, end), _score_range(clip.segment_scores, scales)))
        parts += _score_panel(panels[-1], clip.score_times_s, clip.segment_scores)
    if not panels:
        return None
    last = panels[-1]
    parts.append(last.x_axis(round_ticks(start, end, n=6), label="time, s", grid=False))
    place: dict[str, str | float] = {
        "data_left": last.left,
        "data_width": last.width,
        "data_start": f"{start:.6g}",
        "data_end": f"{end:.6g}",
    }
    # a light line on a dark one is seen on every colour of the palettes
    lines = [element("line", x1=0, x2=0, y1=20, y2=last.bottom, class_=css) for css in ("under", "over")]
    parts.append(element("g", *lines, class_="cursor", transform=f"translate({number(last.left)} 0)", **place))
    return picture(WIDTH, last.bottom + 38, *parts, label=label)


def _layers(clip: ClipReport, scales: ClipScales) -> list[tuple[_Layer, float]]:
    """Return the time-frequency pictures of a clip with their heights in the drawing."""
    if clip.feature is None:
        return []
    feature = clip.feature
    name = "log-mel spectrogram" if feature.unit == "dB" else "feature"
    layers = [(_Layer(name=name, values=feature.values, limits=scales.feature, palette="viridis", unit=feature.unit), 150.0)]
    if clip.heat_map is not None:
        layers.append((_Layer(name="anomaly map", values=clip.heat_map, limits=scales.heat, palette="inferno", unit=""), 90.0))
    return layers


def _time_range(clip: ClipReport) -> tuple[float, float]:
    if clip.feature is not None:
        return clip.feature.start_s, clip.feature.end_s
    times = clip.score_times_s
    if times is None or len(times) == 0:
        return 0.0, 1.0
    last = float(times[-1])
    return 0.0, last + (float(times[0]) if times[0] > 0 else 0.5)


def _score_range(scores: NDArray[np.floating], scales: ClipScales) -> tuple[float, float]:
    low, high = float(np.min(scores)), float(np.max(scores))
    half = max(1.16 * (high - low), scales.least_score_span) / 2
    return (low + high) / 2 - half, (low + high) / 2 + half


def _panel(top: float, height: float, x_range: tuple[float, float], y_range: tuple[float, float]) -> Panel:
    return Panel(left=_LEFT, top=top, width=_PANEL_WIDTH, height=height, x_range=x_range, y_range=y_range)


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A time-frequency picture to draw: its values, lowest band first, its palette and what it is called."""

    name: str
    values: NDArray[np.floating]
    limits: tuple[float, float]
    palette: str
    unit: str


def _layer_panel(panel: Panel, layer: _Layer, *, band_hz: NDArray[np.floating], max_px: int) -> list[Markup]:
    address = embed_picture(np.asarray(layer.values)[::-1], value_range=layer.limits, palette=layer.palette, max_px=max_px)
    return [
        element("text", layer.name, x=panel.left, y=panel.top - 6, class_="legend strong"),
        image(panel, address),
        panel.frame(),
        _band_axis(panel, np.asarray(band_hz, dtype=float)),
        colour_bar(panel, layer.limits, gradient=layer.palette, unit=layer.unit),
    ]


def _score_panel(panel: Panel, times: NDArray[np.floating], scores: NDArray[np.floating]) -> list[Markup]:
    dots = [element("circle", cx=panel.x(float(t)), cy=panel.y(float(s)), r=2.2) for t, s in zip(times, scores, strict=True)]
    return [
        element("text", "score of each segment", x=panel.left, y=panel.top - 6, class_="legend strong"),
        panel.y_axis(round_ticks(*panel.y_range, n=4), label=""),
        panel.frame(),
        panel.line(times, scores, class_="curve all"),
        element("g", *(dots if len(dots) <= 80 else []), class_="dots"),
    ]


def _band_axis(panel: Panel, band_hz: NDArray[np.float64]) -> Markup:
    places: list[float] = []
    texts: dict[float, str] = {}
    for tick in _TICKS_HZ:
        row = float(np.interp(tick, band_hz, np.arange(len(band_hz)) + 0.5))
        inside = band_hz[0] <= tick <= band_hz[-1] * 1.05
        if inside and (not places or panel.y(places[-1]) - panel.y(row) >= _MIN_TICK_GAP):
            places.append(row)
            texts[row] = f"{tick / 1000:g} kHz" if tick >= 1000 else f"{tick:g} Hz"
    return panel.y_axis(places, label="", form=texts.__getitem__, grid=False)


def image(panel: Panel, address: str, **attributes: str) -> Markup:
    """Return an embedded picture that fills a panel, its proportions not kept."""
    return element(
        "image",
        href=address,
        x=panel.left,
        y=panel.top,
        width=panel.width,
        height=panel.height,
        preserveAspectRatio="none",
        **attributes,
    )


def colour_bar(panel: Panel, limits: tuple[float, float], *, gradient: str, unit: str) -> Markup:
    """Return the colours of a palette with their values, right of a panel."""
    left = panel.right + 7
    bar = Panel(left=left, top=panel.top, width=7, height=panel.height, x_range=(0, 1), y_range=limits)
    parts = [element("rect", x=left, y=panel.top, width=7, height=panel.height, fill=f"url(#{gradient})")]
    ticks = round_ticks(*limits, n=max(int(panel.height / 30), 2))
    parts += [element("text", tick_label(tick), x=left + 10, y=bar.y(tick) + 4, class_="tick") for tick in ticks]
    parts.append(element("text", unit, x=left, y=panel.top - 6, class_="tick"))
    return Markup("").join(parts)
