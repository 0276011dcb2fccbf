"""From a recipe folder and command-line options to a runner."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dcase_asd import config as configs
from dcase_asd.errors import ConfigError, UnknownNameError, UsageError
from dcase_asd.io.atomic import write_text
from dcase_asd.pipeline.layout import Layout
from dcase_asd.pipeline.records import changes
from dcase_asd.pipeline.runner import Plan, Runner
from dcase_asd.pipeline.screen import Screen
from dcase_asd.pipeline.settings import resolve
from dcase_asd.pipeline.stage import Resources
from dcase_asd.pipeline.stages import all_stages

__all__ = ["STAGE_NAMES", "RunOptions", "load_config", "make_runner", "stage_number"]

#: Stage names by number; fixed for good.
STAGE_NAMES = (
    "raw",
    "manifests",
    "features",
    "extractor",
    "embeddings",
    "detectors",
    "scores",
    "ensemble",
    "evaluate",
    "submit",
)

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
#: Options of one call that a repeated command must not inherit; ``--recipe`` because it is repeated inside the recipe's folder.
_ONCE_OPTIONS = frozenset({"--recipe", "--stage", "--stop-stage", "--stages", "--skip-stages"})
_ONCE_FLAGS = frozenset({"--force", "--allow-stale", "--verify", "--resume", "--no-resume"})


@dataclass(frozen=True)
class RunOptions:
    """Options of ``dcase-asd run`` that choose the experiment.

    Attributes
    ----------
    recipe : Path
        The recipe's folder; relative paths in options are relative to it.
    conf : Path
        The configuration file.
    overrides : sequence of str
        ``a.b=c``.
    tag : str
        Name of the experiment; empty: the configuration's file name.
    expdir, dumpdir, data_root : str
        Empty: ``exp``, ``dump`` in the recipe, and the environment variable ``DCASE_ASD_DATA``.
    machines : sequence of str
    seeds : sequence of int
    sections : sequence of str
    """

    recipe: Path
    conf: Path
    overrides: Sequence[str] = ()
    tag: str = ""
    expdir: str = ""
    dumpdir: str = ""
    data_root: str = ""
    machines: Sequence[str] = ()
    sections: Sequence[str] = ()
    seeds: Sequence[int] = ()


def stage_number(text: str) -> int:
    """Return the number of a stage given by number or name.

    Raises
    ------
    UsageError
        For anything else; the nearest name is given.
    """
    if text.isascii() and text.isdigit() and int(text) < len(STAGE_NAMES):
        return int(text)
    if text in STAGE_NAMES:
        return STAGE_NAMES.index(text)
    raise UnknownNameError("stage (a number from 0 to 9, or a name)", text, STAGE_NAMES)


def load_config(options: RunOptions) -> dict[str, Any]:
    """Read the YAML file (and those that ``base`` names, one after another), apply overrides, and resolve every default.

    Raises
    ------
    ConfigError
        If a file cannot be read or is its own base, and as :func:`~dcase_asd.pipeline.settings.resolve`.
    """
    values = _with_base(_inside(options.recipe, options.conf))
    values = configs.apply_overrides(values, options.overrides)
    if options.machines:
        values["machines"] = list(options.machines)
    if options.seeds:
        values["seeds"] = list(options.seeds)
    if options.sections:
        values = configs.merge(values, {"corpus": {"sections": list(options.sections)}})
    return resolve(values)


def make_runner(options: RunOptions, *, resources: Resources, screen: Screen, argv: Sequence[str]) -> Runner:
    """Return the runner of an experiment; writes nothing yet."""
    config = load_config(options)
    root = options.data_root or os.environ.get("DCASE_ASD_DATA", "")
    layout = Layout(
        recipe=options.recipe.resolve(),
        tag=options.tag or options.conf.stem,
        data_root=_inside(options.recipe, Path(root)).resolve() if root else None,
        expdir=_inside(options.recipe, Path(options.expdir or "exp")).resolve(),
        dumpdir=_inside(options.recipe, Path(options.dumpdir or "dump")).resolve(),
    )
    if any(c in layout.tag for c in "/\\\0") or layout.tag in ("", ".", ".."):
        raise UsageError(f"--tag {layout.tag!r}: a plain folder name is needed")
    return Runner(all_stages(), config, layout, resources, screen, command=shlex.join(argv))


def record_experiment(runner: Runner, argv: Sequence[str]) -> None:
    """Write ``exp/<tag>/config.yaml`` and a ``run.sh`` that repeats the command; say what changed since the last run."""
    folder = runner.layout.experiment
    target = folder / "config.yaml"
    if target.is_file():
        old: Mapping[str, Any] = configs.load_yaml(target)
        for line in changes(old, runner.config)[:10]:
            runner.screen.line(f"configuration of {runner.layout.shown(folder)} changed: {line}")
    write_text(target, yaml.safe_dump(runner.config, sort_keys=False, allow_unicode=True))
    arguments = _repeatable(list(argv))
    root = os.environ.get("DCASE_ASD_DATA", "")
    data_root = f'data_root={shlex.quote(root)}\nexport DCASE_ASD_DATA="${{DCASE_ASD_DATA:-${{data_root}}}}"\n' if root else ""
    script = (
        "#!/usr/bin/env bash\n# Repeats the command that made this experiment; further options are appended.\nset -euo pipefail\n"
        f"cd {shlex.quote(str(runner.layout.recipe))}\n"
        f'export PYTHONPATH={shlex.quote(str(_PACKAGE_ROOT))}"${{PYTHONPATH:+:${{PYTHONPATH}}}}"\n'
        f"{data_root}"
        f'exec {shlex.quote(sys.executable)} -m dcase_asd {shlex.join(arguments)} "$@"\n'
    )
    write_text(folder / "run.sh", script)


def plan_from(
    *,
    stage: str = "",
    stop_stage: str = "",
    stages: Sequence[str] = (),
    skip_stages: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
    allow_stale: bool = False,
    verify: bool = False,
) -> Plan:
    """Turn the stage options into a plan: ``--stage N`` runs N again and what depends on it."""
    first = stage_number(stage) if stage else 0
    last = stage_number(stop_stage) if stop_stage else len(STAGE_NAMES) - 1
    if first > last:
        raise UsageError(f"--stage {stage} comes after --stop_stage {stop_stage}")
    only = frozenset(stage_number(s) for s in stages)
    redo = frozenset(range(first, last + 1)) if force else frozenset([first] if stage else [])
    return Plan(
        first=first,
        last=last,
        only=only,
        skip=frozenset(stage_number(s) for s in skip_stages),
        redo=redo | only,
        dry_run=dry_run,
        allow_stale=allow_stale,
        verify=verify,
    )


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file over its ``base``; ``above`` are the files that led here."""
    if path.resolve() in above:
        chain = " -> ".join(p.name for p in (*above, path))
        raise ConfigError(f"{above[0]}: base: goes round in a circle ({chain}); take one of them out")
    values = configs.load_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: expected a file name, got {base!r}")
    return configs.merge(_with_base(path.parent / base, (*above, path.resolve())), values)


def _inside(recipe: Path, path: Path) -> Path:
    return path if path.is_absolute() else recipe / path


def _repeatable(argv: list[str]) -> list[str]:
    """Return the command without the options that choose stages or what to do about old output, run in the recipe's folder."""
    kept: list[str] = []
    skip = False
    for item in argv:
        name = item.split("=", 1)[0].replace("_", "-")
        if skip or name in _ONCE_FLAGS:
            skip = False
        elif name in _ONCE_OPTIONS:
            skip = "=" not in item
        else:
            kept.append(item)
    return [*kept[:1], "--recipe", ".", *kept[1:]]
