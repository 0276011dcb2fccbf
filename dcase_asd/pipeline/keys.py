"""The keys of a run's configuration that belong to the pipeline, not to a plug-in, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from dcase_asd.config import configclass

__all__ = [
    "MAIN_FEATURES",
    "DetectorEntry",
    "EnsembleEntry",
    "EvaluateConfig",
    "ExtractorEntry",
    "RawConfig",
    "ScoresConfig",
    "SegmentConfig",
    "SplitConfig",
    "SubmitConfig",
]

#: What an extractor entry calls the features under the key ``features`` (others stand under ``extra_features``).
MAIN_FEATURES = "main"


@configclass
class RawConfig:
    """Stage 0: where raw data come from.

    Attributes
    ----------
    source : str
        ``none``: they lie at ``--data_root`` already; ``synthesise``; ``download``; ``corrupt``: the training pictures at
        ``--data_root`` and its normal test pictures, each with a corrupted twin.
    size, difficulty, layout : str, float, str
        For ``synthesise``; see ``dcase-asd synth --help``. ``layout`` for ``corrupt``: which corruption, ``gauss``,
        ``salt_pepper`` or ``objects``, several joined by ``+``.
    year : int
        For ``download``: the challenge year.
    machines : tuple of str
        Only these; empty means all.
    seed : int
        Seed of the simulator, or of the corruptions.
    """

    source: Literal["none", "synthesise", "download", "corrupt"] = "none"
    size: str = "demo"
    difficulty: float | None = None
    layout: str = "dcase2023"
    year: int = 0
    machines: tuple[str, ...] = ()
    seed: int = 0


@configclass
class SegmentConfig:
    """Stage 4: how clips are cut (Fujimura 2023, Section 4.2: 5.0 s, 75 % overlap). ``length_s`` 0 takes the whole clip."""

    length_s: float = 5.0
    overlap: float = 0.75


@configclass
class ExtractorEntry:
    """What stages 3 and 4 need besides the extractor's own keys.

    Attributes
    ----------
    features : str
        Which features it reads: ``main`` or a name under ``extra_features``.
    segments : SegmentConfig
        How its clips are cut; keys that are not given are those of the recipe's ``segments``.
    """

    features: str = MAIN_FEATURES
    segments: SegmentConfig = SegmentConfig()


@configclass
class SplitConfig:
    """Which training clips are held out for validation and calibration (Fujimura 2023, Sec. 4.2: 85 % source, 6 target train)."""

    source_fraction: float = 0.85
    n_target: int = 6


@configclass
class DetectorEntry:
    """What stage 5 needs besides the detector's own keys.

    Attributes
    ----------
    extractor : str
        Which extractor's embeddings it reads.
    fit_split : str
        ``train``: fitted on the training clips, calibrated on the held-out ones; ``all``: fitted on both, calibrated by
        cross-fitting over ``folds`` folds of clips; ``valid``: fitted on the held-out clips (as the ancestor of Fujimura 2023).
    folds : int
        Cross-fitting folds where ``fit_split`` is not ``train``.
    aggregation : str or None
        Pooling of segment scores to clips; ``None`` takes ``scores.aggregation``.
    input : str
        ``vector`` or ``map`` of the embeddings; ``auto`` takes the first kind the detector accepts. ``rows``: for a detector
        of vectors, the map averaged over time, ``[channel * freq]``, which still knows at which frequency it is odd.
    sections : str
        ``apart``: every section has a model of its own; ``together``: one model for all sections of the machine, which may learn
        to tell them apart. Thresholds and standardisation of stages 7 and 8 are per section either way.
    adopt : bool
        Take over the detector that the extractor was trained with (a flow, Fujimura 2023, Eq. 5) and fit none; the held-out
        clips calibrate it. Of the detector's own keys only those that change nothing but scores may be given then.
    """

    extractor: str
    fit_split: Literal["train", "valid", "all"] = "train"
    folds: int = 3
    aggregation: str | None = None
    input: Literal["auto", "vector", "map", "rows"] = "auto"
    sections: Literal["apart", "together"] = "apart"
    adopt: bool = False


@configclass
class ScoresConfig:
    """Stage 6: pooling of segment scores to clips.

    Attributes
    ----------
    aggregation : str
        ``mean``, ``max``, ``median``, ``upper_mean`` or ``power_weighted``.
    by_machine : mapping
        Machine type to another aggregation (Fujimura 2023, Section 4.2: weighted mean for event-absent machines).
    statistics : str
        ``calibration``: scores are standardised by those of held-out normal clips; ``transductive``: by those of the test
        clips themselves, which marks the result.
    keep_maps : bool
        Keep the anomaly maps of test segments (half precision) beside the scores of detectors that make them: for pixel
        metrics where pictures have masks, and for the heat maps of the report.
    """

    aggregation: str = "mean"
    by_machine: dict[str, str] = field(default_factory=dict)
    statistics: Literal["calibration", "transductive"] = "calibration"
    keep_maps: bool = False


@configclass
class EnsembleEntry:
    """Stage 7: one ensemble.

    Attributes
    ----------
    members : tuple of str
        Detectors or shell patterns over them (``oe_*``; grid points are ``detector:part``), and ensembles defined before this
        one, by their full name only; an ensemble's scores are standardised anew, so that it counts as much as a single detector.
    name : str
        Registered way to combine.
    weights : mapping
        For ``vote``: weight per member.
    weigh_by : str
        For ``vote``: ``given``: by ``weights``; ``accuracy``: by the members' accuracy on held-out training clips of both classes
        (members must be detectors that learn from labels), never by the test clips.
    thresholds : mapping
        For ``vote``: a member votes "anomaly" above its threshold, in deviations of its held-out normal scores from their mean
        (of the section, as stage 7 standardises them); 0 where none is given. A detector that learns from labels decides by
        itself: its 0 stays its boundary.
    n_best : int
        0 takes all members; otherwise that many are chosen by development metrics, the choice is written to a file and
        applied unchanged to machines without labels.
    select_by : str
        ``machine``: per machine by its own score; ``mean_rank``: the same for all machines.
    by_part : bool
        Combine only equal grid points of the members: one system ``<ensemble>:<part>`` for each. Fujimura 2023, Sec. 4.1: systems
        of one attribute each are "ensembled for each inlier model and its hyperparameter".
    """

    members: tuple[str, ...]
    name: str = "mean"
    weights: dict[str, float] = field(default_factory=dict)
    weigh_by: Literal["given", "accuracy"] = "given"
    thresholds: dict[str, float] = field(default_factory=dict)
    n_best: int = 0
    select_by: Literal["machine", "mean_rank"] = "machine"
    by_part: bool = False


@configclass
class EvaluateConfig:
    """Stage 8.

    Attributes
    ----------
    rule : str
        Official rule by name, e.g. ``dcase2023``.
    systems : tuple of str
        Rows of the result table, in order; empty: every ensemble.
    comparators : tuple of str
        Systems shown as comparators.
    threshold : str
        ``gamma`` (0.9 quantile of a gamma distribution fitted to normal scores, as the official baseline), ``false_alarm``, or
        ``own``: systems that decide by themselves (detectors that learn from labels, their mean, votes) do so, and the others
        are cut by ``false_alarm``.
    false_alarm_rate : float
        For ``false_alarm`` and, of systems that do not decide by themselves, ``own``.
    fixed_thresholds : mapping
        System, or shell pattern (without ``:``: with all its grid points), to a threshold that is not learnt from held-out
        scores: 0 for a detector whose score is the margin over a threshold of its own, 0.5 for a vote. Over several seeds
        (``all_seeds``) scores of detectors are means of standardised ones and no margins any more: there it holds for
        ensembles alone, and ``threshold`` decides for detectors.
    n_bootstrap : int
        Resamples for the interval of differences between systems.
    report_clips : int
        Clips of each kind (missed, false alarm, most anomalous) shown per machine in the report.
    pixel_sigma : float
        Pixel metrics: Gaussian blur of a map enlarged to the size that the network saw, in its pixels (4: as the public code of
        PatchCore and PaDiM does; 0: none).
    """

    rule: str = "dcase2023"
    systems: tuple[str, ...] = ()
    comparators: tuple[str, ...] = ()
    threshold: Literal["gamma", "false_alarm", "own"] = "gamma"
    false_alarm_rate: float = 0.1
    fixed_thresholds: dict[str, float] = field(default_factory=dict)
    n_bootstrap: int = 400
    report_clips: int = 2
    pixel_sigma: float = 4.0


@configclass
class SubmitConfig:
    """Stage 9.

    Attributes
    ----------
    year : int
        Challenge year, 0 for no submission.
    format : {"challenge", "id_label"}
        ``id_label``: instead, for each system, ``predictions_<system>.csv`` with two columns, the decisions about the unlabelled
        pictures (subset ``eval``).
    columns : tuple of str
        Names of the two columns.
    label : str
        ``<Surname>_<INST>_task2``.
    systems : tuple of str
        At most four, in order; empty: the first rows of the result table.
    """

    year: int = 0
    format: Literal["challenge", "id_label"] = "challenge"
    columns: tuple[str, str] = ("id", "label")
    label: str = "Doe_DCASE_task2"
    systems: tuple[str, ...] = ()
    authors: tuple[dict[str, str], ...] = ()
    report: str = ""
