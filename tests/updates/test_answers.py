"""Answers that are none: what a broken or foreign server sends, as the sidecar's own errors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sidecar.contract.errors import RefusedError, SidecarError, UnreachableError
from sidecar.elastic.client import connect
from sidecar.elastic.users import Users
from sidecar.updates.handler import BatchHandler
from updates.fakes import event, message
from updates.oracle import PRODUCTS, TOWER, VOCABULARY

OURS = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}
EMPTY = b'{"docs":[{"_id":"c","found":false}]}'


class Server(ThreadingHTTPServer):
    """Answers a read, then a write, with what the test says: status, headers, body."""

    answers: list[tuple[int, dict[str, str], bytes]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, body = self.server.answers.pop(0)
        if status == 0:  # cut
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize(
    ("status", "headers", "body", "family"),
    [
        (429, OURS, b'{"error":{"type":"es_rejected_execution_exception"}}', UnreachableError),
        (503, OURS, b'{"error":"no master"}', UnreachableError),
        (502, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>", UnreachableError),
        (401, OURS, b'{"error":{"type":"security_exception"}}', RefusedError),
        (403, OURS, b'{"error":{"type":"cluster_block_exception"}}', RefusedError),
        (413, {"Content-Type": "text/plain"}, b"too large", RefusedError),
        (200, OURS, b'{"docs":[{"_id"', UnreachableError),
        (200, {"Content-Type": "text/html"}, b"<html>log in</html>", SidecarError),
        (200, OURS, b'{"docs":[],"items":[]}', UnreachableError),
        (0, {}, b"", UnreachableError),
    ],
)
@pytest.mark.parametrize("written", [False, True])
def test_nothing_is_taken_for_stored(
    server: Server,
    written: bool,
    status: int,
    headers: dict[str, str],
    body: bytes,
    family: type[SidecarError],
) -> None:
    server.answers = [(200, OURS, EMPTY)] if written else []
    server.answers.append((status, headers, body))
    with connect(f"http://127.0.0.1:{server.server_address[1]}") as client:
        users = Users(client, "users")
        handler = BatchHandler(users, PRODUCTS, lambda: TOWER, VOCABULARY)
        batch = [message(event("c"))]
        handled = handler.handle(batch)
    assert handled.again == batch
    assert not handled.stored
    assert isinstance(handled.fault, family)
    assert "\n" not in str(handled.fault)


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (400, "mapper_parsing_exception", "refused"),
        (413, "content_too_long", "refused"),
        (429, "es_rejected_execution_exception", "again"),
        (403, "cluster_block_exception", "again"),
        (500, "internal", "again"),
        (503, "unavailable_shards_exception", "again"),
    ],
)
def test_errors_of_bulk_items(server: Server, status: int, kind: str, outcome: str) -> None:
    item = b'{"errors":true,"items":[{"create":{"_id":"c","status":%d,"error":{"type":"%s"}}}]}'
    server.answers = [(200, OURS, EMPTY), (200, OURS, item % (status, kind.encode()))]
    with connect(f"http://127.0.0.1:{server.server_address[1]}") as client:
        users = Users(client, "users")
        handler = BatchHandler(users, PRODUCTS, lambda: TOWER, VOCABULARY)
        handled = handler.handle([message(event("c"))])
    assert not handled.stored
    assert len(getattr(handled, outcome)) == 1
    said = handled.refused[0][1] if outcome == "refused" else str(handled.fault)
    assert kind in said
