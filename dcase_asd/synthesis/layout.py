"""Which clips a corpus has, what they are called and which tables lie beside them: DCASE 2023 and 2020 Task 2.

Grammar: ``nttcslab/dcase2023_task2_baseline_ae`` README (directory structure); ground truth:
``nttcslab/dcase2023_task2_evaluator`` (``ground_truth_data``, ``ground_truth_domain``, ``ground_truth_attributes``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dcase_asd.errors import UsageError
from dcase_asd.synthesis.machine import Condition, Machine
from dcase_asd.synthesis.recording import Take, clip_seed
from dcase_asd.synthesis.sizes import Size

__all__ = ["LAYOUTS", "Clip", "Plan", "plan_dcase2020", "plan_dcase2023"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One recording to make.

    Attributes
    ----------
    machine : str
        Machine type.
    path : str
        Where it goes, relative to the corpus root, with ``/``.
    true_stem : str
        Its full name without ending: the same as in ``path`` but for anonymous test clips.
    domain : str
        ``source`` or ``target``; ``unknown`` in the 2020 layout, which has none.
    split : str
        ``train`` or ``test``.
    take : Take
        What to record.
    """

    machine: str
    path: str
    true_stem: str
    domain: str
    split: str
    take: Take

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Plan:
    """The clips of one machine and the text files beside them (path to content)."""

    clips: tuple[Clip, ...]
    tables: Mapping[str, str]


def plan_dcase2023(machine: Machine, *, size: Size, seed: int) -> Plan:
    """Plan one machine in the DCASE 2023 layout; test clips of evaluation machines become anonymous, in shuffled order."""
    folder = f"dcase2023t2/{machine.subset}_data/raw/{machine.name}"
    train = [_named(machine, folder, "train", spec) for spec in _takes_2023(machine, "train", size)]
    test = [_named(machine, folder, "test", spec) for spec in _takes_2023(machine, "test", size)]
    tables = {}
    if machine.subset == "eval":
        test = _anonymous(machine, folder, test, seed=seed)
        tables = _ground_truth(machine, test)
    # the organisers' evaluation tables list training clips only
    listed = train if machine.subset == "eval" else [*train, *test]
    tables[f"{folder}/attributes_00.csv"] = _attribute_table(machine, listed)
    tables[f"ground_truth/causes/causes_{machine.name}.csv"] = _cause_table(test)
    return Plan((*train, *test), tables)


def plan_dcase2020(machine: Machine, *, size: Size, seed: int) -> Plan:
    """Plan one machine in the DCASE 2020 layout: machine IDs instead of domains, no attributes.

    Raises
    ------
    UsageError
        If the machine has no machine IDs.
    """
    del seed  # nothing is shuffled here
    if not machine.units:
        raise UsageError(f"machine {machine.name!r} has no machine IDs, so there is no dcase2020 layout of it; use 'slider'")
    folder, clips = f"dcase2020t2/dev_data/raw/{machine.name}", []
    for unit, conditions in machine.units.items():
        for split, label, count in (
            ("train", "normal", size.n_train_source),
            ("test", "normal", size.n_test),
            ("test", "anomaly", size.n_test),
        ):
            for index, (condition, cause) in enumerate(_rotation(machine, conditions, count, label)):
                stem = f"{label}_id_{unit}_{index:08d}"
                take = Take(key=f"{split}_{stem}", condition=condition, cause=cause)
                path = f"{folder}/{split}/{stem}.wav"
                clips.append(Clip(machine=machine.name, path=path, true_stem=stem, domain="unknown", split=split, take=take))
    return Plan(
        tuple(clips), {f"ground_truth/causes/causes_{machine.name}.csv": _cause_table([c for c in clips if c.split == "test"])}
    )


#: Layouts by name.
LAYOUTS: Mapping[str, Callable[..., Plan]] = {"dcase2020": plan_dcase2020, "dcase2023": plan_dcase2023}


def _takes_2023(machine: Machine, split: str, size: Size) -> Iterator[tuple[str, str, int, Condition, str]]:
    for domain, conditions in (("source", machine.source), ("target", machine.target)):
        n_train = size.n_train_source if domain == "source" else size.n_train_target
        counts = {"normal": n_train} if split == "train" else {"anomaly": size.n_test, "normal": size.n_test}
        for label, count in counts.items():
            for index, (condition, cause) in enumerate(_rotation(machine, conditions, count, label)):
                yield domain, label, index, condition, cause


def _rotation(machine: Machine, conditions: Sequence[Condition], count: int, label: str) -> Iterator[tuple[Condition, str]]:
    """Give conditions and causes in turn such that in the long run each cause meets each condition."""
    n_conditions, n_causes = len(conditions), len(machine.causes)
    shift = math.lcm(n_conditions, n_causes)
    for index in range(count):
        cause = machine.causes[(index + index // shift) % n_causes] if label == "anomaly" else ""
        yield conditions[index % n_conditions], cause


def _named(machine: Machine, folder: str, split: str, spec: tuple[str, str, int, Condition, str]) -> Clip:
    domain, label, index, condition, cause = spec
    key = f"{domain}_{split}_{label}_{index:04d}"
    stem = f"section_00_{key}_{condition.suffix}"
    return Clip(
        machine=machine.name,
        path=f"{folder}/{split}/{stem}.wav",
        true_stem=stem,
        domain=domain,
        split=split,
        take=Take(key=key, condition=condition, cause=cause),
    )


def _anonymous(machine: Machine, folder: str, clips: Sequence[Clip], *, seed: int) -> list[Clip]:
    """Shuffle by a hash of the clip and number anew, so that the order tells neither class nor domain."""
    order = sorted(clips, key=lambda clip: clip_seed(seed, machine.name, f"anonymous order/{clip.take.key}"))
    return [
        Clip(
            machine=clip.machine,
            path=f"{folder}/test/section_00_{index:04d}.wav",
            true_stem=clip.true_stem,
            domain=clip.domain,
            split=clip.split,
            take=clip.take,
        )
        for index, clip in enumerate(order)
    ]


def _ground_truth(machine: Machine, clips: Sequence[Clip]) -> dict[str, str]:
    columns = {
        "data": lambda clip: str(int(bool(clip.take.cause))),
        "domain": lambda clip: str(int(clip.domain == "target")),
        "attributes": lambda clip: clip.true_stem,
    }
    return {
        f"ground_truth/ground_truth_{kind}/ground_truth_{machine.name}_section_00_test.csv": "".join(
            f"{clip.file_name},{value(clip)}\n" for clip in clips
        )
        for kind, value in columns.items()
    }


def _attribute_table(machine: Machine, clips: Sequence[Clip]) -> str:
    keys = list(machine.source[0].attributes)
    header = ",".join(["file_name", *(f"d{i}p,d{i}v" for i in range(1, len(keys) + 1))])
    rows = [
        ",".join(
            [f"{machine.name}/{clip.split}/{clip.file_name}", *(f"{k},{v}" for k, v in clip.take.condition.attributes.items())]
        )
        for clip in clips
    ]
    return "\n".join([header, *rows]) + "\n"


def _cause_table(clips: Sequence[Clip]) -> str:
    """Test clips with what is wrong with them (empty: normal); the challenge does not publish this, a simulator can."""
    return "file_name,cause\n" + "".join(f"{clip.file_name},{clip.take.cause}\n" for clip in clips)
