"""Zips from elsewhere."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib

__all__ = ["ZIP_ERRORS", "check_directory"]

#: What the standard library raises on damaged or hostile zips. Encrypted members and odd compression come as RuntimeError (of
#: which NotImplementedError is one), an empty member name as IndexError, sizes beyond any range as OverflowError.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    IndexError,
    OverflowError,
)

#: End of central directory (PKWARE APPNOTE 6.3.10, 4.3.16) and its 64-bit form (4.3.14), which ends 20 bytes before it: where
#: the number of entries stands, as 2 and 8 bytes. The first holds this number modulo 2^16, or all ones if the other counts.
_END, _END_COUNT, _END_LONGEST = b"PK\x05\x06", 10, 22 + 0xFFFF
_END64, _END64_COUNT, _END64_BEFORE = b"PK\x06\x06", 32, 20 + 56


def check_directory(archive: zipfile.ZipFile) -> None:
    """Raise ``BadZipFile`` if not all entries of an open archive were read: zipfile stops at a damaged one without a word."""
    stream, found = archive.fp, len(archive.infolist())
    if stream is None:
        raise ValueError("the archive is closed")
    start = max(0, stream.seek(0, os.SEEK_END) - _END_LONGEST - _END64_BEFORE)
    stream.seek(start)
    tail = stream.read()
    end = tail.rfind(_END)
    record = tail[max(0, end - _END64_BEFORE) : end]
    if record.startswith(_END64):
        (count,) = struct.unpack_from("<Q", record, _END64_COUNT)
    else:
        (count,) = struct.unpack_from("<H", tail, end + _END_COUNT)
        found %= 1 << 16
    if found != count:
        raise zipfile.BadZipFile(f"{found} entries can be read, there are {count}")
