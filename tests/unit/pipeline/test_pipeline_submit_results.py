"""Stage 9: development results in meta.yaml, by the year's rule or not at all."""

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from dcase_asd.evaluation.evaluate import evaluate_scores
from dcase_asd.pipeline.stage import Context, Resources
from dcase_asd.pipeline.stages.submit import _results


@pytest.fixture
def results(tmp_path: Path):
    """Evaluate eight clips of two sections by a rule, and ask for the results of a year."""
    rows = [
        (f"{s}{d}{i}", s, d, i % 2, (7 * i + len(s) * 3) % 5)
        for s in ("00", "001")
        for d in ("source", "target")
        for i in range(8)
    ]
    clips = pd.DataFrame(rows, columns=["clip_id", "section", "domain", "is_anomaly", "score"]).assign(machine="fän", system="oe")

    def ask(year: int, rule: str, said: list[str] | None = None):
        metrics = evaluate_scores(clips[["clip_id", "system", "score"]], clips, rule=rule, interval=False)
        metrics.write(tmp_path / "0" / "dev" / "metrics.json")
        config = {"submit": {"year": year}, "seeds": [0]}
        context = Context(config, {"evaluate": tmp_path}, Resources(), (said if said is not None else []).append)
        return metrics.systems["oe"].machines["fän"].means, _results(context, config, "oe")

    return ask


def test_2021_has_one_harmonic_mean_over_sections_and_domains(results):
    means, found = results(2021, "dcase2021")
    for key in ("auc", "pauc"):
        expected = 100 * stats.hmean([means[f"{key}_source"], means[f"{key}_target"]])
        assert found["fän"][key] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("year", "rule"), [(2020, "dcase2020"), (2022, "dcase2022"), (2024, "dcase2023"), (2026, "dcase2026")])
def test_other_years_have_the_terms_of_their_rule(results, year, rule):
    means, found = results(year, rule)
    assert found == {"fän": {key: 100 * value for key, value in means.items()}}


def test_figures_of_another_rule_do_not_stand_under_official_keys(results):
    said: list[str] = []
    assert results(2023, "own_domain", said)[1] == {}
    assert "no development results by the rule dcase2023" in said[0]
