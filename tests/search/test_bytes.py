"""What goes in comes out: exact bytes through the real server, against a stub on a socket."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from .stub import HITS, Cut, Request, Stub, answer

Prepare = Callable[..., str]


def exchange(
    address: str, raw: bytes, until_close: bool = True
) -> tuple[str, dict[str, str], bytes]:
    """Send bytes, return status line, headers (lower case) and body as sent."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), 20) as sock:
        sock.sendall(raw)
        data = b""
        while piece := sock.recv(65_536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return status, headers, body


def request(line: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: shop:9201", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@pytest.mark.parametrize(
    "uri",
    [
        "/", "//", "/a//b", "/a/../b", "/a/./b", "/a%2Fb/_doc/1", "/%2e%2e/x", "/a/_doc/%C3%A9",
        "/_cat/indices?v&h=index,%20x", "/a?q=a+b&&c", "/x?", "/x?y=%00",
        "//_sidecar/health/live", "/%5Fsidecar/health/live", "/a;b/_doc/1", "/_sidecars",
    ],
)  # fmt: skip
def test_request_lines_are_forwarded_as_sent(through: Prepare, module_stub: Stub, uri: str) -> None:
    raw = request("GET X").replace(b"X", uri.encode())
    status, _, _ = exchange(through(), raw)
    assert status == "HTTP/1.1 200 OK"
    (seen,) = module_stub.requests
    assert seen.line.encode("latin-1") == b"GET " + uri.encode() + b" HTTP/1.1"


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_methods(through: Prepare, module_stub: Stub, method: str) -> None:
    exchange(through(), request(f"{method} /x/_doc/1"))
    assert module_stub.requests[0].line == f"{method} /x/_doc/1 HTTP/1.1"


def test_the_absolute_form_is_a_path(through: Prepare, module_stub: Stub) -> None:
    exchange(through(), request("GET http://elsewhere:1/a//b?c"))
    assert module_stub.requests[0].line == "GET /a//b?c HTTP/1.1"


def test_request_headers(through: Prepare, module_stub: Stub) -> None:
    raw = request(
        "POST /x/_doc",
        b"{}",
        "Authorization: ApiKey abc==",
        "X-Opaque-Id: 7",
        "traceparent: 00-1-2-03",
        "x-elastic-client-meta: es=8.19.0,py=3.11",
        "Accept: application/vnd.elasticsearch+json; compatible-with=8",
        "Content-Type: application/vnd.elasticsearch+json; compatible-with=8",
        "Accept-Encoding: gzip",
        "X-Umlaut: \xe9",
        "Keep-Alive: timeout=5",
        "X-Customer-Id: c1",
        "X-Sidecar-Impact: 3",
    )
    exchange(through(), raw)
    seen = module_stub.requests[0]
    assert {name.lower(): value for name, value in seen.headers} == {
        "host": f"127.0.0.1:{module_stub.port}",
        "authorization": "ApiKey abc==",
        "x-opaque-id": "7",
        "traceparent": "00-1-2-03",
        "x-elastic-client-meta": "es=8.19.0,py=3.11",
        "accept": "application/vnd.elasticsearch+json; compatible-with=8",
        "content-type": "application/vnd.elasticsearch+json; compatible-with=8",
        "accept-encoding": "gzip",
        "x-umlaut": "\xe9",
        "content-length": "2",
    }


def test_a_header_named_by_connection_stays_behind(through: Prepare, module_stub: Stub) -> None:
    raw = request("GET /x", b"", "X-Secret: 1").replace(b": close", b": X-Secret")
    raw = raw.replace(b"1.1\r\n", b"1.0\r\n", 1)
    exchange(through(), raw)
    assert module_stub.requests[0].header("X-Secret") is None


def test_a_header_with_an_underscore_names_nobody(through: Prepare) -> None:
    search = b'{"query":{"match":{"name":"shoe"}}}'
    raw = request(
        "POST /products/_search", search, "Content-Type: application/json", "X_Customer_Id: c1"
    )
    _, headers, _ = exchange(through(), raw)
    assert headers["x-sidecar-reason"] == "no_shopper"


def test_a_header_that_is_sent_twice_names_nobody(through: Prepare) -> None:
    search = b'{"query":{"match":{"name":"shoe"}}}'
    raw = request(
        "POST /products/_search",
        search,
        "Content-Type: application/json",
        "X-Customer-Id: c1",
        "X-Customer-Id: c2",
    )
    _, headers, _ = exchange(through(), raw)
    assert headers["x-sidecar-reason"] == "bad_instruction"


def test_a_known_shopper_is_served(through: Prepare, module_stub: Stub) -> None:
    search = b'{"query":{"match":{"name":"shoe"}}}'
    raw = request(
        "POST /products/_search", search, "Content-Type: application/json", "X-Customer-Id: c1"
    )
    _, headers, _ = exchange(through(), raw)
    assert headers["x-sidecar-action"] == "rewritten"
    assert module_stub.requests[0].json()["rescore"]["window_size"] == 500


BODIES = [
    b"",
    b"\x00\xff\r\n\r\n",
    b'{"index":{}}\n{"a":1}\n',
    gzip.compress(b'{"a":1}'),
    b"\xa1\x61\x61\x01",
    bytes(range(256)) * 1000,
]


@pytest.mark.parametrize("body", BODIES)
def test_bodies(through: Prepare, module_stub: Stub, body: bytes) -> None:
    exchange(through(), request("POST /_bulk", body, "Content-Type: application/x-ndjson"))
    assert module_stub.requests[0].body == body


def test_an_empty_body_is_not_the_same_as_none(through: Prepare, module_stub: Stub) -> None:
    exchange(through(), request("POST /x/_refresh"))
    assert module_stub.requests[0].header("Content-Length") is None
    exchange(through(), request("POST /x/_refresh", b"", "Content-Length: 0"))
    assert module_stub.requests[0].header("Content-Length") == "0"


@pytest.mark.parametrize("line", ["POST /_bulk", "POST /products/_search", "POST /x/_search"])
@pytest.mark.parametrize("body", [b"ab", b"x" * 200_000])
def test_chunked_bodies(through: Prepare, module_stub: Stub, line: str, body: bytes) -> None:
    half = len(body) // 2
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(b), b) for b in (body[:half], body[half:]))
    raw = request(line, b"", "Transfer-Encoding: chunked", "Content-Type: application/json")
    status, _, _ = exchange(through(), raw + chunks + b"0\r\n\r\n")
    assert status == "HTTP/1.1 200 OK"
    seen = module_stub.requests[0]
    assert seen.body == body
    assert seen.header("Content-Length") is None


