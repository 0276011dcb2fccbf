import os
from collections import Counter
from pathlib import Path

import pytest

from dcase_asd.errors import ManifestError
from dcase_asd.manifests.corpora import corpus_spec
from dcase_asd.manifests.ground_truth import Truth, read_ground_truth

SHARED = Path(os.environ.get("DCASE_ASD_SHARED", Path(__file__).resolve().parents[4] / "shared")) / "data" / "conformance2022"


@pytest.mark.skipif(not SHARED.is_dir(), reason="measuring data not beside the checkout (DCASE_ASD_SHARED)")
def test_the_published_truth_of_2022():
    truths = read_ground_truth(SHARED)
    counts = Counter((machine, key[:10], truth.is_anomaly) for (machine, key), truth in truths.items())
    # 100 normal and 100 anomalous test clips in every section (facts on the 2022 evaluation data)
    assert counts == {
        (machine, f"section_{section}", label): 100
        for machine, sections in corpus_spec("dcase2022").machines["eval"].items()
        for section in sections
        for label in (0, 1)
    }
    assert Counter(truth.domain for truth in truths.values()) == {"source": 2100, "target": 2100}


def put(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_list_of_the_baseline_with_crlf_and_true_names(root):
    path = put(
        root,
        "eval_data_list_2023.csv",
        "Vacuum\r\nsection_00_0000.wav,section_00_target_test_anomaly_0003_ac_0.1_.wav\r\nfan\r\n"
        "section_00_0000.wav,section_00_source_test_normal_0001_m-n_W.wav\r\n",
    )
    assert read_ground_truth(path) == {
        ("Vacuum", "section_00_0000"): Truth(is_anomaly=1, domain="target", attributes="ac_0.1"),
        ("fan", "section_00_0000"): Truth(is_anomaly=0, domain="source", attributes="m-n_W"),
    }


def test_a_folder_with_one_list_is_read_and_one_with_two_is_refused(root):
    put(root, "eval_data_list.csv", "fan\nid_01_00000000.wav,anomaly_id_01_00000000.wav,1\n")
    assert read_ground_truth(root) == {("fan", "id_01_00000000"): Truth(is_anomaly=1, domain="source")}
    put(root, "eval_data_list_2020.csv", "fan\nid_01_00000000.wav,normal_id_01_00000000.wav,0\n")
    with pytest.raises(ManifestError, match="one file eval_data_list"):
        read_ground_truth(root)


def test_a_truth_without_domains_leaves_them_unknown(root):
    put(root, "ground_truth_data/ground_truth_fan_section_00_test.csv", "section_00_0000.wav,1\n")
    assert read_ground_truth(root) == {("fan", "section_00_0000"): Truth(is_anomaly=1)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.wav,b.wav\n", "row 1: 'a.wav' stands before any machine name"),
        ("fan\na.wav,b.wav\n", "not the name of a DCASE clip"),
        ("fan\na.wav,section_00_source_test_0000.wav\n", "row 2: the true name .* says neither normal nor anomaly"),
        ("fan\nid_00_00000000.wav,normal_id_00_00000000.wav,x\n", "row 2: expected 0 or 1, found 'x'"),
        (
            "fan\nid_00_00000000.wav,normal_id_00_00000000.wav\nid_00_00000000.wav,anomaly_id_00_00000000.wav\n",
            "row 3: .* stands twice with different truths",
        ),
        ("fan\n", "no row of the form"),
    ],
)
def test_a_wrong_list_is_named_with_its_row(root, text, message):
    with pytest.raises(ManifestError, match=message):
        read_ground_truth(put(root, "eval_data_list_2023.csv", text))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ground_truth_data/truth.csv": "a,1\n"}, "expected a name of the form"),
        ({"ground_truth_data/ground_truth_fan_section_00_test.csv": "a.wav,1\na.wav,0\n"}, "row 2: 'a.wav' stands twice"),
        ({"ground_truth_data/ground_truth_fan_section_00_test.csv": "a.wav\n"}, "row 1: expected 2 cells, found 1"),
        (
            {
                "ground_truth_data/ground_truth_fan_section_00_test.csv": "a.wav,1\n",
                "ground_truth_domain/ground_truth_fan_section_00_test.csv": "b.wav,1\n",
            },
            "'a' stands in only one of",
        ),
    ],
)
def test_a_wrong_folder_is_named_with_file_and_row(root, files, message):
    for name, text in files.items():
        put(root, name, text)
    with pytest.raises(ManifestError, match=message):
        read_ground_truth(root)
