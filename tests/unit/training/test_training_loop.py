import csv
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from dcase_asd import config as configs
from dcase_asd.errors import ConfigError, FormatError, TrainingError
from dcase_asd.training.contract import TrainConfig
from dcase_asd.training.loop import load_best, train
from dcase_asd.training.optimisers import (
    make_optimiser,
    parameter_groups,
    plateau_reductions,
    rate_factor,
    set_rates,
    without_improvement,
)
from dcase_asd.training.precision import autocast, resolve_precision
from dcase_asd.training.prefetch import loader_threads
from dcase_asd.training.seeding import generator

N_STEPS = 4


class Net(nn.Module):
    """Convolution, batch norm (buffers), dropout (random numbers) and two terms."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Dropout(0.3))
        self.head = nn.Linear(4, 1)

    def forward(self, batch):
        out = self.head(self.body(batch["x"]).mean((2, 3))).squeeze(1)
        return {"fit": (out - batch["y"]).square().mean(), "size": out.square().mean()}


@dataclass
class Source:
    stop_at: int = -1
    how: str = "raise"
    broken_from: int = 10**9
    with_valid: bool = True
    steps_per_epoch: int = N_STEPS

    def _draw(self, *key):
        rng = generator(7, *key)
        return {
            "x": torch.from_numpy(rng.normal(size=(6, 2, 8, 8)).astype("float32")),
            "y": torch.from_numpy(rng.normal(size=6).astype("float32")),
        }

    def batch(self, step, *, progress):  # noqa: ARG002 - the contract
        if step == self.stop_at:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        drawn = self._draw("train", step)
        if step >= self.broken_from:
            drawn["y"][0] = math.inf
        return drawn

    def valid_batches(self):
        return [self._draw("valid", i) for i in range(2)] if self.with_valid else []


def settings(**values):
    return configs.build(TrainConfig, {"epochs": 5, "learning_rate": 0.01, "grad_clip": 1.0, "checkpoint_epochs": 1, **values})


def run(workdir, source=None, *, config=None, model=None, seed=3, log=lambda _: None, **options):
    model = model or Net()
    result = train(model, source or Source(), config=config or settings(), seed=seed, workdir=Path(workdir), log=log, **options)
    return model, result


def contents(workdir):
    return {name: (Path(workdir) / name).read_bytes() for name in ("last.safetensors", "best.safetensors", "losses.csv")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("wörk dir")
    model, result = run(workdir)
    return contents(workdir), model.state_dict(), result


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "fixed"])
def test_the_loss_falls(tmp_path, schedule):
    _, result = run(tmp_path, config=settings(epochs=15, schedule=schedule))
    assert result.steps == 15 * N_STEPS
    assert result.history[-1]["train_total"] < 0.9 * result.history[0]["train_total"]


def test_same_seed_same_bits_and_another_seed_others(tmp_path, uninterrupted):
    run(tmp_path / "again")
    assert contents(tmp_path / "again") == uninterrupted[0]
    run(tmp_path / "other", seed=4)  # only dropout differs
    assert contents(tmp_path / "other")["last.safetensors"] != uninterrupted[0]["last.safetensors"]


@pytest.mark.parametrize("stop_at", [0, 1, N_STEPS, 2 * N_STEPS + 1, 5 * N_STEPS - 1])
@pytest.mark.parametrize("every_step", [False, True])
def test_an_interrupted_training_ends_bit_identical(tmp_path, uninterrupted, stop_at, every_step):
    # a checkpoint after each step (time limit of nearly nothing) or after each epoch
    config = settings(checkpoint_minutes=1e-9) if every_step else settings()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Source(stop_at=stop_at), config=config)
    lines = []
    model, result = run(tmp_path, config=config, log=lines.append)
    assert contents(tmp_path) == uninterrupted[0]
    assert all(torch.equal(value, uninterrupted[1][name]) for name, value in model.state_dict().items())
    assert result == uninterrupted[2]
    assert len(lines) == (0 if stop_at == 0 or (stop_at == 1 and not every_step) else 1)


def test_an_interrupted_epoch_every_few_steps(tmp_path, uninterrupted):
    for stop_at in (3, 6, 7, 13, 17):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, Source(stop_at=stop_at), config=settings(checkpoint_minutes=1e-9))
    run(tmp_path)
    assert contents(tmp_path) == uninterrupted[0]


def test_kill_minus_nine_and_resume_in_another_process(tmp_path, uninterrupted):
    here = Path(__file__)
    code = (
        f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as t; t.run(sys.argv[1], t.Source(9, 'kill'))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (tmp_path / "last.safetensors").is_file()
    run(tmp_path)
    assert contents(tmp_path) == uninterrupted[0]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_loader_threads_change_no_result(tmp_path, uninterrupted, n_threads):
    run(tmp_path, config=settings(loader_threads=n_threads))
    assert contents(tmp_path) == uninterrupted[0]


def test_what_a_loader_thread_raises_arrives(tmp_path, uninterrupted):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Source(stop_at=9), config=settings(loader_threads=2))
    run(tmp_path)
    assert contents(tmp_path) == uninterrupted[0]


def test_loader_threads_by_device():
    assert [loader_threads(-1, d) for d in ("cpu", "cuda", "cuda:1")] == [0, 4, 4]
    assert loader_threads(2, "cpu") == 2


def test_tensorboard_gets_the_curves(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path, config=settings(tensorboard=True))
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("train_fit")] == [4, 8, 12, 16, 20]


def test_tensorboard_asked_for_and_missing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"dcase_asd\[track\]"):
        run(tmp_path, config=settings(tensorboard=True))


def test_memory_layout_and_resume(tmp_path):
    # fused optimiser steps read parameters and moments by position: a restored moment must have its parameter's layout
    for name, config in {"last": settings(), "first": settings(channels_last=False)}.items():
        run(tmp_path / name, config=config)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / f"{name} cut", Source(stop_at=9), config=config)
        run(tmp_path / f"{name} cut", config=config)
        assert contents(tmp_path / name) == contents(tmp_path / f"{name} cut")


def test_losses_csv_has_one_row_an_epoch(uninterrupted, tmp_path):
    (tmp_path / "losses.csv").write_bytes(uninterrupted[0]["losses.csv"])
    with (tmp_path / "losses.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["step"] for row in rows] == ["4", "8", "12", "16", "20"]
    assert float(rows[2]["train_total"]) == pytest.approx(float(rows[2]["train_fit"]) + float(rows[2]["train_size"]), rel=1e-5)


def test_a_finished_training_is_not_repeated(tmp_path):
    run(tmp_path)
    _, result = run(tmp_path, Source(stop_at=0))
    assert result.steps == 5 * N_STEPS


def test_best_and_last_are_both_kept(tmp_path):
    model, result = run(tmp_path, config=settings(epochs=12, learning_rate=0.05, schedule="fixed"))
    valid = [row["valid_total"] for row in result.history]
    assert result.best_epoch == valid.index(min(valid)) + 1
    last = {name: value.clone() for name, value in model.state_dict().items()}
    load_best(model, tmp_path)
    same = all(torch.equal(value, last[name]) for name, value in model.state_dict().items())
    assert same == (result.best_epoch == 12)
    assert result.best_epoch < 12  # otherwise this test shows nothing


def test_weights_of_terms_enter_the_sum(tmp_path):
    _, result = run(tmp_path, loss_weights={"size": 3.0})
    row = result.history[0]
    assert row["train_total"] == pytest.approx(row["train_fit"] + 3.0 * row["train_size"], rel=1e-5)
    with pytest.raises(TrainingError, match=r"loss weights name flow; the model gives fit, size"):
        run(tmp_path / "b", loss_weights={"flow": 1.0})


def test_a_loss_that_is_not_finite_names_itself_and_keeps_the_checkpoint(tmp_path, uninterrupted):
    with pytest.raises(TrainingError, match=r"loss 'fit' is inf at step 10 of 20; the checkpoint of step 8 stays"):
        run(tmp_path, Source(broken_from=10))
    run(tmp_path)
    assert contents(tmp_path) == uninterrupted[0]
    with pytest.raises(TrainingError, match="no checkpoint was written yet"):
        run(tmp_path / "b", Source(broken_from=0))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(tmp_path)
    for changed in (
        {"seed": 4},
        {"config": settings(learning_rate=0.02)},
        {"identity": ["other"]},
        {"loss_weights": {"fit": 2.0}},
    ):
        with pytest.raises(TrainingError, match="checkpoint of another run"):
            run(tmp_path, **changed)
    (tmp_path / "last.safetensors").write_bytes(b"nonsense")
    with pytest.raises(FormatError, match=r"last\.safetensors"):
        run(tmp_path)


def test_steps_instead_of_epochs(tmp_path):
    _, result = run(tmp_path, config=settings(steps=6))
    assert [row["step"] for row in result.history] == [4, 6]


def test_without_validation_there_is_no_best(tmp_path):
    _, result = run(tmp_path, Source(with_valid=False))
    assert result.best_epoch == 0
    assert not (tmp_path / "best.safetensors").exists()


def test_the_callers_random_state_is_left_alone(tmp_path):
    model = Net()
    torch.manual_seed(11)
    before = torch.get_rng_state()
    run(tmp_path, model=model)
    assert torch.equal(torch.get_rng_state(), before)


def test_learning_rates_by_group(tmp_path):
    model = Net()
    groups = parameter_groups(model, {"head": 0.1})
    optimiser = make_optimiser("adamw", groups, learning_rate=1.0, weight_decay=0.0)
    set_rates(optimiser, learning_rate=0.5, momentum=0.9)
    assert sorted(group["lr"] for group in optimiser.param_groups) == [0.05, 0.5]
    assert all(group["betas"][0] == 0.9 for group in optimiser.param_groups)
    with pytest.raises(ConfigError, match="flow"):
        parameter_groups(model, {"flow": 2.0})
    frozen = Net()
    start = frozen.head.weight.detach().clone()
    run(tmp_path, model=frozen, lr_factors={"head": 0.0})
    assert torch.equal(frozen.head.weight, start)
    assert not torch.equal(frozen.body[0].weight, Net().body[0].weight)


@pytest.mark.parametrize("n_steps", [3, 10, 97])
def test_one_cycle_is_torchs(n_steps):
    parameter = nn.Parameter(torch.zeros(1))
    reference = torch.optim.AdamW([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(reference, max_lr=1.0, total_steps=n_steps)
    for step in range(n_steps):
        factor, momentum = rate_factor("one_cycle", step, n_steps)
        assert factor == pytest.approx(reference.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        assert momentum == pytest.approx(reference.param_groups[0]["betas"][0], rel=1e-9)
        reference.step()
        if step + 1 < n_steps:
            schedule.step()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_other_optimisers_resume_too(tmp_path, kind):
    config = settings(optimiser=kind)
    run(tmp_path / "a", config=config)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Source(stop_at=7), config=config)
    run(tmp_path / "b", config=config)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_bf16_trains(tmp_path):
    _, result = run(tmp_path, config=settings(precision="bf16", epochs=10))
    assert result.history[-1]["train_total"] < result.history[0]["train_total"]


def test_auto_precision_follows_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False})
    assert resolve_precision("auto", "cpu") == "fp32"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_precision("auto", "cpu") == "bf16"
    with pytest.raises(ConfigError, match="CUDA"):
        resolve_precision("fp16", "cpu")
    with autocast("bf16", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_bad_settings():
    for bad in ({"epochs": 0}, {"learning_rate": 0.0}, {"valid_epochs": 0}):
        with pytest.raises(ConfigError):
            settings(**bad)


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([], 2, 0),
        ([3, 2, 1], 1, 0),
        ([3, 4, 4], 2, 1),
        ([3, 4, 2, 4, 4, 4, 4], 2, 2),
        ([3, 3, 3], 2, 1),  # no improvement is no improvement
    ],
)
def test_a_plateau_lowers_the_rate_after_so_many_values_without_a_new_minimum(losses, patience, expected):
    assert plateau_reductions(losses, patience=patience) == expected


@pytest.mark.parametrize(("losses", "expected"), [([], 0), ([1.0], 0), ([2, 1, 1, 3], 2), ([1, 2, 3], 2)])
def test_values_without_improvement(losses, expected):
    assert without_improvement(losses) == expected


WAITS = {"schedule": "plateau", "plateau_epochs": 1, "plateau_factor": 0.1, "stop_epochs": 3, "epochs": 40}


def test_training_ends_when_the_monitored_term_does_not_improve(tmp_path):
    _, result = run(tmp_path, config=settings(**WAITS, monitor="fit"))
    values = [row["valid_fit"] for row in result.history]
    assert len(values) < 40
    assert without_improvement(values) == 3
    assert result.best_epoch == len(values) - 3 == values.index(min(values)) + 1
    rates = [row["learning_rate"] for row in result.history]
    # an epoch's rate is decided by the epochs before it
    assert rates == pytest.approx([0.01 * 0.1 ** plateau_reductions(values[:i], patience=1) for i in range(len(values))])


def test_a_plateau_and_an_early_stop_resume_with_the_same_bits(tmp_path):
    config = settings(**WAITS)
    _, result = run(tmp_path / "through", config=config)
    for stop_at in range(5, result.steps, 7):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "halted", Source(stop_at=stop_at), config=config)
    run(tmp_path / "halted", config=config)
    run(tmp_path / "halted", config=config)  # nothing is left to do
    assert contents(tmp_path / "halted") == contents(tmp_path / "through")


def test_a_monitor_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="monitor 'reconstruction': the model gives fit, size, total"):
        run(tmp_path, config=settings(monitor="reconstruction"))


@pytest.mark.parametrize("values", [{"plateau_factor": 1.0}, {"plateau_epochs": 0}, {"stop_epochs": -1}])
def test_plateau_values_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="plateau_factor"):
        settings(**values)
