import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trees import make_year, wav_bytes, write_wav

from dcase_asd import config, registry
from dcase_asd.errors import ConfigError, ManifestError, UnknownNameError
from dcase_asd.manifests.corpora import corpus_spec
from dcase_asd.manifests.schema import Labels, Manifest

YEARS = range(2020, 2027)


def scan(root: Path, *, nj: int = 1, progress=None, **options):
    plugin = registry.load("corpora", "dcase")
    return plugin.implementation(config.build(plugin.config, options)).scan(root, nj=nj, progress=progress)


def raw(root: Path, year: int, subset: str = "dev") -> Path:
    return root / f"dcase{year}t2" / f"{subset}_data" / "raw"


@pytest.mark.parametrize("year", YEARS)
def test_every_year_is_scanned_end_to_end(root, year):
    n_clips = make_year(root, year)
    spec = corpus_spec(f"dcase{year}")
    seen: list[tuple[int, int]] = []
    manifest, labels = scan(root, year=year, nj=2, progress=lambda done, total: seen.append((done, total)))
    table = manifest.table
    assert len(manifest) == n_clips
    assert seen == [(i + 1, n_clips) for i in range(n_clips)]
    assert set(table["kind"]) == {"audio"}
    assert set(table["n_samples"]) == {1600}
    assert set(table["n_channels"]) == {spec.n_channels}
    assert set(table["sample_rate_hz"]) == {16000}
    assert all((root / path).is_file() and "\\" not in path for path in table["path"])
    found = {
        subset: {m: tuple(sorted(set(t["section"]))) for m, t in part.groupby("machine")}
        for subset, part in table.groupby("subset")
    }
    assert found == spec.machines
    # truth: all development test clips and no evaluation clip
    dev_test = table[(table["split"] == "test") & (table["subset"] == "dev")]
    assert set(labels.table["clip_id"]) == set(dev_test["clip_id"])
    assert labels.table["is_anomaly"].mean() == 0.5
    assert set(labels.table["domain"]) == ({"source"} if year == 2020 else {"source", "target"})
    # tables survive the disk
    manifest.write(root / "manifest.csv")
    labels.write(root / "labels.csv")
    assert Manifest.read(root / "manifest.csv").table.equals(table)
    assert Labels.read(root / "labels.csv").table.equals(labels.table)


@pytest.mark.parametrize("year", YEARS)
def test_the_manifest_tells_a_system_no_more_than_the_challenge_does(root, year):
    make_year(root, year, machines=("fan", "ToyCar", "Vacuum", "CoffeeGrinder", "Sander"))
    test = scan(root, year=year)[0].select(split="test").table
    expected = {2020: {"source"}, 2021: {"source", "target"}}.get(year, {"unknown"})
    assert set(test["domain"]) == expected
    assert set(test["attributes"]) == {"{}"}


def test_clip_ids_are_as_documented(root):
    make_year(root, 2024)
    manifest, labels = scan(root, year=2024)
    ids = set(manifest.table["clip_id"])
    assert "eval/RoboticArm/train/section_00_source_normal_0000_weight15_BckgF" in ids
    assert "eval/3DPrinter/test/section_00_0001" in ids
    row = labels.table.set_index("clip_id").loc[
        "dev/ToyCar/test/section_00_target_test_anomaly_0001_car_A2_spd_28V_mic_1_noise_1"
    ]
    assert (row["is_anomaly"], row["domain"]) == (1, "target")
    assert json.loads(row["attributes"]) == {"car": "A2", "mic": "1", "noise": "1", "spd": "28V"}


def test_attributes_come_from_the_table_then_from_the_name_and_hidden_ones_are_none(root):
    make_year(root, 2024)
    table = scan(root, year=2024)[0].select(split="train").table.set_index("clip_id")["attributes"]
    assert json.loads(table["dev/ToyCar/train/section_00_source_train_normal_0001_car_A2_spd_28V_mic_1_noise_1"]) == {
        "table": "1"
    }
    assert json.loads(table["eval/RoboticArm/train/section_00_source_normal_0000_weight15_BckgF"]) == {
        "weight": "15",
        "Bckg": "F",
    }
    for subset, machines in corpus_spec("dcase2024").no_attribute.items():
        for machine in machines:
            assert set(table[table.index.str.startswith(f"{subset}/{machine}/")]) == {"{}"}


