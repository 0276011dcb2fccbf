"""Recordings: headers and samples through soundfile (wav, flac, ogg, mp3).

Conventions: ``waveform [sample]`` float32 in [-1, 1]; ``[channel, sample]`` where several channels are kept.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError
from dcase_asd.io.atomic import atomic_path

__all__ = ["AudioHeader", "read_audio", "read_header", "select_channel", "truncation", "write_audio"]


#: Values that are made room for on a header's word alone: 64 MiB of float32, 17 minutes of one channel at 16 kHz.
_BLOCK_VALUES = 2**24
#: How an Ogg page begins, the bytes before its table of segment lengths, and those of the longest page.
_OGG_PAGE, _OGG_HEADER, _OGG_LONGEST = b"OggS", 27, 27 + 255 + 255 * 255


@dataclass(frozen=True)
class AudioHeader:
    """What a recording's header says.

    Attributes
    ----------
    n_samples : int
        Samples per channel.
    sample_rate_hz : int
        Sampling rate in Hz.
    n_channels : int
        Number of channels.
    """

    n_samples: int
    sample_rate_hz: int
    n_channels: int


def read_header(path: str | os.PathLike[str]) -> AudioHeader:
    """Read length, rate and channel count without decoding the samples.

    Raises
    ------
    AudioError
        If the file is missing or is not a recording that libsndfile can open.
    """
    import soundfile

    try:
        info = soundfile.info(_native(path))
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    return AudioHeader(n_samples=info.frames, sample_rate_hz=info.samplerate, n_channels=info.channels)


def read_audio(path: str | os.PathLike[str], *, start: int = 0, stop: int | None = None) -> tuple[NDArray[np.float32], int]:
    """Read samples of all channels.

    Parameters
    ----------
    path : path-like
        The recording.
    start, stop : int
        First sample and one past the last; the whole recording by default.

    Returns
    -------
    waveform : ndarray [channel, sample], float32
        Samples in [-1, 1].
    sample_rate_hz : int

    Raises
    ------
    AudioError
        If the file cannot be decoded, holds fewer samples than its header says, or has NaN or infinite samples.
    """
    import soundfile

    try:
        with soundfile.SoundFile(_native(path)) as stream:
            expected = (stream.frames if stop is None else min(stop, stream.frames)) - start
            stream.seek(start)
            samples = _samples(stream, max(expected, 0))
            rate = int(stream.samplerate)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if len(samples) < expected:
        raise AudioError(f"{path}: header promises {expected} samples, only {len(samples)} could be read: truncated file")
    if not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples).all(axis=1))[0]) + start
        raise AudioError(f"{path}: sample {bad} is NaN or infinite; repair or remove the recording")
    return np.ascontiguousarray(samples.T), rate


def _samples(stream: Any, n_samples: int) -> NDArray[np.float32]:
    """Read ``[sample, channel]``; memory follows what the file holds, not what its header claims to hold."""
    block = max(1, _BLOCK_VALUES // stream.channels)
    if n_samples <= block:
        return np.asarray(stream.read(n_samples, dtype="float32", always_2d=True))
    parts: list[NDArray[np.float32]] = []
    left = n_samples
    while left:
        part = stream.read(min(block, left), dtype="float32", always_2d=True)
        parts.append(part)
        left = left - len(part) if len(part) else 0
    return np.concatenate(parts)


def _unreadable(path: str | os.PathLike[str], error: Exception) -> AudioError:
    """Say why a recording cannot be opened: what the system says of the file, else what libsndfile says of its content."""
    try:
        with Path(path).open("rb") as stream:
            is_empty = not stream.read(1)
    except OSError as refused:
        return AudioError(f"{path}: cannot be opened ({refused.strerror or refused})")
    if is_empty:
        return AudioError(f"{path}: the file is empty (0 bytes); copy it again or remove it")
    reason = str(getattr(error, "error_string", error)).rstrip(".")
    return AudioError(f"{path}: not a readable recording ({reason}); expected wav, flac, ogg or mp3")


def _native(path: str | os.PathLike[str]) -> str | bytes:
    # libsndfile takes "-" for standard input
    name = os.path.join(os.curdir, "-") if os.fspath(path) == "-" else os.fspath(path)  # noqa: PTH118 - pathlib drops the dot
    # names on Unix are bytes of any kind, and soundfile encodes text strictly; on Windows bytes would be of the code page
    return name if os.name == "nt" else os.fsencode(name)


def truncation(path: Path) -> str:
    """Return how a wav or Ogg file shows that it was cut off, empty if it does not; other formats are not looked at.

    libsndfile shortens such files without a word, so that a recording cut off in a copy would pass for a shorter one.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
        missing = _missing_bytes(stream) if start == b"RIFF" else 0
        if missing:
            return f"truncated: {missing} bytes fewer than its header promises"
        if start == _OGG_PAGE and not _ogg_ends(stream):
            return "truncated: its last page is not the end of the stream"
    return ""


def _missing_bytes(stream: BinaryIO) -> int:
    """Return the bytes that the data chunk of a wav file promises and the file lacks."""
    size, position = stream.seek(0, os.SEEK_END), 12
    while position + 8 <= size:
        stream.seek(position)
        name, length = struct.unpack("<4sI", stream.read(8))
        if name == b"data":
            # streaming writers that never came back to fill in the length leave 0 or all ones
            return max(0, position + 8 + length - size) if length not in {0, 0xFFFFFFFF, 0x7FFFFFFF} else 0
        position += 8 + length + length % 2
    return 0


def _ogg_ends(stream: BinaryIO) -> bool:
    """Return whether the last page is whole and marked as a stream's last (RFC 3533, Section 6)."""
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - _OGG_LONGEST))
    tail = stream.read()
    page = tail[max(0, tail.rfind(_OGG_PAGE)) :]
    if len(page) < _OGG_HEADER or not page[5] & 0x4:
        return False
    lengths = page[_OGG_HEADER : _OGG_HEADER + page[26]]
    return len(lengths) == page[26] and len(page) >= _OGG_HEADER + len(lengths) + sum(lengths)


def select_channel(waveform: NDArray[np.float32], channel: str) -> NDArray[np.float32]:
    """Reduce ``[channel, sample]`` to ``[sample]``.

    Parameters
    ----------
    waveform : ndarray [channel, sample]
    channel : str
        ``"mean"`` averages; a number selects that channel, counted from 0.

    Raises
    ------
    AudioError
        If the asked-for channel does not exist.
    """
    if channel == "mean":
        return np.asarray(waveform[0] if len(waveform) == 1 else waveform.mean(axis=0), dtype=np.float32)
    if not channel.isdecimal() or int(channel) >= len(waveform):
        raise AudioError(
            f"channel {channel!r} asked for, the recording has {len(waveform)}; use 'mean' or 0..{len(waveform) - 1}"
        )
    return np.asarray(waveform[int(channel)])


def write_audio(path: str | os.PathLike[str], waveform: NDArray[np.floating], *, sample_rate_hz: int) -> None:
    """Write PCM-16 (wav or flac by the name's ending), atomically; ``waveform`` is ``[sample]`` or ``[channel, sample]``."""
    import soundfile

    samples = np.asarray(waveform)
    with atomic_path(path) as temporary:
        soundfile.write(
            str(temporary),
            samples.T if samples.ndim == 2 else samples,
            sample_rate_hz,
            subtype="PCM_16",
            format=Path(path).suffix.lstrip(".").upper(),
        )
