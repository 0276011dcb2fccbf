"""Times of an experiment come from the logs of its units."""

import pytest
from click.testing import CliRunner

from dcase_asd.cli.results_verb import command
from dcase_asd.errors import FormatError
from dcase_asd.pipeline.times import seconds_by_entry, times_table


def log(root, stage, unit, end):
    number, name = stage.split("_")
    path = root / "log" / stage / f"{unit.replace('/', '.')}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"# dcase-asd run\n# stage {number} {name}, unit {unit}, host, process 1, started 2026-01-01\nepoch 1\n{end}\n"
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def experiment(tmp_path):
    root = tmp_path / "exp é"
    for seed, machine, seconds in (("0", "fan", 1.5), ("0", "välve", 2.5), ("1", "fan", 3.0), ("1", "välve", 4.0)):
        log(root, "5_detectors", f"near_est/{seed}/{machine}", f"# Ended (code 0), elapsed {seconds} s")
    log(root, "6_scores", "near_est/0/fan", "# Ended (code 0), elapsed 0.3 s")
    log(root, "4_embeddings", "oe/0/fan", "# Ended (code 0), elapsed 7.0 s")
    log(root, "5_detectors", "failed/0/fan", "# Ended (code 1), elapsed 9.0 s")
    log(root, "6_scores", "level/fan", "# Ended (code 0), elapsed 9.0 s")
    return root


def test_machines_add_up_and_seeds_are_averaged(experiment):
    assert seconds_by_entry(experiment) == {"near_est": {5: 5.5, 6: 0.3}, "oe": {4: 7.0}}


def test_extractors_stand_first(experiment):
    assert times_table(experiment).splitlines()[2:] == ["| oe |  | 7.0 |  |  |", r"| near\_est |  |  | 5.5 | 0.3 |"]


def test_results_shows_them(experiment):
    page = experiment / "8_evaluate" / "RESULTS.md"
    page.parent.mkdir()
    page.write_text("# A page\n", encoding="utf-8")
    result = CliRunner().invoke(command, ["--times", str(experiment)])
    assert result.exit_code == 0
    assert result.output.startswith("# A page\n")
    assert "| oe |  | 7.0 |  |  |" in result.output


def test_without_a_log_there_is_an_error(tmp_path):
    with pytest.raises(FormatError, match="no log of a unit"):
        seconds_by_entry(tmp_path)
