"""Request ids and trace context: kept, passed on, never made up for Elasticsearch; and the log."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import logs, tracing
from sidecar.search.proxy import Proxy
from sidecar.search.upstream import Upstream
from tests.search.fakes import World
from tests.search.stub import HITS, Stub, answer
from tests.search.wsgi import call

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ID = "x-sidecar-request-id"


@pytest.fixture
def through() -> Iterator[tuple[Proxy, Stub]]:
    with Stub() as stub:
        upstream = Upstream(stub.url)
        yield Proxy(upstream, World().planner), stub
        upstream.close()


@pytest.fixture(params=["json", "human"])
def line(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """What is logged last, in each of the two forms."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    out = io.StringIO()
    logs.set_up(request.param, "INFO", out)
    yield lambda: out.getvalue().splitlines()[-1]
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize(
    ("method", "uri", "respond"),
    [
        ("GET", "/", lambda request: answer()),
        ("POST", "/products/_search", lambda request: answer(HITS)),
        ("POST", "/products/_search", lambda request: answer({"error": {}}, "404 Not Found")),
        ("POST", "/products/_search/template", lambda request: answer(HITS)),
        ("GET", "/_nodes/http", lambda request: answer({"nodes": {"n": {"http": {}}}})),
        ("PUT", "/a/_doc/1", lambda request: b"nonsense\r\n\r\n"),
    ],
)
def test_every_answer_has_an_id(
    through: tuple[Proxy, Stub], method: str, uri: str, respond: Callable[..., bytes]
) -> None:
    proxy, stub = through
    stub.respond = respond
    body = "{}" if method == "POST" else ""
    ids = [call(proxy, method, uri, body).headers[ID] for _ in range(3)]
    assert len(set(ids)) == 3
    assert call(proxy, method, uri, body, x_request_id="mine").headers[ID] == "mine"


def test_what_the_caller_sent_goes_on_and_nothing_is_made_up(through: tuple[Proxy, Stub]) -> None:
    proxy, stub = through
    sent = {
        "x_opaque_id": "o",
        "traceparent": TRACEPARENT,
        "tracestate": "v=1",
        "x_request_id": "r",
    }
    call(proxy, "POST", "/products/_search", "{}", **sent)
    call(proxy, "POST", "/products/_search", "{}")
    first, second = stub.requests
    for name, value in sent.items():
        assert first.header(name.replace("_", "-")) == value
        assert second.header(name.replace("_", "-")) is None


@given(st.text(max_size=140))
def test_an_id_never_makes_another_header(text: str) -> None:
    environ = {"HTTP_X_REQUEST_ID": text}
    given_id = tracing.begin(environ)
    assert environ[tracing.REQUEST_ID] == given_id
    assert given_id.isascii()
    assert given_id.isprintable()
    assert 1 <= len(given_id) <= 128
    assert " " not in given_id


def test_a_log_line_says_which_request_it_is_about(line: Callable[[], str]) -> None:
    tracing.begin(
        {
            "HTTP_X_REQUEST_ID": "r1",
            "HTTP_X_OPAQUE_ID": "o\u2028\x1b[1m",
            "HTTP_TRACEPARENT": TRACEPARENT,
        }
    )
    logging.getLogger("sidecar.x").info("hello")
    for word in ("hello", "r1", TRACE, "o??[1m"):
        assert word in line()
    tracing.begin({"HTTP_X_REQUEST_ID": "r2"})
    logging.getLogger("sidecar.x").info("again")
    assert "r2" in line()
    assert "trace" not in line()


def test_a_line_about_no_request_says_nothing_of_one(line: Callable[[], str]) -> None:
    tracing.begin({"HTTP_X_REQUEST_ID": "r1"})
    thread = threading.Thread(target=lambda: logging.getLogger("sidecar.x").info("other"))
    thread.start()
    thread.join()
    assert "r1" not in line()
    assert "other" in line()


def test_a_line_about_a_message_has_its_trace(line: Callable[[], str]) -> None:
    other = TRACEPARENT.replace(TRACE, "b" * 32)
    body = json.dumps({"event_name": "x", "traceparent": other})
    tracing.begin({"HTTP_X_REQUEST_ID": "r1"})
    for attributes, text, expected in (
        ({"traceparent": TRACEPARENT}, body, TRACE),
        ({}, body, "b" * 32),
        ({}, body[:-1], "b" * 32),  # cut off: poison, and all the more to be found
        ({}, "{", None),
    ):
        with tracing.handling(attributes, text):
            logging.getLogger("sidecar.x").info("poison")
        assert "r1" not in line()
        assert (expected or "trace_id") in line() or expected is None
        assert expected is not None or "trace_id" not in line()
    logging.getLogger("sidecar.x").info("after")
    assert "r1" in line()


@pytest.mark.parametrize(
    "value",
    ["", "00", TRACEPARENT.upper(), f"00-{'0' * 32}-00f067aa0ba902b7-01", "ff" + TRACEPARENT[2:], "x" + TRACEPARENT],
)  # fmt: skip
def test_a_context_that_is_none_is_not_taken_for_one(value: str) -> None:
    tracing.begin({"HTTP_TRACEPARENT": value})
    assert tracing.traceparent() == ""
    assert "trace_id" not in tracing.log_fields()


def test_what_later_versions_of_the_standard_add_is_kept() -> None:
    value: Any = "01" + TRACEPARENT[2:] + "-more"
    tracing.begin({"HTTP_TRACEPARENT": value})
    assert tracing.traceparent() == value
    assert tracing.log_fields()["trace_id"] == TRACE
