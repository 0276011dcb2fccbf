"""The same configuration gives the same scores in the pipeline and here, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from serving_material import RATE, machine
from test_serving_scorer import KNN

from dcase_asd.io.tables import read_table
from dcase_asd.pipeline.command import run_recipe
from dcase_asd.pipeline.recipe import RunOptions, plan_from
from dcase_asd.serving.scorer import Scorer

CONF = """
raw: {source: none}
corpus: {name: folder, machine: pump}
features: {name: log_mel}
segments: {length_s: 2.0, overlap: 0.75}
extractors: {mean: {name: log_mel_statistics, statistics: [mean]}}
detectors: {mean_knn: {extractor: mean, name: knn, n_neighbors: [1], metric: euclidean, fit_split: all, folds: 3}}
evaluate: {rule: pooled}
"""


def test_same_scores_as_the_pipeline(tmp_path: Path) -> None:
    data = tmp_path / "data é"
    for split, seeds in (("train", range(6)), ("test/normal", (20, 21)), ("test/anomaly", (30, 31))):
        (data / split).mkdir(parents=True)
        for seed in seeds:
            wave = machine(seed, fault=split.endswith("anomaly"))
            soundfile.write(data / split / f"{seed:02d}.wav", wave, RATE, subtype="PCM_16")
    recipe = tmp_path / "recipe"
    (recipe / "conf").mkdir(parents=True)
    (recipe / "conf" / "knn.yaml").write_text(CONF)
    options = RunOptions(
        recipe=recipe,
        conf=Path("conf/knn.yaml"),
        overrides=(),
        seeds=[],
        tag="t",
        expdir=str(tmp_path / "exp"),
        dumpdir=str(tmp_path / "dump"),
        data_root=str(data),
        machines=(),
        sections=(),
    )
    plan = plan_from(
        stage="0", stop_stage="7", stages="", skip_stages="", force=False, dry_run=False, allow_stale=False, verify=False
    )
    common = {"nj": 1, "device": "cpu", "executor": "local", "address": "", "list_only": False, "resume": True, "verbose": 0}
    run_recipe(options, plan=plan, **common, argv=[])
    schema = {"clip_id": "str", "system": "str", "score": "float"}
    tables = [read_table(path, schema) for path in sorted((tmp_path / "exp").rglob("scores.csv")) if path.parent.name == "pump"]
    raw = next(t for t in tables if set(t["system"]) == {"mean_knn"}).set_index("clip_id")["score"]

    scorer = Scorer(false_alarms=0.2, config=KNN).fit(data / "train")
    model = scorer._fitted()[0]
    for verdict in scorer.verdicts(data / "test"):
        piece = verdict.details.piece
        index = {"embedder0": np.zeros(len(piece.vectors["embedder0"]), dtype=np.int64)}
        found = model.pooled(model.raw(piece.vectors), index)["mean_knn"]
        clip = next(name for name in raw.index if name.endswith(Path(verdict.file).stem))
        assert found[0] == raw[clip], clip
    assert len(raw) == 4


@pytest.mark.parametrize("n", [3])
def test_the_comparison_would_notice(n: int, tmp_path: Path) -> None:
    waves = [machine(seed) for seed in range(n + 1)]
    one = Scorer(false_alarms=0.3, config=KNN).fit(waves[:n], sample_rate_hz=RATE)
    other = Scorer(false_alarms=0.3, config={**KNN, "length_s": 1.0}).fit(waves[:n], sample_rate_hz=RATE)
    assert one.score(waves[n], sample_rate_hz=RATE)["score"][0] != other.score(waves[n], sample_rate_hz=RATE)["score"][0]
