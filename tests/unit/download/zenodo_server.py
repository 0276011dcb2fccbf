"""A loopback server with Zenodo's interface that misbehaves on demand."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Zenodo:
    """Records and faults.

    Faults per file name: ``drop`` n times after half of what was asked for; ``corrupt`` n times; ``no_range``; ``busy`` n
    times HTTP 503; ``wrong_range`` n times answers another range; ``status`` always that status.
    """

    records: dict[int, dict[str, bytes]] = field(default_factory=dict)
    faults: dict[str, dict[str, int]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def count(self, name: str) -> int:
        return sum(name in path for path, _ in self.requests)

    def ranges(self, name: str) -> list[str]:
        return [value for path, value in self.requests if name in path]

    def take(self, name: str, fault: str) -> bool:
        faults = self.faults.get(name, {})
        if faults.get(fault, 0) > 0:
            faults[fault] -= 1
            return True
        return False


def make_zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from ``zenodo``; one subclass per server."""

    zenodo: Zenodo

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        self.zenodo.requests.append((self.path, self.headers.get("Range", "")))
        match = re.fullmatch(r"/api/records/(\d+)(?:/files/([^/]+)/content)?", self.path)
        files = self.zenodo.records.get(int(match[1])) if match else None
        if match is None or files is None or (match[2] and match[2] not in files):
            self.send_error(404)
        elif match[2]:
            self._file(match[2], files[match[2]])
        else:
            self._answer(200, self._record(int(match[1]), files))

    def _record(self, number: int, files: dict[str, bytes]) -> bytes:
        items = [
            {
                "key": name,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": f"{self.zenodo.url}/api/records/{number}/files/{name}/content"},
            }
            for name, content in files.items()
        ]
        return json.dumps({"id": number, "files": items}).encode()

    def _file(self, name: str, content: bytes) -> None:
        status = self.zenodo.faults.get(name, {}).get("status")
        if status or self.zenodo.take(name, "busy"):
            self.send_response(status or 503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.zenodo.take(name, "corrupt"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match or self.zenodo.faults.get(name, {}).get("no_range"):
            self._answer(200, content, drop=self.zenodo.take(name, "drop"))
            return
        start = int(match[1])
        if start >= len(content):
            self.send_error(416)
            return
        shown = start + self.zenodo.take(name, "wrong_range")
        headers = {"Content-Range": f"bytes {shown}-{len(content) - 1}/{len(content)}"}
        self._answer(206, content[start:], headers=headers, drop=self.zenodo.take(name, "drop"))

    def _answer(self, code: int, content: bytes, *, headers: dict[str, str] | None = None, drop: bool = False) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that was told to stop hangs up
            self.wfile.write(content[: max(len(content) // 2, 1)] if drop else content)
        self.close_connection = True


@contextmanager
def serve(zenodo: Zenodo) -> Iterator[Zenodo]:
    """Run the server on a free loopback port."""
    handler = type("BoundHandler", (Handler,), {"zenodo": zenodo})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    zenodo.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield zenodo
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


__all__ = ["Zenodo", "make_zip", "serve"]
