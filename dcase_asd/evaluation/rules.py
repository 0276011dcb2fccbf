"""The challenge's scoring rules by name, as data: which clips each AUC and pAUC is computed from, and which mean joins them.

Rules
-----
========== ================ ============================================================ ==========
name       unit             terms                                                        mean
========== ================ ============================================================ ==========
dcase2020  machine ID       AUC, pAUC of all clips of the ID                             arithmetic
dcase2021  section, domain  AUC, pAUC of each domain's own clips                         harmonic
dcase2022  section          AUC_d: normals of domain d, anomalies of both; pooled pAUC   harmonic
... 2026   section          as dcase2022                                                 harmonic
own_domain section          AUC_d: normals and anomalies of domain d; pooled pAUC        harmonic
pooled     section          AUC, pAUC of all clips of the section                        harmonic
supervised section          AUC of all clips of the section, beside F1 and accuracy      harmonic
========== ================ ============================================================ ==========

Scores under different rules are not comparable. ``own_domain`` is the convention of the tables in Fujimura et al., "Anomalous
sound detection by end-to-end training of outlier exposure and normalizing flow with domain generalization techniques" (DCASE 2023
technical report), not the official rule. ``pooled`` needs no domains and is also the rule for own recordings and images.
``supervised`` is for classifiers: result pages show what their decisions are worth beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.evaluation.challenge import EPSILON, MAX_FPR
from dcase_asd.evaluation.metrics import Floats, mcclish, roc_area

__all__ = ["RULES", "Rule", "Section", "Term", "rule_named", "rule_of_year"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Section:
    """The clips of one machine's section (2020: machine ID) under one system.

    Attributes
    ----------
    machine, section : str
        Where the clips are from.
    is_anomaly : ndarray of bool [clip]
    domain : ndarray of str [clip]
        ``source``, ``target`` or ``unknown``.
    scores : ndarray of float [clip]
        Higher = more anomalous.
    """

    machine: str
    section: str
    is_anomaly: Mask
    domain: npt.NDArray[np.str_]
    scores: Floats


@dataclass(frozen=True)
class Term:
    """One number of a section that enters the score.

    Attributes
    ----------
    key : str
        Name in :class:`~dcase_asd.evaluation.results.Metrics`, such as ``auc_source``.
    label : str
        Column heading.
    max_fpr : float
        1 for AUC, 0.1 for pAUC.
    normal_domain, anomaly_domain : str or None
        Domain the normals and the anomalies are taken from; None = all.
    """

    key: str
    label: str
    max_fpr: float = 1.0
    normal_domain: str | None = None
    anomaly_domain: str | None = None

    def mask(self, section: Section) -> Mask:
        """Return which clips of the section enter the term, bool [clip]."""
        normals = ~section.is_anomaly & _within(section.domain, self.normal_domain)
        return normals | (section.is_anomaly & _within(section.domain, self.anomaly_domain))

    def split(self, section: Section) -> tuple[Mask, Mask]:
        """Return the masks of the term's anomalies and normals.

        Raises
        ------
        DataError
            If either is empty.
        """
        mask = self.mask(section)
        positives, negatives = mask & section.is_anomaly, mask & ~section.is_anomaly
        for found, what, domain in ((positives, "anomalous", self.anomaly_domain), (negatives, "normal", self.normal_domain)):
            if not found.any():
                kind = f"{what} {domain} clips" if domain else f"{what} clips"
                remedy = "use a rule without domains (pooled)" if domain else "leave the machine out (machines=[...])"
                raise DataError(
                    f"{section.machine} section {section.section}: {self.label} needs {kind} among the test clips and there are "
                    f"none; check the labels, or {remedy}"
                )
        return positives, negatives

    def value(self, section: Section) -> float:
        """Return the AUC or pAUC of the term's clips; raises as :meth:`split`."""
        positives, negatives = self.split(section)
        area = roc_area(section.scores[positives], section.scores[negatives], max_fpr=self.max_fpr)
        return float(mcclish(area, self.max_fpr))


