"""Properties of the readers: what was written comes back, whatever it is; anything else is an error of ours."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcase_asd.config import load_yaml, parse_override
from dcase_asd.errors import AudioError, ConfigError, FormatError, ImageError, ManifestError
from dcase_asd.io.arrays import load_array
from dcase_asd.io.audio import read_audio
from dcase_asd.io.images import read_image, write_image
from dcase_asd.io.tables import read_table, write_table
from dcase_asd.manifests.schema import Manifest

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)
LETTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="/\\")
NAMES = st.text(LETTERS, min_size=1, max_size=12).filter(lambda name: name not in {".", ".."})
ROW = {"kind": "audio", "subset": "dev", "domain": "source", "split": "train"} | {"n_samples": 1, "n_channels": 1}


def row(number: int, **values: object) -> dict[str, object]:
    plain = {"clip_id": f"fan/{number}", "path": f"fan/{number}.wav", "machine": "fan", "section": "00", "attributes": {}}
    return {**ROW, "sample_rate_hz": 16000, "sha256": "", **plain, **values}


@QUICK
@given(texts=st.lists(TEXT, max_size=5), numbers=st.lists(st.floats(allow_nan=True), min_size=5, max_size=5))
def test_table_comes_back(texts: list[str], numbers: list[float], tmp_path: Path) -> None:
    table = pd.DataFrame({"name": pd.Series(texts, dtype=str), "value": numbers[: len(texts)]})
    write_table(tmp_path / "t.csv", table)
    read = read_table(tmp_path / "t.csv", {"name": "str", "value": "float"})
    assert read["name"].tolist() == texts
    assert read["value"].to_numpy().tobytes() == table["value"].to_numpy(dtype=float).tobytes() or table["value"].isna().any()


@QUICK
@given(content=st.binary(max_size=200) | st.text('clip_id,path"\n\r\t;0x', max_size=200).map(str.encode))
def test_any_bytes_are_a_table_or_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with contextlib.suppress(FormatError):
        assert list(read_table(tmp_path / "t.csv", {"clip_id": "str"}).columns) == ["clip_id"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("x,a,1,1.0\ny,b,2,2.0\n", "row 2 has 4 values"),  # pandas alone: clip a, and x is a row label
        ("a,1,1.0\nb,2\n", "row 3 has 2 values"),  # pandas alone: a score that is missing
        ("a,1e30,1.0\n", "'1e30' is not int"),  # a cast alone: -9223372036854775808
        ("a,9007199254740993,1.0\n", "'9007199254740993' is not int"),  # a cast alone: ...992
        ("a" * 200_000 + ",1,1.0\n", "not a readable CSV"),
    ],
)
def test_rows_that_pandas_would_bend_are_refused(rows: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "ü b.csv"
    path.write_text("clip_id,n,score\n" + rows, encoding="utf-8")
    with pytest.raises(FormatError, match=told):
        read_table(path, {"clip_id": "str", "n": "int", "score": "float"})


@QUICK
@given(machine=NAMES, section=NAMES, attributes=st.dictionaries(TEXT, TEXT, max_size=3))
def test_manifest_comes_back(machine: str, section: str, attributes: dict[str, str], tmp_path: Path) -> None:
    made = Manifest.from_rows([row(i, machine=machine, section=section, attributes=attributes) for i in range(2)])
    made.write(tmp_path / "m.csv")
    read = Manifest.read(tmp_path / "m.csv")
    assert read.machines == [machine]
    assert read.attributes() == [attributes] * 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("machine", v) for v in ("../../etc", "/etc", "..", "a\\b", "a\nb", "")),
        *(("section", v) for v in ("../00", ".", "0/0")),
        *(("path", v) for v in ("../x.wav", "/etc/passwd", "a/../../x.wav", "a\0b", "", "lat\udce9.wav", "half\ud800.wav")),
        *(("attributes", v) for v in ("", "[]", "{", '{"a": 1}', "[" * 3000)),
    ],
)
def test_manifest_that_leads_elsewhere_is_refused(column: str, value: str) -> None:
    """A machine or section became a folder's name as it stood: stages wrote outside their own."""
    with pytest.raises(ManifestError, match=rf"row 3: {column}"):
        Manifest.from_rows([row(1), row(2, **{column: value})])


