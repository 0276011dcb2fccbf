"""Zips from elsewhere."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

__all__ = ["ZIP_ERRORS"]

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
