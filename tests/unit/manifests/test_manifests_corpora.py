import sys

import pytest

from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.manifests import corpora
from dcase_asd.manifests.corpora import corpus_spec, list_corpora

YEARS = [f"dcase{year}" for year in range(2020, 2027)]


def test_every_description_loads():
    assert set(YEARS) <= set(list_corpora())
    for name in list_corpora():
        assert corpus_spec(name).name == name


@pytest.mark.parametrize("name", YEARS)
def test_a_description_does_not_contradict_itself(name):
    spec = corpus_spec(name)
    everyone = {subset: set(spec.machine_names(subset)) for subset in ("dev", "eval")}
    assert everyone["dev"]
    assert everyone["eval"]
    assert spec.folder == f"{name}t2"
    assert spec.sample_rate_hz == 16000
    assert 0 < spec.clip_s[0] <= spec.clip_s[1] <= spec.pad_s
    assert [(a.subset, a.part) for a in spec.archives] == [("dev", "all"), ("eval", "train"), ("eval", "test")]
    assert len({a.record for a in spec.archives}) == 3
    for archive in spec.archives:
        assert set(archive.exceptions) <= everyone[archive.subset]
        assert len({archive.zip_name(m) for m in everyone[archive.subset]}) == len(everyone[archive.subset])
    for subset, machines in spec.no_attribute.items():
        assert set(machines) <= everyone[subset]
    assert set(spec.power_weighted) <= everyone["dev"] | everyone["eval"]
    for counts in spec.test_counts.values():
        assert sum(counts) == 200


def test_facts_that_systems_hang_on():
    assert corpus_spec("dcase2023").power_weighted == ("ToyCar", "ToyTrain", "ToyDrone", "ToyNscale", "ToyTank", "Vacuum")
    assert corpus_spec("dcase2026").n_channels == 2
    assert [corpus_spec(n).pad_s for n in YEARS] == [11, 10, 10, 18, 12, 12, 16]
    assert [len(corpus_spec(n).machines["eval"]) for n in YEARS] == [6, 7, 7, 7, 9, 8, 5]
    assert corpus_spec("dcase2024").archives[1].zip_name("RoboticArm") == "eval_data_RoboticArm_train_r2.zip"
    assert corpus_spec("dcase2020").archives[2].zip_name("fan") == "eval_data_test_fan.zip"
    assert corpus_spec("dcase2020").machines["dev"]["ToyConveyor"] == ("01", "02", "03")


def test_an_unknown_corpus_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'dcase2023'"):
        corpus_spec("dcase_2023")


def test_an_installation_is_searched_after_the_checkout_and_its_lack_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "site" / "dcase_asd" / "manifests" / "corpora.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    with pytest.raises(DataError, match="install with pip"):
        corpora.data_manifests()
    folder = tmp_path / "prefix" / "share" / "dcase_asd" / "data_manifests"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("name: mine\ntitle: t\nlicence: own\n")
    assert corpora.data_manifests() == folder
    assert list_corpora() == ["mine"]
