"""Whether the fast path ends where the plain one does: the same training with every shortcut and with none, three seeds.

Fast: own FFT front end, float16 features, channels_last. Plain: librosa, float32, contiguous. A third row trains in bfloat16,
which ``precision: auto`` chooses on processors that have it. Per seed: outlier exposure of one machine against three, kNN on the
embeddings, AUC of 120 test clips with faint anomalies. The difference of the means is held against the spread over seeds.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import Row, one_thread

DESCRIPTION = "results of the fast and the plain path, outlier exposure and kNN at small size, three seeds"

SEEDS = (0, 1, 2)
_RATE_HZ, _SECONDS, _N_TRAIN, _N_TEST = 16000, 2, 40, 120
_COMMON = {"n_mels": 64, "standardise": "none", "window_s": 0.064, "hop_s": 0.016}
FEATURES = {"fast": {"backend": "native", "dtype": "float16"}, "plain": {"backend": "librosa", "dtype": "float32"}}
PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("plain", {"precision": "fp32", "channels_last": False}),
    "fast": ("fast", {"precision": "auto", "channels_last": True}),
    "fast, bfloat16": ("fast", {"precision": "bf16", "channels_last": True}),
}


def run() -> list[Row]:
    """Train every path with every seed."""
    found = results()
    rows = []
    for name in ("fast", "fast, bfloat16"):
        for measure in ("auc", "loss"):
            own, plain = ([r[measure] for r in found[path]] for path in (name, "plain"))
            gap, noise = abs(statistics.mean(own) - statistics.mean(plain)), spread(plain)
            rows.append(
                Row(
                    name=f"{name} against plain, {measure}: gap of the means over their deviation between seeds ({noise:.3f})",
                    ours_s=statistics.mean(own),
                    peer_s=statistics.mean(plain),
                    ratio=gap / noise,
                    target="<= 1",
                    unit="",
                )
            )
    return rows


def spread(values: list[float]) -> float:
    """Return the standard deviation over seeds."""
    return statistics.stdev(values)


def results() -> dict[str, list[dict[str, float]]]:
    """Return AUC and last training loss of every path and seed."""
    with tempfile.TemporaryDirectory() as name, one_thread():
        root = Path(name)
        labels = _write(root)
        for path in FEATURES:
            _features(root, path)
        return {
            name: [_train(root, features, options, seed, labels) for seed in SEEDS] for name, (features, options) in PATHS.items()
        }


def _write(root: Path) -> np.ndarray:
    """Write the recordings; return which test clips are anomalous."""
    import soundfile

    rng = np.random.default_rng(0)
    time_s = np.arange(_SECONDS * _RATE_HZ) / _RATE_HZ
    labels = np.arange(_N_TEST) % 2
    for machine in range(4):
        for split, n in (("train", _N_TRAIN), ("test", _N_TEST if machine == 0 else 0)):
            for i in range(n):
                wave = sum(
                    0.05 * np.sin(2 * np.pi * (300 + 110 * machine) * k * rng.uniform(0.97, 1.03) * time_s + rng.uniform(0, 6))
                    for k in (1, 2, 3)
                )
                wave = wave + rng.normal(0, rng.uniform(0.02, 0.06), len(time_s))
                if split == "test" and labels[i]:
                    wave += 0.02 * np.sin(2 * np.pi * rng.uniform(2000, 2600) * time_s)
                path = root / f"m{machine}" / split / f"{i:03d}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave.clip(-1, 1), _RATE_HZ, subtype="PCM_16")
    return labels


def _features(root: Path, path: str) -> None:
    from dcase_asd import config as configs
    from dcase_asd.features.build import build_machine, write_feature_json
    from dcase_asd.features.log_mel import Config
    from dcase_asd.manifests.schema import Manifest

    config = configs.build(Config, {**_COMMON, **FEATURES[path]})
    for machine in range(4):
        files = sorted((root / f"m{machine}").rglob("*.wav"))
        rows = [
            {"clip_id": f.relative_to(root).as_posix(), "path": f.relative_to(root).as_posix(), "kind": "audio", "subset": "dev"}
            | {"machine": f"m{machine}", "section": "00", "domain": "source", "split": f.parent.name}
            | {"attributes": {"spd": str(int(f.stem) % 2)}, "n_samples": _SECONDS * _RATE_HZ, "n_channels": 1}
            | {"sample_rate_hz": _RATE_HZ, "sha256": ""}
            for f in files
        ]
        build_machine(Manifest.from_rows(rows), data_root=root, name="log_mel", config=config, out=root / path / f"m{machine}")
    write_feature_json(root / path, "log_mel", config, 1 / 0.016)


def _train(root: Path, features: str, options: dict[str, Any], seed: int, labels: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score
    from sklearn.neighbors import NearestNeighbors

    from dcase_asd import config as configs
    from dcase_asd.extractors.base import TrainingData
    from dcase_asd.extractors.embed import embed_store
    from dcase_asd.extractors.outlier_exposure import Config, OutlierExposure
    from dcase_asd.features.store import FeatureFolder

    folder = FeatureFolder(root / features)
    own = {"width": 0.125, "input_pool": (2, 2), "epochs": 6, "batch_size": 16, "loader_threads": 0, **options}
    extractor = OutlierExposure(configs.build(Config, own))
    losses: list[str] = []
    with tempfile.TemporaryDirectory() as workdir:
        data = TrainingData(folder, "m0", frozenset(), 100)
        extractor.fit(data, seed=seed, workdir=Path(workdir), log=lambda _: None)
        losses = (Path(workdir) / "losses.csv").read_text(encoding="utf-8").splitlines()
    loss = float(losses[-1].split(",")[losses[0].split(",").index("train_total")])
    cut = {"segment_frames": 100, "hop_frames": 100, "frame_rate_hz": 62.5}
    train, test = (embed_store(extractor, folder.open("m0", split), **cut) for split in ("train", "test"))
    distance = NearestNeighbors(n_neighbors=1).fit(train.vector).kneighbors(test.vector)[0][:, 0]
    clips = sorted(set(test.meta.clip_id))
    pooled = [distance[test.meta.clip_id == clip].mean() for clip in clips]
    return {"auc": float(roc_auc_score(labels, pooled)), "loss": loss}
