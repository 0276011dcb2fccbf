"""Every year's recipe through all stages on recordings in the year's exact layout; nothing outside agrees less than exactly."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from trees import clip_names, make_year, wav_bytes
from year_runs import MACHINES, recipe_of, run, run_year, write_truth, year_options
from zenodo_server import Zenodo, make_zip, serve

from dcase_asd import registry
from dcase_asd.cli.evaluate_verb import command as evaluate
from dcase_asd.cli.results_verb import command as results
from dcase_asd.errors import DataError
from dcase_asd.evaluation.results import Metrics
from dcase_asd.manifests.corpora import corpus_spec
from dcase_asd.manifests.schema import Manifest
from dcase_asd.pipeline.score_tables import standardised
from dcase_asd.pipeline.stages import evaluate as evaluate_stage
from dcase_asd.pipeline.stages.submit import missing_sections
from dcase_asd.submission.validator import check_submission, manifest_file_lists

SLOW = [pytest.param(year, marks=pytest.mark.slow) for year in range(2020, 2027) if year != 2023]


@pytest.mark.parametrize("year", [2023, *SLOW])
def test_a_year_from_recordings_to_a_score_that_the_organisers_files_confirm(year, tmp_path):
    finished = run_year(tmp_path, year)
    manifest = Manifest.read(next(finished.experiment.parents[1].glob("data/*/manifest.csv")))
    own = Metrics.read(finished.experiment / "8_evaluate" / "0" / "eval" / "metrics.json")
    development = Metrics.read(finished.experiment / "8_evaluate" / "0" / "dev" / "metrics.json")
    spec = corpus_spec(f"dcase{year}")
    assert own.rule == f"dcase{year}"
    assert set(own.systems["oe"].machines) == set(finished.machines)
    for metrics, subset in ((own, "eval"), (development, "dev")):
        for machine, entry in metrics.systems["oe"].machines.items():
            assert list(entry.sections) == sorted(spec.machines[subset][machine])

    archive = finished.experiment / "9_submit" / "Doe_DCASE_task2.zip"
    problems = check_submission(archive, year=year, machines=finished.machines, file_lists=manifest_file_lists(manifest))
    assert [str(p) for p in problems if p.severity == "error"] == []

    again_path = tmp_path / "again.json"
    arguments = ["--year", year, "--scores", finished.submitted, "--ground-truth", finished.truth, "--json", again_path]
    result = CliRunner().invoke(evaluate, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    again = Metrics.read(again_path).systems[finished.submitted.name]
    ours = own.systems["oe"]
    assert again.score == ours.score
    for machine, entry in ours.machines.items():
        assert again.machines[machine].means == entry.means
        for section, values in entry.sections.items():
            submitted = again.machines[machine].sections[section].values
            # decisions are not part of a submission of 2020
            left_out = {"precision", "recall", "f1", "false_alarm_rate"} if year == 2020 else set()
            assert submitted == {key: value for key, value in values.values.items() if key not in left_out}

    page = CliRunner().invoke(results, ["--sections", str(finished.experiment)])
    assert page.exit_code == 0, page.output
    rows = [line.split(" | ")[:2] for line in page.output.splitlines() if line.startswith("| ")]
    for subset in ("dev", "eval"):
        for machine in (m for m in MACHINES[year] if m in spec.machines[subset]):
            assert all([f"| {machine}", section] in rows for section in spec.machines[subset][machine])


@pytest.mark.slow
@pytest.mark.parametrize("year", [2020, 2021, 2023, 2025])
def test_every_system_of_the_paper_runs_on_a_years_recordings(year, tmp_path):
    finished = run_year(tmp_path, year, conf="mini_systems")
    own = Metrics.read(finished.experiment / "8_evaluate" / "0" / "eval" / "metrics.json")
    # 2020 has one domain, so no domain-invariant latent space
    domain = {"oe_dflow", "serialoe_dflow", "submission2", "submission4"} if year > 2020 else set()
    wanted = {"oe", "oe_flow", "serialoe_flow", "submission1", "submission3"} | domain
    assert wanted <= set(own.systems)
    for system in wanted:
        assert set(own.systems[system].machines) == set(finished.machines)
        assert 0.0 <= own.systems[system].score <= 1.0
    submitted = sorted(path.name for path in finished.submitted.parent.iterdir() if path.is_dir())
    assert submitted == [f"Doe_DCASE_task2_{n + 1}" for n in range(4 if year > 2020 else 2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("year", "conf"), [(2020, "serial_oe"), (2022, "serial_oe"), (2020, "official_baseline"), (2024, "official_baseline")]
)
def test_ancestor_and_official_baseline_run_on_a_years_recordings(year, conf, tmp_path):
    small = ["features.n_mels=16", "features.window_s=0.032", "segments.length_s=0.24", "segments.overlap=0"]
    small += ["split.source_fraction=0.5", "split.n_target=1", "extractors.oe.epochs=1", "extractors.oe.width=0.0625"]
    small += ["evaluate.threshold=false_alarm", "evaluate.false_alarm_rate=0.34", "evaluate.n_bootstrap=20"]
    if conf == "serial_oe":
        small += ["extractors.serial_oe.epochs=1", "extractors.serial_oe.width=0.0625"]
        small += ["detectors.serial_oe_knn.n_neighbors=[1]", "detectors.serial_oe_gmm.n_components=[1]"]
    else:
        small += ["detectors.official.epochs=1", "detectors.official.reg=0.01"]  # too few frames for the covariance
    finished = run_year(tmp_path, year, *small, conf=conf)
    own = Metrics.read(finished.experiment / "8_evaluate" / "0" / "eval" / "metrics.json")
    assert {"oe", "serial_oe" if conf == "serial_oe" else "official_mse"} <= set(own.systems)


@pytest.mark.slow
def test_a_run_on_some_sections_ends_without_a_submission_and_says_why(tmp_path):
    finished = run_year(tmp_path, 2022, "corpus.sections=['00', '03']", "ensembles={}", "evaluate.systems=[]")
    made = json.loads((finished.experiment / "9_submit" / "submission.json").read_text())
    assert made["archives"] == []
    assert made["missing_sections"] == {"ToyCar": ["04", "05"], "fan": ["04", "05"]}


def test_machines_without_all_their_sections_are_told(tmp_path):
    make_year(tmp_path, 2021, machines=("fan", "ToyCar"))
    for path in (tmp_path / "dcase2021t2" / "eval_data" / "raw" / "fan").rglob("section_04_*"):
        path.unlink()
    plugin = registry.load("corpora", "dcase")
    manifest, _ = plugin.implementation(plugin.config(year=2021)).scan(tmp_path)
    assert missing_sections(manifest.select(subset="eval", split="test"), 2021) == {"fan": ["04"]}


def test_too_few_held_out_clips_are_told_with_machine_section_and_remedy():
    place = {"system": "oe", "seed": "0", "machine": "fan", "section": "01"}
    one = pd.DataFrame([{"clip_id": "a", "score": 1.0, **place}])
    with pytest.raises(DataError, match=r"system oe, machine fan, section 01: .* at least 2 .*source_fraction"):
        standardised({"scores": one, "calibration": one}, transductive=False)
    with pytest.raises(DataError, match=r"system oe, machine fan, section 01: .* at least 3 .*false_alarm_rate"):
        evaluate_stage._threshold(
            np.array([1.0, 2.0]), ("oe", "fan", "01"), {"threshold": "false_alarm", "false_alarm_rate": 0.3}, None
        )


def test_a_changed_label_makes_the_manifest_stale_and_nothing_else_does(tmp_path):
    spec, data, truth = corpus_spec("dcase2020"), tmp_path / "data", tmp_path / "truth"
    make_year(data, 2020, machines=MACHINES[2020])
    write_truth(truth, spec)
    options = year_options(tmp_path / "recipe", 2020, data=data, overrides=(f"corpus.ground_truth={truth}",))

    def labels() -> str:
        run(options, stop_stage="manifests")
        return next(options.recipe.glob("data/*/labels.csv")).read_text()

    before = labels()
    written = next(options.recipe.glob("data/*/stage.json")).stat().st_mtime_ns
    assert labels() == before
    assert next(options.recipe.glob("data/*/stage.json")).stat().st_mtime_ns == written
    table = truth / "eval_data_list.csv"
    table.write_text(table.read_text().replace(",normal_id_05_00000000.wav,0", ",anomaly_id_05_00000000.wav,1"))
    after = labels()
    assert [a for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b] != []


def test_stage_0_downloads_when_asked_and_keeps_what_arrived(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    spec, files = corpus_spec("dcase2023"), {}
    for archive in spec.archives:
        names = [n for n in clip_names(spec, "eval", "Vacuum", "00") if n.startswith(f"{archive.part}/")]
        if archive.subset == "eval":
            files[archive.record] = {archive.zip_name("Vacuum"): make_zip({f"Vacuum/{n}": wav_bytes(n) for n in names})}
    settings = ("raw.source=download", "raw.year=2023", "raw.machines=[Vacuum]")
    options = year_options(tmp_path / "recipe", 2023, overrides=settings)

    class RefusedOnceTheOtherIsThere(dict):
        def get(self, name, default=None):
            until = time.monotonic() + 10
            while self and "_test" in name and time.monotonic() < until:
                if any((tmp_path / "recipe" / "downloads").glob("*/.work/*/corpus/*/*/.complete/*_train.zip.json")):
                    break
                time.sleep(0.01)
            return super().get(name, default)

    faults = RefusedOnceTheOtherIsThere({"eval_data_Vacuum_test.zip": {"status": 403}})
    with serve(Zenodo(records=files, faults=faults)) as server:
        monkeypatch.setenv("DCASE_ASD_ZENODO_URL", server.url)
        with pytest.raises(DataError, match="403"):
            run(options, stop_stage="manifests")
        server.faults.clear()
        run(options, stop_stage="manifests")
        assert server.count("eval_data_Vacuum_train.zip") == 1
        run(options, stop_stage="manifests")
        assert server.count("eval_data_Vacuum_test.zip") == 2
    manifest = Manifest.read(next(options.recipe.glob("data/*/manifest.csv")))
    assert len(manifest) == len(list(clip_names(spec, "eval", "Vacuum", "00")))


def test_run_sh_finds_the_package_and_its_configuration(tmp_path):
    shim = recipe_of(2024) / "run.sh"
    environment = {**os.environ, "DCASE_ASD_VENV": sys.prefix, "DCASE_ASD_DATA": str(tmp_path / "nö data")}
    command = ["bash", shim, "--list", "--expdir", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line[0] for line in done.stdout.splitlines()] == list("0123456789")
