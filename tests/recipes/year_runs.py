"""A year's recipe end to end on a tree of half-second recordings, with a ground truth in the organisers' layout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from in_process import run_in_process
from trees import clip_names, make_year

from dcase_asd.manifests.corpora import CorpusSpec, corpus_spec
from dcase_asd.pipeline.recipe import RunOptions

ROOT = Path(__file__).resolve().parents[2]
N_SAMPLES = 8000
#: Development and evaluation machines of a tree: with and without attributes, and the oddly named ones.
MACHINES = {
    2020: ("fan", "ToyCar"),
    2021: ("fan", "ToyCar"),
    2022: ("fan", "ToyCar"),
    2023: ("bearing", "Vacuum"),  # the fast one
    2024: ("gearbox", "ToyCar", "RoboticArm", "ToothBrush"),
    2025: ("slider", "ToyCar", "CoffeeGrinder", "Polisher"),
    2026: ("fan", "ToyCarEmu", "Sander", "ToyDrone"),
}


@dataclass(frozen=True)
class YearRun:
    """A finished run: its experiment folder, the ground truth and the evaluation machines."""

    year: int
    experiment: Path
    truth: Path
    machines: tuple[str, ...]

    @property
    def submitted(self) -> Path:
        """The folder of score files of the first system."""
        return self.experiment / "9_submit" / "task2" / "Doe_DCASE_task2_1"


def recipe_of(year: int) -> Path:
    """Return the year's recipe in the checkout."""
    return ROOT / "recipes" / f"dcase{year}" / "asd1"


def year_options(
    recipe: Path, year: int, *, data: Path | None = None, overrides: tuple[str, ...] = (), conf: str = "mini"
) -> RunOptions:
    """Copy the year's configurations to ``recipe`` (runs write below it) and return options for one of them."""
    shutil.copytree(recipe_of(year) / "conf", recipe / "conf")
    return RunOptions(recipe=recipe, conf=Path(f"conf/{conf}.yaml"), data_root=str(data or ""), overrides=overrides)


def run(options: RunOptions, *, stop_stage: str = "") -> None:
    """Run in this process, one job at a time."""
    run_in_process(options, stop_stage=stop_stage)


def run_year(base: Path, year: int, *overrides: str, conf: str = "mini") -> YearRun:
    """Make tree and truth below ``base`` and run stages 0 to 9 of the year's recipe with one of its configurations."""
    spec = corpus_spec(f"dcase{year}")
    data, truth, recipe = base / "Daten größe", base / "truth of the ö year", base / "recipe"
    make_year(data, year, machines=MACHINES[year], n_samples=N_SAMPLES)
    write_truth(truth, spec)
    given = (f"corpus.ground_truth={truth}", "extractors.oe.loader_threads=0", *overrides)
    run(year_options(recipe, year, data=data, overrides=given, conf=conf))
    return YearRun(year, recipe / "exp" / conf, truth, tuple(m for m in spec.machines["eval"] if m in MACHINES[year]))


def truth_units(spec: CorpusSpec) -> list[tuple[str, str, list[str]]]:
    """Return machine, section and test clip names of the tree's evaluation part."""
    units = [(m, s) for m, sections in spec.machines["eval"].items() if m in MACHINES[spec.year] for s in sections]
    return [(machine, section, _tests(spec, machine, section)) for machine, section in units]


def write_truth(folder: Path, spec: CorpusSpec) -> None:
    """Write the truth about the tree's evaluation clips as the organisers of the year do: every second clip is an anomaly."""
    folder.mkdir(parents=True)
    if spec.year == 2020:
        (folder / "eval_data_list.csv").write_text("".join(_list_lines(spec)), encoding="utf-8")
        return
    for machine, section, names in truth_units(spec):
        if spec.year == 2021:
            for domain in ("source", "target"):
                own = [n for n in names if f"_{domain}_" in n]
                _write(folder, "data", f"{machine}_section_{section}_{domain}", [(n, i % 2) for i, n in enumerate(own)])
            continue
        _write(folder, "data", f"{machine}_section_{section}", [(n, i % 2) for i, n in enumerate(names)])
        _write(folder, "domain", f"{machine}_section_{section}", [(n, i // 2 % 2) for i, n in enumerate(names)])


def _tests(spec: CorpusSpec, machine: str, section: str) -> list[str]:
    names = clip_names(spec, "eval", machine, section)
    return sorted(name.rpartition("/")[2] for name in names if name.partition("/")[0].endswith("test"))


def _list_lines(spec: CorpusSpec) -> Iterator[str]:
    last = ""
    for machine, _, names in truth_units(spec):
        if machine != last:
            yield f"{machine}\n"
        last = machine
        for i, name in enumerate(names):
            yield f"{name},{('normal', 'anomaly')[i % 2]}_{name},{i % 2}\n"


def _write(folder: Path, kind: str, unit: str, rows: list[tuple[str, int]]) -> None:
    path = folder / f"ground_truth_{kind}" / f"ground_truth_{unit}_test.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{name},{flag}\n" for name, flag in rows), encoding="utf-8")