def test_supplemental_clips_of_2025(root):
    make_year(root, 2025, machines=("CoffeeGrinder",))
    manifest, labels = scan(root, year=2025)
    assert list(manifest.select(split="supplemental_machine").table["clip_id"]) == [
        "eval/CoffeeGrinder/supplemental/section_00_machine_0001_"
    ]
    assert len(manifest.select(split="supplemental_noise")) == 1
    assert not labels.table["clip_id"].str.contains("supplemental").any()


@pytest.mark.parametrize("year", [2020, 2021])
def test_a_layout_without_raw_and_a_root_that_is_the_year_give_the_same_ids(root, year):
    make_year(root / "a", year, machines=("fan", "ToyCar"))
    make_year(root / "b", year, machines=("fan", "ToyCar"), raw=False)
    first = scan(root / "a", year=year)[0].table
    second = scan(root / "b", year=year)[0].table
    inner = scan(root / "a" / f"dcase{year}t2", year=year)[0].table
    assert list(first["clip_id"]) == list(second["clip_id"]) == list(inner["clip_id"])
    assert inner["path"].str.startswith("dev_data/raw/").any()


def test_nj_does_not_change_a_byte(root):
    make_year(root, 2023)
    tables = [scan(root, year=2023, nj=nj) for nj in (1, 2)]
    assert tables[0][0].table.equals(tables[1][0].table)
    assert tables[0][1].table.equals(tables[1][1].table)


def test_machines_sections_and_subsets_are_chosen(root):
    make_year(root, 2022)
    manifest, _ = scan(root, year=2022, machines=["fan", "ToyCar"], sections=["01", "02"], subsets=["dev"])
    assert manifest.machines == ["ToyCar", "fan"]
    assert set(manifest.table["section"]) == {"01", "02"}
    assert set(manifest.table["subset"]) == {"dev"}


def test_wrong_choices_name_the_nearest(root):
    make_year(root, 2022, machines=("fan",))
    with pytest.raises(ManifestError, match=r"no machine 'fam' \(did you mean 'fan'\?\)"):
        scan(root, year=2022, machines=["fam"])
    with pytest.raises(ManifestError, match=r"no section '09'.*00, 01"):
        scan(root, year=2022, sections=["09"])
    with pytest.raises(UnknownNameError, match="dcase2019"):
        scan(root, year=2019)
    with pytest.raises(ConfigError, match="subsets"):
        scan(root, year=2022, subsets=["test"])


def test_2021_merged_test_folder_is_a_copy_and_not_counted_twice(root):
    n_clips = make_year(root, 2021, machines=("fan",))
    folder = raw(root, 2021) / "fan"
    shutil.copytree(folder / "source_test", folder / "test")
    assert len(scan(root, year=2021)[0]) == n_clips
    shutil.rmtree(folder / "source_test")
    assert len(scan(root, year=2021)[0]) == n_clips


def test_renamed_copies_give_the_truth_by_content(root):
    n_clips = make_year(root, 2023, machines=("Vacuum",))
    folder = raw(root, 2023, "eval") / "Vacuum"
    for i in range(1, 9):
        label, domain = ("normal", "anomaly")[i % 2], ("source", "target")[i > 4]
        name = f"section_00_{domain}_test_{label}_{i:04d}_vel_{i}.wav"
        (folder / "test_rename").mkdir(exist_ok=True)
        shutil.copy(folder / "test" / f"section_00_{9 - i:04d}.wav", folder / "test_rename" / name)
    manifest, labels = scan(root, year=2023)
    truth = labels.table.set_index("clip_id")
    assert len(manifest) == n_clips
    assert len(labels) == 8
    assert (
        truth.loc["eval/Vacuum/test/section_00_0008", "is_anomaly"],
        truth.loc["eval/Vacuum/test/section_00_0001", "domain"],
    ) == (
        1,
        "target",
    )
    assert json.loads(truth.loc["eval/Vacuum/test/section_00_0001", "attributes"]) == {"vel": "8"}
    # one copy less: said, not passed over
    next((folder / "test_rename").iterdir()).unlink()
    with pytest.raises(ManifestError, match="1 evaluation clips have no truth in test_rename/"):
        scan(root, year=2023)
    # only the copies left: they are the test clips
    shutil.rmtree(folder / "test")
    manifest, labels = scan(root, year=2023)
    assert len(labels) == 7
    assert set(manifest.select(split="test").table["domain"]) == {"unknown"}


