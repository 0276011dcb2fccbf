"""The rows `fit` of recipes/folder/asd1/conf/own_machine.yaml are what `dcase-asd fit` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcase_asd.pipeline.recipe import RunOptions, load_config
from dcase_asd.serving.advisor import advise, look
from dcase_asd.serving.recordings import find
from dcase_asd.serving.settings import resolve

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "folder" / "asd1"
#: What the recipe says differently and means the same: the network's weights, and the length of its training.
_ELSEWHERE = {"checkpoint", "sha256", "epochs"}


def advised(*, weights: bool, others: bool) -> Any:
    rng = np.random.default_rng(0)
    seen = look(find([rng.normal(scale=0.1, size=160000).astype(np.float32) for _ in range(8)], sample_rate_hz=16000).recordings)
    return resolve(advise(seen, also=seen, others=seen if others else None, has_weights=weights).model)


@pytest.mark.parametrize(
    ("ensemble", "weights", "others"),
    [("fit", False, False), ("fit_with_weights", True, False), ("fit_with_others", False, True)],
)
def test_a_row_of_the_recipe_is_the_advised_model(ensemble: str, weights: bool, others: bool) -> None:
    config = load_config(RunOptions(recipe=RECIPE, conf=Path("conf/own_machine.yaml"), overrides=()))
    model = advised(weights=weights, others=others)
    named = {"others_nearest": "oe_nearest"}
    assert sorted(config["ensembles"][ensemble]["members"]) == sorted(named.get(name, name) for name in model.members)
    assert config["segments"] == {"length_s": model.length_s, "overlap": model.overlap}
    assert config["scores"]["aggregation"] == model.aggregation
    for name, member in model.members.items():
        item = config["detectors"][named.get(name, name)]
        extractor = config["extractors"][item["entry"]["extractor"]]
        features = extractor["entry"]["features"]
        feature = config["features"] if features == "main" else config["extra_features"][features]
        assert feature == model.fronts[member.front], name
        given, wanted = ({k: v for k, v in x.items() if k not in _ELSEWHERE} for x in (extractor["extractor"], member.extractor))
        assert given == wanted, name
        assert item["detector"] == member.detector, name
        assert item["entry"]["fit_split"] == "all"
