"""One extractor trained by two processes, from the recipe's configuration: ``extractors.oe.n_processes=2``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from dcase_asd.errors import TrainingError

ALL = {"extractors": {"oe": tiny.CONFIG["extractors"]["oe"] | {"epochs": 4, "flow_weight": 1e-7}}}  # type: ignore[index]
CONFIG = {**ALL, "detectors": {"knn": {"extractor": "oe", "name": "knn", "n_neighbors": [1], "fit_sets": ["both"]}}}
CONFIG |= {"ensembles": {}, "evaluate": {"systems": ["knn"], "n_bootstrap": 20}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus é")
    tiny.make_corpus(root)
    return root


def run(root: Path, data: Path, *overrides: str, stop: str = "4") -> Path:
    recipe = tiny.make_recipe(root, **CONFIG)
    tiny.run(recipe, data, "machines=[fan]", *overrides, stop_stage=stop)
    return recipe / "exp/conf/3_extractor/oe/0/fan"


def losses(folder: Path) -> np.ndarray:
    lines = (folder / "losses.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("train_total")
    return np.array([float(line.split(",")[column]) for line in lines[1:]])


@pytest.mark.slow
def test_loss_curve_of_one_process_and_the_same_bytes_twice(corpus: Path, tmp_path: Path) -> None:
    """Batch normalisation over half a batch moves the losses (seen: 2 %); another seed moves them by more than 5 %."""
    one = losses(run(tmp_path / "one", corpus))
    two = run(tmp_path / "two", corpus, "extractors.oe.n_processes=2")
    again = run(tmp_path / "again", corpus, "extractors.oe.n_processes=2")
    assert losses(two) == pytest.approx(one, rel=0.1)
    assert (losses(two) != one).any()
    for name in ("tensors.safetensors", "losses.csv", "fastflow/tensors.safetensors"):
        assert (two / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.slow
def test_error_of_a_process_comes_back_as_it_was(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"(is (nan|inf)|not finite after .*) at step"):
        run(tmp_path / "r", corpus, "extractors.oe.n_processes=2", "extractors.oe.learning_rate=1e30")


@pytest.mark.slow
def test_processes_end_with_their_runner(corpus: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe(tmp_path / "r", **CONFIG)
    line = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(recipe), "--conf", "conf.yaml", "--nj=1"]
    line += ["--data_root", str(corpus), "machines=[fan]", "extractors.oe.n_processes=2", "extractors.oe.epochs=10000"]
    running = subprocess.Popen(line, env=tiny.environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(recipe.rglob("oe~0~fan/losses.csv")) and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.1)
    assert theirs(recipe)
    running.kill()
    running.wait()
    while theirs(recipe) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not theirs(recipe)


def theirs(recipe: Path) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = place.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if "several_processes" in text and str(recipe) in text:
            found.append(text)
    return found
