"""Recordings cut off in a copy: libsndfile gives what is left as if it were all."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dcase_asd.io.audio import truncation

NOISE = np.random.default_rng(0).normal(0, 0.1, (48_000, 1))


def recording(form: str, subtype: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, NOISE, 16000, format=form, subtype=subtype)
    return stream.getvalue()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize(("form", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_what_is_cut_off_shows(tmp_path: Path, form: str, subtype: str, share: float) -> None:
    path, whole = tmp_path / f"é.{form.lower()}", recording(form, subtype)
    path.write_bytes(whole)
    assert truncation(path) == ""
    path.write_bytes(whole[: int(share * len(whole))])
    assert truncation(path).startswith("truncated: ")
    if subtype != "OPUS":  # of which a short beginning cannot be opened
        assert soundfile.info(path).frames < len(NOISE)  # and nothing else would tell


def test_the_end_of_an_ogg_stream_may_be_followed_by_another(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.oga", recording("OGG", "VORBIS")
    path.write_bytes(whole + whole)
    assert truncation(path) == ""
    path.write_bytes(whole + whole[:5000])
    assert truncation(path) == "truncated: its last page is not the end of the stream"


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEdata", b"fLaC" + bytes(40), b"\xff\xfb\x90\x44"])
def test_other_content_is_left_to_the_decoder(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert truncation(tmp_path / "x") == ""
