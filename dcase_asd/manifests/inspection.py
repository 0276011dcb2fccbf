"""What is wrong with one clip file: header against manifest, then, if asked, every sample, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError
from dcase_asd.io.arrays import load_array
from dcase_asd.io.audio import read_audio, read_header, truncation
from dcase_asd.io.hashing import sha256_file
from dcase_asd.io.images import read_image, read_image_header

__all__ = ["Finding", "Inspection", "inspect_clip"]

#: Samples (or array rows' values) in memory at a time: 4 MiB of float32.
_BLOCK = 1 << 20
#: One step of 16-bit PCM: what never exceeds it is digital silence or dither.
_SILENCE = 1.0 / 32768
#: 16-bit full scale, less one step.
_FULL_SCALE = 32766.0 / 32768
#: Share of samples at full scale that counts as clipping; a lone full-scale peak does not.
_CLIPPED_SHARE = 1e-4
#: Mean value re full scale from which on an offset is reported (-40 dB).
_OFFSET = 0.01
_FETCH = "fetch the file again or remove it"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a clip: severity (``error``, ``warning``), what, and what to do about it."""

    severity: str
    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The findings about one clip and its level.

    Attributes
    ----------
    findings : tuple of Finding
        Everything that is wrong.
    level_db : float
        RMS level of all channels re full scale in dB; NaN if it was not read.
    brightness : float
        Mean of all pixels and channels of a picture, 0 black to 1 white; NaN if it was not read.
    """

    findings: tuple[Finding, ...]
    level_db: float = math.nan
    brightness: float = math.nan


def inspect_clip(path: Path, row: Mapping[str, Any], *, read: bool) -> Inspection:
    """Compare a file with its manifest row.

    Parameters
    ----------
    path : Path
        The file.
    row : mapping
        Its manifest row.
    read : bool
        Whether every sample is read (hash, NaN, silence, clipping, offset) or the header only. Memory does not grow with
        the length of the recording. A picture is decoded whole.
    """
    if not path.is_file():
        return Inspection(findings=(Finding("error", "the file is missing", "restore it, or make the manifest again (stage 1)"),))
    findings: list[Finding] = []
    level_db = brightness = math.nan
    try:
        findings += _header_findings(path, row)
        if read:
            findings += _content_findings(path, row)
        if read and row["kind"] == "audio":
            more, level_db = _audio_findings(path)
            findings += more
        elif read and row["kind"] in {"log_mel", "vector"}:
            findings += _array_findings(path)
        elif read:
            more, brightness = _image_findings(path)
            findings += more
    except (DataError, OSError) as error:
        findings.append(Finding("error", f"cannot be read: {str(error).removeprefix(f'{path}: ')}", _FETCH))
    return Inspection(findings=tuple(findings), level_db=level_db, brightness=brightness)


def _header_findings(path: Path, row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["kind"] == "audio":
        if cut := truncation(path):
            yield Finding("error", cut, _FETCH)
        header = read_header(path)
        found = {"n_samples": header.n_samples, "n_channels": header.n_channels, "sample_rate_hz": header.sample_rate_hz}
    elif row["kind"] in {"log_mel", "vector"}:
        found = {"n_samples": int(load_array(path).shape[-1])}
    else:
        size = read_image_header(path)
        found = {"n_samples": size.height * size.width, "n_channels": size.n_channels}
    changed = [f"{name} {row[name]} -> {value}" for name, value in found.items() if value != row[name]]
    if changed:
        yield Finding("error", f"changed since the manifest was made: {', '.join(changed)}", "make the manifest again (stage 1)")


def _content_findings(path: Path, row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["sha256"] and sha256_file(path) != row["sha256"]:
        yield Finding("error", "content changed since the manifest was made (other SHA-256)", "make the manifest again (stage 1)")


def _audio_findings(path: Path) -> tuple[list[Finding], float]:
    sums = _Sums()
    for block in _audio_blocks(path):
        sums.add(block)
    return list(sums.findings()), sums.level_db()


class _Sums:
    """Running sums per channel over the blocks of one recording."""

    def __init__(self) -> None:
        self.n = 0
        self.total: NDArray[np.float64] = np.zeros(0)
        self.square: NDArray[np.float64] = np.zeros(0)
        self.peak: NDArray[np.float64] = np.zeros(0)
        self.clipped = 0

    def add(self, block: NDArray[np.float32]) -> None:
        if not self.n:
            self.total, self.square, self.peak = (np.zeros(len(block)) for _ in range(3))
        magnitude = np.abs(block)
        self.n += block.shape[1]
        self.total += block.sum(axis=1, dtype=np.float64)
        self.square += np.square(block, dtype=np.float64).sum(axis=1)
        self.peak = np.maximum(self.peak, magnitude.max(axis=1))
        self.clipped += int((magnitude >= _FULL_SCALE).sum())

    def level_db(self) -> float:
        power = float(self.square.sum()) / (self.n * len(self.square)) if self.n else 0.0
        return 10.0 * math.log10(power) if power > 0 else -math.inf

    def findings(self) -> Iterator[Finding]:
        if not self.n:
            yield Finding("error", "no samples", _FETCH)
            return
        dead = [str(i) for i, peak in enumerate(self.peak) if peak <= _SILENCE]
        if len(dead) == len(self.peak):
            yield Finding("error", "silence: no sample exceeds one 16-bit step", "check the recording chain; remove the clip")
        elif dead:
            yield Finding(
                "warning", f"channel {', '.join(dead)} is silent", "choose another channel in the feature's configuration"
            )
        share = self.clipped / (self.n * len(self.peak))
        if share > _CLIPPED_SHARE:
            yield Finding("warning", f"clipping: {100 * share:.2g} % of the samples at full scale", "lower the recording gain")
        offset = float(np.abs(self.total / self.n).max())
        if offset > _OFFSET:
            yield Finding(
                "warning", f"DC offset of {offset:.3f} of full scale", "remove the mean, or use features that ignore 0 Hz"
            )


def _audio_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    n_samples = read_header(path).n_samples
    for start in range(0, n_samples, _BLOCK):
        yield read_audio(path, start=start, stop=min(start + _BLOCK, n_samples))[0]


def _array_findings(path: Path) -> Iterator[Finding]:
    array = load_array(path).reshape(-1)
    for start in range(0, array.size, _BLOCK):
        bad = ~np.isfinite(array[start : start + _BLOCK])
        if bad.any():
            yield Finding("error", f"value {start + int(bad.argmax())} (flat) is NaN or infinite", "compute the array again")
            return


def _image_findings(path: Path) -> tuple[list[Finding], float]:
    pixels = read_image(path)
    flat = pixels.min() == pixels.max()
    findings = [Finding("warning", f"every pixel is {int(pixels.min())}", "check the camera; remove the picture")] if flat else []
    return findings, float(pixels.mean(dtype=np.float64)) / 255.0
