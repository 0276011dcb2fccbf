from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from serving_material import machine

from dcase_asd.errors import DcaseAsdError, FormatError, UsageError
from dcase_asd.serving.bundle import written
from dcase_asd.serving.scorer import Scorer

Write = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bundle(fitted: Scorer, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "Bündel é")
    return tmp_path / "Bündel é"


def rewrite(bundle: Path, **changes: object) -> None:
    """Change a bundle's record as another writer would: without a digest."""
    config = json.loads((bundle / "config.json").read_text())
    config.pop("sha256", None)
    (bundle / "config.json").write_text(json.dumps(config | changes))


def replace_text(bundle: Path, pattern: str, new: str) -> None:
    path = bundle / "config.json"
    text, n = re.subn(pattern, new, path.read_text(encoding="utf-8"), count=1)
    assert n == 1
    path.write_text(text, encoding="utf-8")


def threshold_of(bundle: Path, **changes: object) -> dict[str, object]:
    config = json.loads((bundle / "config.json").read_text())
    return {**config["threshold"], **changes}


@pytest.mark.parametrize("name", ["Bündel é", "Bündel é.zip"])
def test_saved_and_loaded_in_a_fresh_process(name: str, fitted: Scorer, write: Write, tmp_path: Path) -> None:
    fitted.save(tmp_path / name)
    test = write("x.wav", machine(51, fault=True))
    code = (
        "import sys; from dcase_asd.serving.scorer import Scorer\n"
        "print(repr(float(Scorer.load(sys.argv[1]).score(sys.argv[2])['score'][0])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / name), str(test)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == fitted.score(test)["score"][0]


def test_loading_is_quick_and_complete(bundle: Path, fitted: Scorer, normals: Path, write: Write) -> None:
    begin = time.perf_counter()
    loaded = Scorer.load(bundle)
    assert time.perf_counter() - begin < 2.0
    assert loaded.get_params() == fitted.get_params()
    assert loaded.advice_ == fitted.advice_
    test = write("x.wav", machine(51, fault=True))
    pd.testing.assert_frame_equal(loaded.score(test), fitted.score(test), check_exact=True)
    more = write("more.wav", machine(90))
    one, other = loaded.update(more), Scorer(false_alarms=0.1).fit([normals, more])
    assert one.threshold_ == other.threshold_


def test_same_model_same_bytes(fitted: Scorer, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        fitted.save(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_nothing_executable_and_no_recordings_inside(bundle: Path) -> None:
    files = [p for p in bundle.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".json", ".safetensors", ".md"}
    card = (bundle / "README.md").read_text()
    assert "Limits" in card
    assert "false alarms" in card


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda b: (b / "config.json").unlink(), "no config.json"),
        (lambda b: (b / "config.json").write_text("{"), "damaged"),
        (lambda b: (b / "config.json").write_text("[1]"), "another program"),
        (lambda b: rewrite(b, format="sklearn"), "another program"),
        (lambda b: rewrite(b, format_version=3, dcase_asd="9.0"), "newer than 2; update dcase_asd"),
        (lambda b: rewrite(b, format_version=2.5), "is no version"),
        (lambda b: rewrite(b, format_version=1), "of an early version"),
        (lambda b: rewrite(b, files={}), "lists no files"),
        (lambda b: rewrite(b, files={"../x": "0"}), "leads out"),
        (lambda b: (b / "normals.safetensors").unlink(), "normals.safetensors is missing"),
        (lambda b: (b / "calibration.safetensors").write_bytes(b"x"), "not what was written"),
        (lambda b: rewrite(b, threshold={"value": 1}), "does not fit"),
        (lambda b: rewrite(b, model={"fronts": {}, "members": {}}), "cannot be used"),
        (lambda b: rewrite(b, parameters={"evil": 1}), "does not fit"),
        (lambda b: rewrite(b, threshold=threshold_of(b, value="high")), "value: 'high' is no number"),
        (lambda b: rewrite(b, threshold=threshold_of(b, value=float("nan"))), "NaN is no number of JSON"),
        (lambda b: replace_text(b, '"value": [0-9]', '"value": 7'), "config.json is not what was written"),
        (lambda b: replace_text(b, "expect 1 in", "expect 9 in"), "config.json is not what was written"),
    ],
)
def test_bad_bundles_are_refused_with_a_reason(bundle: Path, damage: Callable[[Path], object], text: str) -> None:
    damage(bundle)
    with pytest.raises(FormatError, match=text) as caught:
        Scorer.load(bundle)
    assert str(bundle) in str(caught.value)


@pytest.mark.parametrize("member", ["../evil.txt", "/tmp/evil.txt", "a/../../evil", "c:evil", "a\\..\\evil"])
def test_zip_members_stay_inside(fitted: Scorer, tmp_path: Path, member: str) -> None:
    path = tmp_path / "b.zip"
    fitted.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "x")
    with pytest.raises(FormatError, match="leads out of the bundle"):
        Scorer.load(path)


