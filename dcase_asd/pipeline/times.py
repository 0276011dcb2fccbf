"""How long each extractor and detector of an experiment took, by the clock, from the logs of its units."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from dcase_asd.errors import FormatError

__all__ = ["seconds_by_entry", "times_table"]

_UNIT = re.compile(r"^# stage (\d) \w+, unit ([^,]+), ", re.MULTILINE)
_END = re.compile(r"^# Ended \(code 0\), elapsed ([0-9.]+) s$", re.MULTILINE)
#: What the stages whose units belong to an extractor or detector do.
_COLUMNS = {3: "train", 4: "embed", 5: "fit", 6: "score"}


def seconds_by_entry(experiment: Path) -> dict[str, dict[int, float]]:
    """Return by extractor and detector the seconds of stages 3 to 6: summed over machines, averaged over seeds.

    Parameters
    ----------
    experiment : Path
        Such as ``exp/oe``. Each unit counts by the log of the last time it ran to its end.

    Raises
    ------
    FormatError
        If the experiment has no such log.
    """
    spent: dict[tuple[str, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for path in sorted(experiment.glob("log/[3456]_*/*.log")):
        text = path.read_text(encoding="utf-8", errors="replace")
        unit, end = _UNIT.search(text), _END.search(text)
        if unit is None or end is None:
            continue
        name, *seed = unit[2].split("/")[:-1]
        if seed:
            spent[name, int(unit[1])][seed[0]] += float(end[1])
    if not spent:
        raise FormatError(f"{experiment}: no log of a unit of stages 3 to 6 that ran to its end; run the recipe there first")
    result: dict[str, dict[int, float]] = defaultdict(dict)
    for (name, stage), by_seed in spent.items():
        result[name][stage] = float(np.mean(list(by_seed.values())))
    return dict(result)


def times_table(experiment: Path) -> str:
    """Return a Markdown table of :func:`seconds_by_entry`, in the order of the stages; raises as that."""
    found = seconds_by_entry(experiment)
    head = "| Entry | " + " | ".join(f"{what} (stage {stage})" for stage, what in _COLUMNS.items()) + " |"
    lines = [head, "| --- |" + " ---: |" * len(_COLUMNS)]
    for name in sorted(found, key=lambda name: (5 in found[name], name)):
        cells = [f"{found[name][stage]:.1f}" if stage in found[name] else "" for stage in _COLUMNS]
        lines.append("| " + " | ".join([name.replace("_", r"\_"), *cells]) + " |")
    return "\n".join(lines) + "\n"
