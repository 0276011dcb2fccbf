"""Looks at the normal recordings, chooses a model for them, and says what it chose and why.

The members were compared on the simulated machines of ``recipes/synthetic/asd1``, with many and with few recordings, and on a
public set with a single anomaly (DCASE 2020 id_00). Differences among the better ones lie inside their intervals; the Gaussian on
the bands alone is as good there. A desk fan and MIMII fan id_00 report the choice (``recipes/folder/asd1/TRIALS.md``), but not as
unseen sets: their figures were known when it was made. The level was kept after MIMII's faults were seen to be about 5 dB louder
than its normals, and Student's bound on the threshold after false alarms on the desk fan; figures on both flatter the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcase_asd.errors import AudioError
from dcase_asd.extractors._shared.exposure_presets import PRESETS
from dcase_asd.features.signal import SILENCE_DB, level_db
from dcase_asd.io.audio import select_channel
from dcase_asd.serving.learning.budget import STEPS, epochs_for
from dcase_asd.serving.recordings import Recording, Skipped, windows

__all__ = ["Advice", "Look", "advise", "look"]

# What the model works at: the highest of these that every recording reaches. 16 kHz is the challenge's rate, and the only
# one the choice of members was measured at.
_RATES_HZ = (16000, 12000, 11025, 8000)
# Recordings of up to a minute are decided on as a whole; longer ones in pieces of the challenge's usual clip length.
_WHOLE_S, _PIECE_S = 60.0, 10.0
# Fujimura 2023, Section 4.2.
_SEGMENT_S, _OVERLAP = 5.0, 0.75
# Below this rate the pretrained network would be fed half a spectrum of silence; it was measured at 16 kHz recordings.
_PRETRAINED_HZ = 16000
# The fewest segments that a Gaussian was tried on (four recordings of the synthetic corpus).
_GAUSSIAN_SEGMENTS = 8
# Pieces of a recording that are listened to for level and clipping.
_LISTENED = 30


@dataclass(frozen=True)
class Look:
    """What the recordings are like.

    Attributes
    ----------
    recordings : tuple of Recording
        The usable ones.
    unusable : tuple of Skipped
        Silent, unreadable or undecodable ones, and those of less than 8 kHz.
    total_s, shortest_s, longest_s : float
    rates_hz, channels : tuple of int
        All that occur.
    level_db : tuple of float
        Of each recording, re full scale.
    clipped, offset : tuple of str
        Recordings with many samples at full scale, or with a mean far from zero.
    """

    recordings: tuple[Recording, ...]
    unusable: tuple[Skipped, ...]
    total_s: float
    shortest_s: float
    longest_s: float
    rates_hz: tuple[int, ...]
    channels: tuple[int, ...]
    level_db: tuple[float, ...]
    clipped: tuple[str, ...]
    offset: tuple[str, ...]

    @property
    def reasons(self) -> str:
        """Why there may be no usable one, in a few words."""
        return "; ".join(str(s) for s in self.unusable[:3]) or "there is no file with the ending of one"


@dataclass(frozen=True)
class Advice:
    """A model and the reasons for it.

    Attributes
    ----------
    model : mapping
        For :func:`~dcase_asd.serving.settings.resolve`.
    lines : tuple of str
        What was seen, chosen and why, in full sentences.
    """

    model: dict[str, Any]
    lines: tuple[str, ...]


def look(recordings: Sequence[Recording], *, channel: str = "mean") -> Look:
    """Listen to recordings: their length, rate, level, silence, clipping and offset."""
    usable: list[Recording] = []
    unusable: list[Skipped] = []
    levels, clipped, offset = [], [], []
    for recording in recordings:
        if recording.sample_rate_hz < _RATES_HZ[-1]:
            reason = f"{recording.sample_rate_hz} Hz; at least {_RATES_HZ[-1]} Hz is needed, record at a higher rate"
            unusable.append(Skipped(recording.name, reason))
            continue
        try:
            level, at_full_scale, mean_share = _listen(recording, channel)
        except AudioError as error:
            unusable.append(Skipped.because(recording.name, error))
            continue
        if level <= SILENCE_DB:
            unusable.append(Skipped(recording.name, "digital silence: every sample is the same"))
            continue
        usable.append(recording)
        levels.append(level)
        # one sample in a thousand at full scale is audible distortion, no accident
        clipped += [recording.name] if at_full_scale > 1e-3 else []
        offset += [recording.name] if mean_share > 0.5 else []
    lengths = [recording.duration_s for recording in usable] or [0.0]
    return Look(
        tuple(usable),
        tuple(unusable),
        sum(lengths),
        min(lengths),
        max(lengths),
        tuple(sorted({r.sample_rate_hz for r in usable})),
        tuple(sorted({r.n_channels for r in usable})),
        tuple(levels),
        tuple(clipped),
        tuple(offset),
    )


def advise(
    seen: Look, *, also: Look | None = None, others: Look | None = None, has_weights: bool = False, weights: str = ""
) -> Advice:
    """Choose a model.

    Parameters
    ----------
    seen : Look
        The normal recordings.
    also : Look, optional
        Recordings of a second condition.
    others : Look, optional
        Recordings of other machines.
    has_weights : bool
        Whether the pretrained network's checkpoint is at hand.
    weights : str
        Its path; empty: found by its own means.

    Returns
    -------
    Advice

    Raises
    ------
    AudioError
        If no recording is usable.
    """
    if not seen.recordings:
        raise AudioError(f"no usable normal recording ({seen.reasons}); give wav, flac, ogg or mp3 files")
    lowest = min((*seen.rates_hz, *(also.rates_hz if also else ())))
    rate = next(r for r in _RATES_HZ if r <= lowest)
    uses_weights = has_weights and lowest >= _PRETRAINED_HZ
    hop_s = _SEGMENT_S * (1.0 - _OVERLAP)
    n_segments = sum(1 + max(0, math.ceil((r.duration_s - _SEGMENT_S) / hop_s)) for r in seen.recordings)
    gaussian = n_segments >= _GAUSSIAN_SEGMENTS
    fronts, members = _plain(rate, second=also is not None, gaussian=gaussian)
    if uses_weights:
        _add_pretrained(fronts, members, weights, gaussian=gaussian)
    if others is not None and others.recordings:
        n_windows = sum(max(1, round(r.duration_s / _PIECE_S)) if r.duration_s > _WHOLE_S else 1 for r in seen.recordings)
        _add_exposed(members, n_windows=n_windows)
    model = {
        "fronts": fronts,
        "members": members,
        "length_s": _SEGMENT_S,
        "overlap": _OVERLAP,
        "aggregation": "mean",
        "whole_s": _WHOLE_S,
        "window_s": _PIECE_S,
    }
    facts = (*_facts(seen, "normal"), *(_facts(also, "of the second condition") if also else ()))
    facts += tuple(_facts(others, "of other machines")) if others is not None and others.recordings else ()
    return Advice(model, (*facts, *_reasons(rate, lowest, members, has_weights=has_weights, uses_weights=uses_weights)))


def _plain(rate: int, *, second: bool, gaussian: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return fronts and members that need nothing but the normal recordings."""
    # 64 ms and 128 bands are the challenge baselines'; soxr's slope begins at 0.456 of the rate: a recording at another rate
    # than the normals' must not differ by it
    shape = {"name": "log_mel", "sample_rate_hz": rate, "resample": True, "standardise": "clip", "highpass": None}
    shape |= {"n_mels": 128, "window_s": 0.064, "f_max_hz": round(0.45 * rate)}
    statistics = {"name": "log_mel_statistics", "statistics": ["mean", "std"]}
    nearest = {"name": "knn", "n_neighbors": [1], "metric": "euclidean", "separate_domains": second}
    level = {"name": "waveform", "resample": True, "highpass": None, "sample_rate_hz": rate, "standardise": "none"}
    members = {
        "shape_nearest": {"front": "shape", "extractor": statistics, "detector": nearest},
        "level_nearest": {"front": "level", "extractor": {"name": "level"}, "detector": nearest},
    }
    if gaussian:
        members["shape_gaussian"] = {"front": "shape", "extractor": statistics, "detector": {"name": "mahalanobis"}}
    return {"shape": shape, "level": level}, members


