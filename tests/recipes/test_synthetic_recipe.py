"""The synthetic recipe from nothing to a submission, as a user runs it, in a folder with a space and a non-ASCII letter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("raw", "manifests", "features", "extractor", "embeddings", "detectors", "scores", "ensemble", "evaluate", "submit")


def run(recipe: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dcase_asd", "run", "--recipe", str(recipe), "--conf", "conf/mini.yaml", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=recipe, env=environment)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a recipe é") / "asd1"
    shutil.copytree(ROOT / "recipes/synthetic/asd1/conf", folder / "conf")
    return folder


@pytest.fixture(scope="module")
def first(recipe: Path) -> subprocess.CompletedProcess[str]:
    done = run(recipe, "--nj", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_prints_table_and_paths(first: subprocess.CompletedProcess[str]) -> None:
    for number, name in enumerate(STAGES):
        assert f"[{number}/9 {name}] done in" in first.stdout
    for word in ("AUC source", "AUC target", "pAUC", "95 % interval", "(comparator)", "level_up", "report.html", "RESULTS.md"):
        assert word in first.stdout
    assert "submission: " in first.stdout


def test_level_alone_has_the_known_scores(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    """The level depends on the synthesised bytes alone: another value means that the simulator changed."""
    table = pd.read_csv(recipe / "exp/mini/8_evaluate/results_dev.csv", index_col="system")
    assert table.loc["level_up", "score"] == pytest.approx(LEVEL_UP, abs=1e-6)
    assert table["group"].to_dict().items() >= {"mean_knn": "comparator", "level_up": "trivial", "oe": "ours"}.items()
    assert (table["low"] <= table["score"]).all()
    assert (table["score"] <= table["high"]).all()


LEVEL_UP = 0.5131269


def test_second_run_is_up_to_date(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    again = run(recipe)
    assert again.returncode == 0, again.stderr
    assert [line.split("] ")[1] for line in again.stdout.splitlines() if "/9 " in line] == ["up to date"] * 10


def test_stage_5_redoes_the_detectors(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    before = record(recipe, "5_detectors")["files"]
    again = run(recipe, "--stage", "5", "--nj", "1")
    assert "[5/9 detectors] run: asked for again" in again.stdout
    assert "[4/9" not in again.stdout
    # the same bytes again, by another number of jobs: nothing that depends on them has to run
    assert record(recipe, "5_detectors")["files"] == before
    assert "[6/9 scores] up to date" in again.stdout


def test_changed_detector_reruns_only_what_depends_on_it(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    again = run(recipe, "--nj", "1", "--dry-run", "detectors.mean_knn.n_neighbors=[2]")
    assert "[4/9 embeddings] up to date" in again.stdout
    assert "[5/9 detectors] would run: detector.n_neighbors: [1] -> [2]" in again.stdout


def test_submission_passes_the_validator(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    from dcase_asd.submission.validator import check_submission

    folder = recipe / "exp/mini/9_submit"
    made = json.loads((folder / "submission.json").read_text(encoding="utf-8"))
    problems = check_submission(folder / made["archives"][0], year=2023, machines=made["machines"])
    assert not [p for p in problems if p.severity == "error"]


def test_manifest_keeps_labels_apart(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    folder = next((recipe / "data").glob("dcase-*"))
    manifest = pd.read_csv(folder / "manifest.csv")
    assert not {"label", "is_anomaly"} & set(manifest.columns)
    test = manifest[(manifest["split"] == "test") & (manifest["subset"] == "dev")]
    assert set(test["domain"]) == {"unknown"}
    assert len(pd.read_csv(folder / "labels.csv")) >= len(test)


def test_experiment_can_be_repeated_by_its_script(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    done = subprocess.run(
        ["bash", str(recipe / "exp/mini/run.sh"), "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "[9/9 submit]" in done.stdout


@pytest.mark.slow
def test_number_of_jobs_changes_no_byte(recipe: Path, first: subprocess.CompletedProcess[str]) -> None:
    done = run(recipe, "--nj", "1", "--expdir", "one job")
    assert done.returncode == 0, done.stdout + done.stderr
    for stage in ("3_extractor", "4_embeddings", "5_detectors", "6_scores", "7_ensemble"):
        assert record(recipe, stage, "one job")["files"] == record(recipe, stage)["files"], stage


def record(recipe: Path, stage: str, expdir: str = "exp") -> dict[str, dict[str, str]]:
    return json.loads((recipe / expdir / "mini" / stage / "stage.json").read_text(encoding="utf-8"))
