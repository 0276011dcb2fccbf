"""A few cases of every target, and that the harness sees what it is there to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
#: These start torch, or fit a model first: seconds each.
SLOW = {"bundle_zip", "bundle_config", "torch_weights"}


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tests.fuzz", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600)


def test_quick_targets_hold() -> None:
    done = fuzz("--cases", "25", "--seconds", "1", "--seed", "7", *sorted(TARGETS.keys() - SLOW))
    assert done.returncode == 0, done.stderr
    assert "0 findings" in done.stdout
    assert all(name in done.stdout for name in TARGETS.keys() - SLOW)


@pytest.mark.slow
def test_all_targets_hold() -> None:
    done = fuzz("--cases", "300", "--seconds", "10", "--seed", "8")
    assert done.returncode == 0, done.stderr


BAD = {
    "raises": ("int('x')", "ValueError"),
    "hangs": ("(signal.pause(), signal.pause())", "more than"),
    "eats memory": ("bytearray(3 << 30)", "MemoryError"),
    "runs a shell": ("os.system('true')", "os.system"),
    "writes elsewhere": ("open(path.parent.parent / 'escaped', 'w').close()", "open "),
    "removes elsewhere": ("os.remove(path.parent.parent / 'keep' / 'good')", "os.remove"),
    "makes a link": ("os.symlink('/', path.parent.parent / 'l')", "os.symlink"),
    "unpickles": ("pickle.loads(pickle.dumps(Path))", "pickle.find_class"),
}


@pytest.mark.parametrize("name", BAD)
def test_harness_sees(name: str) -> None:
    body, told = BAD[name]
    code = (
        "import os, pickle, signal\nfrom pathlib import Path\nfrom tests.fuzz import Target, child\nchild.CASE_S = 0.3\n"
        "def read(path):\n"
        f"    if path.read_bytes() != b'good': {body}\n"
        "def samples(folder):\n    (folder / 'good').write_bytes(b'good')\n    return [b'good']\n"
        "child.TARGETS['t'] = Target(name='t', file='f', read=read, samples=samples, mutate=lambda s, rng: b'bad')\n"
        "child.main('t', 1, 10.0, 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["findings"] == 1, done.stdout + done.stderr
    assert told in lines[0]["what"]


def test_process_that_dies_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz import __main__ as command

    monkeypatch.setattr(sys, "executable", "/bin/false")
    counts, findings = command.run("npy", n_cases=1, seconds=1.0, seed=0)
    assert counts["cases"] == 0
    assert "ended with code 1" in findings[0]["what"]
