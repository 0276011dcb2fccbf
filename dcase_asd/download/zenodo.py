"""What a Zenodo record holds: names, sizes, MD5 sums and addresses of its files."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcase_asd.download.transfer import Retry, fetch_bytes
from dcase_asd.errors import DataError

__all__ = ["BASE_URL", "BASE_URL_VARIABLE", "RemoteFile", "base_url_or_default", "read_record"]

BASE_URL = "https://zenodo.org"
#: Environment variable that points to a mirror.
BASE_URL_VARIABLE = "DCASE_ASD_ZENODO_URL"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a record.

    Attributes
    ----------
    name : str
        Its key; a plain file name.
    size : int
        Bytes.
    md5 : str
        Hexadecimal.
    url : str
        Where its content is.
    """

    name: str
    size: int
    md5: str
    url: str


def base_url_or_default(base_url: str | None) -> str:
    """Return the given address, else that of the environment variable, else Zenodo's, without a trailing slash.

    Raises
    ------
    DataError
        If it is not an http or https address.
    """
    url = (base_url or os.environ.get(BASE_URL_VARIABLE) or BASE_URL).rstrip("/")
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise DataError(f"base address {url!r} is not http:// or https://; check the option and {BASE_URL_VARIABLE}")
    return url


def read_record(record: int, *, base_url: str, retry: Retry) -> dict[str, RemoteFile]:
    """Fetch ``<base_url>/api/records/<record>`` and return its files by name.

    Raises
    ------
    DataError
        If the server cannot be reached, has no such record, or answers something else than a record.
    """
    url = f"{base_url}/api/records/{record}"
    content = fetch_bytes(url, retry=retry)
    try:
        files = [_remote_file(item, record, base_url) for item in json.loads(content)["files"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{url}: expected a Zenodo record with files (key, size, checksum, links.self); found {content[:80]!r} ({error!r}). "
            f"Check the base address; a login page or a proxy may have answered"
        ) from error
    return {file.name: file for file in files}


def _remote_file(item: Mapping[str, Any], record: int, base_url: str) -> RemoteFile:
    name, algorithm = str(item["key"]), str(item["checksum"]).partition(":")
    if not re.fullmatch(r"[\w.+\- ]+", name) or name.startswith("."):
        raise ValueError(f"file name {name!r}")
    if algorithm[0] != "md5" or not re.fullmatch(r"[0-9a-f]{32}", algorithm[2]):
        raise ValueError(f"checksum {item['checksum']!r}")
    url = str(item.get("links", {}).get("self") or f"{base_url}/api/records/{record}/files/{urllib.parse.quote(name)}/content")
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in {"http", "https"} or (base_url.startswith("https:") and scheme != "https"):
        raise ValueError(f"address {url!r}")
    return RemoteFile(name=name, size=int(item["size"]), md5=algorithm[2], url=url)
