"""Recordings, folders and bundles as users really have them, through the verbs; what is documented in recipes/folder/asd1."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from serving_material import machine, run

from dcase_asd.serving.scorer import Scorer

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bundle(fitted: Scorer, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "Pumpe é.zip")
    return tmp_path / "Pumpe é.zip"


def refused(capsys: Capture, *arguments: object) -> tuple[int, str]:
    """Run a command that must end with one line of error and no table of scores."""
    code, _, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line]
    assert lines[-1].startswith("error: ")
    return code, lines[-1]


def test_a_wav_cut_off_in_a_copy_is_not_scored_as_a_shorter_one(
    bundle: Path, write: Write, tmp_path: Path, capsys: Capture
) -> None:
    """Libsndfile shortens it without a word, so that half a recording passed for a whole one."""
    good, cut = write("neu/gut.wav", machine(61)), write("neu/halb é.wav", machine(62))
    cut.write_bytes(cut.read_bytes()[:50000])
    code, out, err = run(capsys, "score", bundle, tmp_path / "neu")
    assert code == 1
    assert [row[0] for row in csv.reader(out.splitlines())] == ["file", str(good)]
    assert f"not scored: {cut}: truncated: 78044 bytes fewer than its header promises; copy it again" in err


@pytest.mark.skipif(os.name == "nt", reason="names on Windows are UTF-16")
def test_a_name_that_is_no_utf8(bundle: Path, write: Write, tmp_path: Path, capsys: Capture) -> None:
    """soundfile's UnicodeEncodeError came through; such names come from old cameras, recorders and zips."""
    odd = os.fsencode(tmp_path / "neu") + b"/lat\xe9in.wav"
    for i in range(3):
        write(f"neu/ok{i}.wav", machine(61 + i))
    try:
        Path(os.fsdecode(odd)).write_bytes((tmp_path / "neu" / "ok1.wav").read_bytes())
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")
    (tmp_path / "neu" / os.fsdecode(b"kaputt\xe9.wav")).write_bytes(b"RIFF")
    table, page = tmp_path / "t.csv", tmp_path / "t.html"
    code, _, err = run(capsys, "score", bundle, tmp_path / "neu", "--csv", table, "--report", page)
    assert code == 1
    rows = [row[0] for row in csv.reader(table.read_text(encoding="utf-8").splitlines())][1:]
    assert [Path(name).name for name in rows] == [r"lat\xe9in.wav", "ok0.wav", "ok1.wav", "ok2.wav"]
    assert r"kaputt\xe9.wav: not a readable recording" in err
    assert r"kaputt\xe9.wav" in page.read_text(encoding="utf-8")
    code, out, _ = run(capsys, "fit", tmp_path / "neu", "-o", tmp_path / "b.zip")
    assert code == 0
    assert r"kaputt\xe9.wav: not a readable" in out
    assert run(capsys, "update", tmp_path / "b.zip", write("neu/ok3.wav", machine(64)))[0] == 0


def test_reasons_are_said_once_and_in_the_systems_words(fitted: Scorer, write: Write, tmp_path: Path) -> None:
    cut = write("m/cut.flac", machine(62))
    cut.write_bytes(cut.read_bytes()[:20000])
    (tmp_path / "m" / "leer.wav").write_bytes(b"")
    (tmp_path / "m" / "link.wav").symlink_to(tmp_path / "nowhere.wav")
    short = write("m/short.wav", machine(63)[:100])
    assert fitted.score(tmp_path / "m").empty
    reasons = {Path(s.name).name: s.reason for s in fitted.skipped_}
    assert "flac decoder lost sync" in reasons["cut.flac"]
    assert reasons["leer.wav"] == "the file is empty (0 bytes); copy it again or remove it"
    assert reasons["link.wav"] == "cannot be opened (No such file or directory)"
    assert reasons[short.name].startswith("expected at least 1024 samples")
    assert not [text for text in reasons.values() if str(tmp_path) in text]


