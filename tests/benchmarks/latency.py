"""How long one recording takes to score with a bundle, read from disk, on one core."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks import Row, one_thread, peak_mb, race

DESCRIPTION = "scoring one 10 s recording (wav, 16 kHz) with a bundle that fit made by itself, one core"

#: The project's limit [s].
LIMIT_S = 0.060
_RATE_HZ = 16000


def run() -> list[Row]:
    """Fit on 24 recordings, save, load, and score one again and again; CPU seconds of one thread: the latency on an idle core."""
    from dcase_asd.features.log_mel import Config, LogMel
    from dcase_asd.io.audio import read_audio
    from dcase_asd.serving.scorer import Scorer

    with tempfile.TemporaryDirectory() as name, one_thread():
        root = Path(name)
        _write(root, 25)
        recordings = sorted((root / "normal").iterdir())
        Scorer(false_alarms=0.1).fit(recordings[1:]).save(root / "b.zip")
        scorer, log_mel = Scorer.load(root / "b.zip"), LogMel(Config(standardise="none"))
        functions = {
            "ours": lambda: scorer.score(recordings[0]),
            "loading": lambda: Scorer.load(root / "b.zip"),
            "reading and one log-mel": lambda: log_mel.compute(read_audio(recordings[0])[0][0]),
        }
        found = race(functions, rounds=15)
        own = found.seconds["ours"]
        code = f"from dcase_asd.serving.scorer import Scorer; Scorer.load({str(root / 'b.zip')!r}).score({str(recordings[0])!r})"
        peak = peak_mb(code)
    median = found.median("ours")
    return [
        Row(
            name=f"score of a recording over the limit of {1000 * LIMIT_S:.0f} ms (CPU)",
            ours_s=median,
            peer_s=LIMIT_S,
            ratio=median / LIMIT_S,
            target="<= 1",
            spread=(min(own) / LIMIT_S, max(own) / LIMIT_S),
            peak_mb=peak,
            limit=f"{median / found.median('reading and one log-mel'):.2f} x reading and one log-mel",
        ),
        Row(name="loading of the bundle over 2 s", ours_s=found.median("loading"), peer_s=2.0, ratio=found.median("loading") / 2),
    ]


def _write(root: Path, n_clips: int) -> None:
    import soundfile

    (root / "normal").mkdir()
    rng = np.random.default_rng(0)
    time_s = np.arange(10 * _RATE_HZ) / _RATE_HZ
    for i in range(n_clips):
        wave = 0.1 * np.sin(2 * np.pi * rng.uniform(95, 105) * time_s) + rng.normal(0, 0.02, len(time_s))
        soundfile.write(root / "normal" / f"{i:02d}.wav", wave, _RATE_HZ, subtype="PCM_16")
