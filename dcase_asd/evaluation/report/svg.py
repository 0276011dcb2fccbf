"""A small SVG writer: elements with escaped text, a panel with axes, and round tick values.

Colours are CSS classes of the page, so that one drawing serves the light and the dark scheme and the printer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike

__all__ = ["Panel", "element", "number", "picture", "round_ticks", "score_label", "tick_label"]


def number(value: float) -> str:
    """Format a coordinate: two decimals at most, no negative zero."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, *children: str, **attributes: str | float) -> Markup:
    """Return ``<name ...>children</name>``; plain text is escaped, ``class_`` means ``class``, ``a_b`` means ``a-b``."""
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
    ]
    body = Markup("").join(children)  # escapes what is not Markup
    return Markup(f"<{name}{''.join(parts)}>{body}</{name}>")


def picture(width: float, height: float, *children: str, label: str) -> Markup:
    """Return a scalable drawing with a text for those who do not see it."""
    return element("svg", *children, viewBox=f"0 0 {number(width)} {number(height)}", role="img", aria_label=label)


def round_ticks(low: float, high: float, *, n: int) -> list[float]:
    """Return about ``n`` tick values, at least two, in steps of 1, 2 or 5 times a power of ten inside [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / max(n, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last <= first:  # one tick gives no scale
        return round_ticks(low, high, n=n + 1)
    return [i * step for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """Format a tick value with a true minus sign."""
    return f"{value:.6g}".replace("-", "−")


def score_label(value: float) -> str:
    """Format a score with four significant digits and a true minus sign."""
    return f"{value:#.4g}".removesuffix(".").replace("-", "−")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A rectangle of a drawing with linear axes.

    Attributes
    ----------
    left, top, width, height : float
        Place in the drawing.
    x_range, y_range : (float, float)
        Values at the left and right, bottom and top edges.
    """

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Bottom edge."""
        return self.top + self.height

    def x(self, value: float) -> float:
        """Place of a value on the x axis."""
        return self.left + (value - self.x_range[0]) / (self.x_range[1] - self.x_range[0]) * self.width

    def y(self, value: float) -> float:
        """Place of a value on the y axis."""
        return self.bottom - (value - self.y_range[0]) / (self.y_range[1] - self.y_range[0]) * self.height

    def frame(self) -> Markup:
        """Return the outline."""
        return element("rect", x=self.left, y=self.top, width=self.width, height=self.height, class_="frame")

    def line(self, xs: ArrayLike, ys: ArrayLike, *, class_: str) -> Markup:
        """Return a line through points."""
        pairs = zip(np.asarray(xs, dtype=float), np.asarray(ys, dtype=float), strict=True)
        points = " ".join(f"{number(self.x(x))},{number(self.y(y))}" for x, y in pairs)
        return element("polyline", points=points, class_=class_)

    def x_axis(
        self, ticks: Sequence[float], *, label: str, form: Callable[[float], str] = tick_label, grid: bool = True
    ) -> Markup:
        """Return ticks, numbers and name of the x axis."""
        parts = []
        for tick in ticks:
            x = self.x(tick)
            parts.append(element("line", x1=x, x2=x, y1=self.top if grid else self.bottom, y2=self.bottom + 4, class_="grid"))
            parts.append(element("text", form(tick), x=x, y=self.bottom + 16, class_="tick middle"))
        if label:
            parts.append(element("text", label, x=self.left + self.width / 2, y=self.bottom + 32, class_="axis middle"))
        return Markup("").join(parts)

    def y_axis(
        self, ticks: Sequence[float], *, label: str, form: Callable[[float], str] = tick_label, grid: bool = True
    ) -> Markup:
        """Return ticks, numbers and name of the y axis."""
        parts = []
        for tick in ticks:
            y = self.y(tick)
            parts.append(element("line", x1=self.left - 4, x2=self.right if grid else self.left, y1=y, y2=y, class_="grid"))
            parts.append(element("text", form(tick), x=self.left - 7, y=y + 4, class_="tick end"))
        if label:
            x, y = 11.0, self.top + self.height / 2
            turn = f"rotate(-90 {number(x)} {number(y)})"
            parts.append(element("text", label, x=x, y=y, transform=turn, class_="axis middle"))
        return Markup("").join(parts)