def test_a_folder_that_may_not_be_read_is_not_passed_over(
    fitted: Scorer, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """os.walk leaves such folders out without a word; permissions do not bind root, so the system's answer is played."""
    write("neu/gut.wav", machine(61))
    write("neu/zu/x.wav", machine(62))
    scandir = os.scandir

    def closed(path: str) -> object:
        if Path(path).name == "zu":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert len(fitted.score(tmp_path / "neu")) == 1
    assert [str(s) for s in fitted.skipped_] == [f"{tmp_path / 'neu' / 'zu'}: the folder cannot be read (Permission denied)"]


def test_fit_names_what_it_could_not_use(normals: Path, write: Write, tmp_path: Path, capsys: Capture) -> None:
    """It said that no recording was given where all of them were broken."""
    (tmp_path / "kaputt").mkdir()
    (tmp_path / "kaputt" / "text.wav").write_text("no sound")
    (tmp_path / "kaputt" / "notes.txt").write_text("no sound")
    out = tmp_path / "b.zip"
    assert refused(capsys, "fit", tmp_path / "kaputt", "-o", out) == (
        1,
        f"error: no usable normal recording ({tmp_path}/kaputt/text.wav: not a readable recording (Format not recognised); "
        "expected wav, flac, ogg or mp3); give wav, flac, ogg or mp3 files",
    )
    assert "nowhere: cannot be opened (No such file or directory)" in refused(capsys, "fit", tmp_path / "nowhere", "-o", out)[1]
    slow = [write(f"slow/{i}.wav", machine(i, rate=6000), rate=6000) for i in range(2)]
    assert "6000 Hz; at least 8000 Hz is needed" in refused(capsys, "fit", slow[0].parent, "-o", out)[1]
    assert "text.wav" in refused(capsys, "fit", normals, "--also", tmp_path / "kaputt", "-o", out)[1]
    assert "text.wav" in refused(capsys, "fit", normals, "--others", tmp_path / "kaputt", "-o", out)[1]
    assert not out.exists()
    # with some usable ones the rest is left out; the bundle is whole, so the exit code is 0
    code, _, err = run(capsys, "fit", normals, tmp_path / "kaputt", slow[0], "-o", out)
    assert (code, out.exists()) == (0, True)
    assert f"left out: {slow[0]}: 6000 Hz" in err
    assert "left out: " in err
    assert "text.wav" in err
    for extra in (tmp_path / "kaputt", tmp_path / "nowhere"):
        assert "no usable recording to add" in refused(capsys, "update", out, extra)[1]


def test_a_labelled_folder_is_not_taken_for_normal(write: Write, tmp_path: Path, capsys: Capture) -> None:
    """Every fault in it became normal, without a word."""
    for name in ("fan é/train/a.wav", "fan é/test/normal/b.wav", "fan é/test/Anomaly/c.wav"):
        write(name, machine(len(name)))
    code, message = refused(capsys, "fit", tmp_path / "fan é", "-o", tmp_path / "b.zip")
    assert (code, "not all in it is normal (the folder anomaly says so)" in message) == (2, True)
    (tmp_path / "fan é" / "test" / "Anomaly").rename(tmp_path / "fan é" / "test" / "later")
    (tmp_path / "fan é" / "split.csv").write_text("file,label\n")
    code, message = refused(capsys, "fit", tmp_path / "fan é", "-o", tmp_path / "b.zip")
    assert (code, "(split.csv says so)" in message, "dcase-asd trial DIR" in message) == (2, True, True)
    assert (
        "not all in it is normal"
        in refused(capsys, "fit", tmp_path / "fan é" / "train", "--also", tmp_path / "fan é", "-o", "b")[1]
    )
    (tmp_path / "fan é" / "split.csv").unlink()
    assert run(capsys, "fit", tmp_path / "fan é", "-o", tmp_path / "b.zip")[0] == 0
    # a generator is looked at and read
    assert Scorer(false_alarms=0.3).fit(path for path in [tmp_path / "fan é"]).skipped_ == ()


def test_copies_of_a_recording_and_two_short_ones(write: Write, tmp_path: Path, capsys: Capture) -> None:
    """The message spoke of ensembles."""
    for i in range(4):
        write(f"copies/{i}.wav", machine(1))
    write("two/1.wav", machine(1))
    write("two/2.wav", machine(2))
    for folder, text in (
        ("copies", "all 4 normal recordings are the same sound as"),
        ("two", "all 2 normal recordings the same"),
    ):
        code, message = refused(capsys, "fit", tmp_path / folder, "-o", tmp_path / "b.zip")
        assert (code, text in message) == (1, True)
        assert "give at least three different" in message


def test_a_recording_given_twice_counts_once(normals: Path, write: Write, tmp_path: Path, capsys: Capture) -> None:
    """Each copy was scored by a model that had heard the other, and the promise was better than the recordings were worth."""
    few = sorted(normals.iterdir())[:6]
    copy = write("kopie é.flac", soundfile.read(few[0])[0])
    once = Scorer(false_alarms=0.2).fit(few)
    (tmp_path / "link").symlink_to(normals)
    for again in ([*few, few[3]], [copy, *few], [*few, *[tmp_path / "link" / path.name for path in few]]):
        twice = Scorer(false_alarms=0.2).fit(again)
        # which name stays decides on the folds, so that thresholds may differ; what is promised may not
        assert (twice._fitted()[1].threshold.rate_high, len(twice.skipped_)) == (
            once._fitted()[1].threshold.rate_high,
            len(again) - 6,
        )
        assert "the same sound as" in twice.skipped_[0].reason
    bundle = tmp_path / "b.zip"
    once.save(bundle)
    code, message = refused(capsys, "update", bundle, *few[:2])
    assert (code, "no usable recording to add" in message, "the same sound as" in message) == (1, True, True)
    code, _, err = run(capsys, "update", bundle, few[0], sorted(normals.iterdir())[6])
    assert (code, f"left out: {few[0]}: the same sound as {few[0]}; counted once" in err) == (0, True)
    assert Scorer.load(bundle).threshold_ == Scorer(false_alarms=0.2).fit(sorted(normals.iterdir())[:7]).threshold_


def test_a_second_condition_that_is_the_first(normals: Path, tmp_path: Path, capsys: Capture) -> None:
    """NORMAL_DIR given again by --also, or a folder in it: the same recording was held out and heard."""
    code, message = refused(capsys, "fit", normals, "--also", normals, "-o", tmp_path / "b.zip")
    assert (code, "no usable recording of the second condition" in message) == (1, True)
    assert "the same sound as" in message


def test_a_few_slow_recordings_hold_all_down_and_it_is_said(write: Write, tmp_path: Path, capsys: Capture) -> None:
    for i in range(4):
        write(f"n/{i}.wav", machine(i))
    slow = write("n/slow.wav", machine(9, rate=8000), rate=8000)
    code, out, _ = run(capsys, "fit", tmp_path / "n", "--false-alarms", "0.3", "-o", tmp_path / "b.zip")
    assert code == 0
    assert f"1 recordings at 8000 Hz hold all to the frequencies they reach ({slow}); leave them out" in out


def test_eight_channels_and_one_of_them(write: Write, tmp_path: Path, capsys: Capture) -> None:
    for i in range(4):
        write(f"n/{i}.wav", np.stack([*[machine(100 + 10 * i + k) for k in range(7)], machine(i)], axis=1))
    out = tmp_path / "b.zip"
    assert "channel '9' asked for, the recording has 8" in refused(capsys, "fit", tmp_path / "n", "--channel", "9", "-o", out)[1]
    code, said, _ = run(capsys, "fit", tmp_path / "n", "--channel", "7", "-o", out, "--false-alarms", "0.3")
    assert (code, "8 channels" in said) == (0, True)
    code, said, err = run(capsys, "score", out, tmp_path / "n" / "0.wav", write("mono.wav", machine(1)))
    assert code == 1
    assert len(said.splitlines()) == 2
    assert "mono.wav: channel '7' asked for, the recording has 1" in err


@pytest.mark.parametrize("verb", ["info", "score", "update"])
def test_bundles_that_are_none(verb: str, fitted: Scorer, normals: Path, tmp_path: Path, capsys: Capture) -> None:
    fitted.save(tmp_path / "whole.zip")
    whole = (tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:5000])
    (tmp_path / "text.bundle").write_text("not a zip")
    (tmp_path / "zero.zip").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("model.txt", "x")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("config.json", '{"model": "resnet"}')
    with zipfile.ZipFile(tmp_path / "newer.zip", "w") as archive:
        archive.writestr("config.json", '{"format": "dcase_asd bundle", "format_version": 99, "dcase_asd": "9.0"}')
    rest = [] if verb == "info" else [normals]
    for name, text in (
        ("cut.zip", "not a readable bundle"),
        ("text.bundle", "not a readable bundle"),
        ("zero.zip", "not a readable bundle"),
        ("other.zip", "no config.json in it; it is no bundle of dcase_asd"),
        ("foreign.zip", "it was made by another program"),
        ("newer.zip", "bundle version 99 (dcase_asd 9.0) is newer than 2; update dcase_asd"),
    ):
        if verb == "update":
            rest = [normals, "-o", tmp_path / "new.zip"]
        code, message = refused(capsys, verb, tmp_path / name, *rest)
        assert (code, text in message, str(tmp_path / name) in message) == (1, True, True), message
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "new."))) == []


