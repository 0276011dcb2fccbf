"""Fetch a year of DCASE Task 2 from Zenodo, machine by machine, and unpack it where stage 1 looks for it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from dcase_asd.download.archives import unpack
from dcase_asd.download.transfer import Retry, StoppedError, fetch_file
from dcase_asd.download.zenodo import RemoteFile, base_url_or_default, read_record
from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.io.atomic import write_json
from dcase_asd.manifests.corpora import CorpusSpec, corpus_spec

__all__ = ["Fetched", "download"]

#: Room that a corpus needs besides its archives: PCM audio unpacks to less than three times its zip.
_UNPACKED_RATIO = 3


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What :func:`download` did.

    Attributes
    ----------
    folder : Path
        ``<dest>/dcase<YYYY>t2``.
    fetched : tuple of str
        Archives that were fetched and unpacked.
    complete : tuple of str
        Archives that were there already.
    """

    folder: Path
    fetched: tuple[str, ...]
    complete: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Job:
    name: str
    record: int
    raw: Path

    @property
    def record_path(self) -> Path:
        """The completion record, beside ``raw``: written last."""
        return self.raw.parent / ".complete" / f"{self.name}.json"

    @property
    def archive_path(self) -> Path:
        return self.raw.parent / "archives" / self.name


def download(
    year: int,
    *,
    dest: Path,
    machines: Iterable[str] = (),
    subsets: Iterable[str] = ("dev", "eval"),
    base_url: str | None = None,
    nj: int = 2,
    progress: Callable[[int, int], None] | None = None,
    keep_archives: bool = False,
    retry: Retry | None = None,
) -> Fetched:
    """Fetch and unpack the archives of one year; what is complete is skipped, without asking the server.

    A call that breaks off loses nothing that has arrived: the next one continues within the file.

    Parameters
    ----------
    year : int
        2020 to 2026.
    dest : Path
        The data root; ``dcase<YYYY>t2/`` appears in it.
    machines : iterable of str
        Machine types; empty: all of the year.
    subsets : iterable of str
        ``dev``, ``eval`` or both. ``eval`` is the additional training data and the evaluation test data.
    base_url : str, optional
        Another server with Zenodo's interface; default: the environment variable ``DCASE_ASD_ZENODO_URL``, else Zenodo.
    nj : int
        Files fetched at a time.
    progress : callable, optional
        Called with (bytes there, bytes in all), from several threads but one at a time.
    keep_archives : bool
        Whether the zips stay, in ``archives/`` beside ``raw/``.
    retry : Retry, optional
        How patient to be with the network.

    Raises
    ------
    UnknownNameError
        If the year, a machine or a subset is unknown.
    DataError
        If the server cannot be reached, lacks an archive, sends damaged content twice, the disk is too small, or an archive is
        not what it should be.
    """
    spec = corpus_spec(f"dcase{year}")
    patience = replace(retry or Retry(), stop=threading.Event())
    jobs = _jobs(spec, Path(dest), machines=tuple(machines), subsets=tuple(subsets))
    open_jobs = [job for job in jobs if not _is_complete(job)]
    if open_jobs:
        remote = _remote_files(open_jobs, base_url=base_url_or_default(base_url), retry=patience)
        _require_room(open_jobs, remote, Path(dest))
        _fetch_all(open_jobs, remote, nj=nj, retry=patience, progress=progress, keep_archives=keep_archives)
    names = {job.name for job in open_jobs}
    return Fetched(
        folder=Path(dest) / spec.folder,
        fetched=tuple(sorted(names)),
        complete=tuple(sorted(job.name for job in jobs if job.name not in names)),
    )


def _jobs(spec: CorpusSpec, dest: Path, *, machines: Sequence[str], subsets: Sequence[str]) -> list[_Job]:
    for subset in subsets:
        if subset not in spec.machines:
            raise UnknownNameError("subset", subset, spec.machines)
    known = {machine for subset in subsets for machine in spec.machines[subset]}
    for machine in machines:
        if machine not in known:
            raise UnknownNameError(f"machine of {spec.name} ({', '.join(subsets)})", machine, known)
    return [
        _Job(
            name=archive.zip_name(machine),
            record=archive.record,
            raw=dest / spec.folder / f"{archive.subset}_data" / "raw",
        )
        for archive in spec.archives
        if archive.subset in subsets
        for machine in spec.machine_names(archive.subset)
        if not machines or machine in machines
    ]


def _is_complete(job: _Job) -> bool:
    """Whether the completion record is there and every file it names has its size."""
    try:
        files = json.loads(job.record_path.read_text(encoding="utf-8"))["files"]
        return all((job.raw / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remote_files(jobs: Sequence[_Job], *, base_url: str, retry: Retry) -> dict[str, RemoteFile]:
    records = {record: read_record(record, base_url=base_url, retry=retry) for record in sorted({job.record for job in jobs})}
    absent = [f"{job.name} (record {job.record})" for job in jobs if job.name not in records[job.record]]
    if absent:
        there = ", ".join(sorted(name for job in jobs for name in records[job.record]))
        raise DataError(
            f"{base_url}: {len(absent)} archives are not in their record: {', '.join(absent)}; there are: {there}. The record "
            f"may have been re-issued: compare data_manifests/"
        )
    return {job.name: records[job.record][job.name] for job in jobs}


def _require_room(jobs: Sequence[_Job], remote: dict[str, RemoteFile], dest: Path) -> None:
    dest.mkdir(parents=True, exist_ok=True)
    need = sum(remote[job.name].size for job in jobs) * (1 + _UNPACKED_RATIO)
    free = shutil.disk_usage(dest).free
    if need > free:
        raise DataError(f"{dest}: about {need} bytes are needed, {free} are free; choose fewer machines or another disk")


def _fetch_all(
    jobs: Sequence[_Job],
    remote: dict[str, RemoteFile],
    *,
    nj: int,
    retry: Retry,
    progress: Callable[[int, int], None] | None,
    keep_archives: bool,
) -> None:
    total = sum(remote[job.name].size for job in jobs)
    have = dict.fromkeys((job.name for job in jobs), 0)
    lock = threading.Lock()

    def report(name: str, n_bytes: int) -> None:
        with lock:
            have[name] = n_bytes
            if progress is not None:
                progress(sum(have.values()), total)

    with ThreadPoolExecutor(max_workers=max(nj, 1)) as pool:
        try:
            futures = [
                pool.submit(_fetch_one, job, remote[job.name], retry=retry, report=report, keep_archive=keep_archives)
                for job in jobs
            ]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # set on success too, when nobody is left to look at it
            retry.stop.set()
            pool.shutdown(cancel_futures=True)
        errors = [future.exception() for future in futures if not future.cancelled()]
    cause = next((e for e in errors if e is not None and not isinstance(e, StoppedError)), None)
    if cause is not None:
        raise cause


def _fetch_one(job: _Job, file: RemoteFile, *, retry: Retry, report: Callable[[str, int], None], keep_archive: bool) -> None:
    fetch_file(
        file.url,
        job.archive_path,
        size=file.size,
        md5=file.md5,
        retry=retry,
        progress=lambda n_bytes: report(job.name, n_bytes),
    )
    files = unpack(job.archive_path, job.raw)
    if not files:
        raise DataError(f"{file.url}: the archive holds no file; the record may be broken: see data_manifests/")
    write_json(job.record_path, {"record": job.record, "md5": file.md5, "size": file.size, "files": files})
    if not keep_archive:
        job.archive_path.unlink()
