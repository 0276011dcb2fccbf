"""What is said about one recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dcase_asd.serving.model import WindowScore
from dcase_asd.serving.recordings import Window

__all__ = ["COLUMNS", "Verdict"]

#: Columns of a score table, in this order.
COLUMNS = ("file", "score", "decision", "percentile", "from_s", "to_s", "from_hz", "to_hz")


@dataclass(frozen=True)
class Verdict:
    """What is said about one recording.

    Attributes
    ----------
    file : str
    score : float
        Higher is more anomalous; 0 is the mean of normal recordings, 1 their standard deviation (before averaging members).
        Of a recording longer than a minute, that of its most anomalous window.
    decision : int
        1: above the threshold.
    percentile : float
        Per cent of the normal recordings that score lower.
    from_s, to_s, from_hz, to_hz : float
        Where it is most anomalous.
    window : Window
    details : WindowScore
    """

    file: str
    score: float
    decision: int
    percentile: float
    from_s: float
    to_s: float
    from_hz: float
    to_hz: float
    window: Window
    details: WindowScore

    @property
    def row(self) -> dict[str, Any]:
        """The values of :data:`COLUMNS`."""
        return {name: getattr(self, name) for name in COLUMNS}
