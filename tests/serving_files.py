"""A real HTTP server on loopback that serves bytes well or badly, as a test tells it."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK_BYTES = 4096


@dataclass
class Served:
    """A file and the server's manners.

    cut_after: bytes after which each connection is cut; stated_bytes: a Content-Length that is a lie; status: an error
    instead of the file, for the first `num_errors` requests; answer: makes another (status, headers, body) from a request's
    path; pause_s: after each chunk.
    """

    body: bytes = b""
    ranges: bool = True
    etag: bool = True
    cut_after: int | None = None
    stated_bytes: int | None = None
    status: int | None = None
    num_errors: int = 1_000
    content_type: str = "application/zip"
    headers: dict[str, str] = field(default_factory=dict)
    answer: Callable[[str], tuple[int, dict[str, str], bytes]] | None = None
    pause_s: float = 0.0


class FileServer(ThreadingHTTPServer):
    """files: what stands under each path; asked: (path, Range header) of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def serve(self, path: str, body: bytes = b"", **manners) -> str:
        self.files[path] = Served(body, **manners)
        return self.address(path)

    def handle_error(self, request, client_address) -> None:
        """A client that was killed in mid-transfer is no error of the server's."""


@contextlib.contextmanager
def run_server() -> Iterator[FileServer]:
    server = FileServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        served = self.server.files.get(self.path.partition("?")[0])
        if served is None:
            self.send_error(404)
        elif served.answer is not None:
            self._send(*served.answer(self.path))
        elif served.status is not None and served.num_errors > 0:
            served.num_errors -= 1
            self._send(served.status, {"Retry-After": "0"}, b"busy")
        else:
            self._send_file(served)

    do_HEAD = do_GET  # but for the body

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in {"Date": self.date_time_string(), "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, served: Served) -> None:
        body, etag = served.body, f'"{hashlib.md5(served.body).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and served.ranges and self.headers.get("If-Range") == etag else 0
        if start and start >= len(body):
            self._send(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        length = len(body) - start if served.stated_bytes is None else served.stated_bytes
        headers = {"Content-Type": served.content_type, "Content-Length": str(length), **served.headers}
        for name, value in (headers | ({"ETag": etag} if served.etag else {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        to_send = body[start:] if served.cut_after is None else body[start : start + served.cut_after]
        for at in range(0, len(to_send), CHUNK_BYTES):
            self.wfile.write(to_send[at : at + CHUNK_BYTES])
            time.sleep(served.pause_s)
