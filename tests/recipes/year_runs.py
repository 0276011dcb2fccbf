"""A year's recipe end to end on a tree of half-second recordings, with a ground truth in the organisers' layout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trees import clip_names, make_year

from dcase_asd.manifests.corpora import CorpusSpec, corpus_spec
from dcase_asd.pipeline.command import run_recipe
from dcase_asd.pipeline.recipe import RunOptions, plan_from

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


def run_year(base: Path, year: int, *, overrides: tuple[str, ...] = ()) -> YearRun:
    """Make tree and truth below ``base`` and run stages 0 to 9 of the year's recipe with ``conf/mini.yaml``."""
    spec = corpus_spec(f"dcase{year}")
    data, truth, recipe = base / "Daten größe", base / "truth of the ö year", base / "recipe"
    make_year(data, year, machines=MACHINES[year], n_samples=N_SAMPLES)
    write_truth(truth, spec)
    # a copy: stage 1 writes below the recipe, and tests leave the checkout alone
    shutil.copytree(ROOT / "recipes" / f"dcase{year}" / "asd1" / "conf", recipe / "conf")
    options = RunOptions(
        recipe=recipe,
        conf=Path("conf/mini.yaml"),
        data_root=str(data),
        overrides=(f"corpus.ground_truth={truth}", "extractors.oe.loader_threads=0", *overrides),
    )
    run_recipe(
        options,
        plan=plan_from(),
        nj=1,
        device="cpu",
        executor="local",
        address="",
        list_only=False,
        resume=True,
        verbose=0,
        argv=["run"],
    )
    return YearRun(year, recipe / "exp" / "mini", truth, tuple(m for m in spec.machines["eval"] if m in MACHINES[year]))


def write_truth(folder: Path, spec: CorpusSpec) -> None:
    """Write the truth about the tree's evaluation clips as the organisers of the year do."""
    folder.mkdir(parents=True)
    units = [(m, s) for m, sections in spec.machines["eval"].items() if m in MACHINES[spec.year] for s in sections]
    if spec.year == 2020:
        (folder / "eval_data_list.csv").write_text("".join(_list_lines(spec, units)), encoding="utf-8")
        return
    for machine, section in units:
        if spec.year == 2021:
            for domain in ("source", "target"):
                names = [n for n in _tests(spec, machine, section) if f"_{domain}_" in n]
                _write(folder, "data", f"{machine}_section_{section}_{domain}", [(n, i % 2) for i, n in enumerate(names)])
            continue
        names = _tests(spec, machine, section)
        _write(folder, "data", f"{machine}_section_{section}", [(n, i % 2) for i, n in enumerate(names)])
        _write(folder, "domain", f"{machine}_section_{section}", [(n, i // 2 % 2) for i, n in enumerate(names)])


def _tests(spec: CorpusSpec, machine: str, section: str) -> list[str]:
    names = clip_names(spec, "eval", machine, section)
    return sorted(name.rpartition("/")[2] for name in names if name.partition("/")[0].endswith("test"))


def _list_lines(spec: CorpusSpec, units: list[tuple[str, str]]) -> Iterator[str]:
    for machine in dict.fromkeys(machine for machine, _ in units):
        yield f"{machine}\n"
        for _, section in (unit for unit in units if unit[0] == machine):
            for i, name in enumerate(_tests(spec, machine, section)):
                yield f"{name},{('normal', 'anomaly')[i % 2]}_{name},{i % 2}\n"


def _write(folder: Path, kind: str, unit: str, rows: list[tuple[str, int]]) -> None:
    path = folder / f"ground_truth_{kind}" / f"ground_truth_{unit}_test.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{name},{flag}\n" for name, flag in rows), encoding="utf-8")