def write_truth(folder: Path, machine: str, clips: dict[str, tuple[int, int, str]], *, suffix: str = "section_00_test") -> None:
    for kind in ("data", "domain", "attributes"):
        path = folder / f"ground_truth_{kind}" / f"ground_truth_{machine}_{suffix}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        column = {"data": 0, "domain": 1, "attributes": 2}[kind]
        path.write_bytes("".join(f"{name},{values[column]}\r\n" for name, values in clips.items()).encode())


def truth_2023() -> dict[str, tuple[int, int, str]]:
    return {
        f"section_00_{i:04d}.wav": (i % 2, int(i > 4), f"section_00_source_test_normal_{i:04d}_pat_{i:02d}") for i in range(1, 9)
    }


def test_ground_truth_of_the_evaluator_labels_evaluation_clips(root):
    make_year(root, 2023, machines=("Vacuum",))
    write_truth(root / "evaluator", "Vacuum", truth_2023())
    for place in ("evaluator", str(root / "evaluator"), "evaluator/ground_truth_data"):
        labels = scan(root, year=2023, ground_truth=place)[1].table.set_index("clip_id")
        assert len(labels) == 8
        assert list(labels["is_anomaly"]) == [1, 0] * 4
        assert list(labels["domain"]) == ["source"] * 4 + ["target"] * 4
        assert json.loads(labels["attributes"].iloc[5]) == {"pat": "06"}


def test_ground_truth_with_the_names_of_the_task_page(root):
    make_year(root, 2023, machines=("Vacuum",))
    renamed = {name.replace("section_00_", "section_00_test_"): value for name, value in truth_2023().items()}
    write_truth(root / "evaluator", "Vacuum", renamed)
    assert len(scan(root, year=2023, ground_truth="evaluator")[1]) == 8


def test_ground_truth_of_2021_has_the_domain_in_the_file_name(root):
    make_year(root, 2021, machines=("fan",))
    for section in ("03", "04", "05"):
        for domain in ("source", "target"):
            path = root / "gt" / "ground_truth_data" / f"ground_truth_fan_section_{section}_{domain}_test.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"section_{section}_{domain}_test_{i:04d}.wav,{i % 2}\n" for i in range(4)))
    labels = scan(root, year=2021, subsets=["eval"], ground_truth="gt")[1].table
    assert labels.groupby(["domain", "is_anomaly"]).size().to_dict() == {(d, a): 6 for d in ("source", "target") for a in (0, 1)}


def test_evaluation_list_of_2020(root):
    make_year(root, 2020, machines=("fan",))
    rows = ["fan"]
    for section in ("01", "03", "05"):
        rows += [f"id_{section}_{i:08d}.wav,{('normal', 'anomaly')[i % 2]}_id_{section}_{i:08d}.wav,{i % 2}" for i in range(4)]
    (root / "eval_data_list_2020.csv").write_text("\n".join(rows) + "\n")
    labels = scan(root, year=2020, subsets=["eval"], ground_truth="eval_data_list_2020.csv")[1].table
    assert len(labels) == 12
    assert labels["is_anomaly"].sum() == 6
    assert set(labels["domain"]) == {"source"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("section_00_0003.wav"), r"1 evaluation clips have no truth.*Vacuum/section_00_0003.wav"),
        (lambda t: t.update({"section_00_0003.wav": (2, 0, "")}), "row 3: expected 0 or 1, found '2'"),
    ],
)
def test_ground_truth_that_does_not_fit_is_refused(root, change, message):
    make_year(root, 2023, machines=("Vacuum",))
    truth = truth_2023()
    change(truth)
    for name, values in truth.items():
        truth[name] = (values[0], values[1], "section_00_source_test_normal_0000")
    write_truth(root / "gt", "Vacuum", truth)
    with pytest.raises(ManifestError, match=message):
        scan(root, year=2023, ground_truth="gt")


