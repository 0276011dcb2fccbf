"""Build the feature stores of one machine: streaming, on all cores, the same bytes for any number of jobs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd import config as configs
from dcase_asd import registry
from dcase_asd.errors import AudioError, ConfigError, FormatError, ManifestError
from dcase_asd.features.base import Feature
from dcase_asd.features.image import Image
from dcase_asd.features.plan import Clip, SplitPlan, plan_machine
from dcase_asd.features.signal import SILENCE_DB, level_db, read_channel, resample
from dcase_asd.features.statistics import Moments, write_statistics
from dcase_asd.io.arrays import load_array
from dcase_asd.io.atomic import write_json
from dcase_asd.io.tables import write_table
from dcase_asd.io.workers import run_in_processes
from dcase_asd.manifests.schema import Manifest

__all__ = ["build_machine", "write_feature_json"]

_LOG = logging.getLogger(__name__)
#: Clips per job at most: a job is then long against its overhead of about a millisecond, and progress still moves.
_MAX_CHUNK = 32

#: Called with the clips done and the clips there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Job:
    name: str
    config: Any
    clips: tuple[Clip, ...]
    data: Path | None
    power: Path | None
    statistics: Moments | None


def build_machine(
    manifest: Manifest,
    *,
    data_root: Path,
    name: str,
    config: Any,
    out: Path,
    nj: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write the stores of one machine, its index tables and ``statistics.json``.

    Memory does not grow with the number of clips: files are preallocated from the manifest, and every job writes the
    rows of its clips.

    Parameters
    ----------
    manifest : Manifest
        The rows of one machine, all splits, one kind (``audio``, ``image``, ``log_mel`` or ``vector``; arrays enter as they
        are).
    data_root : Path
        What the manifest's paths are relative to.
    name : str
        Registered name of the feature.
    config : object
        An instance of the feature's ``Config``.
    out : Path
        ``<feature folder>/<machine>``.
    nj : int
        Processes.
    progress : callable, optional
        Called with (clips done, clips in all).

    Raises
    ------
    ManifestError
        If the rows are none, of several machines, of several kinds, or lack a split ``train`` that is needed.
    AudioError, ImageError, FormatError
        If a file is not what the manifest says, or does not fit the feature.
    """
    if nj < 1:
        raise ConfigError(f"nj: expected at least 1 process, got {nj}")
    feature = _feature(name, config)
    plans = plan_machine(manifest, feature, data_root=data_root)
    out.mkdir(parents=True, exist_ok=True)
    for plan in plans:
        # the index is what makes a store exist: away first, written last
        (out / f"{plan.split}.csv").unlink(missing_ok=True)
    statistics = _statistics(plans, name, config, machine=manifest.machines[0], nj=nj)
    done, total = 0, sum(len(plan.clips) for plan in plans)
    for plan in plans:
        levels: list[float] = []
        with_power = plan.clips[0].kind == "audio" and config.highpass is not None
        jobs = _allocate(plan, name, config, out=out, statistics=statistics, with_power=with_power, nj=nj)
        for chunk in _run(_write_chunk, jobs, nj=nj):
            levels += chunk
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        _warn_silent(plan, levels)
        write_table(out / f"{plan.split}.csv", plan.index.assign(level_db=levels))
    if feature.native == "audio":
        write_statistics(out / "statistics.json", statistics, standardise=config.standardise)


def write_feature_json(folder: Path, name: str, config: Any, frame_rate_hz: float) -> None:
    """Write ``feature.json``: name, resolved configuration and frame rate (0 for pictures and vectors)."""
    write_json(Path(folder) / "feature.json", {"name": name, "config": configs.to_dict(config), "frame_rate_hz": frame_rate_hz})


def _statistics(plans: list[SplitPlan], name: str, config: Any, *, machine: str, nj: int) -> Moments | None:
    if plans[0].clips[0].kind != "audio" or config.standardise != "machine":
        return None
    train = next((plan for plan in plans if plan.split == "train"), None)
    if train is None:
        raise ManifestError(
            f"machine {machine!r} has no training clips, and standardise: machine takes the amplitude statistics of those; "
            "add them, leave the machine out, or set standardise to clip or none"
        )
    jobs = [_Job(name, config, clips, None, None, None) for clips in _chunks(train.clips, nj)]
    # merged clip by clip in the manifest's order, so that no chunking shows in the last bit
    return reduce(Moments.merge, (moments for chunk in _run(_moments_chunk, jobs, nj=nj) for moments in chunk), Moments())


def _warn_silent(plan: SplitPlan, levels: list[float]) -> None:
    silent = [i for i, level in enumerate(levels) if level <= SILENCE_DB]
    if silent:
        _LOG.warning(
            "%d of %d clips of split %s are silent or black (all zero), first: %s",
            len(silent),
            len(levels),
            plan.split,
            plan.clips[silent[0]].path,
        )


