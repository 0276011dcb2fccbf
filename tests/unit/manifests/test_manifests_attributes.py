from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.errors import ManifestError
from dcase_asd.manifests.attributes import parse_attributes, read_attribute_table, vocabulary
from dcase_asd.manifests.corpora import corpus_spec

KEYS = corpus_spec("dcase2025").attribute_keys

STRINGS = {
    "car_A2_spd_28V_mic_1_noise_1": {"car": "A2", "spd": "28V", "mic": "1", "noise": "1"},
    "vel_12": {"vel": "12"},
    "m-n_X": {"m-n": "X"},
    "f-n_A": {"f-n": "A"},
    "pat_06": {"pat": "06"},
    "volt_3.0": {"volt": "3.0"},
    "pro_A_wt_200": {"pro": "A", "wt": "200"},
    "ac_0.03_": {"ac": "0.03"},
    "grindstone_3_plate_3": {"grindstone": "3", "plate": "3"},
    "speed_1000": {"speed": "1000"},
    "mdl_B_spd_2": {"mdl": "B", "spd": "2"},
    "res_2_len_1": {"res": "2", "len": "1"},
    "id_C2_spd_4_mic_2": {"id": "C2", "spd": "4", "mic": "2"},
    "spd_6_n_D": {"spd": "6", "n": "D"},
    "pow_4_n_A": {"pow": "4", "n": "A"},
    "vol_12000": {"vol": "12000"},
    "spd1000_BckgA": {"spd": "1000", "Bckg": "A"},
    "weight15_BckgF": {"weight": "15", "Bckg": "F"},
    "mic_imp34dt05_mic_pos_A_grind_100_bkg_A": {"mic": "imp34dt05", "mic_pos": "A", "grind": "100", "bkg": "A"},
    "spd_6_n_D_damage1": {"spd": "6", "n": "D", "damage": "1"},
    "noAttribute": {},
    "noAttribute_": {},
    "_": {},
    "": {},
    # 2021 has sentences, not pairs: one opaque class
    "strength_1_ambient": {"attribute": "strength_1_ambient"},
}


@pytest.mark.parametrize(("text", "expected"), STRINGS.items())
def test_every_published_form_is_taken_apart(text, expected):
    assert parse_attributes(text, keys=KEYS) == expected


def test_words_after_a_complete_pair_belong_to_its_value():
    assert parse_attributes("vel_12_very_fast", keys=["vel"]) == {"vel": "12_very_fast"}


def test_a_parameter_that_is_the_start_of_a_word_is_not_one():
    assert parse_attributes("noisy_1", keys=["noise", "n"]) == {"attribute": "noisy_1"}


def test_a_repeated_parameter_does_not_overwrite():
    assert parse_attributes("vel_1_vel_2", keys=["vel"]) == {"vel": "1_vel_2"}


@given(st.text(alphabet="abcN019._-", max_size=40))
def test_nothing_of_a_string_is_lost(text):
    result = parse_attributes(text, keys=["a", "a_b", "bc"])
    kept = "".join(key * (key != "attribute") + value for key, value in result.items())
    stripped = text.replace("_", "")
    assert not result if not stripped else kept.replace("_", "") == stripped


@given(st.dictionaries(st.sampled_from(KEYS), st.from_regex(r"[0-9]{1,4}[A-Z]?", fullmatch=True), min_size=1))
def test_pairs_of_known_parameters_are_read_back(pairs):
    assert parse_attributes("_".join(f"{k}_{v}" for k, v in pairs.items()), keys=KEYS) == pairs


def table(root: Path, text: str) -> Path:
    path = root / "attributes_00.csv"
    path.write_bytes(text.encode())
    return path


def test_table_is_read_with_crlf_bom_and_names_without_folder_or_ending(root):
    path = table(
        root,
        "\ufefffile_name,d1p,d1v,d2p,d2v\r\nToyCar/train/section_00_a.wav,car,A2,spd,28V\r\nsection_00_b,car,B1,,\r\n\r\n",
    )
    assert read_attribute_table(path) == {"section_00_a": {"car": "A2", "spd": "28V"}, "section_00_b": {"car": "B1"}}
    assert vocabulary([read_attribute_table(path)]) == {"car", "spd"}


def test_table_of_a_machine_with_hidden_attributes(root):
    assert read_attribute_table(table(root, "file_name\nfan/train/a.wav\n")) == {"a": {}}
    assert read_attribute_table(table(root, "file_name,d1p,d1v\nfan/train/a.wav,noAttribute,0\n")) == {"a": {}}
    assert read_attribute_table(table(root, "file_name,d1p,d1v\nfan/train/a.wav,noAttribute,\n")) == {"a": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the header"),
        ("name,d1p\nx,y\n", "expected the header"),
        ("file_name,d1p,d1v\na.wav,vel\n", "row 2: parameter 'vel'.*no value"),
        ("file_name,d1p,d1v\na.wav,vel,1,2\n", "row 2: 4 cells"),
        ("file_name,d1p,d1v\na.wav,vel,1\nb/a.wav,vel,2\n", "row 3: 'a' stands twice"),
    ],
)
def test_a_broken_table_is_named_with_its_row(root, text, message):
    with pytest.raises(ManifestError, match=message):
        read_attribute_table(table(root, text))
