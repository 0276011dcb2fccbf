import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trees import make_year

from dcase_asd import config, registry
from dcase_asd.manifests import inspection
from dcase_asd.manifests.check import Problem, check_manifest
from dcase_asd.manifests.schema import Manifest

RATE = 16000


def noise(n: int = RATE, *, level: float = 0.05, seed: int = 0, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, (n, channels)).clip(-0.9, 0.9)


def scan_folder(root: Path) -> Manifest:
    plugin = registry.load("corpora", "folder")
    return plugin.implementation(config.build(plugin.config)).scan(root)[0]


def sound_corpus(root: Path) -> None:
    """Two machines with nothing wrong but that they have no target clips."""
    for m, machine in enumerate(("fan", "valve")):
        for i in range(6):
            folder = root / machine / ("train" if i < 4 else "test/normal")
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{i}.wav", noise(seed=10 * m + i), RATE, subtype="PCM_16")


def problems(root: Path, manifest: Manifest, **options) -> list[Problem]:
    found = check_manifest(manifest, root, **options)
    return [p for p in found if "no target training clips" not in p.what]


def whats(root: Path, manifest: Manifest, **options) -> list[str]:
    return [f"{p.severity}: {Path(p.path).name}: {p.what}" for p in problems(root, manifest, **options)]


@pytest.mark.parametrize("read", [False, True])
def test_a_sound_corpus_has_no_problem(root, read):
    sound_corpus(root)
    seen = []
    manifest = scan_folder(root)
    options = {"sample_rate_hz": RATE, "n_channels": 1, "min_s": 1.0, "machines": ["fan"], "nj": 2}
    assert problems(root, manifest, read=read, progress=lambda *a: seen.append(a), **options) == []
    assert seen[-1] == (12, 12)


def test_a_dcase_year_has_no_problem(root):
    make_year(root, 2023, machines=("fan", "Vacuum"))
    plugin = registry.load("corpora", "dcase")
    manifest, _ = plugin.implementation(config.build(plugin.config, {"year": 2023})).scan(root)
    assert check_manifest(manifest, root, read=True) == []