@QUICK
@given(text=st.text("ab1:-[]{}&*!|>'\"\n\t #%@,?.~<=0x", max_size=120) | st.text(max_size=60))
def test_any_text_is_a_configuration_or_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8", errors="replace")
    for read in (lambda: load_yaml(tmp_path / "c.yaml"), lambda: parse_override(f"a={text}")):
        with contextlib.suppress(ConfigError):
            json.dumps(read(), default=str)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join([f'*{chr(ord(c) - 1)}'] * 9)}]\n" for c in "bcdefghi"
)


def test_number_that_would_take_minutes_to_read_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ü b.yaml"
    path.write_text("x: 1" + ":1" * 400_000, encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1: a whole number of 800001 characters"):
        load_yaml(path)


def test_time_for_keys_grows_with_their_number_alone() -> None:
    """Comparisons of strings are counted, as a clock would depend on the machine."""
    from dcase_asd import config

    class Key(str):
        __slots__ = ()
        compared = 0

        def __eq__(self, other: object) -> bool:
            Key.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    node = yaml.compose("{" + ", ".join(f"k{i}: 1" for i in range(2000)) + "}")
    for key, _ in node.value:
        key.value = Key(key.value)
    config._refuse_aliases_and_duplicates(node, "here")
    assert Key.compared < 2000


def test_billion_laughs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(LAUGHS, encoding="utf-8")
    with pytest.raises(ConfigError, match="aliases are not accepted"):
        load_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="aliases are not accepted"):
        parse_override("a=[&a [x, x], *a]")
    with pytest.raises(ConfigError, match="stands twice"):
        parse_override("a={b: 1, b: 2}")


@pytest.mark.parametrize("value", ["!!timestamp x", "!!int x", "!!bool x", "!!float ''", "? [a]\n: b", "[" * 3000, "2020-99-99"])
def test_tags_that_pyyaml_stumbles_over(value: str, tmp_path: Path) -> None:
    """The AttributeError of a bad timestamp came through."""
    (tmp_path / "c.yaml").write_text(f"a: {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="override"):
        parse_override(f"a={value}")


def test_number_of_blanks_is_missing_or_an_error(tmp_path: Path) -> None:
    """A tab alone came through as a ValueError."""
    (tmp_path / "t.csv").write_text('a,b\n"\t",1\n', encoding="utf-8")
    assert np.isnan(read_table(tmp_path / "t.csv", {"a": "float", "b": "int"})["a"][0])
    with pytest.raises(FormatError, match=r"row 2, column 'a'"):
        read_table(tmp_path / "t.csv", {"a": "int", "b": "int"})


def flac(n_promised: int) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(4000), 16000, format="FLAC", subtype="PCM_16")
    data = bytearray(stream.getvalue())
    # STREAMINFO begins at 8; its bytes 13 to 17 hold the 36 bits of the number of samples
    data[21] = data[21] & 0xF0 | n_promised >> 32
    data[22:26] = struct.pack(">I", n_promised & 0xFFFFFFFF)
    return bytes(data)


def test_header_that_promises_gigabytes_costs_none(tmp_path: Path) -> None:
    """Room was made for all samples of the header before the first was read."""
    import tracemalloc

    (tmp_path / "a.flac").write_bytes(flac(4000))
    assert read_audio(tmp_path / "a.flac")[0].shape == (1, 4000)
    (tmp_path / "a.flac").write_bytes(flac(3_137_341_392))
    tracemalloc.start()
    with pytest.raises(AudioError, match=r"promises 3137341392 samples|not a readable recording"):
        read_audio(tmp_path / "a.flac")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_picture_that_asks_for_more_memory_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own MemoryError came through."""
    from PIL import ImageFile

    def greedy(self: ImageFile.ImageFile) -> None:
        raise MemoryError

    write_image(tmp_path / "a.png", np.zeros((4, 4, 1), np.uint8))
    monkeypatch.setattr(ImageFile.ImageFile, "load", greedy)
    with pytest.raises(ImageError, match=r"a\.png: needs more memory"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4, }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-4,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
        "{'descr': " + "[" * 500,
        "__import__('os').system('true')",
    ],
)
def test_hostile_array_header(header: str, mmap: bool, tmp_path: Path) -> None:
    text = header.encode().ljust(118) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 32)
    with pytest.raises(FormatError, match=r"x\.npy"):
        load_array(tmp_path / "x.npy", mmap=mmap)