def _add_pretrained(fronts: dict[str, Any], members: dict[str, Any], weights: str, *, gaussian: bool) -> None:
    # 32 kHz is the network's rate
    fronts["sound"] = {
        "name": "waveform",
        "resample": True,
        "highpass": None,
        "sample_rate_hz": 32000,
        "standardise": "clip",
    }
    network = {"name": "efficientat", "layer": 9, "checkpoint": weights}
    nearest = members["shape_nearest"]["detector"]
    members["sound_nearest"] = {"front": "sound", "extractor": network, "detector": nearest}
    if gaussian:
        members["sound_gaussian"] = {"front": "sound", "extractor": network, "detector": {"name": "mahalanobis"}}


def _add_exposed(members: dict[str, Any], *, n_windows: int) -> None:
    # no attributes are known; the front evens levels out already
    batch_size = PRESETS["cpu"]["batch_size"]
    network = {
        "name": "outlier_exposure",
        "preset": "cpu",
        "attribute_weight": 0.0,
        "epochs": epochs_for(n_windows, steps=STEPS, batch_size=batch_size),
    }
    nearest = {**members["shape_nearest"]["detector"], "metric": "cosine"}
    members["others_nearest"] = {"front": "shape", "extractor": network, "detector": nearest}


def _listen(recording: Recording, channel: str) -> tuple[float, float, float]:
    """Return level in dB without the mean, share of samples at full scale, and mean as a share of the RMS."""
    pieces = windows(recording, whole_s=_WHOLE_S, window_s=_PIECE_S)
    chosen = [pieces[i] for i in np.unique(np.linspace(0, len(pieces) - 1, _LISTENED).astype(int))]
    n, total, energy, full = 0, 0.0, 0.0, 0
    for window in chosen:
        samples = select_channel(recording.read(window.start, window.stop), channel).astype(np.float64)
        n, total, energy = n + len(samples), total + float(samples.sum()), energy + float(samples @ samples)
        # 16-bit full scale is 32767 / 32768
        full += int(np.count_nonzero(np.abs(samples) >= 0.9999))
    mean, variance = total / n, max(energy / n - (total / n) ** 2, 0.0)
    level = level_db(np.array([variance**0.5], dtype=np.float32)) if variance > 1e-14 else SILENCE_DB
    return level, full / n, abs(mean) / max(energy / n, 1e-30) ** 0.5


