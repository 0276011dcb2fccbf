"""The recipe's systems and submissions are those of Fujimura 2023, Table 1, Tables 2 to 4 (second column) and Section 4."""

from pathlib import Path

import pytest

from dcase_asd.pipeline.recipe import RunOptions, load_config
from dcase_asd.pipeline.reporting import system_detectors

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
CORPORA = ("synthetic", "dcase2023")


def config_of(name, corpus="synthetic"):
    return load_config(RunOptions(recipe=RECIPES / corpus / "asd1", conf=Path("conf") / f"{name}.yaml"))


# Table 1: attribute loss (SerialOE), flow, domain-invariant modelling; Table 2: inlier models
SYSTEMS = {
    "oe": (0.0, False, False, {"gmm", "knn"}),
    "oe_flow": (0.0, True, False, {"gmm", "knn", "fastflow"}),
    "oe_dflow": (0.0, True, True, {"gmm", "knn"}),
    "serialoe_flow": (5.0, True, False, {"fastflow"}),
    "serialoe_dflow": (5.0, True, True, {"fastflow"}),
}
# Tables 2 to 4, last rows
SUBMISSIONS = {
    "submission1": set(SYSTEMS),
    "submission2": {"oe_dflow", "serialoe_dflow"},
    "submission3": {"oe", "oe_flow", "oe_dflow"},
    "submission4": set(SYSTEMS) - {"serialoe_flow"},
}


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("conf", ["all_systems", "all_systems_paper", *[s for s in SYSTEMS if s != "oe"]])
def test_systems_are_those_of_table_1(conf, corpus):
    config = config_of(conf, corpus)
    for system, (attribute_weight, flow, domain, inlier) in SYSTEMS.items():
        if not conf.startswith("all_systems") and system != conf:
            continue
        detectors = [config["detectors"][name] for name in system_detectors(config, system)]
        assert {d["detector"]["name"] for d in detectors} == inlier
        for detector in detectors:
            extractor = config["extractors"][detector["entry"]["extractor"]]["extractor"]
            assert extractor["machine_weight"] == 1.0
            assert extractor["attribute_weight"] == attribute_weight
            assert extractor["flow_weight"] == (1e-7 if flow else 0.0)
            assert bool(extractor["flow_attribute"]) == domain
            assert detector["entry"]["adopt"] == (detector["detector"]["name"] == "fastflow")


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("conf", ["all_systems", "all_systems_paper"])
def test_submissions_are_those_of_tables_2_to_4(conf, corpus):
    config = config_of(conf, corpus)
    for submission, systems in SUBMISSIONS.items():
        assert set(config["ensembles"][submission]["members"]) == systems
    assert config["submit"]["systems"] == tuple(SUBMISSIONS) or config["submit"]["systems"] == list(SUBMISSIONS)
    for system in ("oe", "oe_flow", "oe_dflow"):
        assert config["ensembles"][system]["n_best"] == 20


@pytest.mark.parametrize("corpus", CORPORA)
def test_paper_size_is_that_of_section_4(corpus):
    extractors = {name: item["extractor"] for name, item in config_of("all_systems_paper", corpus)["extractors"].items()}
    for name, extractor in extractors.items():
        if name == "mean":
            continue
        trained = (150, 1e-3, "one_cycle") if name == "oe" else (250, 1e-4, "fixed")
        assert (extractor["epochs"], extractor["learning_rate"], extractor["schedule"]) == trained
        assert (extractor["batch_size"], extractor["optimiser"], extractor["width"]) == (128, "adamw", 1.0)
        if extractor["flow_attribute"]:
            assert (extractor["flow_domain_channels"], extractor["flow_k_scale"]) == (8, 5.0)


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_two_sizes_differ_in_sizes_only(corpus):
    small, paper = config_of("all_systems", corpus), config_of("all_systems_paper", corpus)
    sizes = {
        "preset",
        "width",
        "input_pool",
        "epochs",
        "batch_size",
        "learning_rate",
        "schedule",
        "flow_steps",
        "flow_hidden_ratio",
    }
    sizes |= {"flow_domain_channels", "flow_learning_rate"}
    for name, entry in small["extractors"].items():
        extractor, large = entry["extractor"], paper["extractors"][name]["extractor"]
        assert {key for key in extractor if extractor[key] != large[key]} <= sizes
    for name, detector in small["detectors"].items():
        other = paper["detectors"][name]
        assert detector["entry"] == other["entry"]
        assert {k for k in detector["detector"] if detector["detector"][k] != other["detector"][k]} <= {"n_components"}
    for key in small.keys() - {"extractors", "detectors", "description", "raw"}:
        assert small[key] == paper[key], key
    # recordings of a challenge have one size only
    assert {k for k in small["raw"] if small["raw"][k] != paper["raw"][k]} == ({"size"} if corpus == "synthetic" else set())