@pytest.mark.parametrize("line", ["POST /_bulk", "POST /products/_search", "POST /x/_search"])
@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\nzz", b"2\r\n{}0\r\n\r\n"])
def test_malformed_chunks(through: Prepare, module_stub: Stub, line: str, body: bytes) -> None:
    raw = request(line, b"", "Transfer-Encoding: chunked", "Content-Type: application/json")
    with socket.create_connection(urlsplit(through()).netloc.split(":"), 20) as sock:
        sock.sendall(raw + body)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 400 ")
    # Nothing that Elasticsearch could take for a whole request.
    assert not module_stub.requests


def test_100_continue(through: Prepare, module_stub: Stub) -> None:
    raw = request("POST /_bulk", b"abc", "Expect: 100-continue")
    status, _, _ = exchange(through(), raw)
    assert status == "HTTP/1.1 200 OK"
    assert module_stub.requests[0].body == b"abc"
    assert module_stub.requests[0].header("Expect") is None


@pytest.mark.parametrize("body", BODIES)
def test_answers(through: Prepare, body: bytes) -> None:
    def respond(seen: Request) -> bytes:
        return answer(
            body,
            "201 Made Up",
            (
                ("Warning", '299 Elasticsearch-8.15 "old"'),
                ("X-Opaque-Id", "7"),
                ("Content-Encoding", "gzip"),
                ("Content-Type", "application/vnd.elasticsearch+json;compatible-with=8"),
            ),
        )

    status, headers, got = exchange(through(respond), request("GET /x"))
    assert (status, got) == ("HTTP/1.1 201 Made Up", body)
    assert headers["warning"] == '299 Elasticsearch-8.15 "old"'
    assert headers["x-elastic-product"] == "Elasticsearch"
    assert headers["x-opaque-id"] == "7"
    assert headers["content-encoding"] == "gzip"
    assert headers["content-length"] == str(len(body))
    assert "x-sidecar-action" not in headers


@pytest.mark.parametrize(
    "status", [202, 301, 304, 400, 401, 403, 404, 406, 413, 429, 500, 503, 599]
)
@pytest.mark.parametrize("line", ["GET /x", "POST /products/_search"])
def test_odd_statuses(through: Prepare, status: int, line: str) -> None:
    respond: Any = lambda seen: answer(b'{"error":"x"}' * (status != 304), f"{status} So")  # noqa: E731
    got, headers, _ = exchange(through(respond), request(line))
    assert got == f"HTTP/1.1 {status} So"
    assert headers["x-elastic-product"] == "Elasticsearch"


