"""The same configuration gives the same scores in the pipeline and here, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from in_process import run_in_process
from numpy.typing import NDArray
from serving_material import RATE, machine
from test_serving_scorer import KNN

from dcase_asd.config import to_dict
from dcase_asd.io.tables import read_table
from dcase_asd.pipeline.recipe import RunOptions
from dcase_asd.serving.scorer import Scorer

#: The members of the default, in the pipeline's words.
DEFAULT = """
raw: {source: none}
corpus: {name: folder, machine: pump}
features: {name: log_mel, n_mels: 128, window_s: 0.064, f_max_hz: 7200, standardise: clip, highpass: null, resample: true}
extra_features:
  wave: {name: waveform, sample_rate_hz: 16000, standardise: none, highpass: null, resample: true}
extractors:
  mean_std: {name: log_mel_statistics, statistics: [mean, std]}
  level: {name: level, features: wave}
detectors:
  level_nearest: {extractor: level, name: knn, n_neighbors: [1], metric: euclidean, fit_split: all, folds: 3}
  shape_nearest: {extractor: mean_std, name: knn, n_neighbors: [1], metric: euclidean, fit_split: all, folds: 3}
  shape_gaussian: {extractor: mean_std, name: mahalanobis, fit_split: all, folds: 3}
evaluate: {rule: pooled, threshold: false_alarm, false_alarm_rate: 0.2}
"""

SCORES = {"clip_id": "str", "system": "str", "score": "float"}
CONF = """
raw: {source: none}
corpus: {name: folder, machine: pump}
features: {name: log_mel}
segments: {length_s: 2.0, overlap: 0.75}
extractors: {mean: {name: log_mel_statistics, statistics: [mean]}}
detectors: {mean_knn: {extractor: mean, name: knn, n_neighbors: [1], metric: euclidean, fit_split: all, folds: 3}}
evaluate: {rule: pooled}
"""


def pipeline_scores(tmp_path: Path, conf: str) -> tuple[Path, pd.DataFrame]:
    """Run stages 0 to 7 on a small folder; return it and the raw scores, clips by systems."""
    data = tmp_path / "data é"
    for split, seeds in (("train", range(9)), ("test/normal", (20, 21)), ("test/anomaly", (30, 31))):
        (data / split).mkdir(parents=True)
        for seed in seeds:
            wave = machine(seed, seconds=7.0, fault=split.endswith("anomaly"))
            soundfile.write(data / split / f"{seed:02d}.wav", wave, RATE, subtype="PCM_16")
    recipe = tmp_path / "recipe"
    (recipe / "conf").mkdir(parents=True)
    (recipe / "conf" / "own.yaml").write_text(conf)
    options = RunOptions(recipe=recipe, conf=Path("conf/own.yaml"), tag="t", data_root=str(data))
    run_in_process(options, stage="0", stop_stage="7")
    tables = [read_table(path, SCORES) for path in sorted((recipe / "exp/t/6_scores").glob("*/0/pump/scores.csv"))]
    return data, pd.concat(tables).pivot_table(index="clip_id", columns="system", values="score")


def compared(scorer: Scorer, data: Path, found: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return, for each member, the scorer's raw scores beside the pipeline's, ``[clip, 2]``."""
    model = scorer._fitted()[0]
    pairs: dict[str, list[tuple[float, float]]] = {}
    for verdict in scorer.verdicts(data / "test"):
        piece = verdict.details.piece
        index = {key: np.zeros(len(vectors), dtype=np.int64) for key, vectors in piece.vectors.items()}
        clip = next(name for name in found.index if name.endswith(Path(verdict.file).stem))
        for name, value in model.pooled(model.raw(piece.vectors), index).items():
            pairs.setdefault(name, []).append((float(value[0]), float(found.loc[clip, name])))
    return {name: np.array(values) for name, values in pairs.items()}


def test_same_scores_as_the_pipeline(tmp_path: Path) -> None:
    data, found = pipeline_scores(tmp_path, CONF)
    scorer = Scorer(false_alarms=0.2, config=KNN).fit(data / "train")
    values = compared(scorer, data, found)["mean_knn"]
    assert len(values) == 4
    assert (values[:, 0] == values[:, 1]).all()


def test_the_default_is_what_its_members_are_in_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DCASE_ASD_WEIGHTS", raising=False)
    data, found = pipeline_scores(tmp_path, DEFAULT)
    pairs = compared(Scorer(false_alarms=0.2).fit(data / "train"), data, found)
    assert set(pairs) == {"level_nearest", "shape_nearest", "shape_gaussian"}
    for name, values in pairs.items():
        assert (values[:, 0] == values[:, 1]).all(), name


def test_the_score_is_the_ensemble_of_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fold a recording; how fewer folds are drawn is each side's own, and standardised scores follow it."""
    monkeypatch.delenv("DCASE_ASD_WEIGHTS", raising=False)
    conf = (
        DEFAULT.replace("folds: 3", "folds: 9") + "ensembles: {all: {members: [level_nearest, shape_nearest, shape_gaussian]}}\n"
    )
    data, _ = pipeline_scores(tmp_path, conf)
    table = read_table(tmp_path / "recipe/exp/t/7_ensemble/0/scores.csv", SCORES)
    expected = {Path(r.clip_id).name: r.score for r in table[table["system"] == "all"].itertuples()}
    chosen = to_dict(Scorer().fit(data / "train")._fitted()[0].fronts.config)
    scorer = Scorer(false_alarms=0.2, config={**chosen, "folds": 9}).fit(data / "train")
    found = {Path(verdict.file).stem: verdict.score for verdict in scorer.verdicts(data / "test")}
    assert found == expected


@pytest.mark.parametrize("n", [3])
def test_the_comparison_would_notice(n: int, tmp_path: Path) -> None:
    waves = [machine(seed) for seed in range(n + 1)]
    one = Scorer(false_alarms=0.3, config=KNN).fit(waves[:n], sample_rate_hz=RATE)
    other = Scorer(false_alarms=0.3, config={**KNN, "length_s": 1.0}).fit(waves[:n], sample_rate_hz=RATE)
    assert one.score(waves[n], sample_rate_hz=RATE)["score"][0] != other.score(waves[n], sample_rate_hz=RATE)["score"][0]