def test_no_bundle_at_all(normals: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "no such bundle; make one with dcase-asd fit" in refused(capsys, "score", tmp_path / "x.bundle", normals)[1]
    assert "no such bundle" in refused(capsys, "info", tmp_path / "x.bundle")[1]
    assert "there is no bundle of that path" in refused(capsys, "info", tmp_path / "x")[1]


@pytest.mark.parametrize("out", ["precious", "note.txt", "note.txt/b.zip", "/proc/b.bundle"])
def test_where_no_bundle_can_be_written_is_said_before_anything_is_learnt(
    out: str, normals: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training was done first, hours of it with --minutes, and lost."""
    if out.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no folder here that even root cannot write to")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    (tmp_path / "note.txt").write_text("x")

    def never(*_: object, **__: object) -> None:
        raise RuntimeError("learnt first")

    monkeypatch.setattr(Scorer, "fit", never)
    monkeypatch.setattr(Scorer, "load", never)
    where = Path(out) if out.startswith("/") else tmp_path / out
    for arguments in (("fit", normals, "-o", where), ("update", tmp_path, normals, "-o", where)):
        code, message = refused(capsys, *arguments)
        assert (code, str(where) in message) == (2, True)
        assert "cannot be written" in message or "exists and is no bundle; choose another name" in message
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"
    assert len(list(tmp_path.iterdir())) == 2


def test_tables_and_pages_that_cannot_be_written(bundle: Path, normals: Path, tmp_path: Path, capsys: Capture) -> None:
    """The error named a temporary file, and came after all was scored."""
    (tmp_path / "note.txt").write_text("x")
    for option in ("--csv", "--report"):
        assert refused(capsys, "score", bundle, normals, option, normals) == (
            2,
            f"error: {normals}: is a folder; name a file in it",
        )
        code, message = refused(capsys, "score", bundle, normals, option, tmp_path / "note.txt" / "x.csv")
        assert (code, "cannot be written" in message) == (2, True)


def test_no_table_or_page_over_a_recording(bundle: Path, write: Write, tmp_path: Path, capsys: Capture) -> None:
    """``score BUNDLE --csv *.wav`` put the table in the first recording's place, and the recording was gone."""
    one, two = write("a.wav", machine(61)), write("b.wav", machine(62))
    odd = tmp_path / "ohne Endung"
    odd.write_bytes(one.read_bytes())
    kept = {path: path.read_bytes() for path in (one, two, odd, bundle)}
    for option in ("--csv", "--report"):
        for target, others in ((one, (two,)), (odd, (odd, two)), (tmp_path / "neu.WAV", (two,)), (bundle, (two,))):
            code, message = refused(capsys, "score", bundle, *others, option, target)
            assert (code, f"{option} {target}: would be written over" in message) == (2, True)
    assert "both" in refused(capsys, "score", bundle, one, "--csv", tmp_path / "x", "--report", f"{tmp_path}/./x")[1]
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "bündel")
    code, message = refused(capsys, "score", tmp_path / "bündel", one, "--csv", tmp_path / "bündel" / "x.csv")
    assert (code, "lies in the bundle" in message) == (2, True)
    assert {path: path.read_bytes() for path in kept} == kept
    assert not (tmp_path / "x").exists()
    # a table that is there, and one beside the recordings, are written
    for _ in range(2):
        assert run(capsys, "score", bundle, tmp_path / "a.wav", "--csv", tmp_path / "t.csv")[0] == 0


def test_a_dash_is_a_name(bundle: Path, write: Write, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile took it for standard input, and the rest was not delivered."""
    good = write("gut.wav", machine(61))
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "score", bundle, "-", good)
    assert (code, len(out.splitlines())) == (1, 2)
    assert "not scored: -: cannot be opened (No such file or directory)" in err
    good.rename("-")
    assert run(capsys, "score", bundle, "-")[0] == 0


def test_hidden_folders_are_passed_over(fitted: Scorer, write: Write, tmp_path: Path) -> None:
    """A recycle bin's recordings were fitted on and scored."""
    for name in (".Trash-0/a.wav", "tief/.git/b.wav", "tief/._c.wav", "tief/d.wav"):
        write(f"ordner/{name}", machine(61))
    assert [Path(name).name for name in fitted.score(tmp_path / "ordner")["file"]] == ["d.wav"]
    # one that is named by itself is meant
    assert len(fitted.score(tmp_path / "ordner" / ".Trash-0")) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_may_not_be_written_to(bundle: Path, normals: Path, tmp_path: Path, capsys: Capture) -> None:
    closed = tmp_path / "zu"
    closed.mkdir()
    closed.chmod(0o555)
    for arguments in (("fit", normals, "-o", closed / "b"), ("score", bundle, normals, "--csv", closed / "sub" / "x.csv")):
        code, message = refused(capsys, *arguments)
        assert (code, f"({closed}: Permission denied); choose another place" in message) == (2, True)


def test_a_bundle_that_is_there_is_replaced(bundle: Path, normals: Path, capsys: Capture) -> None:
    before = bundle.read_bytes()
    assert run(capsys, "fit", *sorted(normals.iterdir())[:3], "-o", bundle)[0] == 0
    assert bundle.read_bytes() != before
    code, out, _ = run(capsys, "info", bundle)
    assert (code, "normal windows 3," in out) == (0, True)


def test_a_recording_that_is_gone_before_the_page_keeps_its_numbers(fitted: Scorer, write: Write, tmp_path: Path) -> None:
    from dcase_asd.serving.page import write_page

    paths = [write(f"neu/{i}.wav", machine(70 + i)) for i in range(2)]
    shown = list(fitted.verdicts([str(path) for path in paths]))
    paths[0].unlink()
    write_page(tmp_path / "page.html", fitted, shown, count=2, alarms=0)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 1
    assert all(f"Score {verdict.score:.4g}" in page for verdict in shown)
