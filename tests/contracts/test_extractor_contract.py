"""The extractor contract, run for every file in ``dcase_asd/extractors``.

An extractor that needs a checkpoint which is not on this disk is skipped, with its own message as the reason.
One that trains is fitted on a small feature folder of two machines; ``small/extractors/<name>.yaml`` may give ``config`` and
``shape`` (of one segment, frames first).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from material import ROOT, SMALL, small, state_bytes

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import DcaseAsdError
from dcase_asd.extractors.base import Extractor, TrainingData, save_extractor
from dcase_asd.features.store import INDEX_COLUMNS, FeatureFolder
from dcase_asd.io.arrays import save_array
from dcase_asd.io.atomic import write_json
from dcase_asd.io.tables import write_table

pytestmark = pytest.mark.parametrize("name", registry.names("extractors"))

#: Shape of one segment per input kind, frames first: log-mel [frame, mel], 1 s of waveform, picture [1, h, w, channel].
SHAPES = {"log_mel": (64, 32), "vector": (1, 12), "waveform": (16000,), "image": (1, 64, 64, 3)}
N_CLIPS = 12

Made = tuple[Extractor[Any], tuple[int, ...]]


def _segments(shape: tuple[int, ...], n: int, *, seed: int, image: bool) -> np.ndarray:
    rng = np.random.default_rng([seed, 5])
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8) if image else rng.normal(size=(n, *shape)).astype(np.float32)


def _feature_folder(path: Path, shape: tuple[int, ...], *, image: bool) -> FeatureFolder:
    write_json(path / "feature.json", {"name": "contract", "config": {}, "frame_rate_hz": 0 if image else 62.5})
    for number, machine in enumerate(("fan", "valve")):
        clips = _segments(shape, N_CLIPS, seed=50 + number, image=image)
        length = shape[0]
        index = pd.DataFrame(
            {
                "clip_id": [f"{machine}/train/é {i:04d}" for i in range(N_CLIPS)],
                "section": "00",
                "domain": ["source"] * (N_CLIPS - 4) + ["target"] * 4,
                "attributes": [json.dumps({"speed": str(i % 2)}) for i in range(N_CLIPS)],
                "start": [i * length for i in range(N_CLIPS)],
                "length": length,
                "level_db": -20.0,
            },
            columns=list(INDEX_COLUMNS),
        )
        save_array(path / machine / "train.npy", clips.reshape(-1, *shape[1:]))
        save_array(path / machine / "train.power.npy", np.ones(N_CLIPS * length, dtype=np.float32))
        write_table(path / machine / "train.csv", index)
    return FeatureFolder(path)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    def build(name: str, *, seed: int = 0) -> Made:
        plugin = registry.load("extractors", name)
        values = small(name, folder=SMALL / "extractors")
        kind = plugin.info.input.split()[0]
        shape = tuple(values.get("shape", SHAPES[kind]))
        extractor: Extractor[Any] = plugin.implementation(configs.build(plugin.config, values.get("config", {}), where=name))
        if extractor.trains:
            folder = tmp_path_factory.mktemp("merkmale é")
            features = _feature_folder(folder / "features", shape, image=kind == "image")
            data = TrainingData(features, "fan", frozenset({"fan/train/é 0000", "fan/train/é 0011"}), shape[0])
            extractor.fit(data, seed=seed, workdir=folder / "work", log=lambda _: None)
        try:
            extractor.embed(_segments(shape, 1, seed=0, image=kind == "image"))
        except DcaseAsdError as error:
            if "checkpoint" not in str(error):
                raise
            with pytest.raises(type(error), match=re.escape(str(error))):  # what is missing is said before any work
                extractor.require()
            pytest.skip(f"{name}: {error}")
        extractor.require()
        return extractor, shape

    return build


@pytest.fixture(scope="module")
def made(make: Callable[..., Made]) -> Callable[[str], Made]:
    kept: dict[str, Made] = {}

    def get(name: str) -> Made:
        if name not in kept:
            kept[name] = make(name)
        return kept[name]

    return get


def _x(name: str, shape: tuple[int, ...], n: int) -> np.ndarray:
    return _segments(shape, n, seed=1, image=registry.load("extractors", name).info.input.split()[0] == "image")


def _both(pair: tuple[np.ndarray, np.ndarray | None]) -> list[np.ndarray]:
    return [value for value in pair if value is not None]


def test_form_of_embeddings(name: str, made: Callable[[str], Made]) -> None:
    extractor, shape = made(name)
    vector, at = extractor.embed(_x(name, shape, 5))
    assert vector.dtype == np.float32
    assert vector.ndim == 2
    assert len(vector) == 5
    assert np.isfinite(vector).all()
    if at is not None:
        assert at.dtype == np.float32
        assert at.ndim == 4
        assert len(at) == 5
        assert np.isfinite(at).all()


def test_embedding_does_not_depend_on_the_batch(name: str, made: Callable[[str], Made]) -> None:
    extractor, shape = made(name)
    x = _x(name, shape, 5)
    whole = _both(extractor.embed(x))
    for row in range(len(x)):
        for found, expected in zip(_both(extractor.embed(x[row : row + 1])), whole, strict=True):
            # single-precision convolutions differ by summation order; measured against the typical size of a value
            np.testing.assert_allclose(found[0], expected[row], rtol=1e-4, atol=1e-4 * float(np.abs(expected).mean()))


def test_embedding_changes_nothing(name: str, made: Callable[[str], Made]) -> None:
    import torch

    extractor, shape = made(name)
    x = _x(name, shape, 3)
    before = (state_bytes(extractor), x.tobytes(), torch.random.get_rng_state().numpy().tobytes(), torch.is_grad_enabled())
    first = _both(extractor.embed(x))
    after = (state_bytes(extractor), x.tobytes(), torch.random.get_rng_state().numpy().tobytes(), torch.is_grad_enabled())
    assert before == after
    assert [v.tobytes() for v in first] == [v.tobytes() for v in _both(extractor.embed(x))]


def test_same_seed_same_bits(name: str, make: Callable[..., Made]) -> None:
    if not registry.load("extractors", name).implementation.trains:
        pytest.skip(f"{name} learns nothing")
    assert state_bytes(make(name, seed=4)[0]) == state_bytes(make(name, seed=4)[0])


def test_saved_and_loaded_in_a_fresh_process_gives_the_same_bits(name: str, made: Callable[[str], Made], tmp_path: Path) -> None:
    extractor, shape = made(name)
    x = _x(name, shape, 3)
    save_extractor(tmp_path / "extracteur é", name, extractor)
    assert sorted(p.name for p in (tmp_path / "extracteur é").iterdir()) == ["config.json", "tensors.safetensors"]
    np.save(tmp_path / "x.npy", x)
    script = Path(__file__).with_name("embed_in_fresh_process.py")
    command = [sys.executable, str(script), str(tmp_path / "extracteur é"), str(tmp_path / "x.npy"), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for kind, value in zip(("vector", "map"), extractor.embed(x), strict=True):
        if value is not None:
            assert np.load(tmp_path / f"{kind}.npy").tobytes() == value.tobytes()


def test_info_is_complete(name: str) -> None:
    info = registry.load("extractors", name).info
    for key in ("summary", "source", "input"):
        assert getattr(info, key), f"INFO.{key} of extractors/{name}.py is empty"
    assert info.input.split()[0] in SHAPES
