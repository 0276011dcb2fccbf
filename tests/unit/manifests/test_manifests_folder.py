import json
import os
from pathlib import Path

import numpy as np
import pytest
from trees import wav_bytes, write_wav

from dcase_asd import config, registry
from dcase_asd.errors import ConfigError, ManifestError
from dcase_asd.manifests.check import check_manifest

SHARED = Path(os.environ.get("DCASE_ASD_SHARED", Path(__file__).resolve().parents[4] / "shared")) / "data" / "audio"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="measuring data not beside the checkout (DCASE_ASD_SHARED)")


def scan(root: Path, **options):
    plugin = registry.load("corpora", "folder")
    return plugin.implementation(config.build(plugin.config, options)).scan(root)


def counts(manifest) -> dict[tuple[str, str], int]:
    return manifest.table.groupby(["machine", "split"]).size().to_dict()


@needs_shared
def test_fan_state_with_its_off_clips_as_a_machine_of_its_own():
    manifest, labels = scan(SHARED / "fan_state", other_machines={"off": "fan_off"})
    assert counts(manifest) == {("fan_state", "train"): 6, ("fan_state", "test"): 14, ("fan_off", "train"): 8}
    assert labels.table.groupby(["domain", "is_anomaly"]).size().to_dict() == {
        ("source", 0): 3,
        ("source", 1): 6,
        ("target", 0): 3,
        ("target", 1): 2,
    }
    assert not labels.table["clip_id"].str.contains("OFF").any()
    assert [p for p in check_manifest(manifest, SHARED / "fan_state") if p.severity == "error"] == []


@needs_shared
def test_the_three_measuring_sets_together():
    manifest, labels = scan(SHARED, other_machines={"off": "fan_off"})
    assert counts(manifest) == {
        ("dcase2020_id00", "train"): 75,
        ("dcase2020_id00", "test"): 1,
        ("fan_off", "train"): 8,
        ("fan_state", "train"): 6,
        ("fan_state", "test"): 14,
        ("mimii_fan_id00", "train"): 12,
        ("mimii_fan_id00", "test"): 28,
    }
    assert labels.table["is_anomaly"].sum() == 1 + 8 + 20


def write_table(root: Path, text: str, *, make: bool = True) -> None:
    (root / "split.csv").write_text(text, encoding="utf-8")
    for line in text.splitlines()[1:] if make else []:
        write_wav(root / line.split(",")[0])


def test_a_table_in_the_root_is_one_machine(root):
    write_table(
        root,
        "file,split,domain,label,condition\nmy ön 1.wav,train,source,normal,on\nb.wav,train,target,normal,on\n"
        "c/d.wav,test,target,anomaly,broken\ne.wav,test,,normal,\nf.wav,test,source,,\n",
    )
    manifest, labels = scan(root, machine="pump")
    table = manifest.table.set_index("clip_id")
    assert list(table.index) == ["dev/pump/b", "dev/pump/c/d", "dev/pump/e", "dev/pump/f", "dev/pump/my ön 1"]
    assert list(table["domain"]) == ["target", "unknown", "unknown", "unknown", "source"]
    assert json.loads(table.loc["dev/pump/b", "attributes"]) == {"condition": "on"}
    assert table.loc["dev/pump/c/d", "attributes"] == "{}"
    truth = labels.table.set_index("clip_id")
    assert list(truth.index) == ["dev/pump/c/d", "dev/pump/e"]
    assert (truth.loc["dev/pump/c/d", "domain"], truth.loc["dev/pump/e", "domain"]) == ("target", "source")
    assert json.loads(truth.loc["dev/pump/c/d", "attributes"]) == {"condition": "broken"}
    visible = scan(root, machine="pump", hide_test_domain=False)[0].table.set_index("clip_id")
    assert visible.loc["dev/pump/c/d", "domain"] == "target"


