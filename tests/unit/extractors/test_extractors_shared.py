import numpy as np
import pytest
import torch
from fake_features import machine_clip, write_folder, write_store

from dcase_asd.errors import ConfigError, FormatError, TrainingError
from dcase_asd.extractors._shared.classes import attribute_classes, section_classes
from dcase_asd.extractors._shared.clips import ClipList, band_statistics
from dcase_asd.extractors._shared.exposure import ExposureBatches, open_clips
from dcase_asd.extractors._shared.exposure_model import gain_in_feature_units
from dcase_asd.extractors.base import TrainingData
from dcase_asd.features.log_mel import Config as LogMelConfig
from dcase_asd.features.log_mel import LogMel
from dcase_asd.features.store import FeatureFolder
from dcase_asd.training.mixup import MixupConfig

FRAMES = 40


def training_data(features, machine="pump", valid=()):
    return TrainingData(features, machine, frozenset(valid), FRAMES)


def source(features, machine="pump", *, alpha=0.0, batch_size=8, valid=(), seed=0, gain=0.0, share=None):
    clips = open_clips(training_data(features, machine, valid), supplemental_noise=False)
    classes = {"attributes": attribute_classes(clips.target, "per_key"), "section": section_classes(clips.target)}
    return ExposureBatches(clips, classes, FRAMES, MixupConfig(alpha=alpha), batch_size, seed, gain, share)


def test_negatives_never_include_the_target_machine(features):
    for machine in features.machines():
        clips = open_clips(training_data(features, machine), supplemental_noise=False)
        assert set(clips.target.machine) == {machine}
        assert set(clips.negative.machine) == set(features.machines()) - {machine}
        assert len(clips.negative) == 12 * (len(features.machines()) - 1)


def test_negatives_with_noise_leave_out_the_targets_own(tmp_path):
    folder = write_folder(tmp_path / "mit Rauschen ü", machines=("fan", "pump"), n_clips=4)
    rng = np.random.default_rng(0)
    for machine in ("fan", "pump"):
        write_store(folder.path, machine, "supplemental_noise", [machine_clip(9.0, rng=rng)] * 3)
        write_store(folder.path, machine, "test", [machine_clip(9.0, rng=rng)] * 5)
    clips = open_clips(training_data(folder, "fan"), supplemental_noise=True)
    assert sorted(clips.negative.clip_id) == [f"pump/supplemental_noise/{i:03d}" for i in range(3)] + [
        f"pump/train/{i:03d}" for i in range(4)
    ]
    assert not any("test" in clip_id for clip_id in clips.negative.clip_id)


def test_held_out_clips_are_not_trained_on(features):
    held = {f"pump/train/{i:03d}" for i in (1, 5)}
    clips = open_clips(training_data(features, valid=held), supplemental_noise=False)
    assert set(clips.valid_target.clip_id) == held
    assert not held & set(clips.target.clip_id)
    assert len(clips.valid_negative) == 2
    assert not set(clips.valid_negative.clip_id) & set(clips.negative.clip_id)


def test_too_few_clips_say_what_to_add(tmp_path):
    folder = write_folder(tmp_path, machines=("fan",), n_clips=4)
    with pytest.raises(TrainingError, match="add the training clips of at least one other machine"):
        open_clips(training_data(folder, "fan"), supplemental_noise=False)
    with pytest.raises(TrainingError, match="no training features of 'fam'; has fan"):
        open_clips(training_data(folder, "fam"), supplemental_noise=False)
    folder = write_folder(tmp_path, machines=("fan", "pump"), n_clips=4)
    with pytest.raises(TrainingError, match="1 clips left to train on"):
        open_clips(training_data(folder, "fan", [f"fan/train/{i:03d}" for i in range(3)]), supplemental_noise=False)
    with pytest.raises(TrainingError, match="'pump/train/000' is not among"):
        open_clips(training_data(folder, "fan", ["pump/train/000"]), supplemental_noise=False)


def test_broken_attributes_name_the_clip(tmp_path):
    write_store(tmp_path, "fan", "train", [np.zeros((5, 16), dtype=np.float32)], attributes=["spd 1"])
    with pytest.raises(FormatError, match="clip 'fan/train/000': attributes"):
        ClipList.open(FeatureFolder(tmp_path), [("fan", "train")])


def test_other_band_counts_are_refused(tmp_path):
    folder = write_folder(tmp_path, machines=("fan",), n_clips=4)
    rng = np.random.default_rng(0)
    write_store(folder.path, "pump", "train", [machine_clip(3.0, rng=rng, n_bands=20)] * 3)
    with pytest.raises(FormatError, match=r"pump/train.*\(16,\), found \(180, 20\)"):
        open_clips(training_data(folder, "fan"), supplemental_noise=False)


