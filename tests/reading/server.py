"""A small HTTP server of one folder that knows ranges, and counts what it sends."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Sent:
    """What a server has sent."""

    url: str = ""
    ranges: list[tuple[int, int]] = field(default_factory=list)  # first and past-the-end byte of each answer with bytes

    @property
    def bytes(self) -> int:
        """Return the bytes of all answers."""
        return sum(end - first for first, end in self.ranges)


@contextmanager
def served(folder: Path, *, ranges: bool = True, status: int = 200) -> Iterator[Sent]:
    """Serve a folder; without `ranges` every answer is the whole file; a `status` of 400 or above is every answer."""
    sent = Sent()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = folder / self.path.lstrip("/")
            if status >= 400 or not path.is_file():
                self.send_response(status if status >= 400 else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = path.read_bytes()
            first, end = 0, len(data)
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if found and ranges:
                first, end = int(found[1]), min(int(found[2]) + 1, len(data))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(data)}")
            else:
                self.send_response(200)
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - first))
            self.end_headers()
            if body:
                sent.ranges.append((first, end))
                self.wfile.write(data[first:end])

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            # A reader that hangs up early is no fault of the server, and its traceback would count as the reader's.
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    sent.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
