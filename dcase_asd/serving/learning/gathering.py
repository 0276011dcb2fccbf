"""From what a user points at to windows and their embeddings: the part of ``fit`` and ``update`` before any detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from dcase_asd.errors import AudioError, DataError
from dcase_asd.serving.advisor import Look, look
from dcase_asd.serving.learning.exposure import refuse_overlap, spread
from dcase_asd.serving.learning.fitting import Normals, embed_normals, group_windows, window_name
from dcase_asd.serving.model import Fronts
from dcase_asd.serving.recordings import Found, Skipped, Sources, Window, find, refuse_labelled, several, windows
from dcase_asd.serving.settings import ModelConfig

__all__ = ["Gathered", "check", "cut", "embedded", "gather", "strangers", "windows_of", "without_copies"]


@dataclass(frozen=True)
class Gathered:
    """Recordings that were looked at.

    Attributes
    ----------
    seen : mapping of str to Look
        By condition: ``source`` and, if given, ``target``.
    others : Look or None
        Of other machines.
    skipped : list of Skipped
        What cannot be used, to be added to.
    """

    seen: dict[str, Look]
    others: Look | None
    skipped: list[Skipped]


def gather(
    normals: Sources,
    *,
    also: Sources | None = None,
    others: Sources | None = None,
    sample_rate_hz: int | None = None,
    channel: str = "mean",
) -> Gathered:
    """Find recordings and listen to them.

    Raises
    ------
    UsageError
        For arrays without a rate or of a wrong shape, and folders of normals that say that not all in them is normal.
    """
    conditions = {"source": normals, "target": also, "others": others}
    given = {name: several(sources) for name, sources in conditions.items() if sources is not None or name == "source"}
    for name in given.keys() - {"others"}:
        refuse_labelled(given[name])
    found = {name: find(sources, sample_rate_hz=sample_rate_hz) for name, sources in given.items()}
    seen = {name: _heard(one, channel=channel) for name, one in found.items()}
    skipped = [s for one in seen.values() for s in one.unusable]
    return Gathered({d: seen[d] for d in ("source", "target") if d in seen}, seen.get("others"), skipped)


def _heard(found: Found, *, channel: str) -> Look:
    heard = look(found.recordings, channel=channel)
    return replace(heard, unusable=(*found.skipped, *heard.unusable))


def check(found: Gathered) -> None:
    """Refuse a second condition or other machines without a usable recording, and recordings that are normal and another's.

    Raises
    ------
    AudioError, UsageError
        Respectively.
    """
    if "target" in found.seen and not found.seen["target"].recordings:
        reasons = found.seen["target"].reasons
        raise AudioError(f"no usable recording of the second condition ({reasons}); leave it out or repair the files")
    if found.others is not None:
        refuse_overlap([recording for seen in found.seen.values() for recording in seen.recordings], found.others.recordings)
        if not found.others.recordings:
            reasons = found.others.reasons
            raise AudioError(f"no usable recording of other machines ({reasons}); leave --others out or repair the files")


def strangers(found: Gathered, config: ModelConfig) -> list[Window]:
    """Cut the recordings of other machines, evenly chosen; those of a lower rate than the normals are added to what is skipped.

    A network would tell such recordings by the frequencies they lack, and learn nothing about machines.

    Raises
    ------
    AudioError
        If none is left.
    """
    if found.others is None:
        return []
    lowest = min(rate for seen in found.seen.values() for rate in seen.rates_hz)
    kept = [recording for recording in found.others.recordings if recording.sample_rate_hz >= lowest]
    for recording in found.others.recordings:
        if recording.sample_rate_hz < lowest:
            reason = f"{recording.sample_rate_hz} Hz; the normal recordings have {lowest} Hz, others need as much"
            found.skipped.append(Skipped(recording.name, reason))
    if not kept:
        raise AudioError(f"no recording of other machines reaches {lowest} Hz, the rate of the normal ones; leave --others out")
    return spread(cut(replace(found.others, recordings=tuple(kept)), config))


def cut(seen: Look, config: ModelConfig) -> list[Window]:
    """Cut recordings into windows."""
    return [w for recording in seen.recordings for w in windows(recording, whole_s=config.whole_s, window_s=config.window_s)]


def embedded(fronts: Fronts, pieces: Mapping[str, list[Window]], skipped: list[Skipped]) -> Normals:
    """Embed the windows of every condition; those that cannot be read are added to ``skipped``.

    Raises
    ------
    AudioError
        If none is left, or none of the second condition.
    DataError
        If all are copies of one.
    """
    total: Normals | None = None
    for domain, some in pieces.items():
        groups = group_windows(some, folds=fronts.config.folds)
        normals, left_out = embed_normals(fronts, some, domain=domain, groups=groups)
        skipped += left_out
        total = normals if total is None else total if normals is None else total + normals
    if total is None:
        raise AudioError(f"no usable normal recording ({skipped[0] if skipped else 'none given'})")
    kept = without_copies(total, skipped)
    if len(kept.names) == 1 < len(total.names):
        raise DataError(
            f"all {len(total.names)} normal recordings are the same sound as {kept.names[0]}; give at least three different ones"
        )
    if "target" in set(total.domain) - set(kept.domain):
        raise AudioError(f"no usable recording of the second condition ({skipped[-1]}); leave it out or give others")
    return kept


def without_copies(normals: Normals, skipped: list[Skipped], *, n_before: int = 0) -> Normals:
    """Keep one of windows that are the same sound, bit for bit; the others are added to ``skipped``.

    A copy would be scored by a model that heard the other, and promise fewer false alarms than there will be. Of a recording
    given twice, under two names or conditions, or to ``update`` again, the first condition's is kept, and what was there before.
    """
    first: dict[str, int] = {}
    for i in sorted(range(len(normals.names)), key=lambda i: (i >= n_before, normals.domain[i] != "source", normals.names[i], i)):
        known = first.setdefault(_content(normals, i), i)
        if known != i:
            skipped.append(Skipped(normals.names[i], f"the same sound as {normals.names[known]}; counted once"))
    return normals if len(first) == len(normals.names) else normals.taken(sorted(first.values()))


def _content(normals: Normals, window: int) -> str:
    parts = [part.vector[part.window == window] for part in normals.segments.values()]
    if normals.bands is not None:
        parts.append(normals.bands[normals.segments[normals.reference].window == window])
    told = [np.ascontiguousarray(part).tobytes() for part in parts if part.size]
    return sha256(b"".join(told)).hexdigest() if told else str(window)


def windows_of(normals: Normals, pieces: Mapping[str, list[Window]]) -> list[Window]:
    """Return the window behind each row of ``normals``; a file given twice stands for itself."""
    known = {(window_name(window), domain): window for domain, some in pieces.items() for window in some}
    return [known[name, domain] for name, domain in zip(normals.names, normals.domain, strict=True)]
