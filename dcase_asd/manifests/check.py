"""Everything that is wrong with a corpus, listed at once: clip by clip, then between clips, then what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import nearest
from dcase_asd.manifests.inspection import Inspection, inspect_clip
from dcase_asd.manifests.level_check import split_differences
from dcase_asd.manifests.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Problem", "check_manifest"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    severity : str
        ``error``: no score can be trusted before it is mended. ``warning``: look at it.
    clip_id, path : str
        The clip; both empty for a problem of the corpus, a machine or a section.
    what, remedy : str
        What is wrong (with values) and what to do.
    """

    severity: str
    clip_id: str
    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.severity}: {self.path + ': ' if self.path else ''}{self.what}; {self.remedy}"


def check_manifest(
    manifest: Manifest,
    root: Path,
    *,
    read: bool = False,
    nj: int = 1,
    progress: Callable[[int, int], None] | None = None,
    sample_rate_hz: int | None = None,
    n_channels: int | None = None,
    min_s: float = 0.0,
    machines: Iterable[str] = (),
) -> list[Problem]:
    """List every problem of a corpus.

    Parameters
    ----------
    manifest : Manifest
        The corpus.
    root : Path
        The data root that the manifest's paths are relative to.
    read : bool
        False reads headers; True every sample as well, which finds changed content, NaN, silence, clipping, offset, and
        differences of level or brightness between splits (:mod:`~dcase_asd.manifests.level_check`). Memory does not grow with
        the length of recordings.
    nj : int
        Threads.
    progress : callable, optional
        Called with (clips done, clips in all).
    sample_rate_hz, n_channels : int, optional
        What every recording must have; None: what most have, and others are an error (rate) or a warning (channels).
    min_s : float
        Shorter recordings are an error.
    machines : iterable of str
        Machines that must be there.

    Returns
    -------
    list of Problem
        Clip problems in the manifest's order, then problems of the whole; empty if nothing is wrong.
    """
    from joblib import Parallel, delayed

    table = manifest.table
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    inspections: list[Inspection] = []
    jobs = (delayed(inspect_clip)(Path(root) / row["path"], row, read=read) for row in rows)
    for inspection in Parallel(n_jobs=nj, prefer="threads", return_as="generator")(jobs):
        inspections.append(inspection)
        if progress is not None:
            progress(len(inspections), len(rows))
    problems: list[Problem] = []
    rate, channels = _usual(table, "sample_rate_hz"), _usual(table, "n_channels")
    for row, inspection in zip(rows, inspections, strict=True):
        found = [(f.severity, f.what, f.remedy) for f in inspection.findings]
        found += _rate_findings(row, sample_rate_hz or rate, expected=sample_rate_hz is not None)
        found += _channel_findings(row, n_channels or channels, expected=n_channels is not None)
        found += _length_findings(row, min_s)
        problems += [Problem(severity, row["clip_id"], row["path"], what, remedy) for severity, what, remedy in found]
    problems += _duplicates(rows)
    problems += _structure(table, sorted(machines))
    problems += [_whole("warning", what, remedy) for what, remedy in split_differences(table, inspections)]
    return problems


Found = tuple[str, str, str]


def _usual(table: pd.DataFrame, column: str) -> int:
    values = table.loc[table["kind"] == "audio", column]
    return int(values.mode().iloc[0]) if len(values) else 0


def _rate_findings(row: dict[str, Any], rate: int, *, expected: bool) -> Iterator[Found]:
    if row["kind"] == "audio" and row["sample_rate_hz"] != rate:
        whose = "are expected" if expected else "most clips have"
        yield ("error", f"sampling rate {row['sample_rate_hz']} Hz where {rate} Hz {whose}", f"resample it to {rate} Hz")


def _channel_findings(row: dict[str, Any], channels: int, *, expected: bool) -> Iterator[Found]:
    if row["kind"] == "audio" and row["n_channels"] != channels:
        where = f"{channels} are expected" if expected else f"most clips have {channels}"
        what = f"{row['n_channels']} channels where {where}"
        yield ("error" if expected else "warning", what, "convert it, or choose a channel in the feature's configuration")


def _length_findings(row: dict[str, Any], min_s: float) -> Iterator[Found]:
    if row["kind"] != "audio":
        return
    seconds = row["n_samples"] / row["sample_rate_hz"] if row["sample_rate_hz"] else 0.0
    if seconds == 0 or seconds < min_s:
        yield ("error", f"{seconds:.3f} s long; at least {min_s:g} s are needed", "remove it or lower the minimal length")


def _duplicates(rows: Sequence[dict[str, Any]]) -> Iterator[Problem]:
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        other = first.setdefault(row["sha256"], row) if row["sha256"] else row
        if other is row:
            continue
        splits = {other["split"], row["split"]}
        leak = splits in ({"train", "test"}, {"train_anomaly", "test"}) and other["machine"] == row["machine"]
        yield Problem(
            "error" if leak else "warning",
            row["clip_id"],
            row["path"],
            f"same content as {other['path']}" + (": a test clip is among the training clips" if leak else ""),
            "remove one of the two",
        )


def _structure(table: pd.DataFrame, machines: Sequence[str]) -> Iterator[Problem]:
    known = sorted(table["machine"].unique())
    if not known:
        yield _whole("error", "the manifest has no clip", "check the data root and the corpus configuration (stage 1)")
        return
    for name in machines:
        if name not in known:
            yield _whole("error", f"machine {name!r} is missing{nearest(name, known)}", "fetch it (stage 0) or leave it out")
    for machine, part in table.groupby("machine", sort=True):
        yield from _machine_structure(str(machine), part)
    if len(known) == 1 and not _pictures(table):
        yield _whole(
            "warning", f"only one machine, {known[0]!r}", "outlier exposure needs other machines' clips as pseudo-anomalies"
        )


def _machine_structure(machine: str, part: pd.DataFrame) -> Iterator[Problem]:
    train, test = part[part["split"] == "train"], part[part["split"] == "test"]
    name = f"machine {machine!r}"
    if not len(test):
        yield _whole("warning", f"{name} has no test clips", "it can serve as pseudo-anomalies only")
    if not len(train):
        yield _whole("error", f"{name} has no training clips", "fetch the training archive or leave the machine out")
        return
    for section in sorted(set(test["section"]) - set(train["section"])):
        yield _whole("error", f"{name}: section {section} has test but no training clips", "fetch its training clips")
    if not (train["domain"] == "target").any() and not _pictures(part):
        yield _whole("warning", f"{name} has no target training clips", "domain generalisation has nothing to use")


def _pictures(table: pd.DataFrame) -> bool:
    """Whether there are pictures alone, which know neither domains nor outlier exposure."""
    return bool((table["kind"] == "image").all())


def _whole(severity: str, what: str, remedy: str) -> Problem:
    """A problem of no single clip."""
    return Problem(severity, "", "", what, remedy)
