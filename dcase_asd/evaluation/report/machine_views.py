"""One machine's figures and counts, ready for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dcase_asd.evaluation.report.curves import MAX_FPR, Roc, roc_points
from dcase_asd.evaluation.report.data import MachineReport, ReportOptions
from dcase_asd.evaluation.report.figures import Curve, ScoreSet, histogram_figure, roc_figure, training_figure
from dcase_asd.evaluation.report.media import EmbeddedSound
from dcase_asd.evaluation.report.svg import score_label
from dcase_asd.evaluation.report.views import ClipGroup, MetricTable, clip_groups

__all__ = ["MachineView", "machine_view"]

AucRule = Literal["official", "own_domain"]


@dataclass(frozen=True)
class MachineView:
    """A machine's part of the page; ``counts`` are (what, number) pairs, ``figures`` (drawing, heading, caption) triples."""

    anchor: str
    machine: str
    main_system: str
    counts: Sequence[tuple[str, str]]
    figures: Sequence[tuple[Markup, str, str]]
    groups: Sequence[ClipGroup]
    n_clips: int
    n_shown: int
    items: str
    table: MetricTable | None


@dataclass(frozen=True)
class _Clips:
    """Truth and main scores of a machine's clips, aligned."""

    score: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]
    domain: NDArray[np.object_]
    domains: Sequence[str]

    def roc(self, domain: str | None, *, rule: AucRule) -> Roc | None:
        inside = np.ones(len(self.score), dtype=bool) if domain is None else self.domain == domain
        anomalies = self.is_anomaly if rule == "official" else self.is_anomaly & inside
        return roc_points(self.score[~self.is_anomaly & inside], self.score[anomalies])


def machine_view(
    report: MachineReport,
    *,
    anchor: str,
    rule: AucRule,
    sounds: dict[tuple[str, str], EmbeddedSound],
    options: ReportOptions,
    table: MetricTable | None = None,
) -> MachineView:
    """Draw one machine's figures; a figure that the data cannot carry is left out."""
    clips = _aligned(report, report.main_system)
    figures = [f for f in (_roc(report, clips, rule), _histogram(report, clips), _training(report)) if f is not None]
    groups = clip_groups(report, sounds=sounds, options=options)
    return MachineView(
        anchor=anchor,
        machine=report.machine,
        main_system=report.main_system,
        counts=_counts(report, clips),
        figures=figures,
        groups=groups,
        n_clips=len(report.clips),
        n_shown=sum(len(g.clips) for g in groups),
        items=report.items,
        table=table,
    )


def _aligned(report: MachineReport, system: str) -> _Clips:
    mine = report.scores[report.scores["system"] == system].set_index("clip_id")["score"]
    known = [d for d in ("source", "target") if d in set(report.truth["domain"])]
    return _Clips(
        score=mine.loc[report.truth["clip_id"]].to_numpy(dtype=float),
        is_anomaly=report.truth["is_anomaly"].to_numpy(dtype=bool),
        domain=report.truth["domain"].to_numpy(dtype=object),
        domains=known,
    )


def _counts(report: MachineReport, clips: _Clips) -> list[tuple[str, str]]:
    counts = [(f"test {report.items}", str(len(clips.score))), ("anomalies", str(int(clips.is_anomaly.sum())))]
    sections = sorted(set(report.truth["section"].astype(str)) - {""})
    # pictures have sections for the tables' sake alone
    if sections and (len(sections) > 1 or report.items != "pictures"):
        counts.append(("sections" if len(sections) > 1 else "section", ", ".join(sections)))
    if report.threshold is not None:
        counts.append(("threshold", score_label(report.threshold)))
    return counts


def _roc(report: MachineReport, clips: _Clips, rule: AucRule) -> tuple[Markup, str, str] | None:
    both = clips.roc(None, rule="official")
    if both is None:
        return None
    others = sorted(set(report.scores["system"]) - {report.main_system})
    faint = [Curve("", "other", roc) for s in others if (roc := _aligned(report, s).roc(None, rule="official")) is not None]
    domains = clips.domains if len(clips.domains) > 1 else []
    named = [Curve(d, d, roc) for d in domains if (roc := clips.roc(d, rule=rule)) is not None]
    curves = [*named, Curve("all", "all", both)]
    areas = ", ".join(f"{c.name} {100 * c.roc.auc:.2f} %" for c in curves)
    pauc = f"pAUC (all {report.items}, false-positive rate up to {100 * MAX_FPR:.0f} %) {100 * both.pauc:.2f} %"
    label = f"ROC curves of {report.main_system} on {report.machine}. AUC: {areas}. {pauc}."
    caption = f"Shaded: the region that pAUC counts. {pauc}."
    if named:
        which = "both domains" if rule == "official" else "the same domain"
        caption += f" A domain's curve: its normal {report.items} against the anomalies of {which}."
    if faint:
        caption += f" Faint: {f'the {len(others)} other systems' if len(others) > 1 else others[0]} (all {report.items})."
    if len(set(report.truth["section"])) > 1:
        caption += " All sections pooled here; the score table takes each section by itself."
    return roc_figure([*faint, *curves], operating_point=_point(report, clips), label=label), "ROC", caption


def _point(report: MachineReport, clips: _Clips) -> tuple[float, float] | None:
    if report.threshold is None:
        return None
    called = clips.score > report.threshold
    return float(called[~clips.is_anomaly].mean()), float(called[clips.is_anomaly].mean())


def _histogram(report: MachineReport, clips: _Clips) -> tuple[Markup, str, str] | None:
    if len(clips.score) == 0:
        return None
    split = len(clips.domains) > 1 and set(clips.domain) == set(clips.domains)
    masks = {d: clips.domain == d for d in clips.domains} if split else {"all": np.ones(len(clips.score), dtype=bool)}
    sets = [ScoreSet(d, clips.score[m & ~clips.is_anomaly], clips.score[m & clips.is_anomaly]) for d, m in masks.items()]
    medians = "; ".join(
        f"{s.domain} {kind} {score_label(float(np.median(v)))}" for s in sets for kind, v in _classes(s) if len(v)
    )
    label = f"Histograms of {report.main_system}'s scores on {report.machine}. Median scores: {medians}."
    what = f"Normal {report.items} upwards, anomalies downwards; the less they overlap, the better."
    caption = f"{what} The outermost bars hold what lies beyond."
    return histogram_figure(sets, threshold=report.threshold, label=label, items=report.items), "Scores", caption


def _classes(scores: ScoreSet) -> tuple[tuple[str, NDArray[np.float64]], tuple[str, NDArray[np.float64]]]:
    return ("normal", scores.normal), ("anomaly", scores.anomalous)


def _training(report: MachineReport) -> tuple[Markup, str, str] | None:
    curves = report.training_curves
    if curves is None or curves["epoch"].nunique() < 2:  # one point is no curve
        return None
    last = curves.sort_values("epoch").groupby("name", sort=True)["value"].last()
    ends = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    label = f"Training curves for {report.machine}, {curves['epoch'].nunique()} epochs. Last values: {ends}."
    return training_figure(curves, label=label), "Training", f"At the last epoch: {ends}."