def test_columns_and_values_are_configurable(root):
    write_table(root, "name;x\n", make=False)
    write_table(root, "name,use,sec,state\na.wav,fit,01,fine\nb.wav,eval,02,bad\nc.wav,skip,01,fine\n")
    manifest, labels = scan(
        root,
        machine="m",
        file_column="name",
        split_column="use",
        section_column="sec",
        label_column="state",
        train_values=["fit"],
        test_values=["eval"],
        exclude_values=["skip"],
        normal_values=["fine"],
        anomaly_values=["bad"],
        attribute_columns=[],
    )
    assert list(manifest.table["section"]) == ["01", "02"]
    assert list(labels.table["is_anomaly"]) == [1]


def test_a_table_with_only_a_file_column_is_all_training(root):
    write_table(root, "file\na.wav\nb.wav\n")
    assert counts(scan(root, machine="m")[0]) == {("m", "train"): 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,split\na.wav,tset\n", r"row 2: split 'tset' is none of train, test; leave such rows out"),
        ("file,split,label\na.wav,train,anomaly\n", "row 2: an anomaly among the training clips"),
        ("file,split,label\na.wav,test,abnorml\n", r"row 2: label 'abnorml' \(did you mean 'abnormal'\?\)"),
        ("file,domain\na.wav,middle\n", "row 2: domain 'middle'"),
        ("file\na.wav\na.wav\n", "row 3: 'a.wav' stands twice"),
        ("file\n../a.wav\n", "row 2: file '../a.wav' must be a path below"),
        ("file\n/etc/a.wav\n", "row 2: file '/etc/a.wav' must be a path below"),
        ("file\na.txt\n", "row 2: file 'a.txt' ends in none of"),
        ("file,split\na,b.wav,train\n", "row 2: 3 cells under a header of 2"),
        ("files\na.wav\n", r"no column 'file' \(did you mean 'files'\?\)"),
        ("", "no column 'file'; found nothing"),
        ("file\nb.wav\nc.wav\n", "2 of 2 files are not there: b.wav; c.wav"),
    ],
)
def test_a_wrong_table_is_named_with_row_value_and_remedy(root, text, message):
    write_table(root, text, make=False)
    write_wav(root / "a.wav")
    with pytest.raises(ManifestError, match=message):
        scan(root)


def test_train_and_test_folders(root):
    for machine in ("fan", "valve"):
        for name in ("train/a.wav", "train/more/b.flac", "test/OK/c.wav", "test/abnormal/hot/d.wav", "test/e.wav"):
            if name.endswith("flac"):
                import soundfile

                (root / machine / name).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(root / machine / name, np.random.default_rng(len(machine)).normal(0, 0.1, 800), 16000)
            else:
                write_wav(root / machine / name)
    (root / "notes").mkdir()
    manifest, labels = scan(root)
    assert counts(manifest) == {(m, s): n for m in ("fan", "valve") for s, n in (("train", 2), ("test", 3))}
    assert set(manifest.table["section"]) == {"00"}
    truth = labels.table.set_index("clip_id")["is_anomaly"]
    assert truth.to_dict() == {f"dev/{m}/test/{c}": int("ab" in c) for m in ("fan", "valve") for c in ("OK/c", "abnormal/hot/d")}
    only = scan(root, machines=["valve"])[0]
    assert only.machines == ["valve"]
    with pytest.raises(ManifestError, match="did you mean 'valve'"):
        scan(root, machines=["valv"])


def test_dcase_names_give_section_domain_label_and_attributes(root):
    write_wav(root / "train" / "section_01_target_train_normal_0000_vel_3.wav")
    write_wav(root / "test" / "section_01_source_test_anomaly_0000_vel_4.wav")
    manifest, labels = scan(root, machine="m", attribute_keys=["vel"])
    row = manifest.select(split="train").table.iloc[0]
    assert (row["section"], row["domain"], row["attributes"]) == ("01", "target", '{"vel": "3"}')
    assert list(labels.table["is_anomaly"]) == [1]
    plain = scan(root, machine="m", dcase_names=False)
    assert set(plain[0].table["section"]) == {"00"}
    assert len(plain[1]) == 0


