"""A server on this machine that stands for a corpus's publisher."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Publisher(BaseHTTPRequestHandler):
    """Serves `files`; an answer breaks off after `breaks.pop(0)` bytes, while there is such a number."""

    files: ClassVar[dict[str, bytes]] = {}
    breaks: ClassVar[list[int]] = []
    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        self.asked.append(self.headers.get("Range"))
        body = self.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + self.breaks.pop(0)] if self.breaks else body[start:])

    def log_message(self, *_):
        pass


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[str]:
    """The address of a server of these files, by their paths."""
    Publisher.files, Publisher.breaks, Publisher.asked = files, [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
