"""An upstream of our own on a real socket: it keeps what it got, and answers what it is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

HITS = {
    "took": 1,
    "timed_out": False,
    "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
    "hits": {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []},
}


@dataclass
class Request:
    """A request, to the byte."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    raw_body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


class Cut(Exception):  # noqa: N818
    """Raised by an answer: close the connection after these bytes."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first


def answer(
    body: bytes | dict[str, Any] = b"{}",
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),),
) -> bytes:
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "X-elastic-product: Elasticsearch"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode("latin-1") + body


@dataclass
class Stub:
    """The server; use it as a context manager."""

    respond: Callable[[Request], bytes] = lambda request: answer(HITS)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Stub:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for sock in self._open:
            sock.close()

    def searches(self) -> list[Request]:
        return [one for one in self.requests if "_search" in one.line]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        stream = sock.makefile("rb")
        try:
            while line := stream.readline():
                request = _read(line, stream)
                self.requests.append(request)
                try:
                    sock.sendall(self.respond(request))
                except Cut as cut:
                    sock.sendall(cut.first)
                    break
        except OSError:
            pass
        finally:
            stream.close()
            sock.close()


def _read(line: bytes, stream: Any) -> Request:
    headers = []
    while (raw := stream.readline()) not in (b"\r\n", b""):
        name, _, value = raw.decode("latin-1").rstrip("\r\n").partition(": ")
        headers.append((name, value))
    request = Request(line.decode("latin-1").rstrip("\r\n"), headers, b"")
    if (request.header("Transfer-Encoding") or "").lower() == "chunked":
        while True:
            size_line = stream.readline()
            if not size_line:
                raise ConnectionError("a request that was cut off")
            size = int(size_line, 16)
            piece = stream.read(size)
            request.raw_body += size_line + piece + stream.readline()
            request.body += piece
            if not size:
                return request
    request.body = request.raw_body = stream.read(int(request.header("Content-Length") or 0))
    return request
