"""Stage 2 as a whole: two processes against one, and memory against the number of clips."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import Row, alternate

DESCRIPTION = "build_machine over 2,000 clips of 2 s: efficiency of two processes, memory for 200 and 2,000 clips"

_RATE = 16000
_SECONDS = 2


def run() -> list[Row]:
    """Build one synthetic machine several times."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _write_clips(root, 2000)
        _build(root, 2000, 2)  # starts the worker processes, which later machines of a run find waiting
        seconds = alternate({"two": lambda: _build(root, 2000, 2), "one": lambda: _build(root, 2000, 1)}, rounds=2)
        control = alternate({"two": lambda: _control(2), "one": lambda: _control(1)}, rounds=2)
        few, many = (_peak_mb(root, n) for n in (200, 2000))
    one, two = seconds["one"], seconds["two"]
    ceiling = control["one"] / (2 * control["two"])
    efficiency = one / (2 * two)
    return [
        Row(name="2,000 clips of 2 s, 2 processes, efficiency", ours_s=two, peer_s=one, ratio=efficiency, target=">= 0.8"),
        Row(name="arithmetic alone, 2 processes, efficiency", ours_s=control["two"], peer_s=control["one"], ratio=ceiling),
        Row(
            name="the first over the second (the machine was busy by the rest)",
            ours_s=efficiency,
            peer_s=ceiling,
            ratio=efficiency / ceiling,
            target=">= 0.8",
            unit="",
        ),
        Row(name="peak memory, 2,000 clips over 200", ours_s=many, peer_s=few, ratio=many / few, target="<= 1.1", unit="MB"),
    ]


def _write_clips(root: Path, n_clips: int) -> None:
    import soundfile

    rng = np.random.default_rng(0)
    for i in range(n_clips):
        soundfile.write(root / f"{i:05}.wav", 0.1 * rng.standard_normal(_RATE * _SECONDS), _RATE)


def _build(root: Path, n_clips: int, nj: int) -> None:
    from dcase_asd.features.build import build_machine
    from dcase_asd.features.log_mel import Config
    from dcase_asd.manifests.schema import Manifest

    constant = {"kind": "audio", "subset": "dev", "machine": "fan", "section": "00", "domain": "source", "split": "train"}
    size = {"n_samples": _RATE * _SECONDS, "n_channels": 1, "sample_rate_hz": _RATE, "sha256": ""}
    rows = [{"clip_id": f"{i:05}", "path": f"{i:05}.wav", **constant, **size} for i in range(n_clips)]
    build_machine(Manifest.from_rows(rows), data_root=root, name="log_mel", config=Config(), out=root / f"out{nj}", nj=nj)


def _arithmetic(n: int) -> float:
    total = 0.0
    for i in range(n):
        total += i * 0.5
    return total


def _control(nj: int) -> None:
    from joblib import Parallel, delayed

    Parallel(n_jobs=nj)(delayed(_arithmetic)(2_000_000) for _ in range(16))


def _peak_mb(root: Path, n_clips: int) -> float:
    """Return the peak resident memory of a fresh process that builds ``n_clips`` clips (Linux)."""
    # VmHWM, not ru_maxrss: the latter starts from the parent's memory, which survives exec
    code = (
        "import sys; from pathlib import Path; from tests.benchmarks.stage2 import _build; "
        "_build(Path(sys.argv[1]), int(sys.argv[2]), 1); "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root), str(n_clips)], capture_output=True, text=True, check=True)
    return float(done.stdout) / 1024