def _allocate(
    plan: SplitPlan, name: str, config: Any, *, out: Path, statistics: Moments | None, with_power: bool, nj: int
) -> list[_Job]:
    data, power = out / f"{plan.split}.npy", out / f"{plan.split}.power.npy"
    _preallocate(data, (plan.n_frames, *plan.frame_shape), config.dtype)
    power.unlink(missing_ok=True)
    if with_power:
        _preallocate(power, (plan.n_frames,), "float32")
    return [_Job(name, config, clips, data, power if with_power else None, statistics) for clips in _chunks(plan.clips, nj)]


def _preallocate(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    path.unlink(missing_ok=True)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)


def _chunks(clips: tuple[Clip, ...], nj: int) -> list[tuple[Clip, ...]]:
    # eight jobs a process even out clips of different length
    size = max(1, min(_MAX_CHUNK, -(-len(clips) // (8 * nj))))
    return [clips[first : first + size] for first in range(0, len(clips), size)]


def _run(function: Callable[[_Job], Any], jobs: list[_Job], *, nj: int) -> Iterator[Any]:
    return run_in_processes(_with_one_thread, [(function, job) for job in jobs], nj=nj, ordered=True)


def _with_one_thread(function: Callable[[_Job], Any], job: _Job) -> Any:
    with _one_thread():
        return function(job)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Hold BLAS and FFT to one thread: the jobs are the parallelism, and the bits do not depend on the machine's cores."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@lru_cache(maxsize=4)
def _feature(name: str, config: Any) -> Feature[Any] | Image:
    feature: Feature[Any] | Image = registry.load("features", name).implementation(config)
    return feature


def _moments_chunk(job: _Job) -> list[Moments]:
    return [Moments.of(_resampled(clip, _read(clip, job.config), job.config)) for clip in job.clips]


def _read(clip: Clip, config: Any) -> NDArray[np.float32]:
    return read_channel(clip.path, channel=config.channel, n_samples=clip.n_samples, sample_rate_hz=clip.sample_rate_hz)


def _resampled(clip: Clip, waveform: NDArray[np.float32], config: Any) -> NDArray[np.float32]:
    return resample(waveform, from_hz=clip.sample_rate_hz, to_hz=config.sample_rate_hz)


def _write_chunk(job: _Job) -> list[float]:
    """Compute the clips of a job, write their rows, return their levels."""
    if job.data is None:
        raise FormatError("a job that writes needs a file to write to")
    levels = []
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(_Rows.open(job.data))
        power = stack.enter_context(_Rows.open(job.power)) if job.power is not None else None
        for clip in job.clips:
            frames, weight, level = _compute(clip, job)
            data.write(clip, frames)
            if power is not None and weight is not None:
                power.write(clip, weight)
            levels.append(level)
    return levels


def _compute(clip: Clip, job: _Job) -> tuple[NDArray[Any], NDArray[np.float32] | None, float]:
    feature = _feature(job.name, job.config)
    if isinstance(feature, Image):
        picture, brightness = feature.compute_file(clip.path, n_pixels=clip.n_samples)
        return picture[None], None, brightness
    if clip.kind != "audio":
        array = load_array(clip.path)
        return (array.T if clip.kind == "log_mel" else array[None]), None, float("nan")
    original = _read(clip, job.config)
    waveform = _resampled(clip, original, job.config)
    return feature.compute(waveform, statistics=job.statistics), feature.power(waveform), level_db(original)


class _Rows:
    """Row-wise writing into a preallocated ``.npy`` file.

    Plain writes at an offset, not a memory map: pages of a map count as the process's memory, and page faults cost time.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self._stream = stream
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, self._dtype = read_header(stream)
        self._shape = shape[1:]
        self._offset = stream.tell()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[_Rows]:
        with path.open("r+b") as stream:
            yield cls(path, stream)

    def write(self, clip: Clip, rows: NDArray[Any]) -> None:
        """Write the frames of a clip; refuse a wrong shape and values that are not finite in the file's type."""
        if rows.shape != (clip.length, *self._shape):
            raise FormatError(f"{clip.path}: expected frames {(clip.length, *self._shape)}, the feature gave {rows.shape}")
        with np.errstate(over="ignore"):
            block = np.ascontiguousarray(rows, dtype=self._dtype)
        if not np.isfinite(block).all():
            kind_of_error = AudioError if clip.kind == "audio" else FormatError
            raise kind_of_error(
                f"{clip.path}: the feature is not finite in {self._dtype.name}; repair or remove the file, "
                "or set dtype to float32 in the feature's configuration"
            )
        row_bytes = int(np.prod(self._shape, dtype=np.int64)) * self._dtype.itemsize
        self._stream.seek(self._offset + clip.start * row_bytes)
        self._stream.write(block.data)
