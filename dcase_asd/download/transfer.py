"""One file over HTTP: resumed after a break, retried with growing pauses, verified by size and MD5."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from dcase_asd.errors import DataError

__all__ = ["Retry", "StoppedError", "fetch_bytes", "fetch_file"]

_BLOCK = 1 << 18
_MAX_PAUSE_S = 60.0
#: A record's description is some 100 kB; more is not one.
_MAX_TEXT = 16 << 20
#: How often a whole file that arrived with a wrong MD5 is fetched again.
_MD5_TRIES = 2
_AGENT = "dcase-asd (research toolkit; python-urllib)"
_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class StoppedError(DataError):
    """Another file failed, so this one was given up; what arrived is kept for the next call."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How patient to be.

    Attributes
    ----------
    attempts : int
        Attempts in a row without a single new byte before giving up.
    pause_s : float
        Pause after the first failure in seconds; doubled each time, 60 s at most. A server's ``Retry-After`` is obeyed.
    timeout_s : float
        Silence of the server, in seconds, that counts as a failure.
    stop : threading.Event
        Set it to give up between two blocks.
    """

    attempts: int = 5
    pause_s: float = 1.0
    timeout_s: float = 60.0
    stop: threading.Event = field(default_factory=threading.Event)

    def wait(self, n_failures: int, *, asked_s: float = 0.0) -> None:
        """Sleep before attempt ``n_failures + 1``; raise :class:`StoppedError` if told to stop meanwhile."""
        pause = min(max(self.pause_s * 2 ** (n_failures - 1), asked_s), _MAX_PAUSE_S)
        if self.stop.wait(pause):
            raise StoppedError("given up because another download failed")


class _AttemptError(Exception):
    """One attempt failed and another may succeed."""

    def __init__(self, reason: str, *, asked_s: float = 0.0, restart: bool = False) -> None:
        super().__init__(reason)
        self.asked_s = asked_s
        self.restart = restart


def fetch_bytes(url: str, *, retry: Retry) -> bytes:
    """Fetch a small text.

    Raises
    ------
    DataError
        If it cannot be had; the address and a remedy are named.
    """
    n_failures = 0
    while True:
        try:
            with _open(url, {}, retry) as response, _breaks():
                content = response.read(_MAX_TEXT + 1)
            break
        except _AttemptError as failure:
            n_failures += 1
            _give_up_or_wait(url, failure, n_failures, retry)
    if len(content) > _MAX_TEXT:
        raise DataError(f"{url}: more than {_MAX_TEXT} bytes where a short text was expected; check the base address")
    return bytes(content)


def fetch_file(url: str, path: Path, *, size: int, md5: str, retry: Retry, progress: Callable[[int], None] | None = None) -> None:
    """Fetch a file into ``path``, through ``path`` + ``.part``, which a later call continues.

    Parameters
    ----------
    url : str
        The address.
    path : Path
        Where the file appears when it is whole and verified. A file that is there already is verified and kept.
    size, md5 : int, str
        What it must have.
    retry : Retry
        Patience.
    progress : callable, optional
        Called with the number of bytes that are there, from 0 to ``size``; it falls back where a server cannot resume.

    Raises
    ------
    DataError
        If the server does not answer or refuses, or the content has the wrong MD5 twice.
    """
    report = progress or (lambda _: None)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size == size and _md5(path) == md5:
        report(size)
        return
    for _ in range(_MD5_TRIES):
        try:
            _fill(url, part, size=size, retry=retry, report=report)
        except OSError as error:
            raise DataError(f"{part}: cannot be written ({error}); make room or choose another folder") from error
        found = _md5(part)
        if found == md5:
            part.replace(path)
            return
        part.unlink()
    raise DataError(
        f"{url}: MD5 is {found}, the record says {md5}, after {_MD5_TRIES} downloads; the copy on the way is damaged: "
        f"try another network, or fetch it by hand into {path}"
    )


def _fill(url: str, part: Path, *, size: int, retry: Retry, report: Callable[[int], None]) -> None:
    """Append to ``part`` until it has ``size`` bytes."""
    n_failures, most = 0, 0
    while True:
        have = part.stat().st_size if part.is_file() else 0
        if have > size:
            part.unlink()
            have = 0
        report(have)
        if have == size and part.is_file():
            return
        try:
            _continue(url, part, have=have, size=size, retry=retry, report=report)
        except _AttemptError as failure:
            now = part.stat().st_size if part.is_file() else 0
            # only bytes never had before are progress: starting over again and again is not
            n_failures = 1 if now > max(have, most) else n_failures + 1
            most = max(most, have, now)
            if failure.restart:
                part.unlink(missing_ok=True)
            _give_up_or_wait(url, failure, n_failures, retry)


def _continue(url: str, part: Path, *, have: int, size: int, retry: Retry, report: Callable[[int], None]) -> None:
    headers = {"Range": f"bytes={have}-"} if have else {}
    with _open(url, headers, retry) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        if resumed and not str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            got = response.headers.get("Content-Range")
            raise _AttemptError(f"asked for bytes from {have}, got {got}", restart=True)
        # a server that knows no ranges sends all of it again: from the start, then
        with part.open("ab" if resumed else "wb") as stream:
            have = have if resumed else 0
            while have < size:
                if retry.stop.is_set():
                    raise StoppedError("given up because another download failed")
                with _breaks():
                    block = response.read(min(_BLOCK, size - have))
                if not block:
                    raise _AttemptError(f"the connection ended after {have} of {size} bytes")
                stream.write(block)
                have += len(block)
                report(have)


def _open(url: str, headers: Mapping[str, str], retry: Retry) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers})
    try:
        with _breaks():
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=retry.timeout_s)
            return response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
                raise _AttemptError("the server has fewer bytes than this part", restart=True) from error
            if error.code in _AGAIN or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _AttemptError(
                    f"HTTP {error.code} {error.reason}", asked_s=_seconds(error.headers.get("Retry-After"))
                ) from error
            raise DataError(f"{url}: HTTP {error.code} {error.reason}; check the record number and the base address") from error


@contextlib.contextmanager
def _breaks() -> Iterator[None]:
    """Turn everything that a network may throw into :class:`_AttemptError`."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _AttemptError(str(reason) or type(error).__name__) from error


def _give_up_or_wait(url: str, failure: _AttemptError, n_failures: int, retry: Retry) -> None:
    if n_failures >= retry.attempts:
        raise DataError(
            f"{url}: no success in {n_failures} attempts ({failure}). Check the network or proxy (http_proxy, https_proxy), or "
            f"name a mirror with DCASE_ASD_ZENODO_URL; what has arrived is kept and the next call continues"
        ) from failure
    retry.wait(n_failures, asked_s=failure.asked_s)


def _seconds(text: str | None) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _md5(path: Path) -> str:
    # MD5 is what Zenodo publishes; it guards against damage on the way, not against an adversary
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
