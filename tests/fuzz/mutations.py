"""How a good file becomes a bad one."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["in_bytes", "in_json_of_zip", "in_text", "in_zip"]

# sizes and counts that break arithmetic, little and big endian
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x10000, 1 << 20)
_WORDS = (
    *('"', ",", "\n", "\r", "\t", "\0", ";", ":", "{", "}", "[", "]", "'", "-", "#", "&a ", "*a"),
    *("!!python/object/apply:os.system ['id']", "!!python/name:os.system", "!!binary ZQ==", "<<: *a", "&a [*a, *a]"),
    *("nan", "NaN", "-inf", "1e999", "1e-999", "0x1F", "1_000", "0o8", "1:1:1:1", "9" * 400, "-1", "1.5", "true", "null", "~"),
    *("../../escaped", "/escaped", "a/../../escaped", "C:\\x", "..", ".", "\\\\host\\share", "\ufeff", "\u202e", "é", "\ud7ff"),
    *("=cmd|' /C calc'!A0", "x" * 5000, "2020-99-99", "!!timestamp 2020-99-99", "? [a]", "- " * 300, "[" * 900, "{" * 900),
    *("!!set {a}", "!!omap [a: 1]", "__class__", "$(touch escaped)", "%s%s%n"),
)
_NAMES = (
    *("../escaped", "../../escaped.json", "/tmp/escaped", "a/../../escaped", "..\\escaped", "C:\\escaped", "config.json", "."),
    *("", "a\0b", "x" * 300, "é/ü.json", "normals.safetensors", "a//b", "./config.json", "config.json/"),
)


def in_bytes(sample: bytes, rng: Random) -> bytes:
    """Flip bits, plant extreme numbers (mostly in the header), cut, double, drop and splice pieces."""
    data = bytearray(sample)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        if not data:
            break
        at = rng.randrange(min(len(data), 64) if rng.random() < 0.6 else len(data))
        rng.choice(_BYTE_CHANGES)(data, at, rng)
    return bytes(data)


def _flip(data: bytearray, at: int, rng: Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _plant(data: bytearray, at: int, rng: Random) -> None:
    kind = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    value = rng.choice(_NUMBERS)
    data[at : at + size] = struct.pack(kind, value if size == 8 else value % (1 << (8 * size)))


def _noise(data: bytearray, at: int, rng: Random) -> None:
    length = rng.randrange(1, 32)
    data[at : at + length] = rng.randbytes(length)


def _cut(data: bytearray, at: int, rng: Random) -> None:
    del data[at : len(data) if rng.random() < 0.5 else at + rng.randrange(1, 64)]


def _double(data: bytearray, at: int, rng: Random) -> None:
    data[at:at] = data[at : at + rng.randrange(1, 200)]


_BYTE_CHANGES: tuple[Callable[[bytearray, int, Random], None], ...] = (_flip, _plant, _plant, _noise, _cut, _double)


def in_text(sample: bytes, rng: Random) -> bytes:
    """Put hostile words into fields, repeat and drop lines; sometimes damage bytes as well."""
    lines = sample.decode("utf-8").splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2, 3))):
        row = rng.randrange(len(lines)) if lines else 0
        line = lines[row] if lines else "\n"
        action = rng.randrange(5)
        if action == 0:
            lines[row : row + 1] = [line, line]
        elif action == 1 and lines:
            del lines[row]
        else:
            ends = [i for i, c in enumerate(line) if c in ",: \n"] or [0]
            start = rng.choice(ends)
            stop = rng.choice([e for e in ends if e >= start]) if action == 2 else start
            lines[row : row + 1] = [line[: start + 1] + rng.choice(_WORDS) + line[stop:]]
    data = "".join(lines).encode("utf-8", "surrogatepass")
    return in_bytes(data, rng) if rng.random() < 0.2 else data


def _members(sample: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(sample)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def in_zip(sample: bytes, rng: Random) -> bytes:
    """Add members with hostile names, links and bombs, double names, lie about sizes; or damage the bytes."""
    if rng.random() < 0.4:
        return _near_directory(sample, rng)
    members = [(zipfile.ZipInfo(name), content) for name, content in _members(sample)]
    for _ in range(rng.choice((1, 2))):
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = rng.choice((*_NAMES, *(m.filename for m, _ in members)))
        info.external_attr = rng.choice((0, 0o120777, 0o100644, 0o20666, 0o40755)) << 16
        content = rng.choice((b"x", b"../escaped", b"\0" * 300_000))
        members.insert(rng.randrange(len(members) + 1), (info, content))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content, compress_type=rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    data = stream.getvalue()
    return _near_directory(data, rng) if rng.random() < 0.3 else data


def _near_directory(sample: bytes, rng: Random) -> bytes:
    """Damage the central directory, where sizes, offsets and names are."""
    where = sample.find(b"PK\x01\x02")
    if where < 0 or rng.random() < 0.2:
        return in_bytes(sample, rng)
    data = bytearray(sample)
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(where, len(data))
        rng.choice((_flip, _plant, _noise))(data, at, rng)
    return bytes(data)


def in_json_of_zip(name: str) -> Callable[[bytes, Random], bytes]:
    """Return a mutation that changes values of one JSON member and leaves the archive sound: what a checksum cannot see."""

    def mutate(sample: bytes, rng: Random) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for member, content in _members(sample):
                if member != name:
                    archive.writestr(member, content)
                    continue
                value = json.loads(content)
                for _ in range(rng.choice((1, 1, 2))):
                    value = _change_json(value, rng)
                text = json.dumps(value)
                archive.writestr(member, in_text(text.encode(), rng) if rng.random() < 0.1 else text)
        return stream.getvalue()

    return mutate


def _change_json(value: Any, rng: Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changed = dict(value)
        if rng.random() < 0.15:
            changed[rng.choice(_NAMES)] = changed.pop(key)
        else:
            changed[key] = _change_json(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], _change_json(value[at], rng), *value[at + 1 :]]
    plain = (None, -1, 0, 1e308, float("nan"), float("inf"), 10**30, "", [], {}, True, [[]] * 50, {"a": {"b": 1}})
    return rng.choice((*plain, *_NAMES, *_WORDS[:20]))
