"""Every year's recipe through all stages on recordings in the year's exact layout; nothing outside agrees less than exactly."""

import json

import pytest
from click.testing import CliRunner
from year_runs import ROOT, run_year

from dcase_asd.cli.evaluate_verb import command as evaluate
from dcase_asd.evaluation.results import Metrics
from dcase_asd.manifests.corpora import corpus_spec
from dcase_asd.manifests.schema import Manifest
from dcase_asd.submission.validator import check_submission, manifest_file_lists

SLOW = [pytest.param(year, marks=pytest.mark.slow) for year in range(2020, 2027) if year != 2023]


@pytest.mark.parametrize("year", [2023, *SLOW])
def test_a_year_from_recordings_to_a_score_that_the_organisers_files_confirm(year, tmp_path):
    run = run_year(tmp_path, year)
    manifest = Manifest.read(next(run.experiment.parents[1].glob("data/*/manifest.csv")))
    own = Metrics.read(run.experiment / "8_evaluate" / "0" / "eval" / "metrics.json")
    development = Metrics.read(run.experiment / "8_evaluate" / "0" / "dev" / "metrics.json")
    spec = corpus_spec(f"dcase{year}")
    assert own.rule == f"dcase{year}"
    assert set(own.systems["oe"].machines) == set(run.machines)
    for metrics, subset in ((own, "eval"), (development, "dev")):
        for machine, entry in metrics.systems["oe"].machines.items():
            assert list(entry.sections) == sorted(spec.machines[subset][machine])

    archive = run.experiment / "9_submit" / "Doe_DCASE_task2.zip"
    problems = check_submission(archive, year=year, machines=run.machines, file_lists=manifest_file_lists(manifest))
    assert [str(p) for p in problems if p.severity == "error"] == []

    result = CliRunner().invoke(
        evaluate,
        ["--year", str(year), "--scores", str(run.submitted), "--ground-truth", str(run.truth), "--sections"]
        + ["--json", str(tmp_path / "again.json"), "--csv", str(tmp_path / "result.csv")],
    )
    assert result.exit_code == 0, result.output
    again = Metrics.read(tmp_path / "again.json").systems[run.submitted.name]
    ours = own.systems["oe"]
    assert again.score == ours.score
    for machine, entry in ours.machines.items():
        assert again.machines[machine].means == entry.means
        for section, values in entry.sections.items():
            assert again.machines[machine].sections[section].values == values.values
