"""Recipes agree with their template, their README, the data descriptions and the code."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dcase_asd.cli.evaluate_verb import command as evaluate
from dcase_asd.cli.fit_verb import command as fit
from dcase_asd.cli.results_verb import command as results
from dcase_asd.cli.run_verb import command as run
from dcase_asd.cli.score_verb import command as score
from dcase_asd.cli.submit_verb import check
from dcase_asd.cli.trial_verb import command as trial
from dcase_asd.errors import ConfigError
from dcase_asd.manifests.corpora import corpus_spec
from dcase_asd.pipeline.recipe import RunOptions, load_config
from dcase_asd.pipeline.settings import plugin_config

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent for path in ROOT.glob("recipes/*/*/run.sh"))
CONFS = [(recipe, path) for recipe in RECIPES for path in sorted(recipe.glob("conf/*.yaml"))]
RECIPE_NAMES = [path.relative_to(ROOT / "recipes").as_posix() for path in RECIPES]


def load_maker():
    spec = importlib.util.spec_from_file_location("recipe_template_make", ROOT / "recipes" / "template" / "make.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


MAKER = load_maker()


def named(path: Path) -> str:
    return path.relative_to(ROOT / "recipes").as_posix()


def resolved(recipe: Path, conf: str, *overrides: str):
    return load_config(RunOptions(recipe=recipe, conf=Path(conf), overrides=overrides))


def test_there_is_a_recipe_for_every_described_year():
    described = {path.stem for path in (ROOT / "data_manifests").glob("dcase20*.yaml")}
    assert {f"dcase{year}" for year in MAKER.YEARS} == described
    assert {f"{name}/asd1" for name in described} <= set(RECIPE_NAMES)


@pytest.mark.parametrize("year", MAKER.YEARS)
def test_a_year_is_what_the_template_says(year):
    wanted, found = MAKER.rendered(year), MAKER.existing(year)
    stray = [name for name in found if name not in wanted and MAKER.MARK in found[name]]
    different = [name for name in wanted if found.get(name) != wanted[name]]
    assert not different + stray, f"recipes/dcase{year}/asd1: {different + stray} differ from the template; run: {MAKER.COMMAND}"


def test_a_new_system_is_one_file_of_the_template_and_an_old_one_leaves_nothing(tmp_path, monkeypatch):
    template, recipes = tmp_path / "template", tmp_path / "recipes"
    shutil.copytree(MAKER.TEMPLATE, template)
    monkeypatch.setattr(MAKER, "TEMPLATE", template)
    monkeypatch.setattr(MAKER, "recipe_folder", lambda year: recipes / str(year))
    new = template / "conf" / "new.yaml.j2"
    new.write_text("{% if year > 2022 %}\n# A new system.\n# {{ generated }}\nbase: oe.yaml\n{% endif %}\n")
    assert "conf/new.yaml" in MAKER.write(2023)
    assert (recipes / "2023" / "conf" / "new.yaml").read_text() == f"# A new system.\n# {MAKER.MARK}\nbase: oe.yaml\n"
    assert "| [`conf/new.yaml`](conf/new.yaml) | A new system. |" in (recipes / "2023" / "README.md").read_text()
    assert "conf/new.yaml" not in MAKER.write(2022)
    assert MAKER.write(2023) == []
    (recipes / "2023" / "conf" / "mine.yaml").write_text("base: oe.yaml\n")
    new.unlink()
    assert sorted(MAKER.write(2023)) == ["README.md", "conf/new.yaml"]
    left = {f"conf/{path.name}" for path in (recipes / "2023" / "conf").iterdir()}
    assert left == {"conf/mine.yaml", *(name for name in MAKER.rendered(2023) if name.startswith("conf/"))}


@pytest.mark.parametrize(("recipe", "path"), CONFS, ids=[named(path) for _, path in CONFS])
def test_a_configuration_resolves_and_every_component_can_be_made(recipe, path):
    config = resolved(recipe, str(path))
    components = [("features", config["features"]), ("corpora", config["corpus"])]
    components += [("extractors", item["extractor"]) for item in config["extractors"].values()]
    components += [("features", item) for item in config["extra_features"].values()]
    components += [("detectors", item["detector"]) for item in config["detectors"].values()]
    for entry in config["ensembles"].values():
        components.append(("ensembles", {"name": entry["name"], **({"weights": entry["weights"]} if entry["weights"] else {})}))
    for kind, item in components:
        plugin, values = plugin_config(kind, item)
        assert isinstance(plugin.implementation(values), plugin.implementation)
    known = {*config["ensembles"], *config["detectors"], *(f"{name}_unselected" for name in config["ensembles"])}
    named_systems = [*config["evaluate"]["systems"], *config["evaluate"]["comparators"], *config["submit"]["systems"]]
    assert {name.split(":")[0] for name in named_systems if "*" not in name} <= known
    assert config["description"]


PICTURES = [(r, path) for r in RECIPES if r.name == "iad1" for path in sorted(r.glob("conf/*.yaml"))]


@pytest.mark.parametrize(("recipe", "path"), PICTURES, ids=[f"{named(r)}-{p.stem}" for r, p in PICTURES])
def test_every_table_of_pictures_has_the_plain_rows(recipe, path):
    config = resolved(recipe, str(path))
    fitted = {name: item["detector"]["name"] for name, item in config["detectors"].items()}
    # brightness is always there
    assert {"mean_image": "mean_image", "pooled_nn": "knn"}.items() <= fitted.items()
    assert {"mean_image", "pooled_nn"} <= set(config["evaluate"]["comparators"])


@pytest.mark.parametrize("recipe", RECIPES, ids=RECIPE_NAMES)
def test_a_recipe_has_a_readme_that_lists_exactly_its_configurations(recipe):
    readme = (recipe / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (?:\[`(conf/[^`]+)`\]\((conf/[^)]+)\)|`(conf/[^`]+)`) \|", readme, flags=re.MULTILINE)
    assert all(shown == target for shown, target, _ in listed)
    assert sorted(shown or bare for shown, _, bare in listed) == sorted(
        f"conf/{path.name}" for path in recipe.glob("conf/*.yaml")
    )
    mentioned = set(re.findall(r"conf/\w+\.yaml", readme + (recipe / "run.sh").read_text(encoding="utf-8")))
    assert all((recipe / name).is_file() for name in mentioned)


@pytest.mark.parametrize("recipe", RECIPES, ids=RECIPE_NAMES)
def test_run_sh_is_a_short_clean_shim(recipe):
    script = recipe / "run.sh"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 40
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.is_file():
        pytest.skip("shellcheck is not installed beside this Python (extra `dev`)")
    # as tests/run.sh calls it: setup.sh is checked on its own
    found = subprocess.run([shellcheck, "-x", "-e", "SC1091", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("recipe", [ROOT / "recipes" / "template", *RECIPES], ids=named)
def test_no_absolute_path_of_a_machine(recipe):
    files = [path for pattern in ("*.*", "conf/*.*") for path in recipe.glob(pattern) if path.is_file()]
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8").replace("/path/to/", "").replace("#!/usr/bin/env", "")
        found = re.search(r"""(?:^|[\s"'(=])(/(?!/)[\w.-]+/[\w./-]*|~/\S+|[A-Z]:\\\S+)""", text)
        assert not found, f"{named(path)}: {found and found[1]}"


@pytest.mark.parametrize("year", MAKER.YEARS)
def test_the_configuration_of_a_year_says_what_its_data_are_like(year):
    spec, config = corpus_spec(f"dcase{year}"), resolved(MAKER.recipe_folder(year), "conf/oe.yaml")
    assert (config["corpus"]["name"], config["corpus"]["year"]) == ("dcase", year)
    assert config["evaluate"]["rule"] == f"dcase{year}"
    assert config["submit"]["year"] == year
    assert config["raw"]["source"] == "none", "nothing is downloaded unasked"
    assert config["scores"]["by_machine"] == dict.fromkeys(spec.power_weighted, "power_weighted")
    fit_sets = config["detectors"]["oe_knn"]["detector"]["fit_sets"]
    assert fit_sets == (["source", "both", "pseudo_target"] if year > 2020 else ["source"])
    assert config["extractors"]["oe"]["extractor"]["section_weight"] == (5.0 if year <= 2022 else 0.0)
    assert config["features"]["channel"] == ("0" if year == 2026 else "mean")


def test_power_weighting_of_2023_names_the_machines_of_the_paper():
    weighted = resolved(MAKER.recipe_folder(2023), "conf/oe.yaml")["scores"]["by_machine"]
    assert sorted(weighted) == sorted(["ToyCar", "ToyTrain", "ToyDrone", "ToyNscale", "ToyTank", "Vacuum"])


@pytest.mark.parametrize("year", MAKER.YEARS)
def test_paper_size_and_cpu_size_differ_in_the_preset_alone(year):
    folder = MAKER.recipe_folder(year)
    small, large = (resolved(folder, f"conf/{name}.yaml") for name in ("oe", "oe_paper"))
    assert {key for key in small if small[key] != large[key]} == {"description", "extractors"}
    assert resolved(folder, "conf/oe.yaml", "extractors.oe.preset=paper_oe")["extractors"] == large["extractors"]
    assert large["extractors"]["oe"]["extractor"]["width"] == 1.0
    assert large["extractors"]["oe"]["extractor"]["epochs"] == 150


@pytest.mark.parametrize("year", MAKER.YEARS)
def test_the_readme_of_a_year_names_records_machines_and_licence(year):
    spec, readme = corpus_spec(f"dcase{year}"), (MAKER.recipe_folder(year) / "README.md").read_text(encoding="utf-8")
    for text in [str(archive.record) for archive in spec.archives] + [spec.licence, spec.folder, "estimated"]:
        assert text in readme
    for machine in {*spec.machines["dev"], *spec.machines["eval"]}:
        assert f"| {machine} |" in readme


@pytest.mark.parametrize("recipe", RECIPES, ids=RECIPE_NAMES)
def test_the_commands_of_a_readme_use_options_and_keys_that_exist(recipe):
    text = (recipe / "README.md").read_text(encoding="utf-8")
    options = {name.replace("_", "-") for name in re.findall(r"(?<!\S)`?(--[a-z][\w-]*)", text)}
    verbs = (run, evaluate, results, check, fit, score, trial)
    known = {name for verb in verbs for parameter in verb.params for name in parameter.opts}
    assert options - known - {"--help"} == set()
    # raises at a key that no configuration has; <machine> stands for a name
    default = re.search(r"^conf=(\S+)", (recipe / "run.sh").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert default is not None
    overrides = re.findall(r"(?<![\w.])((?:\w+\.)+[\w<>]+=(?:\[[^]]*\]|\{[^}]*\}|[^\s'`]+))", text)
    resolved(recipe, default.group(1), *overrides)


def test_a_base_may_have_a_base_of_its_own(tmp_path):
    (tmp_path / "a.yaml").write_text("seeds: [1]\ncorpus: {name: dcase, year: 2021}\nfeatures: {name: log_mel}\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\ncorpus: {year: 2022}\ndescription: b\n")
    (tmp_path / "c.yaml").write_text("base: b.yaml\ndescription: c\n")
    config = resolved(tmp_path, "c.yaml")
    assert (config["seeds"], config["corpus"]["year"], config["description"]) == ([1], 2022, "c")


@pytest.mark.parametrize("base", ["a.yaml", "b.yaml"])
def test_a_circle_of_bases_is_refused(tmp_path, base):
    (tmp_path / "a.yaml").write_text(f"base: {base}\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(ConfigError, match="circle"):
        resolved(tmp_path, "a.yaml")