def test_all_problems_of_files_are_listed_at_once(root):
    sound_corpus(root)
    manifest = scan_folder(root)
    train = root / "fan" / "train"
    (train / "0.wav").unlink()
    (train / "1.wav").write_text("hello")
    whole = (train / "2.wav").read_bytes()
    (train / "2.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(train / "3.wav", noise(seed=99), RATE, subtype="PCM_16")
    found = whats(root, manifest, read=True)
    assert found[0] == "error: 0.wav: the file is missing"
    assert found[1].startswith("error: 1.wav: cannot be read: ")
    assert found[2] == f"error: 2.wav: truncated: {len(whole) - len(whole) // 2} bytes fewer than its header promises"
    assert found[3].startswith("error: 2.wav: changed since the manifest was made: n_samples 16000 -> ")
    assert found[-1] == "error: 3.wav: content changed since the manifest was made (other SHA-256)"
    headers_only = whats(root, manifest)
    assert headers_only == [f for f in found if "SHA-256" not in f]


def one_clip(root: Path, samples: np.ndarray, *, subtype: str = "PCM_16", rate: int = RATE) -> list[str]:
    sound_corpus(root)
    soundfile.write(root / "fan" / "train" / "odd.wav", samples, rate, subtype=subtype)
    return whats(root, scan_folder(root), read=True)


def test_nan(root):
    samples = noise()
    samples[700] = np.nan
    (found,) = one_clip(root, samples, subtype="FLOAT")
    assert found == "error: odd.wav: cannot be read: sample 700 is NaN or infinite; repair or remove the recording"


def test_silence(root):
    assert one_clip(root, np.zeros((RATE, 1))) == ["error: odd.wav: silence: no sample exceeds one 16-bit step"]


def test_no_samples(root):
    assert one_clip(root, np.zeros((0, 1))) == [
        "error: odd.wav: no samples",
        "error: odd.wav: 0.000 s long; at least 0 s are needed",
    ]


def test_clipping_and_offset(root):
    found = one_clip(root, (noise(level=0.8) * 1.5 + 0.1).clip(-1, 1))
    assert [f.split(":")[2].split()[0] for f in found] == ["clipping", "DC"]
    assert all(f.startswith("warning: odd.wav") for f in found)


def test_a_lone_full_scale_peak_is_not_clipping(root):
    samples = noise()
    samples[5] = 1.0
    assert one_clip(root, samples) == []


def test_stereo_among_mono_and_its_dead_channel(root):
    samples = noise(channels=2)
    samples[:, 1] = 0
    assert one_clip(root, samples) == [
        "warning: odd.wav: channel 1 is silent",
        "warning: odd.wav: 2 channels where most clips have 1",
    ]
    assert "error: odd.wav: 2 channels where 1 are expected" in whats(root, scan_folder(root), n_channels=1)


def test_mixed_rates(root):
    assert one_clip(root, noise(), rate=48000) == ["error: odd.wav: sampling rate 48000 Hz where 16000 Hz most clips have"]
    wrong = whats(root, scan_folder(root), sample_rate_hz=48000)
    assert len(wrong) == 12
    assert wrong[0] == "error: 4.wav: sampling rate 16000 Hz where 48000 Hz are expected"


def test_short_clips(root):
    assert one_clip(root, noise(8000)) == []
    assert whats(root, scan_folder(root), min_s=1.0) == ["error: odd.wav: 0.500 s long; at least 1 s are needed"]


def test_duplicates_within_a_split_and_between_train_and_test(root):
    sound_corpus(root)
    content = (root / "fan" / "train" / "0.wav").read_bytes()
    (root / "fan" / "train" / "copy.wav").write_bytes(content)
    (root / "fan" / "test" / "normal" / "leak.wav").write_bytes(content)
    found = problems(root, scan_folder(root))
    assert [(p.severity, Path(p.path).name) for p in found] == [("error", "0.wav"), ("error", "copy.wav")]
    assert found[0].what == "same content as fan/test/normal/leak.wav: a test clip is among the training clips"


def test_what_is_missing_as_a_whole(root):
    sound_corpus(root)
    table = scan_folder(root).table
    no_train = Manifest(table[(table["machine"] == "valve") | (table["split"] == "test")])
    assert whats(root, no_train) == ["error: : machine 'fan' has no training clips"]
    other = table.assign(
        section=["01" if s == "test" and m == "fan" else "00" for s, m in zip(table.split, table.machine, strict=True)]
    )
    assert whats(root, Manifest(other)) == ["error: : machine 'fan': section 01 has test but no training clips"]
    alone = Manifest(table[(table["machine"] == "fan") & (table["split"] == "train")])
    assert whats(root, alone, machines=["Fan"]) == [
        "error: : machine 'Fan' is missing (did you mean 'fan'?)",
        "warning: : machine 'fan' has no test clips",
        "warning: : only one machine, 'fan'",
    ]
    assert whats(root, Manifest(table[:0])) == ["error: : the manifest has no clip"]
    target = [p.what for p in check_manifest(Manifest(table), root) if "target" in p.what]
    assert target == [f"machine {m!r} has no target training clips" for m in ("fan", "valve")]


def test_level_difference_between_training_and_test(root):
    sound_corpus(root)
    for path in (root / "fan" / "test" / "normal").iterdir():
        soundfile.write(path, noise(level=0.005, seed=ord(path.name[0])), RATE, subtype="PCM_16")
    (found,) = whats(root, scan_folder(root), read=True)
    assert found.startswith("warning: : machine 'fan', section 00: test clips are -20.")
    assert whats(root, scan_folder(root)) == []


def test_arrays_are_checked_too(root):
    for machine in ("fan", "valve"):
        for i in range(3):
            path = root / machine / ("train" if i < 2 else "test") / f"{i}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.full((4, 10), i + 10 * (machine == "fan"), np.float32))
    manifest = scan_folder(root)
    assert whats(root, manifest, read=True) == []
    bad = np.ones((4, 10), np.float32)
    bad[1, 3] = np.inf
    np.save(root / "fan" / "train" / "0.npy", bad)
    np.save(root / "fan" / "train" / "1.npy", np.ones((4, 11), np.float32))
    assert [f.split(": ", 2)[2] for f in whats(root, manifest, read=True)] == [
        "content changed since the manifest was made (other SHA-256)",
        "value 13 (flat) is NaN or infinite",
        "changed since the manifest was made: n_samples 10 -> 11",
        "content changed since the manifest was made (other SHA-256)",
    ]


def test_memory_does_not_grow_with_the_recording(root, monkeypatch):
    monkeypatch.setattr(inspection, "_BLOCK", 1 << 14)
    peaks = []
    for factor in (1, 16):
        folder = root / str(factor)
        folder.mkdir()
        soundfile.write(folder / "long.wav", noise(factor * (1 << 16)), RATE, subtype="PCM_16")
        manifest = scan_folder(folder)
        check_manifest(manifest, folder, read=True)
        tracemalloc.start()
        check_manifest(manifest, folder, read=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 16 times the samples (4 MB of float32); the rest of the allowance is table bookkeeping
    assert peaks[1] < peaks[0] + 300_000


def test_blocks_give_the_same_findings_as_one_piece(root, monkeypatch):
    found = one_clip(root, (noise(level=0.8) * 1.5 + 0.1).clip(-1, 1))
    monkeypatch.setattr(inspection, "_BLOCK", 1000)
    assert whats(root, scan_folder(root), read=True) == found


def test_a_problem_prints_as_one_line():
    problem = Problem("error", "id", "a/b.wav", "the file is missing", "restore it")
    assert str(problem) == "error: a/b.wav: the file is missing; restore it"
