"""Every table of a recipe on pictures has the trivial rows: the mean picture, and the nearest neighbour of pooled features."""

from pathlib import Path

import pytest

from dcase_asd.pipeline.recipe import RunOptions, load_config

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
CONFS = sorted(
    path for place in ("cactus", "casting", "mvtec", "textures", "wood") for path in (RECIPES / place).glob("*/conf/*.yaml")
)


@pytest.mark.parametrize("path", CONFS, ids=lambda path: f"{path.parts[-4]}-{path.stem}")
def test_trivial_rows_are_shown(path):
    config = load_config(RunOptions(recipe=path.parents[1], conf=Path("conf") / path.name))
    detectors, shown = config["detectors"], {*config["evaluate"]["systems"], *config["evaluate"]["comparators"]}
    kinds = {
        (item["detector"]["name"], config["extractors"][item["entry"]["extractor"]]["extractor"]["name"])
        for name, item in detectors.items()
        if name in shown
    }
    assert {("knn", "backbone"), ("mean_image", "identity")} <= kinds
