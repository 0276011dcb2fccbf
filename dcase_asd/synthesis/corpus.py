"""Make a synthetic corpus: plan, record (in parallel), write beside the goal, rename when complete."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import UnknownNameError, UsageError
from dcase_asd.io.workers import run_in_processes

if TYPE_CHECKING:
    from dcase_asd.synthesis.layout import Clip, Plan

__all__ = ["DEFAULT_DIFFICULTY", "RECORD_NAME", "stands", "synthesise"]

#: Faults of middling strength: a nearest neighbour on mean log-mel spectra is right in about three of four pairs.
DEFAULT_DIFFICULTY = 0.5
#: Written last; a folder without it is not a finished corpus.
RECORD_NAME = "synthesis.json"
#: To be raised whenever a change of the simulator changes a single sample.
VERSION = 1
_CHUNK = 8


def synthesise(
    root: Path,
    *,
    size: str = "mini",
    seed: int = 0,
    machines: Sequence[str] = (),
    difficulty: float = DEFAULT_DIFFICULTY,
    layout: str = "dcase2023",
    nj: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make a corpus of simulated machine recordings, or do nothing if it already stands.

    Parameters
    ----------
    root : pathlib.Path
        The folder to make. It appears only when everything is in it.
    size : str
        ``mini``, ``demo`` or ``full`` (:data:`dcase_asd.synthesis.sizes.SIZES`).
    seed : int
        Seed of the recordings. The machines and rooms are the same for every seed; the clips are other clips.
    machines : sequence of str
        Machine types; empty for those of the size (all, or all the layout offers). A clip's samples do not depend on it.
    difficulty : float
        0 (faults loud) to 1 (faults faint).
    layout : str
        ``dcase2023``, or ``dcase2020`` (slider only: machine IDs 00, 02, 04), or ``textures``: pictures of surfaces in the
        layout of MVTec AD (:mod:`dcase_asd.synthesis.textures`; ``machines`` are its categories).
    nj : int
        Processes; the bytes written do not depend on it.
    progress : callable, optional
        Called with the clips done and in all.

    Returns
    -------
    pathlib.Path
        ``root``.

    Raises
    ------
    UnknownNameError
        For an unknown size, machine or layout.
    UsageError
        For a seed, difficulty or nj out of range, or if ``root`` holds something else than this very corpus.
    """
    from dcase_asd.io.atomic import remove_tree, write_json

    if layout == "textures":
        from dcase_asd.synthesis.textures import synthesise_textures

        return synthesise_textures(root, size=size, seed=seed, categories=machines, difficulty=difficulty, progress=progress)
    goal = Path(root)
    wanted = _parameters(size=size, seed=seed, machines=machines, difficulty=difficulty, layout=layout, nj=nj)
    if stands(goal, wanted):
        return goal
    partial = goal.with_name(goal.name + ".partial")
    remove_tree(partial)
    partial.mkdir(parents=True)
    plans = _plans(wanted)
    clips = [clip for plan in plans for clip in plan.clips]
    for done in _record_all(clips, partial, wanted=wanted, nj=nj):
        if progress is not None:
            progress(done, len(clips))
    for plan in plans:
        for path, text in plan.tables.items():
            _write(partial / path, text)
    write_json(partial / RECORD_NAME, {**wanted, "n_clips": len(clips)})
    if goal.is_dir():
        goal.rmdir()  # it was found empty
    partial.rename(goal)
    return goal


def _parameters(*, size: str, seed: int, machines: Sequence[str], difficulty: float, layout: str, nj: int) -> dict[str, Any]:
    from dcase_asd.synthesis.layout import LAYOUTS
    from dcase_asd.synthesis.sizes import size_of

    if layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, [*LAYOUTS, "textures"])
    default = size_of(size).machines
    for name, value in (("seed", seed), ("nj", nj)):
        if isinstance(value, bool) or not isinstance(value, int) or value < (name == "nj"):
            raise UsageError(f"{name} must be a whole number of at least {int(name == 'nj')}, got {value!r}")
    if isinstance(difficulty, bool) or not isinstance(difficulty, (int, float)) or not 0.0 <= difficulty <= 1.0:
        raise UsageError(f"difficulty must be a number from 0 (faults loud) to 1 (faults faint), got {difficulty!r}")
    return {
        "difficulty": float(difficulty),
        "layout": layout,
        "machines": _machine_names(machines, default=default, layout=layout),
        "seed": seed,
        "size": size,
        "version": VERSION,
    }


