"""Write the recipes of the DCASE years from the one template in this folder: ``python recipes/template/make.py``.

Every ``*.j2`` file here (Jinja2) becomes one file in ``recipes/dcase<year>/asd1/`` for each year, without the ``.j2``; what is
empty after rendering is not written, so a file can be meant for some years only. Facts about a year come from
``data_manifests/dcase<year>.yaml``. A new system is one new ``conf/<name>.yaml.j2`` and one run of this script: it is listed in
every README by its first comment line. ``tests/consistency/test_recipes.py`` fails where a recipe differs from the template.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: E402

from dcase_asd.manifests.corpora import CorpusSpec, Counts, corpus_spec  # noqa: E402

TEMPLATE = ROOT / "recipes" / "template"
YEARS = tuple(range(2020, 2027))
COMMAND = "python recipes/template/make.py"
MARK = f"Generated from recipes/template by `{COMMAND}`: change it there."

#: Published clones of the evaluators, where they are not the organisers' `dcase<year>_task2_evaluator`.
EVALUATORS = {
    2021: "https://github.com/y-kawagu/dcase2021_task2_evaluator",
    2022: "https://github.com/Kota-Dohi/dcase2022_evaluator",
}
#: Clips per section where the data description has none or 0: about as many as in the other years (estimates only).
USUAL = Counts(train_source=1000, train_target=0, test=400)
#: Measured for the cpu preset (dcase_asd/extractors/outlier_exposure.py, PRESETS): seconds on one core, for seconds of audio.
CPU_S, CPU_AUDIO_S = 10.0, 110 * 6.0
#: Log-mel of Fujimura 2023: 224 float32 values every 16 ms.
FEATURE_BYTES_PER_S = 224 * 4 / 0.016


def recipe_folder(year: int) -> Path:
    """Return the folder of a year's recipe."""
    return ROOT / "recipes" / f"dcase{year}" / "asd1"


def rendered(year: int) -> dict[str, str]:
    """Return the files of a year's recipe, relative name to text."""
    environment = Environment(  # text for a shell and for YAML, not for a browser
        loader=FileSystemLoader(TEMPLATE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    facts: dict[str, Any] = _facts(corpus_spec(f"dcase{year}"))
    sources = sorted(path.relative_to(TEMPLATE).as_posix() for path in TEMPLATE.rglob("*.j2"))
    files: dict[str, str] = {}
    # configurations first: the README lists them
    for name in sorted(sources, key=lambda name: (not name.startswith("conf/"), name)):
        confs = [(path, _first_comment(text)) for path, text in files.items() if path.startswith("conf/")]
        text = environment.get_template(name).render(facts, confs=confs, generated=MARK)
        if text.strip():
            files[name.removesuffix(".j2")] = text
    return files


def existing(year: int) -> dict[str, str]:
    """Return the files that lie in a year's recipe now, outputs of runs left out."""
    folder = recipe_folder(year)
    names = [path for pattern in ("*.*", "conf/*") for path in folder.glob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sorted(names)}


def write(year: int) -> list[str]:
    """Bring a year's recipe in line with the template; return the names of files written or removed.

    Files that were generated and are in the template no longer are removed, others stay.
    """
    folder, wanted, found = recipe_folder(year), rendered(year), existing(year)
    changed = [name for name, text in wanted.items() if found.get(name) != text]
    for name in changed:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], encoding="utf-8")
    gone = [name for name, text in found.items() if name not in wanted and MARK in text]
    for name in gone:
        (folder / name).unlink()
    return [*changed, *gone]


def _facts(spec: CorpusSpec) -> dict[str, Any]:
    year = spec.year
    n_train, n_test, n_units = 0, 0, 0
    for subset, machines in spec.machines.items():
        counts = spec.counts.get(subset, USUAL)
        sections = sum(len(names) for names in machines.values())
        n_units += sections
        n_train += sections * (counts.train_source + counts.train_target)
        n_test += sections * (counts.test or USUAL.test)
    clip_s = sum(spec.clip_s) / 2
    audio_s = (n_train + n_test) * clip_s
    return {
        "year": year,
        "spec": spec,
        "id_word": "machine ID" if year == 2020 else "section",
        "several_sections": any(len(names) > 1 for machines in spec.machines.values() for names in machines.values()),
        "fit_sets": "[source, both, pseudo_target]" if spec.domain_shift else "[source]",
        "evaluator": EVALUATORS.get(year, f"https://github.com/nttcslab/dcase{year}_task2_evaluator"),
        "n_clips": round(n_train + n_test, -3),
        "clip_s": clip_s,
        "raw_gb": round(audio_s * spec.sample_rate_hz * 2 * spec.n_channels / 1e9),
        "feature_gb": round(audio_s * FEATURE_BYTES_PER_S / 1e9),
        "cpu_hours": round(n_train * clip_s * CPU_S / CPU_AUDIO_S / 3600, 1),
    }


def _first_comment(text: str) -> str:
    return text.splitlines()[0].removeprefix("#").strip()


if __name__ == "__main__":
    for each in YEARS:
        names = write(each)
        print(f"recipes/dcase{each}/asd1: {', '.join(names) if names else 'unchanged'}")
