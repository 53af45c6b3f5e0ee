"""Fail open: whatever goes wrong with personalisation, the shopper gets the plain result."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
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
from sidecar.search.proxy import Proxy
from sidecar.search.upstream import Upstream

from .fakes import World, shopper
from .stub import HITS, Cut, Request, Stub, answer
from .wsgi import Got, call

MATCH = '{"query":{"match":{"name":"shoe"}}}'
FAILED = {
    **HITS,
    "_shards": {"total": 2, "successful": 1, "skipped": 0, "failed": 1, "failures": [{}]},
}


class Front:
    """The proxy before the stub, in this process."""

    def __init__(self, stub: Stub, **settings: Any) -> None:
        self.stub = stub
        self.world = World({"c1": shopper()}, **settings)
        self.metrics = SearchMetrics()
        self.upstream = Upstream(stub.url, read_timeout_s=settings.get("read_timeout_s", 5))
        self.proxy = Proxy(self.upstream, self.world.planner, self.metrics)

    def search(self, body: str = MATCH, uri: str = "/products/_search", **headers: str) -> Got:
        headers.setdefault("x_customer_id", "c1")
        return call(self.proxy, "POST", uri, body, **headers)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def front(stub: Stub) -> Iterator[Callable[..., Front]]:
    fronts: list[Front] = []

    def make(**settings: Any) -> Front:
        fronts.append(Front(stub, **settings))
        return fronts[-1]

    yield make
    for one in fronts:
        one.upstream.close()


def is_rewritten(request: Request) -> bool:
    return b"cosineSimilarity" in request.body


def refuse_rewritten(refusal: Callable[[], bytes]) -> Callable[[Request], bytes]:
    return lambda request: refusal() if is_rewritten(request) else answer(HITS)


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

    one.world.planner._resolve = broken
    assert one.search().decision == ("untouched", "unresolved")


def test_a_version_that_takes_long_holds_nobody_up(front: Callable[..., Front]) -> None:
    one = front(deadline_ms=50)
    asked, release = [], threading.Event()

    def version() -> tuple[int, int]:
        release.wait(60)
        asked.append(1)
        return (8, 15)

    one.world.planner._version = version
    body = MATCH[:-1] + ',"collapse":{"field":"c"}}'
    assert one.search(body).decision in (("untouched", "collapse"), ("bypassed", "deadline"))
    assert not asked
    release.set()


def test_the_block_is_cut_out_whatever_is_decided(front: Callable[..., Front]) -> None:
    one = front(fits=False)
    block = ',"ext":{"sidecar":{"customer_id":"%s"%s}}}'
    for body in (
        MATCH[:-1] + block % ("c1", ""),
        MATCH[:-1] + block % ("nobody", ""),
        MATCH[:-1] + block % ("c1", ',"enabled":false'),
        MATCH[:-1] + block % ("c1", ',"impact":0'),
        MATCH[:-1] + block % ("c1", ',"impact":101'),
        MATCH[:-1] + block % ("c1", ',"unknown":1'),
        MATCH[:-1] + ',"ext":{"sidecar":null}}',
        MATCH[:-1] + ',"ext":{"sidecar":[1]}}',
    ):
        for uri in ("/products/_search", "/logs/_search", "/_search", "/products/_search?q=x"):
            one.stub.requests.clear()
            one.search(body, uri)
            assert one.stub.requests[0].body == MATCH.encode(), (body, uri)


def test_a_gzip_body_is_read_and_sent_on_plain(front: Callable[..., Front]) -> None:
    one = front()
    body = gzip.compress(MATCH.encode())
    got = call(
        one.proxy, "POST", "/products/_search", body, x_customer_id="c1", content_encoding="gzip"
    )
    assert got.decision == ("rewritten", "scored")
    sent = one.stub.requests[0]
    assert sent.header("Content-Encoding") is None
    assert sent.json()["query"] == {"match": {"name": "shoe"}}
    # Left alone, it goes on packed as it came.
    call(one.proxy, "POST", "/logs/_search", body, x_customer_id="c1", content_encoding="gzip")
    assert one.stub.requests[1].body == body
    assert one.stub.requests[1].header("Content-Encoding") == "gzip"


def test_a_gzip_bomb_is_not_unpacked(front: Callable[..., Front]) -> None:
    one = front(max_body_bytes=10_000)
    body = gzip.compress(b" " * 1_000_000)
    got = call(one.proxy, "POST", "/products/_search", body, content_encoding="gzip")
    assert got.decision == ("untouched", "not_json")
    assert one.stub.requests[0].body == body


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("application/json", "application/json"),
        (
            "application/vnd.elasticsearch+json; compatible-with=8",
            "application/vnd.elasticsearch+json; compatible-with=8",
        ),
    ],
)
def test_a_body_where_there_was_none_gets_a_type(
    front: Callable[..., Front], accept: str | None, expected: str
) -> None:
    one = front()
    headers = {"x_customer_id": "c1"} | ({"accept": accept} if accept else {})
    got = call(one.proxy, "GET", "/products/_search?size=3", **headers)
    assert got.decision == ("rewritten", "browse")
    assert one.stub.requests[0].header("Content-Type") == expected
    assert one.stub.requests[0].line == "GET /products/_search?size=3 HTTP/1.1"


def test_impact_zero_sends_the_original_bytes(front: Callable[..., Front]) -> None:
    odd = ' { "query" : {"match":{"name":"\\u0073hoe"}} }\n'
    for settings, headers in (
        ({"impact": 0}, {}),
        ({"index_impact": {"prod*": 0}}, {}),
        ({}, {"x_sidecar_impact": "0"}),
    ):
        one = front(**settings)
        one.stub.requests.clear()
        got = one.search(odd, **headers)
        assert got.decision == ("bypassed", "impact_zero")
        assert one.stub.requests[0].body == odd.encode()


def test_an_asynchronous_search_is_rewritten_when_it_is_submitted(
    front: Callable[..., Front],
) -> None:
    one = front()
    one.stub.respond = lambda request: answer({"id": "x", "is_running": True, "response": HITS})
    uri = "/products/_async_search?wait_for_completion_timeout=1s&keep_on_completion=true"
    assert one.search(uri=uri).decision == ("rewritten", "scored")
    got = call(one.proxy, "GET", "/_async_search/x", x_customer_id="c1")
    assert "x-sidecar-action" not in got.headers
    half = {"id": "x", "response": FAILED}
    one.stub.respond = lambda r: answer(half if is_rewritten(r) else {"response": HITS})
    assert one.search(uri=uri).decision == ("bypassed", "rewrite_failed")


def multi(*pairs: tuple[str, str]) -> str:
    return "".join(f"{header}\n{body}\n" for header, body in pairs)


def test_each_item_of_a_multi_search_by_itself(front: Callable[..., Front]) -> None:
    one = front()
    one.stub.respond = lambda request: answer({"responses": [HITS] * 6})
    own = '{"query":{"match":{"name":"hat"}},"ext":{"sidecar":{"customer_id":"nobody"}}}'
    body = multi(
        ("{}", MATCH),
        (' {"index": "logs"}', ' {"size": 1.0}'),
        ("", '{"size":5}'),
        ('{"index":["products"],"preference":"a"}', own),
        ('{"index":"products","request_cache":true}', MATCH),
        ('{"index":"products","search_type":{}}', '{"a":1,"a":1}'),
    )
    got = one.search(body, "/products/_msearch", content_type="application/x-ndjson")
    assert got.decision == ("rewritten", "multi")
    lines = one.stub.requests[0].body.split(b"\n")
    assert lines[-1] == b""
    before = body.encode().split(b"\n")
    assert [lines[i] for i in range(0, 12, 2)] == [before[i] for i in range(0, 12, 2)]
    assert b"rescore" in lines[1]
    assert lines[3] == before[3]
    assert b"script_score" in lines[5]
    assert lines[7] == b'{"query":{"match":{"name":"hat"}}}'
    assert lines[9] == before[9]
    assert lines[11] == before[11]


def test_a_multi_search_with_a_failed_item_is_repeated(front: Callable[..., Front]) -> None:
    one = front()
    failed = {"error": {"type": "x"}, "status": 400}

    def respond(request: Request) -> bytes:
        return answer({"responses": [HITS, failed if is_rewritten(request) else HITS]})

    one.stub.respond = respond
    body = multi(("{}", MATCH), ('{"index":"products"}', '{"size":1}'))
    got = one.search(body, "/products/_msearch", content_type="application/x-ndjson")
    assert got.json() == {"responses": [HITS, HITS]}
    assert got.decision == ("bypassed", "rewrite_failed")
    assert one.stub.requests[1].body == body.encode()
    assert one.search('{"size":1}').decision == ("bypassed", "breaker_open")
    assert one.search(MATCH).decision == ("rewritten", "scored")


@pytest.mark.parametrize(
    "body", ["", "{}", "{}\n", "{}\n{}", "{}\n{}\n{}\n", "x\ny\n", "\n\n", "{}\n\n", "[]\n{}\n"]
)
def test_odd_multi_searches_go_on_as_they_came(front: Callable[..., Front], body: str) -> None:
    one = front(product_indices=("shop",))
    got = one.search(body, "/products/_msearch", content_type="application/x-ndjson")
    assert got.decision[0] == "untouched"
    assert one.stub.requests[0].body == body.encode()


NODES = {
    "cluster_name": "c",
    "nodes": {
        "a": {"http": {"publish_address": "es1/10.0.0.1:9200", "bound_address": ["[::]:9200"]}},
        "b": {"http": {"publish_address": "10.0.0.2:9200"}, "version": "8.15.0"},
        "c": {"roles": ["master"]},
    },
}


@pytest.mark.parametrize(
    "uri", ["/_nodes/_all/http", "/_nodes/http", "/_nodes", "/_nodes/a/http?x"]
)
def test_sniffing_finds_the_sidecar(front: Callable[..., Front], uri: str) -> None:
    one = front()
    one.stub.respond = lambda request: answer(NODES)
    nodes = call(one.proxy, "GET", uri, accept_encoding="gzip").json()["nodes"]
    assert nodes["a"]["http"]["publish_address"] == "localhost:9201"
    assert nodes["a"]["http"]["bound_address"] == ["localhost:9201"]
    assert nodes["b"]["version"] == "8.15.0"
    assert one.stub.requests[0].header("Accept-Encoding") is None


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        ({"public_address": "shop.example:443"}, "x", "shop.example:443"),
        ({}, "shop.example", "shop.example:80"),
        ({}, "[::1]:9201", "[::1]:9201"),
        ({}, 'x"}', "es1/10.0.0.1:9200"),
    ],
)
def test_which_address_sniffing_finds(
    front: Callable[..., Front], settings: dict[str, Any], host: str, expected: str
) -> None:
    one = front(**settings)
    one.stub.respond = lambda request: answer(NODES)
    got = call(one.proxy, "GET", "/_nodes/http", host=host).json()
    assert got["nodes"]["a"]["http"]["publish_address"] == expected


def test_metrics_and_access_log_name_nobody(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    from prometheus_client import generate_latest

    world = World({"shopper-4711": shopper()})
    metrics = SearchMetrics(access_log=True)
    upstream = Upstream(stub.url)
    proxy = Proxy(upstream, world.planner, metrics)
    with caplog.at_level("DEBUG"):
        call(proxy, "POST", "/products/_search", MATCH, x_customer_id="shopper-4711")
        call(proxy, "POST", "/products/_search", MATCH, x_customer_id="shopper-4712")
        call(
            proxy,
            "POST",
            "/products/_search",
            '{"ext":{"sidecar":{"customer_id":"shopper-4711","x":1}}}',
        )
        call(proxy, "GET", "/users/_doc/shopper-4711")
    text = caplog.text + generate_latest(metrics.registry).decode()
    assert "shopper-47" not in text
    assert "action=rewritten reason=scored" in caplog.text
    assert 'sidecar_http_requests_total{api="other",status="2xx"} 1.0' in text
    upstream.close()
