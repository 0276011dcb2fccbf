"""House rules that a program can check."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dcase_asd"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TOP_LEVEL = {
    *("dcase_asd", "recipes", "tests", "data_manifests", "setup.cfg", "README.md", "pyproject.toml", "constraints.txt"),
    *("LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", ".ci", ".gitignore", ".github"),
}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def test_top_level_holds_nothing_else() -> None:
    assert {name.split("/")[0] for name in tracked()} <= TOP_LEVEL


def test_files_are_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long, "the house allows 300 lines, 400 at most"


def test_functions_are_short() -> None:
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.name} {lines}")
    assert not long, "function bodies have at most 40 lines, 60 hard"


def test_no_grab_bag_modules() -> None:
    forbidden = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not [str(p) for p in SOURCES if p.stem in forbidden or forbidden & set(p.relative_to(PACKAGE).parts)]


def test_nothing_unsafe_is_called() -> None:
    pattern = re.compile(r"pickle\.loads?\(|joblib\.load\(|yaml\.load\(|linalg\.inv\(|weights_only=False|allow_pickle=True")
    found = [f"{p.relative_to(ROOT)}: {m.group()}" for p in SOURCES for m in [pattern.search(p.read_text(encoding="utf-8"))] if m]
    assert not found


def test_no_absolute_paths_of_a_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    names = [
        n for n in tracked() if Path(n).suffix in {".py", ".sh", ".yaml", ".md", ".cfg", ".toml"} and n != Path(__file__).name
    ]
    here = Path(__file__).resolve()
    found = [n for n in names if (ROOT / n).resolve() != here and pattern.search((ROOT / n).read_text(encoding="utf-8"))]
    assert not found


def test_no_general_inverse_or_solution() -> None:
    """Batches of either are slow on CPUs and fail for some sizes; Cholesky factors and triangular solutions do the work."""
    names = {"inv", "solve", "pinv"}
    found = [
        f"{path.name}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in names and getattr(node.value, "attr", "") == "linalg"
    ]
    assert not found


def loaded_after(code: str) -> set[str]:
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import dcase_asd",
        "from dcase_asd import cli\ntry:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass",
        "import dcase_asd.manifests.schema, dcase_asd.io.audio, dcase_asd.config, dcase_asd.registry, dcase_asd.io.tables",
    ],
)
def test_imports_stay_light(code: str) -> None:
    assert not loaded_after(code) & {"torch", "sklearn", "pandas", "scipy", "librosa", "matplotlib"}


def test_a_finished_recipe_is_listed_without_torch() -> None:
    code = (
        "from dcase_asd.pipeline.stages import all_stages\nfrom dcase_asd.pipeline.recipe import RunOptions, load_config\n"
        "from pathlib import Path\nall_stages()\n"
        "load_config(RunOptions(Path('recipes/synthetic/asd1'), Path('conf/oe.yaml')))"
    )
    assert not loaded_after(code) & {"torch", "sklearn", "pandas", "librosa"}


def test_help_is_quick() -> None:
    """Not a benchmark: a import of torch or pandas costs more than a second and would show here."""
    best = min(_seconds() for _ in range(3))
    assert best < 1.0


def _seconds() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dcase_asd", "--help"], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


def test_every_public_name_is_documented_and_exported() -> None:
    missing = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            missing.append(str(path.relative_to(ROOT)))
    assert not missing, "modules without a docstring"
