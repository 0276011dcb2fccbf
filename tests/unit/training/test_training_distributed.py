"""Training by several processes: the losses and weights of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dcase_asd import config as configs
from dcase_asd.errors import ConfigError
from dcase_asd.io.arrays import load_tensors
from dcase_asd.training import distributed
from dcase_asd.training.contract import TrainConfig
from dcase_asd.training.distributed import Group
from dcase_asd.training.loop import train

ROOT = Path(__file__).resolve().parents[3]
N_STEPS = 4


class Net(nn.Module):
    """No batch normalisation: two processes then compute what one does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch):
        if self.training:
            self.seen += batch["x"].mean()
        return {"a": nn.functional.cross_entropy(self.body(batch["x"]), batch["y"]), "b": self.body(batch["x"]).square().mean()}


class Source:
    steps_per_epoch = N_STEPS

    def _draw(self, seed):
        rng = torch.Generator().manual_seed(seed)
        return {"x": torch.randn(8, 1, 8, 8, generator=rng), "y": torch.randint(0, 3, (8,), generator=rng)}

    def batch(self, step, *, progress):
        del progress
        return self._draw(step)

    def valid_batches(self):
        return [self._draw(1000 + i) for i in range(2)]


def run(workdir: str, *, epochs: int = 3) -> None:
    config = configs.build(TrainConfig, {"epochs": epochs, "learning_rate": 0.01, "grad_clip": 1.0, "checkpoint_epochs": 1})
    train(Net(), Source(), config=config, seed=3, workdir=Path(workdir), log=lambda _: None)


def several(workdir: Path, *, n: int = 2, epochs: int = 3) -> None:
    here = Path(__file__)
    script = workdir.parent / f"{workdir.name}.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as t; t.run({str(workdir)!r}, epochs={epochs})"
    )
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr


def curve(workdir: Path) -> list[list[float]]:
    lines = (workdir / "losses.csv").read_text().splitlines()
    return [[float(cell) for cell in line.split(",")] for line in lines[1:]]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Tolerance: sums of float32 in another order, over 12 steps."""
    run(str(tmp_path / "one"))
    several(tmp_path / "two")
    assert len(curve(tmp_path / "two")) == 3
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    one, two = (load_tensors(tmp_path / name / "best.safetensors") for name in ("one", "two"))
    for name in one.keys() - {"seen"}:
        assert two[name] == pytest.approx(one[name], abs=1e-5), name


@pytest.mark.slow
def test_two_processes_twice_and_interrupted_give_the_same_bytes(tmp_path: Path) -> None:
    several(tmp_path / "a")
    several(tmp_path / "b", epochs=3)
    assert (tmp_path / "a/last.safetensors").read_bytes() == (tmp_path / "b/last.safetensors").read_bytes()


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    net = Net()
    with distributed.joined(net, "cpu") as (model, group):
        assert model is net
        assert group == Group(0, 1, "cpu")
        assert group.wrapped(net) is net
        assert group.mean([1.0, 2.0]) == [1.0, 2.0]


def test_shares_cover_a_batch_once_and_must_be_even() -> None:
    batch = {"x": torch.arange(8), "t": torch.arange(8) < 4}
    shares = [Group(rank, 4, "cpu").share(batch) for rank in range(4)]
    assert sorted(torch.cat([share["x"] for share in shares]).tolist()) == list(range(8))
    assert all(int(share["t"].sum()) == 1 for share in shares)  # as many targets as pseudo-anomalies in each
    with pytest.raises(ConfigError, match="8 cannot be cut among 3"):
        Group(0, 3, "cpu").share(batch)


def test_configuration_refuses_what_cannot_be_cut() -> None:
    from dcase_asd.extractors.outlier_exposure import Config

    assert configs.build(Config, {"n_processes": 2, "batch_size": 8}).n_processes == 2
    with pytest.raises(ConfigError, match="n_processes 3: half of batch_size 32 must be a multiple"):
        configs.build(Config, {"n_processes": 3})
    assert json.loads(json.dumps(configs.to_dict(Config())))["n_processes"] == 1
