"""The drawing of an inspected picture: as it is with its defect outlined, and the same under its anomaly map."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dcase_asd.evaluation.report.clip_figures import WIDTH, ClipScales, colour_bar, image
from dcase_asd.evaluation.report.data import ClipReport
from dcase_asd.evaluation.report.media import embed_photo, embed_picture
from dcase_asd.evaluation.report.svg import Panel, element, number

__all__ = ["outline_path", "photo_figure"]

#: Between the two pictures, and right of them for the colour bar's numbers.
_GAP, _BAR = 8.0, 36.0


def photo_figure(clip: ClipReport, *, scales: ClipScales, max_px: int, label: str) -> Markup | None:
    """Draw the inspected picture, beside it the same with the heat map over it; None if there is no picture.

    Where a mask is known, its outline is drawn on both.
    """
    if clip.picture is None:
        return None
    n_rows, n_columns = clip.picture.shape[:2]
    address = embed_photo(clip.picture, max_px=max_px)
    width = WIDTH if clip.heat_map is None else (WIDTH - _GAP - _BAR) / 2
    height = width * n_rows / n_columns
    first = Panel(left=0, top=20, width=width, height=height, x_range=(0, 1), y_range=(0, 1))
    name = "picture" if clip.mask is None else "true defect outlined"
    parts = [element("text", name, x=0, y=13, class_="legend strong"), image(first, address), *_outline(clip.mask, first)]
    if clip.heat_map is not None:
        second = Panel(left=width + _GAP, top=20, width=width, height=height, x_range=(0, 1), y_range=(0, 1))
        heat = embed_picture(clip.heat_map, value_range=scales.heat, palette="inferno", max_px=max_px, see_through=True)
        source = f" ({clip.heat_source})" if clip.heat_source else ""
        parts += [
            element("text", f"anomaly map{source}", x=second.left, y=13, class_="legend strong"),
            image(second, address),
            image(second, heat),
            *_outline(clip.mask, second),
            colour_bar(second, scales.heat, gradient="inferno", unit=""),
        ]
    return element("svg", *parts, viewBox=f"0 0 {number(WIDTH)} {number(height + 24)}", role="img", aria_label=label)


def _outline(mask: NDArray[np.bool_] | None, panel: Panel) -> list[Markup]:
    if mask is None or not mask.any():
        return []
    path = outline_path(mask, left=panel.left, top=panel.top, width=panel.width, height=panel.height)
    # a light line on a dark one is seen on every picture
    return [element("path", d=path, class_=f"outline {css}") for css in ("under", "over")]


def outline_path(mask: NDArray[np.bool_], *, left: float, top: float, width: float, height: float) -> str:
    """Return the SVG path along the edges between defective and other pixels of ``mask [h, w]``, drawn into a rectangle."""
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    x_step, y_step = width / mask.shape[1], height / mask.shape[0]
    pieces = []
    # an edge of pixels above row r: where the mask changes from row r - 1 to r; runs of them are one line
    for row, start, stop in _runs(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        pieces.append(f"M{number(left + start * x_step)} {number(top + row * y_step)}H{number(left + stop * x_step)}")
    for column, start, stop in _runs((padded[1:-1, 1:] != padded[1:-1, :-1]).T):
        pieces.append(f"M{number(left + column * x_step)} {number(top + start * y_step)}V{number(top + stop * y_step)}")
    return "".join(pieces)


def _runs(edges: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return (line, start, stop) of every run of True in a line."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    return list(zip(lines.tolist(), starts.tolist(), stops.tolist(), strict=True))