def test_a_flat_folder_is_all_training(root):
    write_wav(root / "m" / "a.wav")
    write_wav(root / "m" / "x" / "b.wav")
    assert counts(scan(root / "m")[0]) == {("m", "train"): 2}
    assert counts(scan(root)[0]) == {("m", "train"): 2}


def test_an_anomaly_never_gets_into_training_unnoticed(root):
    write_wav(root / "fan" / "normal" / "a.wav")
    write_wav(root / "fan" / "abnormal" / "b.wav")
    with pytest.raises(ManifestError, match="an anomaly among the training clips"):
        scan(root)


def test_folder_and_name_that_contradict_are_refused(root):
    write_wav(root / "train" / "a.wav")
    write_wav(root / "test" / "normal" / "anomaly_id_00_00000000.wav")
    with pytest.raises(ManifestError, match="both normal and anomaly"):
        scan(root)


def test_clips_beside_train_and_test_are_refused(root):
    write_wav(root / "m" / "train" / "a.wav")
    write_wav(root / "m" / "valid" / "b.wav")
    with pytest.raises(ManifestError, match="neither in train/ nor in test/"):
        scan(root)


def test_layouts_can_be_insisted_on(root):
    write_wav(root / "a.wav")
    for layout, message in (("table", "no split.csv"), ("train_test", "neither train/ nor test/")):
        with pytest.raises(ManifestError, match=message):
            scan(root, layout=layout)
    with pytest.raises(ConfigError, match="layout"):
        scan(root, layout="tabel")


def test_arrays_enter_where_recordings_do(root):
    for name, shape in (("train/a.npy", (128, 313)), ("train/b.npy", (512,)), ("test/normal/c.npy", (128, 10))):
        path = root / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.ones(shape, np.float32))
    table = scan(root)[0].table
    assert list(table["kind"]) == ["log_mel", "log_mel", "vector"]
    assert list(table["n_samples"]) == [10, 313, 512]
    assert set(table["sample_rate_hz"]) == {0}


@pytest.mark.parametrize("array", [np.ones((2, 3, 4)), np.ones(3, int), np.ones((0, 3)), np.array(["a"])])
def test_other_arrays_are_refused(root, array):
    np.save(root / "a.npy", array)
    with pytest.raises(ManifestError, match=r"expected floats as log-mel \[mel, frame\] or vector \[dim\]"):
        scan(root)


def test_an_array_with_objects_is_not_unpickled(root):
    np.save(root / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ManifestError, match="cannot be read"):
        scan(root)


def test_empty_and_missing_folders(root):
    with pytest.raises(ManifestError, match="no clips; expected wav, flac or npy"):
        scan(root)
    with pytest.raises(ManifestError, match="no such folder"):
        scan(root / "nowhere")


def test_broken_files_are_named(root):
    (root / "a.wav").write_text("text")
    (root / "b.wav").write_bytes(wav_bytes("b")[:30])
    write_wav(root / "c.wav")
    with pytest.raises(ManifestError, match=r"2 of 3 clip files cannot be read.*a\.wav.*b\.wav.*Fetch them again"):
        scan(root)


def test_two_endings_of_one_clip_are_refused(root):
    write_wav(root / "a.wav")
    np.save(root / "a.npy", np.ones(3))
    with pytest.raises(ManifestError, match="1 clip ids stand twice"):
        scan(root, machine="m")


def test_linked_folders_are_followed_once(root):
    write_wav(root / "elsewhere" / "a.wav")
    machine = root / "data" / "fan" / "train"
    machine.mkdir(parents=True)
    (machine / "link").symlink_to(root / "elsewhere", target_is_directory=True)
    (root / "elsewhere" / "loop").symlink_to(root / "elsewhere", target_is_directory=True)
    assert list(scan(root / "data")[0].table["clip_id"]) == ["dev/fan/train/link/a"]


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    """os.walk leaves it out without a word; permissions do not bind root, so the system's answer is played."""
    for name in ("a é", "zu"):
        write_wav(tmp_path / "fan" / name / "x.wav")
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "zu":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ManifestError, match=r"fan/zu: the folder cannot be read \(Permission denied\); allow it"):
        scan(tmp_path)