def test_a_status_without_a_reason(through: Prepare) -> None:
    respond: Any = lambda seen: answer(b"{}", "200")  # noqa: E731
    assert exchange(through(respond), request("GET /x"))[0] == "HTTP/1.1 200 OK"


def test_head_has_a_length_and_no_body(through: Prepare) -> None:
    respond: Any = lambda seen: b"HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n"  # noqa: E731
    status, headers, body = exchange(through(respond), request("HEAD /products"))
    assert (status, headers["content-length"], body) == ("HTTP/1.1 200 OK", "42", b"")


@pytest.mark.parametrize("pieces", [[b"a"], [b"{", b"x" * 100_000, b"}"], []])
def test_chunked_answers(through: Prepare, pieces: list[bytes]) -> None:
    def respond(seen: Request) -> bytes:
        chunks = b"".join(b"%X; a=b\r\n%b\r\n" % (len(p), p) for p in pieces)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        return head + chunks + b"0\r\nTrailer: x\r\n\r\n"

    for _ in range(2):
        _, headers, body = exchange(through(respond), request("GET /x"))
        assert headers["transfer-encoding"] == "chunked"
        got = b""
        while not body.startswith(b"0\r\n"):
            size, _, body = body.partition(b"\r\n")
            got, body = got + body[: int(size, 16)], body[int(size, 16) + 2 :]
        assert got == b"".join(pieces)


def test_an_answer_that_ends_with_the_connection(through: Prepare) -> None:
    def respond(seen: Request) -> bytes:
        raise Cut(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")

    _, _, body = exchange(through(respond), request("GET /x").replace(b"1.1\r\n", b"1.0\r\n", 1))
    assert body == b"hello"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 20",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: \x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
    ],
)
@pytest.mark.parametrize("line", ["GET /x", "POST /x/_bulk", "POST /products/_search"])
def test_broken_answers_are_one_clear_502(through: Prepare, broken: bytes, line: str) -> None:
    def respond(seen: Request) -> bytes:
        raise Cut(broken)

    status, headers, body = exchange(through(respond), request(line))
    assert status == "HTTP/1.1 502 Bad Gateway"
    assert headers["x-elastic-product"] == "Elasticsearch"
    assert json.loads(body)["error"]["type"] == "sidecar_upstream_unreachable_exception"


def test_an_answer_that_breaks_off_is_not_made_to_look_whole(through: Prepare) -> None:
    def respond(seen: Request) -> bytes:
        raise Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nabc")

    _, headers, body = exchange(through(respond), request("GET /x"))
    assert int(headers["content-length"]) == 100_000
    assert len(body) < 100_000


def test_a_write_is_not_repeated(through: Prepare, module_stub: Stub) -> None:
    def respond(seen: Request) -> bytes:
        raise Cut

    exchange(through(), request("GET /x"))  # leaves a kept connection behind
    exchange(through(respond), request("POST /x/_doc", b"{}"))
    assert len(module_stub.requests) == 1


def test_slow_upstream_is_a_504(through: Prepare) -> None:
    import time

    def respond(seen: Request) -> bytes:
        time.sleep(2.5)
        return answer()

    status, _, body = exchange(through(respond), request("GET /x"))
    assert status == "HTTP/1.1 504 Gateway Timeout"
    assert json.loads(body)["status"] == 504


def test_an_early_refusal_of_a_large_body_arrives(through: Prepare, module_stub: Stub) -> None:
    # The stub reads it all; a real server may answer 413 and close before that.
    respond: Any = lambda seen: answer(b"{}", "413 Too Large")  # noqa: E731
    status, _, _ = exchange(through(respond), request("POST /_bulk", b"x" * 3_000_000))
    assert status == "HTTP/1.1 413 Too Large"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        b"GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    ],
)
def test_smuggling_is_refused_or_harmless(through: Prepare, module_stub: Stub, raw: bytes) -> None:
    address = through()
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), 20) as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while piece := sock.recv(65_536):
            data += piece
    refused = data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")) or not data
    assert refused or len(module_stub.requests) == 1, data


def test_searches_on_other_indices_are_untouched(through: Prepare, module_stub: Stub) -> None:
    raw = request("POST /logs/_search", b'{"a":1,"a":2}', "Content-Type: application/json")
    _, headers, body = exchange(through(), raw)
    assert module_stub.requests[0].body == b'{"a":1,"a":2}'
    assert headers["x-sidecar-action"] == "untouched"
    assert json.loads(body) == HITS
