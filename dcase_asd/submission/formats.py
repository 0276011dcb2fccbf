"""What each challenge year wants: one table of machines, file names, row names and result keys.

Sources
-------
Machines and sections: the data lists of ``nttcslab/dcase2023_task2_baseline_ae`` (``datasets/machine_type_20XX_*.yaml``,
``datasets/eval_data_list_20XX.csv``) and, for 2020 to 2022, the evaluators ``y-kawagu/dcase2020_task2_evaluator``,
``y-kawagu/dcase2021_task2_evaluator``, ``Kota-Dohi/dcase2022_evaluator``.
File names: the same evaluators. The 2022 task page omits ``_test``, its evaluator requires it; the evaluator decides here.
Labels and folders: ``dcase.community/challenge20XX/submission``.
Result keys: submitted files of 2020 (``OptimusPrimus/dcase2020_task2``), 2021 (``OptimusPrimus/dcase2021_task2``),
2022 (``liuyoude/DCASE2022Task2-Record``) and 2025 (``MeghanRN/dcase2025_beats_knn``). For 2023 and 2024 no submitted file was
at hand: written as in 2022, and both spellings are accepted (one section a machine: both hold the same number).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from dcase_asd.errors import UnknownNameError

__all__ = [
    "BASE_LABEL",
    "FILE_NAME",
    "MAX_ABBREVIATION",
    "MAX_SYSTEMS",
    "SYSTEM_LABEL",
    "TOP_FOLDER",
    "YEARS",
    "FileKey",
    "YearFormat",
    "year_format",
]

TOP_FOLDER = "task2"
#: Systems a team may submit (dcase.community/challenge20XX/submission).
MAX_SYSTEMS = 4
#: Characters of an abbreviation (comment in the official meta.yaml).
MAX_ABBREVIATION = 10
_WORD = r"[^\W_](?:[^\W_]|-)*"
#: ``<Surname>_<INST>_task2``, for example ``Xiao_HEU-HIT_task2``.
BASE_LABEL = re.compile(rf"(?P<base>{_WORD}_{_WORD}_task2)")
#: ``<Surname>_<INST>_task2_<i>``; whether ``i`` is at most :data:`MAX_SYSTEMS` is checked apart, to say so.
SYSTEM_LABEL = re.compile(rf"{BASE_LABEL.pattern}_(?P<index>[1-9][0-9]*)")
#: Every spelling of a score file seen in a submission of any year; ``test`` and ``domain`` may be absent.
FILE_NAME = re.compile(
    r"(?P<kind>anomaly_score|decision_result)_(?P<machine>[A-Za-z0-9]+)_(?P<word>id|section)_(?P<section>[0-9]{2})"
    r"(?:_(?P<domain>source|target))?(?P<test>_test)?\.csv"
)


class FileKey(NamedTuple):
    """Which scores a file holds: kind (``anomaly_score`` or ``decision_result``), machine, section, domain (2021 only)."""

    kind: str
    machine: str
    section: str
    domain: str | None


@dataclass(frozen=True)
class YearFormat:
    """The rules of one challenge year.

    Attributes
    ----------
    year : int
        The challenge year.
    evaluation, development : mapping of str to tuple of str
        Machine to its sections (2020: machine IDs), two digits each.
    domains : tuple of (str or None)
        The domains that have files of their own: ``("source", "target")`` in 2021, else ``(None,)``.
    result_keys : mapping of str to str
        Our name (``auc``, ``auc_source``, ``auc_target``, ``pauc``) to the key in ``results.development_dataset.<machine>``.
    other_result_keys : mapping of str to str
        A second accepted spelling, empty where there is none.
    """

    year: int
    evaluation: Mapping[str, tuple[str, ...]]
    development: Mapping[str, tuple[str, ...]]
    domains: tuple[str | None, ...]
    result_keys: Mapping[str, str]
    other_result_keys: Mapping[str, str]

    @property
    def has_decisions(self) -> bool:
        """Whether 0/1 decisions are submitted (from 2021 on)."""
        return self.year > 2020

    @property
    def has_macs(self) -> bool:
        """Whether ``system.complexity`` holds ``MACS``; the files of 2020 to 2022 have ``total_parameters`` alone."""
        return self.year > 2022

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of score files of this year."""
        return ("anomaly_score", "decision_result") if self.has_decisions else ("anomaly_score",)

    @property
    def section_word(self) -> str:
        """How the files call a section: ``id`` in 2020, ``section`` from 2021 on."""
        return "id" if self.year == 2020 else "section"

    def file_name(self, key: FileKey) -> str:
        """Return the name the official evaluator looks for."""
        stem = f"{key.kind}_{key.machine}_{self.section_word}_{key.section}"
        if self.year == 2020:
            return f"{stem}.csv"
        return f"{stem}_{key.domain}_test.csv" if key.domain else f"{stem}_test.csv"

    def expected_files(self) -> dict[FileKey, str]:
        """Return every file of one system, key to name."""
        keys = [
            FileKey(kind, machine, section, domain)
            for kind in self.kinds
            for machine, sections in sorted(self.evaluation.items())
            for section in sections
            for domain in self.domains
        ]
        return {key: self.file_name(key) for key in keys}

    def row_pattern(self) -> re.Pattern[str]:
        """Return the grammar of the clip names of this year's evaluation part, groups ``section`` and maybe ``domain``."""
        if self.year == 2020:
            return re.compile(r"id_(?P<section>[0-9]{2})_[0-9]{8}\.wav")
        if self.year == 2021:
            return re.compile(r"section_(?P<section>[0-9]{2})_(?P<domain>source|target)_test_[0-9]{4,}\.wav")
        return re.compile(r"section_(?P<section>[0-9]{2})_[0-9]{4,}\.wav")

    def is_development(self, machine: str, section: str) -> bool:
        """Whether a machine and section belong to the development part and not to the evaluation part."""
        return section in self.development.get(machine, ()) and section not in self.evaluation.get(machine, ())


