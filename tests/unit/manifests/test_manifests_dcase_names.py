import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.errors import ManifestError
from dcase_asd.manifests.dcase_names import clip_key, parse_clip_name, parse_supplemental_name

# name, section, domain, split, label, index, attributes; the corpus of conformance test 7
NAMES = [
    ("normal_id_00_00000071.wav", "00", "source", "", "normal", 71, ""),
    ("anomaly_id_06_00000406.wav", "06", "source", "", "anomaly", 406, ""),
    ("id_05_00000514.wav", "05", "source", "", "", 514, ""),
    (
        "section_00_source_train_normal_0000_strength_1_ambient.wav",
        "00",
        "source",
        "train",
        "normal",
        0,
        "strength_1_ambient",
    ),
    ("section_02_target_test_anomaly_0099.wav", "02", "target", "test", "anomaly", 99, ""),
    ("section_05_source_test_0199.wav", "05", "source", "test", "", 199, ""),
    ("section_00_source_train_normal_0989_m-n_X.wav", "00", "source", "train", "normal", 989, "m-n_X"),
    ("section_01_target_test_normal_0049_vel_12.wav", "01", "target", "test", "normal", 49, "vel_12"),
    ("section_03_0000.wav", "03", "unknown", "", "", 0, ""),
    ("section_03_test_0000.wav", "03", "unknown", "test", "", 0, ""),
    ("section_00_source_train_normal_0001_ac_0.03_.wav", "00", "source", "train", "normal", 1, "ac_0.03"),
    ("section_00_source_train_normal_0001_volt_3.0.wav", "00", "source", "train", "normal", 1, "volt_3.0"),
    (
        "section_00_source_train_normal_0003_car_A2_spd_28V_mic_1_noise_1.wav",
        "00",
        "source",
        "train",
        "normal",
        3,
        "car_A2_spd_28V_mic_1_noise_1",
    ),
    ("section_00_source_normal_0035_weight15_BckgF.wav", "00", "source", "", "normal", 35, "weight15_BckgF"),
    (
        "section_00_target_test_anomaly_1490_mic_imp34dt05_mic_pos_A_grind_100_bkg_A.wav",
        "00",
        "target",
        "test",
        "anomaly",
        1490,
        "mic_imp34dt05_mic_pos_A_grind_100_bkg_A",
    ),
    ("section_00_source_train_normal_0000_.wav", "00", "source", "train", "normal", 0, ""),
    ("section_00_source_train_normal_0000_noAttribute.wav", "00", "source", "train", "normal", 0, "noAttribute"),
    ("section_00_source_train_normal_12345_speed_1000.wav", "00", "source", "train", "normal", 12345, "speed_1000"),
    ("section_00_target_test_anomaly_0007_spd_6_n_D_damage1.wav", "00", "target", "test", "anomaly", 7, "spd_6_n_D_damage1"),
]


@pytest.mark.parametrize(("name", "section", "domain", "split", "label", "index", "attributes"), NAMES)
def test_every_grammar_is_read(name, *, section, domain, split, label, index, attributes):
    parsed = parse_clip_name(name)
    assert (parsed.section, parsed.domain, parsed.split) == (section, domain, split)
    assert (parsed.label, parsed.index, parsed.attributes) == (label, index, attributes)
    assert parse_clip_name(name.removesuffix(".wav")) == parsed


@pytest.mark.parametrize(
    "name",
    [
        "",
        "clip.wav",
        "section_0_source_train_normal_0000.wav",
        "section_00_source_train_normal_000.wav",
        "section_00_middle_train_normal_0000.wav",
        "section_00_source_train_strange_0000.wav",
        "section_00_normal_0000.wav",
        "normal_id_00_0000.wav",
        "Section_00_0000.wav",
        "section_00_source_train_normal_0000.mp3x.wav.bak",
        "copy of section_00_0000.wav",
    ],
)
def test_other_names_are_refused_with_the_expected_form(name):
    with pytest.raises(ManifestError, match="not the name of a DCASE clip"):
        parse_clip_name(name)


@pytest.mark.parametrize(
    ("name", "split", "domain"),
    [
        ("section_00_machine_0001_.wav", "supplemental_machine", "unknown"),
        ("section_00_noise_0100_.wav", "supplemental_noise", "unknown"),
        ("section_00_noise_supplemental_normal_0000.wav", "supplemental_noise", "unknown"),
        ("section_00_source_supplemental_machine_0000.wav", "supplemental_machine", "source"),
        ("section_00_machine_source_0000_noAttribute.wav", "supplemental_machine", "source"),
        ("section_00_machine_source_0000_car_A1_noise_1.wav", "supplemental_machine", "source"),
    ],
)
def test_supplemental_is_told_by_the_word_and_never_by_position(name, split, domain):
    parsed = parse_supplemental_name(name)
    assert (parsed.split, parsed.domain, parsed.section) == (split, domain, "00")


@pytest.mark.parametrize("name", ["section_00_0001.wav", "section_00_machine_noise_0001.wav", "section_00_source_0001.wav"])
def test_supplemental_without_exactly_one_word_is_refused(name):
    with pytest.raises(ManifestError, match="supplemental"):
        parse_supplemental_name(name)


def test_clip_key_joins_the_two_spellings_of_2022():
    assert clip_key("section_03_test_0007.wav") == clip_key("section_03_0007.wav") == "section_03_0007"
    assert clip_key("section_03_source_test_0007.wav") == "section_03_source_test_0007"


@given(
    section=st.integers(0, 99),
    domain=st.sampled_from(["source", "target"]),
    split=st.sampled_from(["train", "test"]),
    label=st.sampled_from(["normal", "anomaly"]),
    index=st.integers(0, 99999),
    attributes=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.\-]*(_[A-Za-z0-9.\-]+)*", fullmatch=True),
)
def test_what_is_written_into_a_name_is_read_back(*, section, domain, split, label, index, attributes):
    parsed = parse_clip_name(f"section_{section:02d}_{domain}_{split}_{label}_{index:04d}_{attributes}.wav")
    assert (parsed.section, parsed.domain, parsed.split) == (f"{section:02d}", domain, split)
    assert (parsed.label, parsed.index, parsed.attributes) == (label, index, attributes)


@given(st.text(max_size=60))
def test_any_text_is_either_parsed_or_refused(text):
    for parse in (parse_clip_name, parse_supplemental_name):
        with contextlib.suppress(ManifestError):
            assert parse(text).section.isdecimal()
