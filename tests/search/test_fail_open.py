"""Fail open: whatever goes wrong with personalisation, the shopper gets the plain result."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.contract.errors import RefusedError, UnreachableError
from sidecar.metrics import SearchMetrics
from sidecar.search import plan as plan_module
from sidecar.search import proxy as proxy_module
from sidecar.search import sniff
from sidecar.search import tastes as tastes_module
from sidecar.search.limits import Breaker
from sidecar.search.plan import Planner

from .front import FAILED, MATCH, Front, is_rewritten, refuse_rewritten
from .stub import HITS, Cut, answer
from .wsgi import call


def cut() -> bytes:
    raise Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")


def vanish() -> bytes:
    raise Cut


def sleep() -> bytes:
    time.sleep(1)
    return answer(HITS)


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: answer({"error": {"reason": "params.v [0.1]"}}, "400 Bad Request"),
        lambda: answer({}, "500 Internal Server Error"),
        lambda: answer({}, "503 Service Unavailable"),
        lambda: answer(FAILED),
        lambda: answer(json.dumps(FAILED, indent=2).encode()),
        lambda: answer(gzip.compress(json.dumps(FAILED).encode()), headers=(("Content-Encoding", "gzip"),)),
        cut,
        vanish,
        sleep,
    ],
)  # fmt: skip
def test_a_rewritten_search_that_fails_is_repeated_once_as_the_original(
    front: Callable[..., Front], refusal: Callable[[], bytes]
) -> None:
    one = front(read_timeout_s=0.5)
    one.stub.respond = refuse_rewritten(refusal)
    got = one.search()
    assert (got.status, got.json()) == (200, HITS)
    assert got.decision == ("bypassed", "rewrite_failed")
    assert [is_rewritten(r) for r in one.stub.searches()] == [True, False]
    assert one.stub.requests[1].body == MATCH.encode()
    # ... and the index is left alone for a while.
    assert one.search().decision == ("bypassed", "breaker_open")
    assert len(one.stub.searches()) == 3
    assert one.count("sidecar_repaired_searches_total") == 1
    assert one.count("sidecar_searches_total", action="bypassed", reason="breaker_open") == 1


def test_the_log_says_why_and_not_what(
    front: Callable[..., Front], caplog: pytest.LogCaptureFixture
) -> None:
    one = front()
    error = {"root_cause": [{"type": "script_exception", "reason": "v=[0.123]"}]}
    one.stub.respond = refuse_rewritten(lambda: answer({"error": error}, "400 Bad Request"))
    one.search()
    assert "status 400, script_exception" in caplog.text
    assert "0.123" not in caplog.text


def test_the_breaker_closes_again(front: Callable[..., Front]) -> None:
    one = front(breaker_s=0)
    one.stub.respond = refuse_rewritten(lambda: answer({}, "400 Bad Request"))
    one.search()
    one.stub.respond = lambda request: answer(HITS)
    assert one.search().decision == ("rewritten", "scored")


def test_an_error_that_the_original_has_too_opens_no_breaker(front: Callable[..., Front]) -> None:
    one = front()
    one.stub.respond = lambda request: answer({"error": "who are you"}, "401 Unauthorized")
    got = one.search()
    assert (got.status, got.json()) == (401, {"error": "who are you"})
    one.stub.respond = lambda request: answer(HITS)
    assert one.search().decision == ("rewritten", "scored")


def test_too_many_requests_is_not_made_worse(front: Callable[..., Front]) -> None:
    one = front()
    one.stub.respond = lambda request: answer({}, "429 Too Many Requests")
    assert one.search().status == 429
    assert len(one.stub.searches()) == 1


def test_shards_of_a_products_own_are_no_failure(front: Callable[..., Front]) -> None:
    one = front()
    hits = {**HITS, "hits": {"hits": [{"_source": {"_shards": {"failed": 3}}}]}}
    one.stub.respond = lambda request: answer(hits)
    assert one.search().decision == ("rewritten", "scored")


def test_a_failed_fallback_sort_is_repaired_too(front: Callable[..., Front]) -> None:
    one = front(fallback_sort='["nowhere"]')
    one.stub.respond = lambda r: answer({}, "400 No") if b"nowhere" in r.body else answer(HITS)
    got = one.search('{"size":3}', x_customer_id="nobody")
    assert (got.status, got.decision) == (200, ("bypassed", "rewrite_failed"))
    # Shoppers with a vector are not concerned.
    assert one.search('{"size":3}').decision == ("rewritten", "browse")


def fault(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("injected")


FAULTS = [
    (plan_module, "parse_object"),
    (plan_module, "read_block"),
    (plan_module, "read_instructions"),
    (plan_module, "is_configured"),
    (plan_module, "classify"),
    (plan_module, "impact_for"),
    (plan_module, "is_held_out"),
    (plan_module, "pin_key"),
    (plan_module, "starts_at_zero"),
    (plan_module, "boost"),
    (plan_module, "personalise"),
    (tastes_module, "encode_vector"),
]


@pytest.mark.parametrize(("module", "name"), FAULTS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize(
    "uri", ["/products/_search", "/products/_msearch", "/products/_async_search"]
)
def test_a_fault_at_any_step_sends_the_original(
    front: Callable[..., Front], monkeypatch: pytest.MonkeyPatch, module: Any, name: str, uri: str
) -> None:
    one = front()
    monkeypatch.setattr(module, name, fault)
    body = "{}\n" + MATCH + "\n" if "_msearch" in uri else MATCH
    one.stub.respond = lambda request: answer({"responses": [HITS]} if "_msearch" in uri else HITS)
    got = one.search(body, uri)
    assert got.status == 200
    assert got.decision == ("bypassed", "fault")
    assert one.stub.requests[0].body == body.encode()


@pytest.mark.parametrize("name", ["media_reason", "Search", "failures"])
def test_a_fault_around_planning_changes_no_answer(
    front: Callable[..., Front], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    one = front()
    monkeypatch.setattr(proxy_module, name, fault)
    got = one.search()
    assert (got.status, got.json()) == (200, HITS)
    rewritten = name == "failures"
    assert got.decision == (("rewritten", "scored") if rewritten else ("bypassed", "fault"))


@pytest.mark.parametrize(
    ("owner", "name"),
    [(proxy_module, "parse_target"), (sniff, "point_at"), (SearchMetrics, "answered"), (SearchMetrics, "planned"),
     (SearchMetrics, "repaired"), (Breaker, "open"), (Planner, "unpin")],
)  # fmt: skip
def test_a_fault_in_anything_else_changes_no_answer(
    front: Callable[..., Front], monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    one = front()
    monkeypatch.setattr(owner, name, fault)
    for respond in (
        lambda request: answer(HITS),
        refuse_rewritten(lambda: answer({}, "400 Bad Request")),
    ):
        one.stub.respond = respond
        got = one.search()
        assert (got.status, got.json()) == (200, HITS)
        assert call(one.proxy, "GET", "/_nodes/http").json() == HITS
        assert call(one.proxy, "PUT", "/x/_doc/1", "{}").json() == HITS


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreachableError("down"), "lookup_failed"),
        (RefusedError("no"), "lookup_failed"),
        (ZeroDivisionError("injected"), "fault"),
    ],
)
def test_a_lookup_that_fails(front: Callable[..., Front], error: Exception, reason: str) -> None:
    one = front()

    def broken(customer_id: str, seconds: float) -> Any:
        raise error

    one.world.lookup = broken  # type: ignore[method-assign]
    one.world.planner._tastes._lookup = broken
    assert one.search().decision == ("bypassed", reason)
    assert one.stub.requests[0].body == MATCH.encode()


def test_a_lookup_that_hangs_costs_the_deadline_and_then_nothing(
    front: Callable[..., Front],
) -> None:
    one = front(deadline_ms=20)
    one.world.planner._tastes._lookup = lambda customer, seconds: time.sleep(0.5)  # type: ignore
    decisions = {one.search().decision for _ in range(40)}
    assert decisions == {("bypassed", "deadline")}
    assert one.world.outcomes.count("timeout") >= 5
    assert one.world.outcomes[-1] == "paused"


@pytest.mark.parametrize("error", [UnreachableError("down"), RefusedError("no")])
def test_a_resolution_that_fails(front: Callable[..., Front], error: Exception) -> None:
    one = front()

    def broken(expression: str, seconds: float) -> Any:
        raise error

    one.world.planner._catalogue._resolve = broken
    assert one.search().decision == ("untouched", "unresolved")


def test_a_version_that_takes_long_holds_nobody_up(front: Callable[..., Front]) -> None:
    one = front(deadline_ms=50)
    asked, release = [], threading.Event()

    def version() -> tuple[int, int]:
        release.wait(60)
        asked.append(1)
        return (8, 15)

    one.world.planner._catalogue._version = version
    body = MATCH[:-1] + ',"collapse":{"field":"c"}}'
    assert one.search(body).decision in (("untouched", "collapse"), ("bypassed", "deadline"))
    assert not asked
    release.set()