def test_batches_are_one_to_one_with_labels_of_their_clips(features):
    batches = source(features)
    batch = batches.batch(2, progress=0.0)
    assert batch["x"].shape == (8, 1, 16, FRAMES)
    assert batch["t"].tolist() == [1.0] * 4 + [0.0] * 4
    assert (batch["attributes"][4:] == 0).all()
    rows = batch["row"].numpy()
    assert (rows[4:] == -1).all()
    for item, row in enumerate(rows[:4]):
        attributes = batches.clips.target.attributes[row]
        names = [n for n, v in zip(batches.classes["attributes"].names, batch["attributes"][item], strict=True) if v]
        assert names == [f"spd={attributes['spd']}"]  # mic has one value and tells nothing apart
        section = batches.classes["section"].names[int(batch["section"][item].argmax())]
        assert section == batches.clips.target.section[row]


def test_a_gain_is_one_constant_a_crop_and_changes_nothing_else(features):
    plain, raised = source(features).batch(3, progress=0.0), source(features, gain=2.0).batch(3, progress=0.0)
    added = (raised["x"] - plain["x"]).flatten(1)
    torch.testing.assert_close(added, added.mean(1, keepdim=True).expand_as(added), atol=1e-5, rtol=0)
    assert (added.abs() <= 2.0 + 1e-5).all()
    assert len(set(added[:, 0].tolist())) == len(added)
    assert all(torch.equal(plain[name], raised[name]) for name in plain if name != "x")
    loud, soft = source(features, gain=2.0), source(features)
    gains = torch.cat([(loud.batch(s, progress=0.0)["x"] - soft.batch(s, progress=0.0)["x"])[:, 0, 0, 0] for s in range(40)])
    assert gains.min() < -1.8  # 320 draws: both ends are reached but for a chance of 1e-7
    assert gains.max() > 1.8
    held = ["pump/train/001"]
    first, second = (next(iter(source(features, valid=held, gain=g).valid_batches()))["x"] for g in (0.0, 2.0))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"scale": "db", "power": 2.0}, 6.0),
        ({"scale": "db", "power": 1.0}, 6.0),
        ({"scale": "log", "power": 2.0}, np.log(10.0 ** (6.0 / 10.0))),
        ({"scale": "log", "power": 1.0}, np.log(10.0 ** (6.0 / 20.0))),
    ],
)
def test_a_gain_moves_the_real_feature_by_what_training_adds(own, expected):
    assert gain_in_feature_units(6.0, {"name": "log_mel", "config": own}) == pytest.approx(expected)
    feature = LogMel(LogMelConfig(**own, n_mels=16))
    waveform = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    louder = feature.transform(waveform * np.float32(10.0 ** (6.0 / 20.0)))
    np.testing.assert_allclose(louder - feature.transform(waveform), expected, atol=1e-4)


def test_a_gain_needs_logarithmic_features():
    for own in ({"scale": "none", "power": 2.0}, {}):
        with pytest.raises(ConfigError, match=r"gain_db 6\.0: needs features of scale 'log' or 'db', 'stft'"):
            gain_in_feature_units(6.0, {"name": "stft", "config": own})


def test_target_domain_clips_get_their_share(tmp_path):
    folder = write_folder(tmp_path, machines=("fan", "pump"), n_clips=12)
    rng = np.random.default_rng(0)
    clips = [machine_clip(5.0, rng=rng) for _ in range(12)]
    write_store(folder.path, "pump", "train", clips, domains=["source"] * 10 + ["target"] * 2)
    batches = source(folder, share=0.5)
    rows = torch.cat([batches.batch(step, progress=0.0)["row"] for step in range(10)]).numpy()
    assert np.bincount(rows[rows >= 0], minlength=12).tolist() == [2] * 10 + [10] * 2


def test_a_crop_is_part_of_its_clip(features):
    batches = source(features)
    batch = batches.batch(0, progress=0.0)
    for item, row in enumerate(batch["row"][:4].tolist()):
        clip = batches.clips.target.clip(row)
        crop = batch["x"][item, 0].T.numpy()
        assert any(np.array_equal(clip[s : s + FRAMES], crop) for s in range(len(clip) - FRAMES + 1))


