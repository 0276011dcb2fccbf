"""What the report is made of; filled by the pipeline, read by nothing but this package and the results page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GROUPS",
    "KINDS",
    "ClipKind",
    "ClipReport",
    "FeaturePicture",
    "Group",
    "MachineReport",
    "ReportData",
    "ReportOptions",
    "Sound",
    "SystemRow",
]

Group = Literal["ours", "comparator", "trivial"]
ClipKind = Literal["missed anomaly", "false alarm", "most anomalous"]
#: What a row of the score table is: a system of the recipe, a method to compare with, or a baseline without a model.
GROUPS: tuple[Group, ...] = ("ours", "comparator", "trivial")
#: The kinds of clips, in the order in which the page shows them: mistakes say most about a system.
KINDS: tuple[ClipKind, ...] = ("missed anomaly", "false alarm", "most anomalous")


@dataclass(frozen=True, kw_only=True)
class SystemRow:
    """One row of the score table.

    Attributes
    ----------
    system : str
        The system's name; stands once in a table.
    group : {"ours", "comparator", "trivial"}
    score : float
        The official score in [0, 1].
    low, high : float or None
        95 % interval of the score in [0, 1]; both None where no interval is known.
    per_machine : mapping
        Machine to metric name (``"AUC source"``, ``"AUC target"``, ``"pAUC"``, ...) to value in [0, 1];
        a missing or NaN value is shown as a dash.
    beside : mapping
        The same for what does not enter the score (``"AP"``, ``"F1"``, ``"pixel AUROC"`` ...).
    ranges : mapping
        Machine to metric name of ``per_machine`` or ``beside`` to the two ends of its 95 % interval.
    """

    system: str
    group: Group
    score: float
    low: float | None = None
    high: float | None = None
    per_machine: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ranges: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    def measures(self, machine: str) -> dict[str, float]:
        """Return everything known of a machine: ``per_machine``, then ``beside``."""
        return {**self.per_machine.get(machine, {}), **self.beside.get(machine, {})}


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A recording to listen to: samples with their rate, or a file.

    Attributes
    ----------
    waveform : ndarray [sample] or [channel, sample], or None
        Samples, full scale 1; channels are averaged.
    sample_rate_hz : int or None
        Needed with ``waveform``.
    path : path or None
        wav, flac, ogg or mp3; read only if ``waveform`` is None.
    """

    waveform: NDArray[Any] | None = None
    sample_rate_hz: int | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FeaturePicture:
    """A time-frequency picture with its axes.

    Attributes
    ----------
    values : ndarray [freq, time]
        Usually a log-mel in dB, lowest band first.
    band_hz : ndarray [freq]
        Centre frequency of every band, strictly rising; the frequency axis follows it, whatever mel formula made it.
    start_s, end_s : float
        Where the first frame begins and the last one ends, on the sound's time axis.
    unit : str
        Unit of ``values``.
    """

    values: NDArray[Any]
    band_hz: NDArray[Any]
    start_s: float
    end_s: float
    unit: str = "dB"


@dataclass(frozen=True, kw_only=True)
class ClipReport:
    """One clip to look at and listen to.

    Attributes
    ----------
    clip_id : str
    kind : {"missed anomaly", "false alarm", "most anomalous"}
        Why it is shown; :func:`~dcase_asd.evaluation.report.clips.choose_clips` says.
    score : float
        Clip score of the machine's main system.
    percentile : float
        Per cent of the machine's test clips that score lower.
    is_anomaly : bool
        The truth.
    domain : str
    sound : Sound or None
    feature : FeaturePicture or None
    score_times_s, segment_scores : ndarray [segment] or None
        Centres of the segments in seconds, rising, and their scores; given both or not at all.
    heat_map : ndarray [freq, time] or [height, width], or None
        Anomaly map, higher = more anomalous; spans all of ``feature`` (lowest band first) or of ``picture`` (top row first).
    picture : ndarray [height, width, 3] uint8, or None
        The inspected picture; the heat map is drawn over it.
    mask : ndarray [height, width] of bool, or None
        Where the picture is defective in truth; outlined on it.
    defect : str
        What is wrong with the clip in truth, where that is known.
    heat_source : str
        Which detector made the heat map; empty: the main system.
    """

    clip_id: str
    kind: ClipKind
    score: float
    percentile: float
    is_anomaly: bool
    domain: str
    sound: Sound | None = None
    feature: FeaturePicture | None = None
    score_times_s: NDArray[Any] | None = None
    segment_scores: NDArray[Any] | None = None
    heat_map: NDArray[Any] | None = None
    picture: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None
    defect: str = ""
    heat_source: str = ""


@dataclass(frozen=True, kw_only=True)
class MachineReport:
    """One machine's part of the page.

    Attributes
    ----------
    machine : str
    truth : pandas.DataFrame
        ``clip_id, is_anomaly (0 or 1), domain, section``, one row a test clip.
    scores : pandas.DataFrame
        ``clip_id, system, score``; ``main_system`` must score every clip of ``truth``.
    main_system : str
        The system whose curves, histograms and clips are shown; the others are drawn faintly behind its ROC curve.
    threshold : float or None
        Decision threshold on the main system's clip scores.
    training_curves : pandas.DataFrame or None
        ``epoch, name, value``. A name ``line/panel`` (``train/loss``, ``valid/loss``) puts lines of one panel together.
    clips : sequence of ClipReport
        At most ``ReportOptions.max_clips_per_machine`` are shown.
    items : str
        What test items are called: ``clips`` or ``pictures``.
    heat_floor : float or None
        Heat maps are transparent up to this value, such as the median over all test clips; None: the lowest shown.
    """

    machine: str
    truth: pd.DataFrame
    scores: pd.DataFrame
    main_system: str
    threshold: float | None = None
    training_curves: pd.DataFrame | None = None
    clips: Sequence[ClipReport] = ()
    items: str = "clips"
    heat_floor: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The whole page.

    Attributes
    ----------
    title, subtitle : str
    provenance : mapping of str to str
        Rule, seed, config hash, versions ... in the order to show; leave dates out, the same data must give the same bytes.
    system_table : sequence of SystemRow
        In the order to show; a reader can sort by clicking.
    machines : sequence of MachineReport
    notes : sequence of str
        Plain sentences about how the figures came about.
    auc_rule : {"official", "own_domain"}
        What a domain's ROC curve sets its normal clips against: the anomalies of both domains (DCASE 2022 and later)
        or of the same domain (2021).
    score_name : str
        What the official score is called.
    """

    title: str
    subtitle: str
    provenance: Mapping[str, str]
    system_table: Sequence[SystemRow]
    machines: Sequence[MachineReport]
    notes: Sequence[str] = ()
    auc_rule: Literal["official", "own_domain"] = "official"
    score_name: str = "Official score"


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What bounds the page's size.

    Attributes
    ----------
    max_clips_per_machine : int
        Clips shown per machine; the kinds take turns. 0 leaves the clips out.
    max_clip_s : float
        Seconds of a sound that are embedded, from its beginning (DCASE clips last 6 to 18 s).
    max_sound_bytes : int
        Bytes of sound in the page, as embedded; the machines take turns, and where it runs out the page says so.
    max_picture_px : int
        Longest side of an embedded picture.
    """

    max_clips_per_machine: int = 9
    max_clip_s: float = 18.0
    max_sound_bytes: int = 32_000_000
    max_picture_px: int = 512