def test_zips_with_links_bombs_and_damage(fitted: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.zip"
    fitted.save(path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FormatError, match="leads out"):
        Scorer.load(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="not a readable bundle"):
        Scorer.load(path)
    path.write_bytes(whole)
    monkeypatch.setattr("dcase_asd.serving.bundle._MAX_BYTES", 1000)
    with pytest.raises(FormatError, match="a bundle has at most"):
        Scorer.load(path)
    with pytest.raises(FormatError, match="no such bundle"):
        Scorer.load(tmp_path / "nowhere")


def test_saving_replaces_bundles_and_nothing_else(fitted: Scorer, bundle: Path, tmp_path: Path) -> None:
    fitted.save(bundle)
    Scorer.load(bundle)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is no bundle"):
        fitted.save(precious)
    (tmp_path / "a.zip").write_text("not a zip")
    with pytest.raises(UsageError, match="is no bundle"):
        fitted.save(tmp_path / "a.zip")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_flipped_bytes_never_load_silently(bundle: Path) -> None:
    rng = np.random.default_rng(1)
    for path in sorted(p for p in bundle.rglob("*") if p.is_file() and p.parent != bundle):
        content = bytearray(path.read_bytes())
        content[int(rng.integers(len(content)))] ^= 0xFF
        original = path.read_bytes()
        path.write_bytes(bytes(content))
        with pytest.raises(DcaseAsdError, match="not what was written"):
            Scorer.load(bundle)
        path.write_bytes(original)


def test_pretrained_weights_travel_without_their_path(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from dcase_asd.extractors.efficientat import CHECKPOINT
    from dcase_asd.networks.mobilenetv3_audio import AudioMobileNetV3

    torch.manual_seed(0)
    weights = tmp_path / "secret place" / CHECKPOINT.file
    weights.parent.mkdir()
    torch.save(dict(AudioMobileNetV3().state_dict()), weights)
    monkeypatch.delenv("DCASE_ASD_WEIGHTS", raising=False)
    waves = [machine(seed, seconds=1.0) for seed in range(4)]
    scorer = Scorer(false_alarms=0.3, weights=str(weights)).fit(waves, sample_rate_hz=16000)
    assert "sound_nearest" in scorer._fitted()[0].detectors
    expected = scorer.score([machine(9, seconds=1.0)], sample_rate_hz=16000)
    assert len(expected) == 1
    scorer.save(tmp_path / "b")
    weights.unlink()
    assert not [p for p in (tmp_path / "b").rglob("*.json") if "secret place" in p.read_text()]
    loaded = Scorer.load(tmp_path / "b")
    pd.testing.assert_frame_equal(loaded.score([machine(9, seconds=1.0)], sample_rate_hz=16000), expected, check_exact=True)
    loaded.save(tmp_path / "c")
    Scorer.load(tmp_path / "c")


def test_an_interrupted_save_leaves_the_bundle_that_was_there(
    bundle: Path, fitted: Scorer, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had been removed before the new one took its place."""
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name.startswith(f".{bundle.name}.") and not self.name.endswith(".old"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(bundle)
    monkeypatch.undo()
    assert Scorer.load(bundle).threshold_ == fitted.threshold_
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_link_to_a_bundle_stays_one(bundle: Path, fitted: Scorer, tmp_path: Path) -> None:
    """The folder could not be removed through the link, and the error was the system's."""
    link = tmp_path / "link"
    link.symlink_to(bundle, target_is_directory=True)
    before = bundle.stat().st_ino
    fitted.save(link)
    assert (link.is_symlink(), bundle.stat().st_ino != before) == (True, True)
    assert Scorer.load(link).threshold_ == fitted.threshold_


@pytest.mark.parametrize("name", ["b", "b.zip"])
def test_of_two_updates_at_once_none_is_lost(name: str, fitted: Scorer, write: Write, tmp_path: Path) -> None:
    """Both said that they had added a recording; one had, over the other's."""
    path = tmp_path / name
    fitted.save(path)
    new = [write(f"neu {i} é.wav", machine(90 + i)) for i in range(2)]
    command = [sys.executable, "-m", "dcase_asd", "update", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen([*command, str(one)], env=environment, stdout=subprocess.DEVNULL) for one in new]
    assert [one.wait() for one in running] == [0, 0]
    names = Scorer.load(path)._fitted()[2].names
    assert (len(names), set(map(str, new)) <= set(names)) == (14, True)


def test_a_first_save_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no old bundle to put back; the search for one hid the reason."""

    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name.endswith(".old"):
            return rename(self, target)
        raise OSError(28, "No space left on device", str(self))

    with pytest.raises(OSError, match="No space left"), written(tmp_path / "b") as folder:  # noqa: PT012
        (folder / "x").write_text("1")
        monkeypatch.setattr(Path, "rename", full)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
