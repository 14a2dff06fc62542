"""A web server of one's own that does, when told, what servers and networks do to downloads."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("serving.pem")
"""For 127.0.0.1, signed by itself; its key is no secret."""


@dataclass(kw_only=True)
class Answer:
    """How the next request is answered otherwise than by a good server."""

    status: int | None = None
    """Instead of the file."""
    headers: dict[str, str | None] = field(default_factory=dict)
    """More headers, or others; None leaves one out."""
    cut_after: int | None = None
    """Bytes of the body after which the connection is closed."""
    reset: bool = False
    """Cut by a reset, not by an orderly end."""
    hang_after: int | None = None
    """Bytes of the body after which nothing comes until the server ends, or `Server.release` is set."""
    ignores_range: bool = False
    ignores_condition: bool = False
    """Answers a range although ``If-Range`` names another version."""
    shift: int = 0
    """The range starts so many bytes later than asked for."""
    body: bytes | None = None
    """Instead of the file."""
    endless: bool = False
    """The body goes on and on, without a length."""


@dataclass(kw_only=True)
class Request:
    path: str
    range: str | None
    if_range: str | None
    accept_encoding: str | None
    authorization: str | None


class Server:
    """Files by path at ``url``; `answers` are used up by one request each, whatever its path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.answers: deque[Answer] = deque()
        self.requests: list[Request] = []
        self.release = threading.Event()
        self.ended = threading.Event()
        self.sent = 0
        """Bytes of bodies."""

    def reset(self) -> None:
        """As if it were a new one; requests that hang end."""
        self.release.set()
        self.release = threading.Event()
        self.files, self.etags, self.answers, self.requests, self.sent = {}, {}, deque(), [], 0

    def add(self, path: str, content: bytes, etag: str | None = None) -> str:
        """Serve ``content``; returns its address."""
        self.files[path] = content
        self.etags[path] = etag or f'"{hash(content):x}"'
        return f"{self.url}{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [request.range for request in self.requests]


@contextlib.contextmanager
def serving(*, secure: bool = False) -> Iterator[Server]:
    """A server in threads of this process, on a port of its own of 127.0.0.1."""
    httpd = _Httpd(("127.0.0.1", 0), _Handler)
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    server = Server(f"{'https' if secure else 'http'}://127.0.0.1:{httpd.server_port}")
    httpd.served = server
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.release.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()  # waits for the threads


class _Httpd(ThreadingHTTPServer):
    daemon_threads = False
    served: Server

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Httpd

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        served = self.server.served
        names = ("Range", "If-Range", "Accept-Encoding", "Authorization")
        asked, condition, encoding, login = (self.headers.get(name) for name in names)
        request = Request(
            path=self.path, range=asked, if_range=condition, accept_encoding=encoding, authorization=login
        )
        served.requests.append(request)
        answer = served.answers.popleft() if served.answers else Answer()
        content = served.files.get(self.path.split("?")[0])
        if answer.status is not None or content is None:
            self._send(answer.status or 404, {}, answer.body or b"", answer)
            return
        etag = served.etags[self.path.split("?")[0]]
        headers = {"ETag": etag, "Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT", "Content-Type": "application/gzip"}
        body = content if answer.body is None else answer.body
        holds = condition in (None, etag, headers["Last-Modified"]) or answer.ignores_condition
        if asked is None or not holds or answer.ignores_range:
            self._send(200, headers, body, answer)
            return
        found = re.fullmatch(r"bytes=(\d+)-", asked)
        assert found is not None
        start = int(found[1]) + answer.shift
        if start >= len(body):
            self._send(416, {"Content-Range": f"bytes */{len(body)}"}, b"", answer)
            return
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._send(206, headers, body[start:], answer)

    def _send(self, status: int, headers: dict[str, str], body: bytes, answer: Answer) -> None:
        self.send_response(status)
        length = {} if answer.endless else {"Content-Length": str(len(body))}
        for name, value in {**length, **headers, **answer.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if answer.cut_after is not None:
            self._write(body[: answer.cut_after])
            if answer.reset:  # pending data is thrown away, the other side gets an error
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
        elif answer.hang_after is not None:
            self._write(body[: answer.hang_after])
            release = self.server.served.release
            release.wait()
            if not self.server.served.ended.is_set():
                self._write(body[answer.hang_after :])
        elif answer.endless:
            while not self.server.served.ended.is_set():
                self._write(bytes(2**16))
        else:
            self._write(body)

    def _write(self, block: bytes) -> None:
        self.wfile.write(block)
        self.wfile.flush()
        self.server.served.sent += len(block)
