"""Pictures and sound as ``data:`` addresses: palette PNG, JPEG, and FLAC of 16-bit mono at no more than 16 kHz."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import AudioError
from dcase_asd.evaluation.report.data import Sound
from dcase_asd.io.audio import read_audio

__all__ = ["EmbeddedSound", "embed_photo", "embed_picture", "embed_sound", "palette_stops"]

_MAX_RATE_HZ = 16_000  # DCASE Task 2 recordings are 16 kHz
_PEAK = 10 ** (-1 / 20)  # -1 dB re full scale leaves room for the decoder's filters
_MAX_GAIN_DB = 40.0  # more would play the recorder's noise floor


@dataclass(frozen=True)
class EmbeddedSound:
    """A sound ready for the page.

    Attributes
    ----------
    address : str
        ``data:audio/flac;base64,...``.
    gain_db : float
        Gain applied for listening.
    shown_s, total_s : float
        Seconds embedded and seconds recorded.
    """

    address: str
    gain_db: float
    shown_s: float
    total_s: float


def embed_sound(sound: Sound, *, max_s: float, where: str) -> EmbeddedSound:
    """Mix to mono, resample to 16 kHz at most, cut after ``max_s``, set the peak to -1 dB and encode as FLAC.

    Raises
    ------
    AudioError
        If the file cannot be read or the sound is empty or not finite; ``where`` names the clip.
    """
    import soundfile
    import soxr

    waveform, rate = _samples(sound, where)
    total_s = len(waveform) / rate
    waveform = waveform[: max(int(max_s * rate), 1)]
    if rate > _MAX_RATE_HZ:
        waveform, rate = soxr.resample(waveform, rate, _MAX_RATE_HZ), _MAX_RATE_HZ
    peak = float(np.abs(waveform).max())
    gain_db = min(20 * float(np.log10(_PEAK / peak)), _MAX_GAIN_DB) if peak > 0 else 0.0
    pcm = np.round(waveform * 10 ** (gain_db / 20) * 32767).astype(np.int16)
    stream = io.BytesIO()
    soundfile.write(stream, pcm, rate, format="FLAC", subtype="PCM_16")
    return EmbeddedSound(_address("audio/flac", stream.getvalue()), gain_db, len(pcm) / rate, total_s)


def _samples(sound: Sound, where: str) -> tuple[NDArray[np.float64], int]:
    if sound.waveform is not None and sound.sample_rate_hz:
        waveform, rate = np.asarray(sound.waveform), sound.sample_rate_hz
    elif sound.path is not None:
        waveform, rate = read_audio(sound.path)
    else:
        raise AudioError(f"{where}: a sound needs a path, or a waveform with its sample_rate_hz")
    mono = waveform.mean(axis=0, dtype=np.float64) if waveform.ndim == 2 else waveform.astype(np.float64)
    if mono.ndim != 1 or len(mono) == 0 or not np.isfinite(mono).all():
        raise AudioError(f"{where}: expected finite samples [sample] or [channel, sample], found the shape {waveform.shape}")
    return mono, rate


def embed_picture(
    values: NDArray[np.floating], *, value_range: tuple[float, float], palette: str, max_px: int, see_through: bool = False
) -> str:
    """Return ``[row, column]`` (top row first) as an 8-bit palette PNG.

    Parameters
    ----------
    values : ndarray [row, column]
    value_range : (float, float)
        Values of the palette's two ends; what lies outside takes the end's colour.
    palette : str
        A matplotlib colour map.
    max_px : int
        Neighbouring columns and rows are averaged until none of the sides is longer.
    see_through : bool
        Let low values show what lies below.
    """
    from PIL import Image

    small = _shrink(_shrink(np.asarray(values, dtype=np.float64), max_px).T, max_px).T
    low, high = value_range
    levels = np.clip((small - low) / (high - low if high > low else 1.0), 0, 1)
    picture = Image.fromarray(np.round(levels * 255).astype(np.uint8))
    picture.putpalette(_colours(palette).tobytes(), "RGB")
    # opaque at most 0.75, so that the inspected surface stays visible under its hottest spot
    alpha = bytes(np.round(np.linspace(0, 1, 256) ** 1.5 * 0.75 * 255).astype(np.uint8)) if see_through else None
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True, **({} if alpha is None else {"transparency": alpha}))
    return _address("image/png", stream.getvalue())


def embed_photo(pixels: NDArray[np.uint8], *, max_px: int) -> str:
    """Return ``[height, width, 3]`` as a JPEG (quality 90, full colour resolution), its longest side at most ``max_px``."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((max_px, max_px), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=90, subsampling=0)
    return _address("image/jpeg", stream.getvalue())


def palette_stops(palette: str, *, n: int = 9) -> list[str]:
    """Return ``n`` colours of a palette as ``#rrggbb``, from its low to its high end."""
    colours = _colours(palette)[np.linspace(0, 255, n).astype(int)]
    return ["#" + bytes(c).hex() for c in colours]


def _colours(palette: str) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    return np.asarray(colormaps[palette](np.arange(256), bytes=True))[:, :3].astype(np.uint8)


def _shrink(values: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    step = -(-values.shape[1] // limit)
    starts = np.arange(0, values.shape[1], step)
    return np.add.reduceat(values, starts, axis=1) / np.diff(np.append(starts, values.shape[1]))


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