def _machine_names(machines: Sequence[str], *, default: Sequence[str], layout: str) -> list[str]:
    from dcase_asd.synthesis.machines import machine_of
    from dcase_asd.synthesis.machines import machines as all_machines

    if isinstance(machines, str):
        raise UsageError(f"machines must be a list of names, got the text {machines!r}; write [{machines!r}]")
    offered = [m.name for m in all_machines().values() if layout != "dcase2020" or m.units]
    chosen = sorted({machine_of(name).name for name in machines})
    foreign = [name for name in chosen if name not in offered]
    if foreign:
        raise UsageError(f"machine {foreign[0]!r} is not offered in layout {layout!r}; choose from {', '.join(offered)}")
    return chosen or [name for name in offered if not default or name in default] or offered


def stands(goal: Path, wanted: Mapping[str, Any]) -> bool:
    """Return whether a folder holds the corpus of these parameters; ``UsageError`` if it holds something else."""
    record = goal / RECORD_NAME
    if not record.is_file():
        if goal.is_file() or (goal.is_dir() and any(goal.iterdir())):
            raise UsageError(
                f"{goal}: exists and is no synthetic corpus (no {RECORD_NAME}); choose another folder or move it away"
            )
        return False
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UsageError(f"{record}: not readable as JSON ({error}); remove the corpus and make it again") from error
    differences = [
        f"{key} is {found.get(key)!r}, asked for {value!r}" for key, value in wanted.items() if found.get(key) != value
    ]
    if differences:
        raise UsageError(f"{goal}: holds another synthetic corpus ({'; '.join(differences)}); remove it or choose another folder")
    return True


def _plans(wanted: Mapping[str, Any]) -> list[Plan]:
    from dcase_asd.synthesis.layout import LAYOUTS
    from dcase_asd.synthesis.machines import machine_of
    from dcase_asd.synthesis.sizes import size_of

    plan, size = LAYOUTS[wanted["layout"]], size_of(wanted["size"])
    return [plan(machine_of(name), size=size, seed=wanted["seed"]) for name in wanted["machines"]]


def _record_all(clips: Sequence[Clip], folder: Path, *, wanted: Mapping[str, Any], nj: int) -> Iterator[int]:
    """Record in chunks, in this process or in ``nj``; yield how many clips are done."""
    from dcase_asd.synthesis.sizes import size_of

    for parent in sorted({(folder / clip.path).parent for clip in clips}):
        parent.mkdir(parents=True, exist_ok=True)
    settings = (folder, size_of(wanted["size"]).duration_s, wanted["seed"], wanted["difficulty"])
    chunks = [(clips[i : i + _CHUNK], *settings) for i in range(0, len(clips), _CHUNK)]
    yield from itertools.accumulate(run_in_processes(_record_chunk, chunks, nj=nj))


def _record_chunk(clips: Sequence[Clip], folder: Path, duration_s: float, seed: int, difficulty: float) -> int:
    import soundfile

    from dcase_asd.synthesis.machines import machine_of
    from dcase_asd.synthesis.recording import record
    from dcase_asd.synthesis.signals import SAMPLE_RATE_HZ

    n_samples = math.ceil(duration_s * SAMPLE_RATE_HZ)
    for clip in clips:
        waveform = record(machine_of(clip.machine), clip.take, n_samples=n_samples, seed=seed, difficulty=difficulty)
        # not io.write_audio: the whole corpus appears by one rename, a flush to disk per clip would only cost time
        soundfile.write(str(folder / clip.path), waveform, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
    return len(clips)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