def test_a_folder_without_ground_truth_is_refused(root):
    make_year(root, 2023, machines=("Vacuum",))
    with pytest.raises(ManifestError, match="no ground truth; expected ground_truth_data"):
        scan(root, year=2023, ground_truth="nowhere")


def test_names_that_do_not_parse_are_all_counted_and_the_first_shown(root):
    make_year(root, 2023, machines=("fan",))
    for i in range(7):
        write_wav(raw(root, 2023) / "fan" / "train" / f"copy {i}.wav")
    with pytest.raises(ManifestError, match=r"7 files of DCASE 2023.*copy 0.wav.*copy 4.wav.*and 2 more") as caught:
        scan(root, year=2023)
    assert "copy 5" not in str(caught.value)


def test_what_is_clearly_no_clip_is_passed_over(root):
    n_clips = make_year(root, 2023, machines=("fan",))
    folder = raw(root, 2023) / "fan" / "train"
    for name in ("._section_00_source_train_normal_0000_vel_0.wav", ".DS_Store", "Thumbs.db", "readme.txt"):
        (folder / name).write_bytes(b"x")
    assert len(scan(root, year=2023)[0]) == n_clips


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train/section_00_source_test_normal_0000_vel_1.wav", "the name says test, the folder train/"),
        ("train/section_00_source_train_anomaly_0000_vel_1.wav", "an anomaly in the training folder"),
        ("train/section_00_0000.wav", "gives no domain"),
        ("source_test/section_00_target_test_normal_0000.wav", "the name says target, the folder source_test/"),
        ("train/more/section_00_source_train_normal_0000.wav", "sub-folder of train/"),
        ("section_00_source_train_normal_0000.wav", "lies in none of the folders"),
    ],
)
def test_contradictions_of_name_and_folder_are_refused(root, path, message):
    make_year(root, 2023, machines=("fan",))
    write_wav(raw(root, 2023) / "fan" / path)
    with pytest.raises(ManifestError, match=message):
        scan(root, year=2023)


def test_empty_folder_and_missing_folder_say_what_was_expected(root):
    with pytest.raises(ManifestError, match=r"expected dcase2023t2/dev_data.*an empty folder"):
        scan(root, year=2023)
    with pytest.raises(ManifestError, match="no such folder"):
        scan(root / "nowhere", year=2023)
    (root / "dcase2023t2" / "dev_data").mkdir(parents=True)
    with pytest.raises(ManifestError, match="no clip in dev, eval"):
        scan(root, year=2023)


def test_one_clip_is_a_corpus(root):
    write_wav(raw(root, 2023) / "fan" / "train" / "section_00_source_train_normal_0000_.wav")
    manifest, labels = scan(root, year=2023)
    assert (len(manifest), len(labels)) == (1, 0)


def test_files_that_are_no_recordings_are_all_named(root):
    make_year(root, 2023, machines=("fan",))
    folder = raw(root, 2023) / "fan" / "train"
    (folder / "section_00_source_train_normal_0000_vel_0.wav").write_text("hello")
    (folder / "section_00_source_train_normal_0001_vel_1.wav").write_bytes(wav_bytes("x")[:20])
    with pytest.raises(ManifestError, match=r"2 of \d+ clip files cannot be read.*normal_0000.*normal_0001"):
        scan(root, year=2023)


def test_mixed_rates_and_channels_are_recorded_as_they_are(root):
    make_year(root, 2023, machines=("fan",))
    path = raw(root, 2023) / "fan" / "train" / "section_00_source_train_normal_0000_vel_0.wav"
    soundfile.write(path, np.zeros((4800, 2)), 48000)
    row = scan(root, year=2023)[0].table
    row = row[row["path"].str.endswith("source_train_normal_0000_vel_0.wav")].iloc[0]
    assert (row["n_samples"], row["n_channels"], row["sample_rate_hz"]) == (4800, 2, 48000)
