"""A stated time: what is trained within it, and for how long.

The clock is read here and nowhere else. What it decides (members, folds, epochs) goes into the model's configuration, so that the
bundle says what was done, and the same configuration without a budget gives the same model bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import AudioError, UsageError
from dcase_asd.serving.recordings import Window
from dcase_asd.serving.settings import MemberConfig, ModelConfig, trains

if TYPE_CHECKING:
    from dcase_asd.serving.model import Fronts

__all__ = ["STEPS", "Budget", "epochs_for"]

#: Training steps of an extractor where no time is stated: the cpu preset of outlier exposure takes 56 on a machine of the
#: synthetic corpus; own recordings are fewer and longer.
STEPS = 80
# Below this many steps a network has learnt nothing: the machine loss of the cpu preset is still near chance.
_LEAST_STEPS = 24
# What is left for reading, embedding and fitting when training takes its share.
_TRAINING_SHARE = 0.8
_FEW_FOLDS = 2
# Windows of each kind that a step is timed on.
_PROBE = 16


def epochs_for(n_windows: int, *, steps: int, batch_size: int) -> int:
    """Return the epochs that give at least so many steps; an epoch draws every normal window once, half a batch a step."""
    return max(1, -(-steps // -(-n_windows // (batch_size // 2))))


@dataclass(frozen=True)
class Budget:
    """Seconds that fitting may take, from a start.

    Attributes
    ----------
    minutes : float or None
        None: no limit, and no clock is read.
    started : float
    """

    minutes: float | None
    started: float

    @classmethod
    def start(cls, minutes: float | None) -> Budget:
        """Start the clock; raises ``UsageError`` for a time that is not positive."""
        if minutes is not None and not 0.0 < minutes < float("inf"):
            raise UsageError(f"minutes: expected a positive number, got {minutes}")
        return cls(minutes, 0.0 if minutes is None else time.monotonic())

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return float("inf") if self.minutes is None else 60.0 * self.minutes - (time.monotonic() - self.started)

    def decide(
        self, config: ModelConfig, own: Sequence[Window], others: Sequence[Window], *, channel: str, seed: int
    ) -> tuple[ModelConfig, tuple[str, ...]]:
        """Return the model that fits into the time, and what was decided in sentences.

        Raises
        ------
        UsageError
            If an extractor learns from other machines and there are none, or there are and none learns.
        """
        learners = [name for name, member in config.members.items() if trains(member.extractor)]
        if learners and not others:
            raise UsageError(f"member {learners[0]} learns from recordings of other machines; give some by --others")
        if others and not learners:
            raise UsageError("--others: no member of the given model learns from other machines; leave it out, or add one")
        if self.minutes is None:
            return config, ()
        lines = [f"A budget of {self.minutes:g} minutes decides what is trained."]
        config, said = self._without_slow(config, own, channel=channel)
        lines += said
        if learners:
            config, said = self._shortened(config, learners, (own, others), channel=channel, seed=seed)
            lines += said
        if len(lines) == 1:
            lines.append("Nothing had to be shortened.")
        return config, tuple(lines)

    def _without_slow(self, config: ModelConfig, own: Sequence[Window], *, channel: str) -> tuple[ModelConfig, list[str]]:
        """Leave pretrained networks out if embedding the normals would take half of the time."""
        slow = [name for name, member in config.members.items() if {"checkpoint", "sha256"} <= member.extractor.keys()]
        if not slow or len(slow) == len(config.members):
            return config, []
        if seconds_a_window(config, own, channel=channel) * len(own) <= self.left_s / 2.0:
            return config, []
        return _only(config, {n: m for n, m in config.members.items() if n not in slow}), [
            f"Left out for time: {', '.join(slow)} (a pretrained network on {len(own)} recordings or pieces)."
        ]

    def _shortened(
        self,
        config: ModelConfig,
        learners: Sequence[str],
        windows: tuple[Sequence[Window], Sequence[Window]],
        *,
        channel: str,
        seed: int,
    ) -> tuple[ModelConfig, list[str]]:
        n_own, said = len(windows[0]), []
        distinct = {str(sorted(config.members[n].extractor.items())): n for n in learners}
        step_s = sum(seconds_a_step(config, name, windows, channel=channel, seed=seed) for name in distinct.values())
        steps, folds = 0, config.folds
        for folds in dict.fromkeys((config.folds, min(config.folds, _FEW_FOLDS))):
            steps = int(_TRAINING_SHARE * max(self.left_s, 0.0) / step_s / (folds + 1))
            if steps >= _LEAST_STEPS:
                break
        if steps < _LEAST_STEPS:
            rest = {n: m for n, m in config.members.items() if n not in learners}
            if not rest:
                raise UsageError(f"minutes: {self.minutes:g} do not suffice to train {', '.join(learners)}, the only members")
            return _only(config, rest), [f"Left out for time after all: {', '.join(learners)}."]
        changed: dict[str, MemberConfig] = dict(config.members)
        for name in learners:
            extractor = changed[name].extractor
            epochs = min(int(extractor["epochs"]), epochs_for(n_own, steps=steps, batch_size=int(extractor["batch_size"])))
            if epochs < extractor["epochs"]:
                said.append(f"{name}: {epochs} of {extractor['epochs']} epochs.")
            changed[name] = dataclasses.replace(changed[name], extractor={**extractor, "epochs": epochs})
        if folds < config.folds:
            said.append(f"Cross-fitting in {folds} instead of {config.folds} parts.")
        return dataclasses.replace(config, members=changed, folds=folds), said


def seconds_a_window(config: ModelConfig, own: Sequence[Window], *, channel: str) -> float:
    """Time the embedding of one window, after one that warms up."""
    from dcase_asd.serving.model import Fronts

    fronts, taken = Fronts(config, channel=channel), float("inf")
    fronts.observe(list(own[:1]))
    for _ in range(2):
        begin = time.monotonic()
        try:
            fronts.embed(own[0])
        except AudioError:
            return 0.0  # it will be left out, with its reason
        taken = time.monotonic() - begin
    return taken


def seconds_a_step(
    config: ModelConfig, name: str, windows: tuple[Sequence[Window], Sequence[Window]], *, channel: str, seed: int
) -> float:
    """Time a training step of a member's extractor on a few windows, after one that warms up."""
    from dcase_asd.serving.learning.exposure import Trainer
    from dcase_asd.serving.model import Fronts

    member = config.members[name]
    some: list[list[Window]] = []
    taken, counts = 0.0, (1, 4)
    for epochs in counts:
        extractor: dict[str, Any] = {**member.extractor, "epochs": epochs}
        small = dataclasses.replace(config, members={name: dataclasses.replace(member, extractor=extractor)})
        fronts = Fronts(small, channel=channel)
        fronts.observe(list(windows[0][:1]))
        some = some or [_readable(fronts, member.front, part) for part in windows]
        with tempfile.TemporaryDirectory(prefix="dcase_asd_probe_") as folder:
            trainer = Trainer(fronts, fronts.embedder_of[name], Path(folder), seed)
            trainer.write(some[0], ["source"] * len(some[0]), some[1])
            begin = time.monotonic()
            trainer.fit("probe", frozenset())
            taken = time.monotonic() - begin
    return taken / counts[-1]


def _readable(fronts: Fronts, front: str, windows: Sequence[Window]) -> list[Window]:
    found = []
    for window in windows[: 4 * _PROBE]:
        with contextlib.suppress(AudioError):
            fronts.frames(window, front)
            found.append(window)
    return found[:_PROBE]


def _only(config: ModelConfig, members: dict[str, MemberConfig]) -> ModelConfig:
    used = {member.front for member in members.values()}
    return dataclasses.replace(config, members=members, fronts={n: f for n, f in config.fronts.items() if n in used})