def year_format(year: int, *, machines: Iterable[str] = ()) -> YearFormat:
    """Return the rules of a year, for some of its evaluation machines only if ``machines`` names any.

    Raises
    ------
    UnknownNameError
        For a year outside 2020 to 2026, or a machine that is not in its evaluation part.
    """
    if year not in YEARS:
        raise UnknownNameError("challenge year", str(year), map(str, YEARS))
    rules, chosen = YEARS[year], list(machines)
    for machine in chosen:
        if machine not in rules.evaluation:
            raise UnknownNameError(f"evaluation machine of {year}", machine, rules.evaluation)
    return replace(rules, evaluation={m: s for m, s in rules.evaluation.items() if m in chosen}) if chosen else rules


def _each(machines: str, sections: str) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({machine: tuple(sections.split()) for machine in machines.split()})


def _keys(**keys: str) -> Mapping[str, str]:
    return MappingProxyType(keys)


_SEVEN = "bearing fan gearbox slider valve ToyCar ToyTrain"
_2021 = "fan gearbox pump slider valve ToyCar ToyTrain"
_FOUR = "fan pump slider valve"
_AVERAGE = _keys(auc="averaged_auc", pauc="averaged_pauc")
_HARMONIC = _keys(auc="harmonic_mean_auc", pauc="harmonic_mean_pauc")
_HARMONIC_BY_DOMAIN = _keys(
    auc_source="harmonic_mean_auc_source", auc_target="harmonic_mean_auc_target", pauc="harmonic_mean_pauc"
)
_PLAIN_BY_DOMAIN = _keys(auc_source="auc_source", auc_target="auc_target", pauc="pauc")
_NONE = _keys()
_ONE: tuple[str | None, ...] = (None,)
_EVAL_2020 = {**_each(_FOUR, "01 03 05"), **_each("ToyCar", "05 06 07"), **_each("ToyConveyor", "04 05 06")}
_DEV_2020 = {**_each(_FOUR, "00 02 04 06"), **_each("ToyCar", "01 02 03 04"), **_each("ToyConveyor", "01 02 03")}
_EVAL_2023 = "bandsaw grinder shaker ToyDrone ToyNscale ToyTank Vacuum"
_EVAL_2024 = "3DPrinter AirCompressor BrushlessMotor HairDryer HoveringDrone RoboticArm Scanner ToothBrush ToyCircuit"
_EVAL_2025 = "AutoTrash BandSealer CoffeeGrinder HomeCamera Polisher ScrewFeeder ToyPet ToyRCCar"
_EVAL_2026 = "ToyDrone ToothBrush SewingMachine BlowerDustCollector Sander"
_DEV_2026 = "ToyCar ToyCarEmu bearingEmu fan gearboxEmu sliderEmu valveEmu"


def _first_shot(year: int, evaluation: str, development: str, *, plain: bool) -> YearFormat:
    written, other = (_PLAIN_BY_DOMAIN, _HARMONIC_BY_DOMAIN) if plain else (_HARMONIC_BY_DOMAIN, _PLAIN_BY_DOMAIN)
    return YearFormat(year, _each(evaluation, "00"), _each(development, "00"), _ONE, written, other)


#: The years that can be written and checked.
YEARS: Mapping[int, YearFormat] = MappingProxyType(
    {
        2020: YearFormat(2020, _EVAL_2020, _DEV_2020, _ONE, _AVERAGE, _NONE),
        2021: YearFormat(2021, _each(_2021, "03 04 05"), _each(_2021, "00 01 02"), ("source", "target"), _HARMONIC, _NONE),
        2022: YearFormat(2022, _each(_SEVEN, "03 04 05"), _each(_SEVEN, "00 01 02"), _ONE, _HARMONIC_BY_DOMAIN, _NONE),
        2023: _first_shot(2023, _EVAL_2023, _SEVEN, plain=False),
        2024: _first_shot(2024, _EVAL_2024, _SEVEN, plain=False),
        2025: _first_shot(2025, _EVAL_2025, _SEVEN, plain=True),
        2026: _first_shot(2026, _EVAL_2026, _DEV_2026, plain=True),
    }
)