def _facts(seen: Look, what: str) -> list[str]:
    rates = ", ".join(f"{rate} Hz" for rate in seen.rates_hz)
    channels = "mono" if seen.channels == (1,) else f"{', '.join(map(str, seen.channels))} channels"
    lines = [
        f"{len(seen.recordings)} recordings {what}: {seen.total_s:.0f} s in all, {seen.shortest_s:.1f} to {seen.longest_s:.1f} s "
        f"each, {rates}, {channels}, level {min(seen.level_db):.0f} to {max(seen.level_db):.0f} dB re full scale."
    ]
    if max(seen.level_db) - min(seen.level_db) > 12.0:
        lines.append("Levels differ by more than 12 dB: if the gain was changed between recordings, keep it fixed.")
    slow = [r.name for r in seen.recordings if r.sample_rate_hz == seen.rates_hz[0]] if len(seen.rates_hz) > 1 else []
    if slow:
        lines.append(
            f"{len(slow)} recordings at {seen.rates_hz[0]} Hz hold all to the frequencies they reach ({slow[0]}"
            f"{', ...' if len(slow) > 1 else ''}); leave them out if the others are enough."
        )
    for names, text in ((seen.clipped, "clipped: lower the gain"), (seen.offset, "far off zero: check the sound card")):
        if names:
            lines.append(f"{len(names)} recordings are {text} ({names[0]}{', ...' if len(names) > 1 else ''}).")
    return lines


def _reasons(rate: int, lowest: int, members: Mapping[str, Any], *, has_weights: bool, uses_weights: bool) -> list[str]:
    lines = [
        "Chosen: the level, and with the level evened out mean and deviation of 128 mel bands over 5 s; of both the distance to "
        "the nearest normal segment"
        + (", of the bands also that to the mean in units of their covariance" if "shape_gaussian" in members else "")
        + "; averaged.",
        "Keep gain, microphone and distance fixed: a change of loudness counts as an anomaly.",
    ]
    if uses_weights:
        lines.append("Added: the same distances in a pretrained AudioSet network (EfficientAT).")
    elif has_weights:
        lines.append(f"The pretrained network is left out: it needs recordings at {_PRETRAINED_HZ} Hz, these reach {lowest} Hz.")
    if "others_nearest" in members:
        epochs = members["others_nearest"]["extractor"]["epochs"]
        lines.append(f"Added: a network trained for {epochs} epochs to tell the other machines from this one (outlier exposure).")
        lines.append(
            "In trials over three seeds it neither helped nor harmed; `dcase-asd trial --others` compares on labelled recordings."
        )
    if rate != lowest:
        lines.append(f"Working rate {rate} Hz (recordings reach {lowest} Hz).")
    return lines
