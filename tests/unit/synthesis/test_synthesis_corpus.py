"""The corpus on disk: layout, names, ground truth, determinism, refusals."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from dcase_asd.config import load_yaml
from dcase_asd.errors import UnknownNameError, UsageError
from dcase_asd.io.hashing import sha256_tree
from dcase_asd.synthesis import DEFAULT_DIFFICULTY, corpus, synthesise
from dcase_asd.synthesis.layout import LAYOUTS, plan_dcase2020, plan_dcase2023
from dcase_asd.synthesis.machines import machine_of, machines
from dcase_asd.synthesis.sizes import SIZES, Size

# The tolerant pattern of the DCASE facts (2022 and later) and the anonymous form of evaluation clips.
NAMED = re.compile(r"^section_(\d{2})_(source|target)_(train|test)_(normal|anomaly)_(\d{4})_(.+)\.wav$")
ANONYMOUS = re.compile(r"^section_(\d{2})_(\d{4})\.wav$")
TINY = Size(n_train_source=3, n_train_target=2, n_test=2, duration_s=1.5, machines=("ToyDrone", "valve"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", TINY)  # type: ignore[arg-type]
        yield synthesise(tmp_path_factory.mktemp("données de test") / "corpus é", size="tiny")


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_dev_machine_has_the_2023_layout_names_and_counts(tiny: Path) -> None:
    folder = tiny / "dcase2023t2/dev_data/raw/valve"
    assert sorted(p.name for p in folder.iterdir()) == ["attributes_00.csv", "test", "train"]
    found = Counter(NAMED.match(p.name).groups()[:4] for p in folder.rglob("*.wav"))  # type: ignore[union-attr]
    assert found == {
        ("00", "source", "train", "normal"): 3,
        ("00", "target", "train", "normal"): 2,
        **{("00", d, "test", c): 2 for d in ("source", "target") for c in ("normal", "anomaly")},
    }


def test_audio_is_16_khz_mono_pcm16_of_the_size_s_length(tiny: Path) -> None:
    for path in tiny.rglob("*.wav"):
        info = soundfile.info(str(path))
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", 24000)


def test_attribute_table_agrees_with_the_names(tiny: Path) -> None:
    header, *table = rows(tiny / "dcase2023t2/dev_data/raw/valve/attributes_00.csv")
    assert header == ["file_name", "d1p", "d1v"]
    assert len(table) == 13
    for name, key, value in table:
        assert (tiny / "dcase2023t2/dev_data/raw" / name).is_file()
        assert name.endswith(f"_{key}_{value}.wav")


def test_eval_machine_hides_labels_and_keeps_them_in_the_evaluator_layout(tiny: Path) -> None:
    folder, truth = tiny / "dcase2023t2/eval_data/raw/ToyDrone", tiny / "ground_truth"
    clips = sorted(p.name for p in (folder / "test").iterdir())
    assert clips == [f"section_00_{i:04d}.wav" for i in range(8)]
    assert all(ANONYMOUS.match(name) for name in clips)
    data, domain, attributes = (
        dict(rows(truth / f"ground_truth_{kind}/ground_truth_ToyDrone_section_00_test.csv"))
        for kind in ("data", "domain", "attributes")
    )
    assert list(data) == list(domain) == list(attributes) == clips
    for name, true_stem in attributes.items():
        match = NAMED.match(f"{true_stem}.wav")
        assert match is not None
        assert data[name] == str(int(match[4] == "anomaly"))
        assert domain[name] == str(int(match[2] == "target"))
    assert Counter(zip(data.values(), domain.values(), strict=True)) == {(a, b): 2 for a in "01" for b in "01"}
    listed = [row[0] for row in rows(folder / "attributes_00.csv")[1:]]
    assert all(name.startswith("ToyDrone/train/") for name in listed)
    assert len(listed) == 5


def test_eval_order_tells_nothing(tiny: Path) -> None:
    plan = plan_dcase2023(machine_of("ToyDrone"), size=SIZES["demo"], seed=0)
    labels = [bool(c.take.cause) for c in plan.clips if c.split == "test"]
    assert labels != sorted(labels)
    assert labels != sorted(labels, reverse=True)
    assert 10 < sum(labels[:50]) < 40  # 50 of 100 are anomalies: a quarter of them or less in one half has p < 1e-8


def test_causes_are_listed_for_anomalies_and_all_occur_in_both_domains() -> None:
    for machine in machines().values():
        plan = plan_dcase2023(machine, size=SIZES["demo"], seed=0)
        for domain in ("source", "target"):
            causes = Counter(c.take.cause for c in plan.clips if c.split == "test" and c.domain == domain)
            assert set(causes) == {"", *machine.causes}
            assert causes[""] == 25
        assert all(not c.take.cause for c in plan.clips if c.split == "train")


def test_record_is_complete_and_a_second_call_does_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads((tiny / "synthesis.json").read_text(encoding="utf-8"))
    assert record == {
        "difficulty": DEFAULT_DIFFICULTY,
        "layout": "dcase2023",
        "machines": ["ToyDrone", "valve"],
        "n_clips": 26,
        "seed": 0,
        "size": "tiny",
        "version": corpus.VERSION,
    }
    monkeypatch.setattr(corpus, "_record_all", lambda *_args, **_named: pytest.fail("recorded again"))
    assert synthesise(tiny, size="tiny") == tiny


@pytest.mark.parametrize(
    ("changed", "named"), [({"seed": 1}, "seed is 0, asked for 1"), ({"difficulty": 0.9}, "difficulty is 0.5")]
)
def test_other_parameters_over_a_finished_corpus_are_refused(tiny: Path, changed: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        synthesise(tiny, size="tiny", **changed)


def test_bytes_do_not_depend_on_jobs_or_on_the_other_machines(tiny: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    other = synthesise(tmp_path / "two", size="tiny", machines=["valve"], nj=2, progress=lambda *a: calls.append(a))
    whole, part = sha256_tree(tiny, exclude=["synthesis.json"]), sha256_tree(other, exclude=["synthesis.json"])
    assert part == {path: digest for path, digest in whole.items() if "valve" in path}
    assert len(part) == 15
    assert calls[-1] == (13, 13)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_another_seed_gives_other_bytes_everywhere(tiny: Path, tmp_path: Path) -> None:
    other = synthesise(tmp_path / "seed 1", size="tiny", machines=["valve"], seed=1)
    first, second = (
        {path: digest for path, digest in sha256_tree(root).items() if path.endswith(".wav") and "valve" in path}
        for root in (tiny, other)
    )
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_no_two_clips_are_equal(tiny: Path) -> None:
    digests = [digest for path, digest in sha256_tree(tiny).items() if path.endswith(".wav")]
    assert len(set(digests)) == len(digests) == 26


def test_interrupted_run_leaves_no_corpus_and_is_made_good(tiny: Path, tmp_path: Path) -> None:
    goal = tmp_path / "cut short"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(goal, size="tiny", machines=["valve"], progress=stop)
    assert not goal.exists()
    synthesise(goal, size="tiny", machines=["valve"])
    assert [p.name for p in tmp_path.iterdir()] == ["cut short"]
    wanted = {path: digest for path, digest in sha256_tree(tiny).items() if "valve" in path}
    assert sha256_tree(goal, exclude=["synthesis.json"]) == wanted


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("five years", encoding="utf-8")
    with pytest.raises(UsageError, match="no synthetic corpus"):
        synthesise(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "five years"


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "synthesis.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"synthesis\.json"):
        synthesise(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": "demos"}, UnknownNameError, "did you mean 'demo'"),
        ({"machines": ["Fan"]}, UnknownNameError, "did you mean 'fan'"),
        ({"layout": "dcase2021"}, UnknownNameError, "unknown layout"),
        ({"machines": "fan"}, UsageError, "list of names"),
        ({"layout": "dcase2020", "machines": ["fan"]}, UsageError, "choose from slider"),
        ({"difficulty": 1.5}, UsageError, "from 0"),
        ({"difficulty": float("nan")}, UsageError, "from 0"),
        ({"seed": -1}, UsageError, "seed"),
        ({"seed": 0.5}, UsageError, "seed"),
        ({"nj": 0}, UsageError, "nj"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        synthesise(tmp_path / "x", **arguments)
    assert not list(tmp_path.iterdir())


def test_dcase2020_layout_has_machine_ids_and_no_domains(tiny: Path, tmp_path: Path) -> None:
    root = synthesise(tmp_path / "2020", size="tiny", layout="dcase2020")
    folder = root / "dcase2020t2/dev_data/raw/slider"
    train, test = (sorted(p.name for p in (folder / split).iterdir()) for split in ("train", "test"))
    assert train == [f"normal_id_{unit}_{i:08d}.wav" for unit in ("00", "02", "04") for i in range(3)]
    assert test == [f"{c}_id_{unit}_{i:08d}.wav" for c in ("anomaly", "normal") for unit in ("00", "02", "04") for i in range(2)]
    assert not list(root.rglob("attributes*"))
    with pytest.raises(UsageError, match="slider"):
        plan_dcase2020(machine_of("fan"), size=TINY, seed=0)


def test_full_size_has_the_challenge_s_counts() -> None:
    plan = plan_dcase2023(machine_of("bearing"), size=SIZES["full"], seed=0)
    found = Counter((c.split, c.domain, bool(c.take.cause)) for c in plan.clips)
    assert found == {
        ("train", "source", False): 990,
        ("train", "target", False): 10,
        **{("test", d, a): 50 for d in ("source", "target") for a in (False, True)},
    }


def test_the_seven_development_machines_are_there() -> None:
    dev = {m.name for m in machines().values() if m.subset == "dev"}
    assert dev == {"ToyCar", "ToyTrain", "bearing", "fan", "gearbox", "slider", "valve"}
    assert {m.name for m in machines().values() if m.subset == "eval"} == {"ToyDrone", "Vacuum", "bandsaw"}


def test_module_name_is_the_machine_s_name_in_lower_case() -> None:
    folder = Path(corpus.__file__).parent / "machines"
    assert sorted(m.lower() for m in machines()) == sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")


def test_domains_do_not_share_a_condition() -> None:
    for machine in machines().values():
        assert not {c.suffix for c in machine.source} & {c.suffix for c in machine.target}
        keys = {tuple(c.attributes) for c in machine.source + machine.target}
        assert len(keys) == 1, machine.name


def test_written_description_equals_the_code() -> None:
    text = load_yaml(Path(__file__).resolve().parents[3] / "data_manifests/synthetic.yaml")
    assert (text["version"], text["licence"], text["sample_rate_hz"]) == (corpus.VERSION, "MIT", 16000)
    assert (text["default_difficulty"], text["layouts"]) == (DEFAULT_DIFFICULTY, sorted(LAYOUTS))
    assert set(text["sizes"]) == {"mini", "demo", "full"}
    for name, described in text["sizes"].items():
        size = SIZES[name]
        assert described.pop("machines") == (list(size.machines) or sorted(machines()))
        assert all(getattr(size, key) == value for key, value in described.items())
        assert len(described) == 4
    assert text["machines"] == {
        m.name: {
            "subset": m.subset,
            "attributes": list(m.source[0].attributes),
            "source": [c.suffix for c in m.source],
            "target": [c.suffix for c in m.target],
            "causes": list(m.causes),
            "machine_ids": list(m.units),
        }
        for m in machines().values()
    }


def test_import_is_light() -> None:
    heavy = ("numpy", "scipy", "joblib", "soundfile", "torch")
    code = f"import sys, dcase_asd.synthesis; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
