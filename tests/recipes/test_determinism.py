"""The matrix of jobs, executors, batch sizes and interruptions: every stage writes the bytes of the plain run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

from dcase_asd.pipeline import jobs
from dcase_asd.pipeline.stages import scores

CONFIG: dict[str, Any] = {
    "extractors": {
        "oe": tiny.CONFIG["extractors"]["oe"] | {"flow_weight": 1e-7},  # type: ignore[index]
        "same": {"name": "identity"},
    },
    "detectors": {
        "near": {"name": "knn", "n_neighbors": [1, 2], "extractor": "oe", "fit_sets": ["both"]},
        "mixture": {"name": "gmm", "n_components": [1, 2], "extractor": "oe", "fit_sets": ["both"]},
        "far": {"name": "mahalanobis", "extractor": "oe"},
        "flow": {"name": "fastflow", "extractor": "oe", "adopt": True},
        "coder": {"name": "autoencoder", "extractor": "same", "epochs": 1},
    },
    "ensembles": {"all": {"members": ["*"]}},
    "evaluate": tiny.CONFIG["evaluate"] | {"systems": ["all"], "comparators": []},  # type: ignore[operator]
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One job, this machine, batches as they are, not interrupted."""
    root = tmp_path_factory.mktemp("plain é")
    tiny.make_corpus(root / "data")
    tiny.run(tiny.make_recipe(root / "recipe", **CONFIG), root / "data")
    return root


def batch(size: int) -> Callable[[pytest.MonkeyPatch, Path, Path], None]:
    def run(monkeypatch: pytest.MonkeyPatch, recipe: Path, data: Path) -> None:
        monkeypatch.setattr(scores, "_BATCH", size)
        tiny.run(recipe, data)

    return run


def interrupted(monkeypatch: pytest.MonkeyPatch, recipe: Path, data: Path) -> None:
    """Stop after every unit of every stage, one run after another."""
    mark = jobs.mark_done

    def once(partial: Path, unit: str, parts: Any, **options: Any) -> None:
        mark(partial, unit, parts, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "mark_done", once)
    n_stops = 0
    while n_stops < 200:
        try:
            tiny.run(recipe, data)
        except KeyboardInterrupt:
            n_stops += 1
            continue
        break
    assert n_stops > 30


def parallel(executor: str) -> Callable[[pytest.MonkeyPatch, Path, Path], None]:
    def run(monkeypatch: pytest.MonkeyPatch, recipe: Path, data: Path) -> None:
        del monkeypatch
        if executor == "dask":
            pytest.importorskip("distributed")
        tiny.run(recipe, data, nj=2, executor=executor)

    return run


def threads(monkeypatch: pytest.MonkeyPatch, recipe: Path, data: Path) -> None:
    """Whatever number of threads the surroundings suggest; RESULTS.md names the command, which is another one here."""
    suggested = {**tiny.environment(), **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "4")}
    monkeypatch.setattr(tiny, "environment", lambda: suggested)
    done = tiny.command(recipe, data)
    assert done.returncode == 0, done.stderr
    results = recipe / "exp/conf/8_evaluate/RESULTS.md"
    command = f"run --recipe {recipe} --conf conf.yaml --nj 1 --data_root {data}"
    results.write_text(results.read_text(encoding="utf-8").replace(command, "run"), encoding="utf-8")


CASES = {
    "two jobs": parallel("local"),
    "two dask workers": parallel("dask"),
    "scored by 1": batch(1),
    "scored by 3": batch(3),
    "scored by 1000": batch(1000),
    "interrupted after every unit": interrupted,
    "other surroundings": threads,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # distributed warns of ports and sockets of its own
@pytest.mark.parametrize("case", CASES)
def test_same_bytes(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    tiny.make_corpus(tmp_path / "data")
    recipe = tiny.make_recipe(tmp_path / "recipe", **CONFIG)
    CASES[case](monkeypatch, recipe, tmp_path / "data")
    found, wanted = tiny.outputs(recipe), tiny.outputs(plain / "recipe")
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert any("6_scores/flow" in name for name in found)