@dataclass(frozen=True)
class Rule:
    """How a challenge year turns clip scores into one number.

    Attributes
    ----------
    name : str
        Key of :data:`RULES`.
    terms : tuple of Term
        The numbers per section, in column order.
    mean : str
        ``harmonic``: of all terms of all sections, clipped at epsilon; ``arithmetic``: over the sections of a machine, then over
        machines and terms.
    source : str
        The organisers' file, or the paper.
    layout : str
        Result file: ``2020`` (also of ``pooled``), ``2021`` or ``2022``.
    official : bool
        Whether the organisers rank by this score. 2020 they print averages of AUC and pAUC and no overall number.
    judges_decisions : bool
        Whether result pages show F1, accuracy and their trivial values.
    beside : tuple of (str, str)
        Section values that result tables show beside the terms, key and label; they do not enter the score.
    """

    name: str
    terms: tuple[Term, ...]
    mean: str
    source: str
    layout: str
    official: bool
    judges_decisions: bool = False
    beside: tuple[tuple[str, str], ...] = ()

    @property
    def uses_domains(self) -> bool:
        """Whether a term looks at one domain only."""
        return any(term.normal_domain or term.anomaly_domain for term in self.terms)

    def values(self, section: Section) -> Floats:
        """Return the section's terms, float [term]; raises ``DataError`` naming the section if a term has no clips."""
        return np.array([term.value(section) for term in self.terms])

    def weights(self, machines: list[str]) -> Floats:
        """Return the weight of each section in the score, float [section]; ``machines`` names each section's machine."""
        if self.mean == "harmonic":
            return np.ones(len(machines))
        return np.array([1.0 / machines.count(machine) for machine in machines])

    def transform(self, values: Floats) -> Floats:
        """Return what the score averages: reciprocals of clipped values, or the values themselves."""
        return 1.0 / np.maximum(values, EPSILON) if self.mean == "harmonic" else values

    def combine(self, values: Floats, weights: Floats) -> Floats:
        """Return the score of ``values [..., section, term]`` with ``weights [section]``, float [...]."""
        total = (self.transform(values) * weights[:, None]).sum(axis=(-2, -1))
        return self.from_total(total, float(weights.sum()) * values.shape[-1])

    def from_total(self, total: Floats, weight: float) -> Floats:
        """Return the score from the weighted sum of :meth:`transform` and the sum of weights."""
        return np.asarray(weight / total if self.mean == "harmonic" else total / weight, dtype=np.float64)


def _within(domain: npt.NDArray[np.str_], wanted: str | None) -> Mask:
    return np.ones(domain.shape, dtype=bool) if wanted is None else domain == wanted


def _per_domain(key: str, label: str, *, max_fpr: float, own: bool, note: str = "") -> tuple[Term, Term]:
    return (
        Term(f"{key}_source", f"{label} (source{note})", max_fpr, "source", "source" if own else None),
        Term(f"{key}_target", f"{label} (target{note})", max_fpr, "target", "target" if own else None),
    )


_AUC, _PAUC = Term("auc", "AUC"), Term("pauc", "pAUC", MAX_FPR)
_TERMS_2021 = (
    *_per_domain("auc", "AUC", max_fpr=1.0, own=True),
    *_per_domain("pauc", "pAUC", max_fpr=MAX_FPR, own=True),
)
_TERMS_2022 = (*_per_domain("auc", "AUC", max_fpr=1.0, own=False), _PAUC)
_TERMS_OWN = (*_per_domain("auc", "AUC", max_fpr=1.0, own=True, note=", own domain"), _PAUC)
#: What papers on pictures and on own data report; a key that a section lacks (no masks, no decisions) is not shown.
_DETECTION = (
    ("average_precision", "AP"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1", "F1"),
    ("pixel_auroc", "pixel AUROC"),
    ("pixel_aupro", "AUPRO@0.3"),
)
_SOURCES = {
    2022: "Kota-Dohi/dcase2022_evaluator:dcase2022_task2_evaluator.py",
    2023: "nttcslab/dcase2023_task2_evaluator:dcase2023_task2_evaluator.py",
    2024: "nttcslab/dcase2024_task2_evaluator:dcase2024_task2_evaluator.py",
    2025: "nttcslab/dcase2025_task2_evaluator",
    2026: "nttcslab/dcase2026_task2_evaluator",
}


def _all_rules() -> Mapping[str, Rule]:
    rules = [
        Rule("dcase2020", (_AUC, _PAUC), "arithmetic", "y-kawagu/dcase2020_task2_evaluator:evaluator.py", "2020", official=False),
        Rule(
            "dcase2021",
            _TERMS_2021,
            "harmonic",
            "y-kawagu/dcase2021_task2_evaluator:dcase2021_task2_evaluator.py",
            "2021",
            official=True,
        ),
        *(Rule(f"dcase{year}", _TERMS_2022, "harmonic", source, "2022", official=True) for year, source in _SOURCES.items()),
        Rule("own_domain", _TERMS_OWN, "harmonic", "Fujimura et al., DCASE 2023 technical report", "2022", official=False),
        Rule(
            "pooled",
            (_AUC, _PAUC),
            "harmonic",
            "ibkuroyagi 2022 recipe: hauc of mode all",
            "2020",
            official=False,
            beside=_DETECTION,
        ),
        Rule(
            "supervised",
            (_AUC,),
            "harmonic",
            "Argese and Degni, Section V (F1) and Table V (F1, accuracy)",
            "2020",
            official=False,
            judges_decisions=True,
        ),
    ]
    return {rule.name: rule for rule in rules}


#: Every rule by its name.
RULES: Mapping[str, Rule] = _all_rules()


def rule_named(name: str) -> Rule:
    """Return the rule called ``name``; raises ``UnknownNameError`` naming the nearest."""
    if name not in RULES:
        raise UnknownNameError("scoring rule", name, RULES)
    return RULES[name]


def rule_of_year(year: int) -> Rule:
    """Return the official rule of a challenge year; raises ``UnknownNameError`` for a year without one."""
    return rule_named(f"dcase{year}")