def test_mixed_batches_mix_inputs_and_labels_alike(features):
    plain, mixed = source(features).batch(1, progress=0.0), source(features, alpha=0.2).batch(1, progress=0.0)
    # t = share of target clips; recover each sample's two parents by least squares over the unmixed batch
    parents = plain["x"].flatten(1).double().T
    shares = torch.linalg.lstsq(parents, mixed["x"].flatten(1).double().T).solution.T
    torch.testing.assert_close(shares @ plain["t"].double(), mixed["t"].double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(shares @ plain["attributes"].double(), mixed["attributes"].double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(shares.sum(1), torch.ones(8, dtype=torch.float64), atol=1e-4, rtol=0)
    assert (shares.max(1).values < 0.9999).any()
    assert mixed["row"].tolist() == plain["row"][shares.argmax(1)].tolist()


def test_batches_depend_on_seed_and_step_only(features):
    first = source(features, alpha=0.2)
    first.batch(7, progress=0.5)
    for name, value in first.batch(3, progress=0.5).items():
        assert torch.equal(value, source(features, alpha=0.2).batch(3, progress=0.5)[name])
    assert not torch.equal(first.batch(3, progress=0.5)["x"], source(features, alpha=0.2, seed=1).batch(3, progress=0.5)["x"])


def test_validation_batches_are_all_held_out_clips_each_time(features):
    held = [f"pump/train/{i:03d}" for i in range(5)]
    batches = source(features, valid=held, batch_size=4)
    found = list(batches.valid_batches())
    assert [int(b["t"].sum()) for b in found] == [2, 2, 1]
    assert sum(len(b["t"]) for b in found) == 10
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(found, batches.valid_batches(), strict=True))
    assert list(source(features).valid_batches()) == []


def test_short_clips_are_repeated_and_float16_becomes_float32(tmp_path):
    rng = np.random.default_rng(0)
    clips = [machine_clip(3.0, rng=rng, n_frames=n) for n in (25, 90)]
    write_store(tmp_path, "fan", "train", clips, dtype=np.float16)
    listed = ClipList.open(FeatureFolder(tmp_path), [("fan", "train")])
    out = np.empty((3, FRAMES, 16), dtype=np.float32)
    listed.crops(np.array([0, 1, 1]), positions=np.array([0.7, 0.0, 0.999]), out=out)
    short, long = (clip.astype(np.float16).astype(np.float32) for clip in clips)
    np.testing.assert_array_equal(out[0], np.concatenate([short, short])[:FRAMES])
    np.testing.assert_array_equal(out[1], long[:FRAMES])
    np.testing.assert_array_equal(out[2], long[-FRAMES:])


def test_band_statistics_are_those_of_all_frames(features, tmp_path):
    clips = ClipList.open(features, [("fan", "train")])
    data = features.open("fan", "train").data.astype(np.float64)
    mean, std = band_statistics(clips)
    np.testing.assert_allclose(mean, data.mean(0), rtol=1e-10)
    np.testing.assert_allclose(std, data.std(0), rtol=1e-10)
    broken = [np.full((5, 16), np.nan, dtype=np.float32)]
    write_store(tmp_path, "fan", "train", broken)
    with pytest.raises(FormatError, match="'fan/train/000' of fan"):
        band_statistics(ClipList.open(FeatureFolder(tmp_path), [("fan", "train")]))


def test_attribute_forms(tmp_path):
    rng = np.random.default_rng(0)
    clips = [machine_clip(3.0, rng=rng)] * 4
    attributes = [{"spd": "1", "mic": "a"}, {"spd": "2", "mic": "a"}, {"spd": "1"}, {"spd": "2", "mic": "a"}]
    write_store(tmp_path, "fan", "train", clips, attributes=attributes)
    write_store(tmp_path, "pump", "train", clips, attributes=[{}] * 4, sections=["00", "00", "01", "01"])
    listed = ClipList.open(FeatureFolder(tmp_path), [("fan", "train")])
    per_key = attribute_classes(listed, "per_key")
    assert per_key.names == ("mic=a", "spd=1", "spd=2")
    assert per_key.targets(listed).tolist() == [[1, 1, 0], [1, 0, 1], [0, 1, 0], [1, 0, 1]]
    joint = attribute_classes(listed, "joint")
    assert len(joint.names) == 3
    assert joint.targets(listed).sum(1).tolist() == [1, 1, 1, 1]
    assert section_classes(listed).names == ()
    pump = ClipList.open(FeatureFolder(tmp_path), [("pump", "train")])
    assert attribute_classes(pump, "per_key").names == ()
    assert attribute_classes(pump, "joint").names == ()
    assert section_classes(pump).targets(pump).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert per_key.targets(pump).sum() == 0
