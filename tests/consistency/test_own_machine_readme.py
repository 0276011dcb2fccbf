"""What README.md says about one's own machine works as it stands there."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dcase_asd.cli import main
from dcase_asd.serving import scorer as scorer_module

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own machine\n")[1].split("\n## ")[0]
COMMANDS = [line.strip() for line in SECTION.splitlines() if line.startswith("    dcase-asd ")]


def hum(seed: int, *, whine: float = 0.0) -> np.ndarray:
    rng, t = np.random.default_rng(seed), np.arange(6 * 16000) / 16000
    wave = 0.1 * np.sin(2 * np.pi * rng.uniform(98, 102) * t) + 0.02 * rng.normal(size=len(t))
    return (wave + whine * np.sin(2 * np.pi * 3000 * t)).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DCASE_ASD_WEIGHTS", raising=False)
    for folder, seeds, whine in (("NORMAL_DIR", range(10), 0.0), ("new", range(20, 22), 0.0), ("new", range(30, 32), 0.1)):
        Path(folder).mkdir(exist_ok=True)
        for seed in seeds:
            soundfile.write(Path(folder) / f"{seed:02d}.wav", hum(seed, whine=whine), 16000, subtype="PCM_16")
    return tmp_path


def test_the_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [shlex.split(line)[1] for line in COMMANDS] == ["fit", "score", "info"]
    said = []
    for line in COMMANDS:
        words = shlex.split(line)[1:]
        words = [name for word in words for name in (sorted(map(str, place.glob(word))) if "*" in word else [word])]
        code = 0
        try:
            main(words)
        except SystemExit as done:
            code = int(done.code or 0)
        assert code == 0, line
        said.append(capsys.readouterr().out)
    # "says what it chose and why ... and states the false-alarm rate to expect"
    assert "Chosen: " in said[0]
    assert "at most 1 in 11 false alarms" in said[0]
    # "ten clips cannot promise 1/100, and fit says what they can"
    assert "1 in 100 was asked for, but 10 normal recordings can promise no less than 1 in 11" in said[0]
    rows = [line.split(",") for line in (place / "out.csv").read_text(encoding="utf-8").splitlines()]
    assert rows[0][:3] == ["file", "score", "decision"]
    assert [row[2] for row in rows[1:]] == ["0", "0", "1", "1"]
    assert (place / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    # "A bundle is a folder ... of JSON and safetensors", beside the model card
    assert {path.suffix for path in (place / "pump.bundle").rglob("*") if path.is_file()} == {".json", ".safetensors", ".md"}
    assert "shape_gaussian: mahalanobis on log_mel_statistics of shape" in said[2]


def test_the_python_line(place: Path) -> None:
    found = re.search(r"In Python: `(.+?)`", SECTION)
    assert found is not None
    statement, expression = found.group(1).split("; ")
    names: dict[str, object] = {"paths": sorted(place.glob("NORMAL_DIR/*.wav"))}
    exec(statement, names)
    table = eval(expression, names)
    assert list(table.columns[:3]) == ["file", "score", "decision"]
    assert table["decision"].tolist() == [0] * 10


def test_the_example_of_the_scorer() -> None:
    failed, tried = doctest.testmod(scorer_module)
    assert (failed, tried > 5) == (0, True)
