"""The verbs fit, score, update and info, as a user types them."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from serving_material import RATE, machine, run

from dcase_asd.serving.scorer import COLUMNS

Write = Callable[..., Path]


def test_fit_score_update_info(normals: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "Bündel é.zip"
    code, out, _ = run(capsys, "fit", normals, "--false_alarms=1/10", "-o", bundle)
    assert code == 0
    assert "12 recordings normal" in out
    assert "expect 1 in" in out
    bad, good = write("neu/whine é.wav", machine(77, fault=True)), write("neu/fine.wav", machine(78))
    code, out, err = run(capsys, "score", bundle, tmp_path / "neu")
    rows = list(csv.reader(io.StringIO(out)))
    assert code == 0
    assert rows[0] == list(COLUMNS)
    assert [(row[0], row[2]) for row in rows[1:]] == [(str(good), "0"), (str(bad), "1")]
    assert "2 recordings scored, 1 anomalous, 0 not usable" in err
    assert run(capsys, "update", bundle, good)[0] == 0
    code, out, _ = run(capsys, "info", bundle)
    assert code == 0
    assert "normal windows 13" in out
    assert run(capsys, "update", bundle)[0] == 2


def test_unreadable_files_are_reported_and_the_rest_delivered(
    normals: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, table, page = tmp_path / "b", tmp_path / "out é" / "t.csv", tmp_path / "out é" / "page.html"
    run(capsys, "fit", normals, "--false-alarms", "0.1", "-o", bundle)
    good = write("neu/<b>fine.wav", machine(78))
    (tmp_path / "neu" / "broken.wav").write_bytes(b"RIFF")
    code, out, err = run(capsys, "score", bundle, tmp_path / "neu", "--csv", table, "--report", page)
    assert code == 1
    assert out == ""
    assert "broken.wav" in err
    assert [row[0] for row in csv.reader(table.read_text(encoding="utf-8").splitlines())] == ["file", str(good)]
    html = page.read_text(encoding="utf-8")
    assert "broken.wav" in html
    assert "<b>fine" not in html
    assert "&lt;b&gt;fine" in html
    assert "data:audio/flac" in html
    assert "http://" not in html.replace("http://www.w3.org", "")


@pytest.mark.parametrize("rate", ["0", "1", "2/1", "x", "1/0"])
def test_wrong_false_alarm_rates(rate: str, normals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "fit", normals, "--false-alarms", rate, "-o", tmp_path / "b")
    assert code == 2
    assert "1/100" in err


def test_wrong_bundles_and_empty_folders(normals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "leer").mkdir()
    code, _, err = run(capsys, "fit", tmp_path / "leer", "-o", tmp_path / "b")
    assert (code, "no usable normal recording" in err) == (1, True)
    code, _, err = run(capsys, "score", tmp_path / "leer", normals)
    assert (code, "it is no bundle of dcase_asd" in err) == (1, True)
    code, _, err = run(capsys, "info", tmp_path / "pumpe.bundle")  # the answer was a list of every plug-in
    assert (code, err) == (1, f"error: {tmp_path}/pumpe.bundle: no such bundle; make one with dcase-asd fit\n")
    run(capsys, "fit", normals, "-o", tmp_path / "b")
    code, _, err = run(capsys, "score", tmp_path / "b", tmp_path / "leer")
    assert (code, "no recordings in" in err) == (2, True)


@pytest.mark.parametrize("second", [1, 20, 36])
def test_the_page_plays_what_it_calls_unusual(
    second: int, normals: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It played the first twelve seconds of a recording, wherever the fault was."""
    wave = machine(61, seconds=40.0)
    place = slice(second * RATE, (second + 3) * RATE)
    wave[place] += 0.1 * np.sin(2 * np.pi * 3000 * np.arange(3 * RATE) / RATE).astype(np.float32)
    bundle, page = tmp_path / "b", tmp_path / "é.html"
    run(capsys, "fit", normals, "-o", bundle)
    assert run(capsys, "score", bundle, write("lang é.wav", wave), "--report", page)[0] == 0
    html = page.read_text(encoding="utf-8")
    found = re.search(r"data:audio/flac;base64,([^\"]+)", html)
    told = re.search(r"12.0 s from second ([0-9.]+), gain", html)
    assert found
    assert told
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(found[1])))
    whine = np.abs(np.fft.rfft(heard[: 12 * rate].reshape(12, rate), axis=1))[:, 3000]
    first = round(second - float(told[1]))
    assert set(np.argsort(whine)[-3:]) & {first, first + 1, first + 2}
    assert whine.max() > 20 * np.median(whine)
